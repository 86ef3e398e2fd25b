"""c = a @ b for float32 on the matrix unit, as pieces.py tells. The loops are those of matmul.py, over the same strips:

    for each thread's band of rows of c
        for each 768 steps of k
            for each 256 rows of the band (more if k has fewer steps): cut them into pieces, 1.2 MB for the L2 cache
                for each strip of b: cut it into pieces, 147 KB
                    for each 32 rows: sum in the unit's registers, then store in c

While the unit sums, the next strip and the places of the sums in c are fetched.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange
from numba.extending import overload

from ._compile import kernel, parallel_kernel
from .amx import SIDE, STEP, leave_tiles, transpose_square, use_tiles
from .pieces import (
    CUT,
    HIGH,
    WIDE,
    cut_columns,
    cut_row,
    scratch,
    scratch_square,
    sum_tiles,
    take,
    transpose_tall,
)
from .simd import add, load, prefetch_rows, store
from .tile import Places

DEPTH, BLOCK = 768, 256  # steps of k and rows that are cut at a time
MOST = 512  # rows of a block, if k has few steps


def multiply(a, strips, bias, plus, c):
    """c = a @ b + bias + plus, all float32; c may be some C.T.

    bias (C,) and plus, which is as c lies in memory, may have no numbers, and plus may be c's.
    """
    _multiply(a, strips, bias, plus, get_num_threads(), c)


@parallel_kernel
def _multiply(a, strips, bias, plus, n_threads, c):
    """Each thread owns a band of rows of c."""
    (n_rows, depth), n_strips = a.shape, len(strips)
    start = _beginnings(bias, n_strips * WIDE)
    rows = max((n_rows + n_threads * SIDE - 1) // (n_threads * SIDE), 1) * SIDE  # of a band: whole tiles
    most_steps = min((depth + STEP - 1) // STEP, DEPTH // STEP)
    block = min(BLOCK * DEPTH // max(most_steps * STEP, 1) // HIGH * HIGH, MOST, (rows + HIGH - 1) // HIGH * HIGH)
    for band in prange((n_rows + rows - 1) // rows):
        bottom = min(band * rows + rows, n_rows)
        left, right = scratch(block // SIDE * most_steps * CUT), scratch(2 * most_steps * CUT)
        squares = scratch_square(), scratch_square()
        use_tiles()
        for k0 in range(0, max(depth, 1), DEPTH):
            k1 = min(k0 + DEPTH, depth)
            n_steps = (k1 - k0 + STEP - 1) // STEP
            before = plus if k0 == 0 else _memory(c)
            for i0 in range(band * rows, bottom, block):
                i1 = min(i0 + block, bottom)
                _cut_rows(a, i0, i1, k0, k1, squares, left)
                for s in range(n_strips):
                    _cut_strip(strips[s, k0:k1], c.shape[1] - s * WIDE, squares[1], right)
                    begin = start[min(k0, 1), s * WIDE : (s + 1) * WIDE], bias.size > 0 and k0 == 0, before
                    following = strips[min(s + 1, n_strips - 1), k0:].reshape(-1)
                    _strip_of(c, i0, i1, s * WIDE, left, right, n_steps, begin, squares, following)
        leave_tiles()


@kernel
def _beginnings(bias, size):
    """What the first sums begin with, and all others: the bias, and zeros.   (C,) -> (2, size)"""
    start = np.zeros((2, size), np.float32)
    start[0, : bias.size] = bias
    return start


@kernel
def _strip_of(c, i0, i1, j, left, right, n_steps, begin, squares, following):
    """Rows i0:i1 of a strip of c, from column j on, = bias + before + the product of the pieces.

    Whole tiles begin with the one or the other, and are stored where they belong; all else goes by a scratch.
    """
    (bias, has_bias, before), (sums, square), memory = begin, squares, _memory(c)
    columns, n_sums, width = min(WIDE, c.shape[1] - j), (i1 - i0 + HIGH - 1) // HIGH, c.shape[1]
    fetched = (WIDE * STEP // SIDE + n_sums - 1) // n_sums * SIDE  # numbers of the following strip, in a step
    simple = _in_order(c) and columns % SIDE == 0 and not (has_bias and before.size > 0)
    for i in range(i0, i1, HIGH):
        rows, first = min(HIGH, i1 - i), (i - i0) // SIDE * n_steps * CUT
        ahead = Places(following, (i - i0) // HIGH * n_steps * fetched, fetched)
        if columns == WIDE and _in_order(c):
            prefetch_rows(SIDE, c, (i, j))
            prefetch_rows(SIDE, c, (i + SIDE, j))
        if simple and rows % SIDE == 0:
            place = Places(memory, i * width + j, width)
            at_first = Places(before, place.first, width) if before.size > 0 else Places(bias, 0, 0)
            sum_tiles(rows, columns, left, first, n_steps, right, at_first, place, ahead)
        else:
            place = Places(sums.reshape(-1), 0, WIDE)
            sum_tiles(rows, columns, left, first, n_steps, right, Places(bias, 0, 0), place, ahead)
            _put(sums, rows, columns, before, square, c, i, j)


@kernel
def _put(sums, rows, columns, before, square, c, i, j):
    """c[i : i + rows, j : j + columns] = sums + before, which is as c lies in memory and may have no numbers."""
    if columns < WIDE or (rows < HIGH and not _in_order(c)):
        for r in range(rows):
            for n in range(columns):
                at = (i + r) * c.shape[1] + j + n if _in_order(c) else (j + n) * c.shape[0] + i + r
                c[i + r, j + n] = sums[r, n] + (before[at] if before.size > 0 else np.float32(0))
    elif _in_order(c):
        _add_rows(sums, rows, before, c, i, j)
    else:
        for r in range(0, HIGH, SIDE):
            for n in range(0, WIDE, SIDE):
                transpose_square(sums, (r, n), square, (n, r))
        _add_rows(square, WIDE, before, c.T, j, i)


@kernel
def _add_rows(sums, rows, before, c, i, j):
    for r in range(rows):
        at = (i + r) * c.shape[1] + j
        for half in range(0, WIDE, SIDE):
            v = load(sums, (r, half))
            if before.size > 0:
                v = add(v, load(before, at + half))
            store(c, (i + r, j + half), v)


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


@kernel
def _cut_strip(strip, columns, square, out):
    """A strip, or its first 16 columns if there are no more, as a right factor."""
    for step in range((len(strip) + STEP - 1) // STEP):
        rows, k = strip, step * STEP
        if len(strip) - k < STEP:
            take(strip, k, len(strip) - k, 0, WIDE, square, STEP, WIDE)
            rows, k = square, 0
        for half in range(2 if columns > SIDE else 1):
            cut_columns(rows, k, half * SIDE, out, (2 * step + half) * CUT)


def _in_order(a):
    raise TypeError("compiled code only")


@overload(_in_order, inline="always")
def _is_in_order(a):
    """Whether neighbours in a row are neighbours in memory."""
    answer = a.layout == "C"
    return lambda a: answer


def _memory(c):
    raise TypeError("compiled code only")


@overload(_memory, inline="always")
def _memory_of_layout(c):
    """All numbers of c, as they lie in memory."""
    if c.layout == "C":
        return lambda c: c.reshape(-1)
    return lambda c: c.T.reshape(-1)
