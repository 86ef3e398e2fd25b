"""c = a @ b for float32 on the matrix unit, as pieces.py tells.

b is cut into pieces first, or was so long ago (`in_strips`), a on the way:

    for each thread's band of rows of c
        for each 384 steps of k
            for each 256 rows of the band: cut them into pieces, 590 KB for the L2 cache
                for each strip of b, 74 KB
                    for each 32 rows: sum in the unit's registers, then store in c

While the unit sums, the next strip and the places of the sums in c are fetched.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import overload

from ._compile import kernel, parallel_kernel
from .amx import LINES, ROWS, SIDE, STEP, leave_tiles, use_tiles
from .memory import empty, scratch
from .pieces import (
    CUT,
    HIGH,
    WIDE,
    cut_columns,
    cut_row,
    scratch_square,
    sum_tiles,
    take,
    transpose_tall,
)
from .simd import add, load, prefetch_rows, store, transpose_square
from .threads import n_threads
from .tile import Places

DEPTH, BLOCK = 384, 256  # steps of k and rows that are cut at a time
STRIP_STEP = 2 * CUT  # numbers of a strip in a step of k
MOST = BLOCK // SIDE * DEPTH // STEP * CUT  # numbers that a thread cuts at a time
NOTHING, NO_MATRIX = np.empty(0, np.float32), np.empty((0, 0), np.float32)


def in_strips(b, transposed):
    """b, or b.T, as a right factor in pieces.   (K, C) -> (C / 32 * K / 32 * 2 * CUT,), with zeros at its ends"""
    b, transposed = _in_c_order(b, transposed)
    strips = empty(_size_of_strips(b, transposed), np.uint16)
    _cut(b, transposed, n_threads(), strips)
    return strips


def multiply(a, b, transposed, strips, bias, plus, c):
    """c = a @ b + bias + plus, or a @ b.T, all float32;  c is in C order.

    strips, those of b or of b.T, bias (C,) and plus may be None, and plus may be c itself.
    """
    bias, plus = NOTHING if bias is None else bias, NOTHING if plus is None else plus.reshape(-1)
    pieces = n_threads() * MOST
    if strips is None:
        b, transposed = _in_c_order(b, transposed)
        memory = scratch(2 * (pieces + _size_of_strips(b, transposed))).view(np.uint16)
        strips = memory[pieces:]
    else:
        b, memory = NO_MATRIX, scratch(2 * pieces).view(np.uint16)
    _multiply(a, b, transposed, strips, bias, plus, n_threads(), memory, c)


def _in_c_order(b, transposed):
    if b.flags.c_contiguous:
        return b, transposed
    if b.flags.f_contiguous:
        return b.T, not transposed
    return np.ascontiguousarray(b), transposed


def _size_of_strips(b, transposed):
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    return -(-n_columns // WIDE) * -(-depth // STEP) * STRIP_STEP


@parallel_kernel
def _cut(b, transposed, n_threads, strips):
    """Each thread cuts a part of b."""
    for part in prange(n_threads):
        _cut_blocks(b, transposed, part, n_threads, strips)


@parallel_kernel
def _multiply(a, b, transposed, strips, bias, plus, n_threads, pieces, c):
    """Each thread cuts a part of b, if there is one, into strips, and then owns a band of rows of c."""
    if b.size > 0:
        for part in prange(n_threads):
            _cut_blocks(b, transposed, part, n_threads, strips)
    for part in prange(n_threads):
        _band(a, strips, bias, plus, part, n_threads, pieces[part * MOST : (part + 1) * MOST], c)


@kernel
def _cut_blocks(b, transposed, part, n_parts, strips):
    """A part of the strips' blocks of 32 steps of k and 32 columns."""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    n_steps, n_strips = (depth + STEP - 1) // STEP, (n_columns + WIDE - 1) // WIDE
    square, spare = scratch_square(), scratch_square()
    for block in range(part * n_strips * n_steps // n_parts, (part + 1) * n_strips * n_steps // n_parts):
        j, k = block // n_steps * WIDE, block % n_steps * STEP
        columns, steps = min(WIDE, n_columns - j), min(STEP, depth - k)
        if transposed:
            take(b, j, columns, k, steps, spare, WIDE, STEP)
            for r in range(0, WIDE, SIDE):
                for n in range(0, STEP, SIDE):
                    transpose_square(spare, (r, n), square, (n, r))
        else:
            take(b, k, steps, j, columns, square, STEP, WIDE)
        for half in range(2):
            cut_columns(square, 0, half * SIDE, strips, (2 * block + half) * CUT)


@kernel
def _band(a, strips, bias, plus, part, n_parts, left, c):
    """A band of rows of c; left is memory for what is cut of a."""
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    n_strips, all_steps = (n_columns + WIDE - 1) // WIDE, (depth + STEP - 1) // STEP
    rows = (n_rows + n_parts * SIDE - 1) // (n_parts * SIDE) * SIDE  # of a band: whole tiles
    bottom, squares = min(part * rows + rows, n_rows), (scratch_square(), scratch_square())
    start = _beginnings(bias, n_strips * WIDE)
    use_tiles()
    for k0 in range(0, max(depth, 1), DEPTH):
        k1, first_step = min(k0 + DEPTH, depth), k0 // STEP
        n_steps = (k1 - k0 + STEP - 1) // STEP
        before = plus if k0 == 0 else c.reshape(-1)
        for i0 in range(part * rows, bottom, BLOCK):
            i1 = min(i0 + BLOCK, bottom)
            _cut_rows(a, i0, i1, k0, k1, squares, left)
            for s in range(n_strips):
                begin = start[min(k0, 1), s * WIDE : (s + 1) * WIDE], bias.size > 0 and k0 == 0, before
                right = Places(strips, (s * all_steps + first_step) * STRIP_STEP, STRIP_STEP)
                following = (min(s + 1, n_strips - 1) * all_steps + first_step) * STRIP_STEP
                _strip_of(c, i0, i1, s * WIDE, left, right, n_steps, begin, squares[0], following)
    leave_tiles()


@kernel
def _beginnings(bias, size):
    """What the first sums begin with, and all others: the bias, and zeros.   (C,) -> (2, size)"""
    start = np.zeros((2, size), np.float32)
    for n in range(bias.size):
        start[0, n] = bias[n]
    return start


@kernel
def _strip_of(c, i0, i1, j, left, right, n_steps, begin, sums, following):
    """Rows i0:i1 of a strip of c, from column j on, = bias + before + the product of the pieces.

    Sums begin with bias or before, and what else there is to add is added at the end. Whole tiles are moved between the
    unit and memory; all others go by a scratch.
    """
    (bias, has_bias, before), memory, aside = begin, c.reshape(-1), sums.reshape(-1)
    columns, width = min(WIDE, c.shape[1] - j), c.shape[1]
    before_first = before.size > 0 and not has_bias
    simple = columns == WIDE and (before_first or before.size == 0)
    for i in range(i0, i1, HIGH):
        rows, first = min(HIGH, i1 - i), (i - i0) // SIDE * n_steps * CUT
        ahead = Places(right.memory, following + (i - i0) // HIGH * n_steps * LINES * STEP, LINES * STEP)
        coming = Places(memory, (i + HIGH) * width + j if i + HIGH < i1 else i0 * width + j + WIDE, width)
        if n_steps * ROWS < HIGH and columns == WIDE:  # too few steps to fetch all rows of the next
            prefetch_rows(SIDE, c, (i, j))
            prefetch_rows(SIDE, c, (i + SIDE, j))
        whole = simple and rows % SIDE == 0
        end = Places(memory, i * width + j, width) if whole else Places(aside, 0, WIDE)
        if before_first and not whole:
            take(before.reshape(c.shape), i, rows, j, columns, sums, HIGH, WIDE)
        at_first = Places(before if whole else aside, end.first, end.step) if before_first else Places(bias, 0, 0)
        sum_tiles(rows, left, first, n_steps, right, at_first, end, ahead, coming, aside)
        if not whole:
            _put(sums, rows, columns, before[:0] if before_first else before, c, i, j)


@kernel
def _put(sums, rows, columns, before, c, i, j):
    """c[i : i + rows, j : j + columns] = sums + before, which is as c lies in memory and may have no numbers."""
    for r in range(rows):
        at = (i + r) * c.shape[1] + j
        for n in range(0, columns, SIDE):
            if n + SIDE <= columns:
                row = load(sums, (r, n))
                store(c, (i + r, j + n), add(row, load(before, at + n)) if before.size > 0 else row)
            else:
                for k in range(n, columns):
                    c[i + r, j + k] = sums[r, k] + (before[at + k] if before.size > 0 else np.float32(0))


@kernel
def _cut_rows(a, i0, i1, k0, k1, squares, out):
    """a[i0:i1, k0:k1] as a left factor. Where a is some x.T, x is read row by row, and transposed in registers."""
    n_steps, whole = (k1 - k0 + STEP - 1) // STEP, (k1 - k0) // STEP if _in_order(a) else 0
    square, spare = squares
    for i in range(i0, i1, SIDE):
        at = (i - i0) // SIDE * n_steps * CUT
        for r in range(min(SIDE, i1 - i)):
            for step in range(whole):
                cut_row(a, i + r, k0 + step * STEP, out, at + r * STEP + step * CUT)
    for step in range(whole, n_steps):
        k, steps = k0 + step * STEP, min(STEP, k1 - k0 - step * STEP)
        for i in range(i0, i1, SIDE):
            rows, at = min(SIDE, i1 - i), ((i - i0) // SIDE * n_steps + step) * CUT
            if _in_order(a):
                take(a, i, rows, k, steps, square, SIDE, STEP)
            else:
                transpose_tall(a.T, k, steps, i, rows, square, spare)
            for r in range(SIDE):
                cut_row(square, r, 0, out, at + r * STEP)


def _in_order(a):
    raise TypeError("compiled code only")


@overload(_in_order, inline="always")
def _is_in_order(a):
    """Whether neighbours in a row are neighbours in memory."""
    answer = a.layout == "C"
    return lambda a: answer
