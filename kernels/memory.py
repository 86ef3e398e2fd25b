"""Memory for arrays: aligned to cache lines, and lent again when an array is gone.

A vector load that crosses two cache lines costs two loads, and NumPy aligns to 16 bytes only. And fresh memory is not
free: the system hands it out page by page, at the first touch of each. So memory comes back to a pool when the last
view of an array is gone, and the next training step takes it from there.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

LINE = 64  # bytes of a cache line, and of the widest vector
SMALL = 1 << 15  # below this many bytes malloc is good enough
KEPT = 1 << 28  # bytes that the pool holds at most; beyond that, blocks of the size that was longest unused are freed

_pool: OrderedDict[int, list[np.ndarray]] = OrderedDict()  # free blocks by size, the size used last at the end
_pooled_bytes = 0


class _Loan:
    """Owns a block of the pool while an array lives on it. NumPy keeps it alive as the array's base."""

    __slots__ = ("__array_interface__", "block")

    def __init__(self, block: np.ndarray):
        self.block = block
        self.__array_interface__ = block.__array_interface__

    def __del__(self):
        _give_back(self.block)


def _give_back(block: np.ndarray) -> None:
    global _pooled_bytes
    _pool.setdefault(block.size, []).append(block)
    _pool.move_to_end(block.size)
    _pooled_bytes += block.size
    while _pooled_bytes > KEPT:
        size, blocks = next(iter(_pool.items()))
        blocks.pop()
        _pooled_bytes -= size
        if not blocks:
            del _pool[size]


def _borrow(size: int) -> np.ndarray:
    """At least `size` bytes. Rounded up by at most an eighth, so that batches of nearly the same size share."""
    global _pooled_bytes
    step = 1 << max(size.bit_length() - 4, 6)
    rounded = (size + step - 1) // step * step
    if blocks := _pool.get(rounded):
        block = blocks.pop()
        _pooled_bytes -= rounded
        if not blocks:
            del _pool[rounded]
    else:
        block = np.empty(rounded, np.uint8)
    return np.asarray(_Loan(block))


def empty(shape, dtype) -> np.ndarray:
    """Like np.empty, C order, but the first element lies on a 64-byte boundary."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + LINE, np.uint8) if size < SMALL else _borrow(size + LINE)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def zeros(shape, dtype) -> np.ndarray:
    """Like np.zeros, aligned as `empty`."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def aligned(array: np.ndarray) -> np.ndarray:
    """The array itself if it is C-contiguous and aligned, else an aligned copy."""
    if array.flags.c_contiguous and array.ctypes.data % LINE == 0:
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy
