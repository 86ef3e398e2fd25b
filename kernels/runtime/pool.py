"""Memory for arrays: large ones are aligned to cache lines, and lent again when an array is gone.

A vector load that crosses two cache lines costs two loads, and NumPy aligns to 16 bytes only. And fresh memory is not
free: the system hands it out page by page, at the first touch of each. So memory comes back to a pool when the last
view of an array is gone, and the next training step takes it from there. Blocks are cut from large pieces, for which
Linux is asked to use pages of 2 MB: looking up in which of thousands of pages of 4 KB a number lies takes 3 to 4 % of a
training step. A block that has been unused for long is given back to its piece, whose free parts are joined again, so
that batches of any sizes share the memory.

This runs before every kernel, when the kernel before it has emptied the caches: each step that is saved here counts
several times.
"""

from __future__ import annotations

import math
import mmap
import threading
from contextlib import suppress
from functools import lru_cache

import numpy as np

LINE = 64  # bytes of a cache line, and of the widest vector
BYTE = np.dtype(np.uint8)
SMALL = 1 << 15  # below this many bytes malloc is good enough
PIECE, PAGE = 1 << 26, 1 << 21  # bytes of a piece from the system, and of a large page
SLACK = 1.05  # lent and free blocks together take at most this many times what was lent at the busiest moment


class _Piece:
    """Memory from the system that begins on a large page, and which parts of it nobody has: {where: how many bytes}."""

    __slots__ = ("ends", "first", "memory", "parts", "size")

    def __init__(self, size: int):
        self.size, self.parts, self.ends = size, {0: size}, {size: 0}
        if not hasattr(mmap, "MAP_PRIVATE"):
            self.memory = bytearray(size + LINE)
            self.first = -np.frombuffer(self.memory, np.uint8).ctypes.data % LINE
            return
        # Not from NumPy, which would take itself for the owner of arrays.
        self.memory = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a system that does not have them
                self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.first = -np.frombuffer(self.memory, np.uint8).ctypes.data % PAGE

    def take(self, start: int, size: int) -> None:
        """The first bytes of the part at start."""
        left = self.parts.pop(start) - size
        if left:
            self.parts[start + size] = left
            self.ends[start + size + left] = start + size
        else:
            del self.ends[start + size]

    def give_back(self, start: int, size: int) -> None:
        """Parts that touch become one."""
        if start in self.ends:
            before = self.ends.pop(start)
            start, size = before, size + self.parts.pop(before)
        if start + size in self.parts:
            size += self.parts.pop(start + size)
        self.parts[start], self.ends[start + size] = size, start


_pieces: list[_Piece] = []


class _Block:
    """`size` bytes of a piece, from memory[first] on, and the list that it goes to when nobody has it."""

    __slots__ = ("first", "home", "memory", "piece", "size", "start", "used")

    def __init__(self, size: int, home: list[_Block]):
        """The smallest part that is large enough, or a new piece."""
        fitting = ((n, i, start) for i, piece in enumerate(_pieces) for start, n in piece.parts.items() if n >= size)
        _, i, start = min(fitting, default=(0, len(_pieces), 0))
        if i == len(_pieces):
            _pieces.append(_Piece(max(size, PIECE)))
        self.size, self.home, self.piece, self.start = size, home, _pieces[i], start
        self.memory, self.first = self.piece.memory, self.piece.first + start
        self.piece.take(start, size)

    def free(self) -> None:
        """Give the memory back to the piece, and the piece to the system if nobody has a part of it."""
        self.piece.give_back(self.start, self.size)
        if self.piece.parts.get(0) == self.piece.size:
            _pieces.remove(self.piece)


_pool: dict[int, list[_Block]] = {}  # free blocks by size, the one that came back last at the end of its list
_owned = _most_lent = 0  # bytes: lent and free, and lent at the busiest moment
_lock = threading.Lock()
_misses = 0  # so many times the pool had no block; blocks tell by it how long they have been unused


class _Loan(np.ndarray):
    """The bytes of a block, as long as an array lives on them: NumPy takes it for the owner of the array's memory."""

    __slots__ = ("block",)

    def __del__(self):
        self.block.home.append(self.block)  # and no more: Python may be anywhere, in the middle of `empty`, too


@lru_cache(maxsize=4096)
def _bytes_of_block(shape, dtype) -> int:
    """How many an array takes, rounded up by at most a quarter, so that batches of nearly the same size share blocks.
    0 if it is small."""
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
    step = 1 << max(size.bit_length() - 3, 6)
    return 0 if size < SMALL else (size + step - 1) // step * step


def _new_block(size: int) -> _Block:
    """A block that was not in the pool. For it free ones that have been unused for longest are given up."""
    global _owned, _most_lent, _misses
    with _lock:  # Python threads may compute at the same time
        _misses += 1
        free = sum(block.size for blocks in list(_pool.values()) for block in list(blocks))
        _most_lent = max(_most_lent, _owned - free + size)
        while _owned + size > SLACK * _most_lent:
            oldest = _longest_unused()
            if oldest is None:
                break
            _owned -= oldest.size
            oldest.free()
        _owned += size
        return _Block(size, _pool.setdefault(size, []))


def _longest_unused() -> _Block | None:
    """A free block, taken out of the pool; None if there is none. Other threads may take blocks meanwhile."""
    while True:
        firsts = [(blocks[:1], blocks) for blocks in list(_pool.values())]
        candidates = [(first[0].used, i) for i, (first, _) in enumerate(firsts) if first]
        if not candidates:
            return None
        (wanted,), blocks = firsts[min(candidates)[1]]
        try:
            blocks.remove(wanted)
            return wanted
        except ValueError:  # another thread was faster
            continue


def empty(shape, dtype) -> np.ndarray:
    """Like np.empty, C order; if it is not small, its first element lies on a 64-byte boundary."""
    size = _bytes_of_block(shape, dtype)
    if size == 0:
        return np.empty(shape, dtype)
    try:
        block = _pool[size].pop()  # the last: it may still be in the processor's caches
    except (KeyError, IndexError):
        block = _new_block(size)
    block.used = _misses
    loan = _Loan(size, BYTE, block.memory, block.first)
    loan.block = block
    return np.ndarray(shape, dtype, loan)


def zeros(shape, dtype) -> np.ndarray:
    """Like np.zeros, aligned as `empty`."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy in C order that begins on a cache line, however small it is."""
    if array.nbytes >= SMALL:
        copy = empty(array.shape, array.dtype)
    else:
        memory = np.empty(array.nbytes + LINE, np.uint8)
        copy = np.ndarray(array.shape, array.dtype, memory, -memory.ctypes.data % LINE)
    copy[...] = array
    return copy


def lay_out(sizes: list[int], dtype) -> tuple[np.ndarray, list[int]]:
    """Zeros for several arrays end to end, and where in them each begins: on a cache line of its own.

    sizes: elements of each array. Two threads that write to neighbouring arrays then never write to one cache line.
    """
    per_line, firsts, end = LINE // np.dtype(dtype).itemsize, [], 0
    for size in sizes:
        firsts.append(end)
        end += -(-size // per_line) * per_line
    if end * np.dtype(dtype).itemsize >= SMALL:
        return zeros((end,), dtype), firsts
    memory = np.zeros(end * np.dtype(dtype).itemsize + LINE, np.uint8)
    return np.ndarray((end,), dtype, memory, -memory.ctypes.data % LINE), firsts
