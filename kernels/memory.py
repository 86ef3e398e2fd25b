"""Memory for arrays: large ones are aligned to cache lines, and lent again when an array is gone.

A vector load that crosses two cache lines costs two loads, and NumPy aligns to 16 bytes only. And fresh memory is not
free: the system hands it out page by page, at the first touch of each. So memory comes back to a pool when the last
view of an array is gone, and the next training step takes it from there. Blocks are cut from large pieces, for which
Linux is asked to use pages of 2 MB: looking up in which of thousands of pages of 4 KB a number lies takes 3 to 4 % of a
training step.

This runs before every kernel, when the kernel before it has emptied the caches: each step that is saved here counts
several times.
"""

from __future__ import annotations

import math
import mmap
from collections import OrderedDict
from contextlib import suppress

import numpy as np

LINE = 64  # bytes of a cache line, and of the widest vector
SMALL = 1 << 15  # below this many bytes malloc is good enough
PIECE, PAGE = 1 << 25, 1 << 21  # bytes of a piece from the system, and of a large page
SLACK = 1.5  # lent and free blocks together take at most this many times what was lent at the busiest moment


def _from_system(size: int):
    """Memory, and where in it a large page begins. Not from NumPy, which would take itself for the owner of arrays."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        memory = bytearray(size + LINE)
        return memory, -np.frombuffer(memory, np.uint8).ctypes.data % LINE
    memory = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel that does not have them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory, -np.frombuffer(memory, np.uint8).ctypes.data % PAGE


_piece, _used = (b"", 0), PIECE  # what blocks are cut from, and how many bytes of it they have


def _fresh(size: int):
    """Memory, and where in it `size` bytes begin that nobody has. A piece goes back when all its blocks are gone."""
    global _piece, _used
    if size > PIECE // 4:
        return _from_system(size)
    if _used + size > PIECE:
        _piece, _used = _from_system(PIECE), 0
    (memory, start), first = _piece, _used
    _used += size
    return memory, start + first


class _Block:
    """`size` bytes, from memory[first] on, that begin on a cache line."""

    __slots__ = ("first", "memory", "size")

    def __init__(self, size: int):
        self.size = size
        self.memory, self.first = _fresh(size)


_pool: OrderedDict[int, list[_Block]] = OrderedDict()  # free blocks by size, the size used last at the end
_free = _lent = _most_lent = 0  # bytes


class _Loan(np.ndarray):
    """The bytes of a block, as long as an array lives on them: NumPy takes it for the owner of the array's memory."""

    __slots__ = ("block",)

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
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    block = _borrow(size)
    loan = _Loan(block.size, np.uint8, block.memory, block.first)
    loan.block = block
    return np.ndarray(shape, dtype, loan)


_scratch = {}


def scratch(size: int, dtype) -> np.ndarray:
    """At least `size` numbers, the same each time: for what a kernel needs only until it returns."""
    array = _scratch.get(dtype)
    if array is None or array.size < size:
        array = _scratch[dtype] = empty(size, dtype)
    return array


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
