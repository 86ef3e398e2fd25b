"""A memory pool for arrays: large buffers are aligned to cache lines, and reused when their array is released.

A vector load that crosses two cache lines costs two loads, and NumPy aligns to 16 bytes only. And fresh memory is not
free: the system maps it page by page, at the first access to each page. So when the last view of an array is gone, its
buffer returns to the pool, and the next training step takes it from there. Buffers are blocks of large arenas, for
which Linux is advised to use pages of 2 MB: with pages of 4 KB the translation of addresses (TLB misses) takes 3 to 4 %
of a training step. A block that has been unused for long is returned to its arena, which merges neighbouring free
ranges, so that batches of any size share the memory.

This code runs before every kernel, when the previous kernel has evicted Python's data from the caches, so each
operation here costs several times its usual time.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from functools import lru_cache

import numpy as np

from .turns import lock_held_across_forks

LINE = 64  # bytes of a cache line, and of the widest vector
BYTE = np.dtype(np.uint8)
SMALL = 1 << 15  # below this many bytes malloc is good enough
ARENA, PAGE = 1 << 26, 1 << 21  # bytes of an arena, and of a large page
SLACK = 1.15  # blocks in use and free blocks together take at most this many times the peak of those in use


class _Arena:
    """Memory from the system that begins on a large page; its free ranges are {start: bytes}, and {end: start}."""

    __slots__ = ("ends", "first", "free_ranges", "memory", "size")

    def __init__(self, size: int):
        self.size, self.free_ranges, self.ends = size, {0: size}, {size: 0}
        if not hasattr(mmap, "MAP_PRIVATE"):
            self.memory = bytearray(size + LINE)
            self.first = -np.frombuffer(self.memory, np.uint8).ctypes.data % LINE
            return
        # Not allocated by NumPy, which would make the arena the base of all arrays, instead of a _PooledBuffer.
        self.memory = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a system without large pages
                self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.first = -np.frombuffer(self.memory, np.uint8).ctypes.data % PAGE

    def allocate(self, start: int, size: int) -> None:
        """Take the first bytes of the free range at start."""
        left = self.free_ranges.pop(start) - size
        if left:
            self.free_ranges[start + size] = left
            self.ends[start + size + left] = start + size
        else:
            del self.ends[start + size]

    def release(self, start: int, size: int) -> None:
        """Make the range free, and merge it with its free neighbours."""
        if start in self.ends:
            before = self.ends.pop(start)
            start, size = before, size + self.free_ranges.pop(before)
        if start + size in self.free_ranges:
            size += self.free_ranges.pop(start + size)
        self.free_ranges[start], self.ends[start + size] = size, start


_arenas: list[_Arena] = []


class _Block:
    """`size` bytes of an arena, from memory[first] on, and the free list that it returns to when it is released."""

    __slots__ = ("arena", "first", "free_list", "memory", "size", "start", "used")

    def __init__(self, size: int, free_list: list[_Block]):
        """Best fit: the smallest free range that is large enough, or a new arena."""
        fitting = (
            (n, i, start) for i, arena in enumerate(_arenas) for start, n in arena.free_ranges.items() if n >= size
        )
        _, i, start = min(fitting, default=(0, len(_arenas), 0))
        if i == len(_arenas):
            _arenas.append(_Arena(max(size, ARENA)))
        self.size, self.free_list, self.arena, self.start = size, free_list, _arenas[i], start
        self.memory, self.first = self.arena.memory, self.arena.first + start
        self.arena.allocate(start, size)

    def free(self) -> None:
        """Return the memory to the arena, and the arena to the system if all of it is free."""
        self.arena.release(self.start, self.size)
        if self.arena.free_ranges.get(0) == self.arena.size:
            _arenas.remove(self.arena)


_pool: dict[int, list[_Block]] = {}  # free lists by size, the block that was released last at the end
_owned = _peak_in_use = 0  # bytes: of blocks in use and free ones, and the most that was ever in use
_lock = lock_held_across_forks()
_misses = 0  # how often the pool had no block; the clock that tells how long a block has been unused


class _PooledBuffer(np.ndarray):
    """The bytes of a block in use. It is the base of every array and view on them, and is deleted after the last."""

    __slots__ = ("block",)

    def __del__(self):
        # Nothing more than that: Python may call it anywhere, even in the middle of `empty`.
        self.block.free_list.append(self.block)


@lru_cache(maxsize=4096)
def _bytes_of_block(shape, dtype) -> int:
    """The size of the block for an array, or 0 if the array is small.

    Rounded up by at most a quarter, so that batches of nearly the same size share blocks.
    """
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
    step = 1 << max(size.bit_length() - 3, 6)
    return 0 if size < SMALL else (size + step - 1) // step * step


def _new_block(size: int) -> _Block:
    """A block that was not in the pool. To make room for it, the blocks that have been unused longest are freed."""
    global _owned, _peak_in_use, _misses
    with _lock:  # several Python threads may compute at the same time
        _misses += 1
        free = sum(block_size * len(blocks) for block_size, blocks in list(_pool.items()))
        _peak_in_use = max(_peak_in_use, _owned - free + size)
        while _owned + size > SLACK * _peak_in_use:
            oldest = _longest_unused()
            if oldest is None:
                break
            _owned -= oldest.size
            oldest.free()
        _owned += size
        return _Block(size, _pool.setdefault(size, []))


def _longest_unused() -> _Block | None:
    """A free block, removed from its free list; None if there is none. Other threads may take blocks meanwhile."""
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
    """Like np.empty, in C order; unless it is small, it is aligned to a cache line of 64 bytes."""
    size = _bytes_of_block(shape, dtype)
    if size == 0:
        return np.empty(shape, dtype)
    try:
        block = _pool[size].pop()  # the last released: it may still be in the caches
    except (KeyError, IndexError):
        block = _new_block(size)
    block.used = _misses
    buffer = _PooledBuffer(size, BYTE, block.memory, block.first)
    buffer.block = block
    return np.ndarray(shape, dtype, buffer)


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
    """Zeros for several arrays end to end, and the index at which each begins, on a cache line of its own.

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
