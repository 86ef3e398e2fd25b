"""Memory for arrays: large ones are aligned to cache lines, and lent again when an array is gone.

A vector load that crosses two cache lines costs two loads, and NumPy aligns to 16 bytes only. And fresh memory is not
free: the system hands it out page by page, at the first touch of each. So memory comes back to a pool when the last
view of an array is gone, and the next training step takes it from there.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np

LINE = 64  # bytes of a cache line, and of the widest vector
SMALL = 1 << 15  # below this many bytes malloc is good enough
SLACK = 1.5  # lent and free blocks together take at most this many times what was lent at the busiest moment


class _Block:
    """`size` bytes that begin on a cache line."""

    __slots__ = ("address", "memory", "size")

    def __init__(self, size: int):
        self.size, self.memory = size, np.empty(size + LINE, np.uint8)
        address = self.memory.ctypes.data
        self.address = address + -address % LINE


_pool: OrderedDict[int, list[_Block]] = OrderedDict()  # free blocks by size, the size used last at the end
_free = _lent = _most_lent = 0  # bytes


class _Loan:
    """Owns a block of the pool while an array lives on it. NumPy keeps it alive as the array's base."""

    __slots__ = ("__array_interface__", "block")

    def __init__(self, block: _Block, shape: tuple, dtype: np.dtype):
        self.block = block
        writable = (block.address, False)
        self.__array_interface__ = {"data": writable, "shape": shape, "typestr": dtype.str, "version": 3}

    def __del__(self):
        _give_back(self.block)


def _give_back(block: _Block) -> None:
    global _free, _lent
    _pool.setdefault(block.size, []).append(block)
    _pool.move_to_end(block.size)
    _free += block.size
    _lent -= block.size
    while _free + _lent > SLACK * _most_lent:  # free what has been unused for longest
        _take(next(iter(_pool)))


def _take(size: int) -> _Block:
    global _free
    blocks = _pool[size]
    block = blocks.pop()
    _free -= size
    if not blocks:
        del _pool[size]
    return block


def _borrow(size: int) -> _Block:
    """A block of at least `size` bytes. Rounded up by at most a quarter, so that batches of nearly the same size
    share."""
    global _lent, _most_lent
    step = 1 << max(size.bit_length() - 3, 6)
    rounded = (size + step - 1) // step * step
    block = _take(rounded) if rounded in _pool else _Block(rounded)
    _lent += rounded
    _most_lent = max(_lent, _most_lent)
    return block


def empty(shape, dtype) -> np.ndarray:
    """Like np.empty, C order; if it is not small, its first element lies on a 64-byte boundary."""
    dtype, shape = np.dtype(dtype), shape if isinstance(shape, tuple) else (shape,)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_borrow(size), shape, dtype))


def zeros(shape, dtype) -> np.ndarray:
    """Like np.zeros, aligned as `empty`."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy in C order, aligned as `empty`."""
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy
