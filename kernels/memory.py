"""Memory for arrays: aligned to cache lines, and lent again when an array is gone.

A vector load that crosses two cache lines costs two loads, and NumPy aligns to 16 bytes only. And fresh memory is not
free: the system hands it out page by page, at the first touch of each. So memory comes back to a pool when the last
view of an array is gone, and the next training step takes it from there.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

LINE = 64  # bytes of a cache line, and of the widest vector
SMALL = 1 << 15  # below this many bytes malloc is good enough
KEPT = 1 << 29  # bytes that the pool holds at most; what comes back beyond that is freed

_pool: dict[int, list[np.ndarray]] = defaultdict(list)
_pooled_bytes = 0


class _Loan:
    """Owns a block of the pool while an array lives on it. NumPy keeps it alive as the array's base."""

    __slots__ = ("__array_interface__", "block")

    def __init__(self, block: np.ndarray):
        self.block = block
        self.__array_interface__ = block.__array_interface__

    def __del__(self):
        global _pooled_bytes
        if _pooled_bytes + self.block.size <= KEPT:
            _pooled_bytes += self.block.size
            _pool[self.block.size].append(self.block)


def _borrow(size: int) -> np.ndarray:
    """At least `size` bytes. Rounded up by at most an eighth, so that batches of nearly the same size share."""
    global _pooled_bytes
    step = 1 << max(size.bit_length() - 4, 6)
    rounded = (size + step - 1) // step * step
    if _pool[rounded]:
        block = _pool[rounded].pop()
        _pooled_bytes -= rounded
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
