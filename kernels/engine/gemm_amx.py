"""c = a @ b for float32 on the matrix unit, as pieces.py tells.

b may be in pieces since long ago, a frozen weight's (`in_strips`). Else each thread cuts what it needs of it, as it
does with a: pieces that another one has cut would have to come from the other's caches, which takes longer.

    for each thread's band of c, some rows of it or some columns
        for each 384 steps of k
            for each group of strips of b: cut them into pieces, if they are not
                for each block of rows of the band: cut them into pieces, if they are not
                    for each strip of the group
                        for each 32 rows: sum in the unit's registers, then store in c

Pieces shall lie in the L2 cache until they are used: to cut them takes three times as long where they are pushed out of
it. So `_at_a_time` says how many rows and strips are cut at a time. While the unit sums, the next strip and the places
of the sums in c are fetched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from ..activations import gelu_of
from ..dropout import NO_DROPOUT as RATE_ZERO
from ..dropout import drop, settings
from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import empty
from ..runtime.threads import n_threads
from .amx import LINES, ROWS, SIDE, STEP, leave_tiles, use_tiles
from .bf16x3 import CUT, HIGH, STRIP_STEP, WIDE, cut_rows, cut_strip, scratch_square, sum_tiles, take
from .micro_kernel import Places, filled_up
from .sums import add_rows
from .vectors import add, load, prefetch_rows, store
from .vectors import multiply as times_each

DEPTH, ROWS_AT_A_TIME, MOST_ROWS, GROUP = 384, 256, 384, 12  # steps of k, rows and strips, see _at_a_time
WIDER = 3  # so many times as many columns as rows: see _band
OF_A = MOST_ROWS // SIDE * DEPTH // STEP * CUT  # numbers that a thread cuts at a time
OF_B = GROUP * DEPTH // STEP * STRIP_STEP
NOTHING, NO_MATRIX, NO_STRIPS = np.empty(0, np.float32), np.empty((0, 0), np.float32), np.empty(0, np.uint16)
NO_GRADS = (NO_MATRIX, NO_MATRIX, NO_MATRIX, NOTHING)
NO_DROPOUT = (*settings(RATE_ZERO), False)


# Numba compiles a function for each set of types it is called with, and a tuple with `True` written in it has another
# type than one with `False`. Fields of these have the same type whatever they hold.


class Left(NamedTuple):
    """A left factor: a, or its transpose."""

    a: np.ndarray
    transposed: bool


class Right(NamedTuple):
    """A right factor: b, or its transpose, and its strips. If they have no numbers, b is cut now."""

    b: np.ndarray
    transposed: bool
    strips: np.ndarray


class Parts(NamedTuple):
    """Of several products in one: how many parts of a are summed, and how many parts c has, all one behind the other in
    memory; and steps of k that are not a's, before and behind those of a in each strip."""

    of_a: int
    of_c: int
    before: int
    behind: int


ONE = Parts(1, 1, 0, 0)


def pack_panels(b, transposed):
    """b, or b.T, as a right factor in pieces.   (K, C) -> (C / 32 * K / 32 * 2 * CUT,), with zeros at its ends"""
    b, transposed = _in_c_order(b, transposed)
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    strips = empty(-(-n_columns // WIDE) * -(-depth // STEP) * STRIP_STEP, np.uint16)
    _cut(b, transposed, strips)
    return strips


def multiply(
    a, b, transposed, strips, bias, plus, c, times=None, grads=NO_GRADS, activated=None, dropout=NO_DROPOUT, parts=ONE
):
    """c = a @ b + bias + plus, or a @ b.T, all float32;  c is in C order.

    strips, those of b or of b.T, bias (C,) and plus may be None, and plus may be c itself. What else may be done at
    once, while numbers are in the caches:

        times      like c: c is multiplied by it, number by number
        grads      (x, dy, dW, db), in C order: dW += x.T @ dy, db += the sum of dy over its rows; x, dW, db may be None
        activated  becomes gelu(c), and c the slope there
        dropout    what dropout.settings returns, and whether it is for c, or for a before everything else
        parts      several products in one, their weights side by side in strips: see matmul.prepare_each

    activated, dropout of c and parts exclude each other.
    """
    bias = NOTHING if bias is None else bias
    plus, times = NO_MATRIX if plus is None else plus, NO_MATRIX if times is None else times
    activated = NO_MATRIX if activated is None else activated
    if strips is None:
        (b, transposed), strips = _in_c_order(b, transposed), NO_STRIPS
    else:
        b = NO_MATRIX
    x, dy, dW, db = grads
    x, dW, db = NO_MATRIX if x is None else x, NO_MATRIX if dW is None else dW, NOTHING if db is None else db
    memory = _for_pieces(n_threads())
    _multiply(a, b, transposed, strips, bias, plus, times, c, x, dy, dW, db, activated, *dropout, *parts, memory)


@lru_cache(maxsize=1)
def _for_pieces(n_threads: int) -> np.ndarray:
    """Memory for what each thread cuts, the same for all products."""
    return empty(n_threads * (OF_A + OF_B), np.uint16)


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, all in C order."""
    multiply(NO_MATRIX, NO_MATRIX, False, NO_STRIPS, None, None, NO_MATRIX, grads=(x, dy, dW, None))


def _in_c_order(b, transposed):
    if b.flags.c_contiguous:
        return b, transposed
    if b.flags.f_contiguous:
        return b.T, not transposed
    return np.ascontiguousarray(b), transposed


@parallel_kernel
def _cut(b, transposed, strips):
    """Each strip by some thread."""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    n_steps = (depth + STEP - 1) // STEP
    for s in prange((n_columns + WIDE - 1) // WIDE):
        squares = scratch_square(), scratch_square()
        cut_strip(b, transposed, 0, depth, s * WIDE, squares, strips, s * n_steps * STRIP_STEP)


@parallel_kernel
def _multiply(
    a,
    b,
    transposed,
    strips,
    bias,
    plus,
    times,
    c,
    x,
    dy,
    dW,
    db,
    activated,
    least,
    scale,
    key_low,
    key_high,
    drops_c,
    a_parts,
    c_parts,
    first_step,
    more_steps,
    memory,
):
    """Both products of `multiply`; what is not wanted has no numbers. Each thread owns a band of c, of dW and of db."""
    dropout, n_threads = (least, scale, key_low, key_high), memory.size // (OF_A + OF_B)
    if least > 0 and not drops_c:
        for part in prange(n_threads):
            _drop_rows(a, part, n_threads, dropout)
    for part in prange(n_threads):
        size, parts = OF_A + OF_B, Parts(a_parts, c_parts, first_step, more_steps)
        pieces = memory[part * size : part * size + OF_A], memory[part * size + OF_A : (part + 1) * size]
        add_rows(dy, db, part, n_threads)
        use_tiles()
        if c.size > 0:
            width = c_parts * c.shape[1]
            wide = width > len(a) * (1 if strips.size == 0 else WIDER)
            rows, columns = _band(len(a), width, part, n_threads, wide)
            left, right = Left(a, False), Right(b, transposed, strips)
            _product(left, right, bias, plus, times, rows, columns, pieces, c, parts)
            _finish(rows, columns, activated, least > 0 and drops_c, dropout, c)
        if dW.size > 0:
            rows, columns = _band(len(dW), dW.shape[1], part, n_threads, dW.shape[1] > len(dW))
            left, right = Left(x, True), Right(dy, False, strips[:0])
            _product(left, right, db[:0], dW, dW[:0], rows, columns, pieces, dW, Parts(1, 1, 0, 0))
        leave_tiles()


@kernel
def _drop_rows(x, part, n_parts, dropout):
    rows, _ = _band(len(x), 1, part, n_parts, False)
    drop(x.reshape(-1), rows[0] * x.shape[1], rows[1] * x.shape[1], dropout)


@kernel
def _finish(rows, columns, activated, drops, dropout, c):
    """GELU of some rows and columns of c, if it is wanted, and their dropout."""
    if activated.size == 0 and not drops:
        return
    numbers, width = c.reshape(-1), c.shape[1]
    together = max(rows[1] - rows[0], 1) if columns[1] - columns[0] == width else 1  # whole rows are one piece
    for i in range(rows[0], rows[1], together):
        first, last = i * width + columns[0], (i + together - 1) * width + columns[1]
        if activated.size > 0:
            gelu_of(numbers[first:last], activated.reshape(-1)[first:last])
        if drops:
            drop(numbers, first, last, dropout)


@kernel
def _band(n_rows, n_columns, part, n_parts, by_columns):
    """From where to where the rows and columns of a thread go: some of one kind, all of the other.

    Where both factors are cut, the longer side is shared out, so that the shorter one is what all threads cut. Where
    only a is cut, all threads cut a if columns are shared out, and all fetch b's strips if rows are: these are shared
    out unless there are few. Columns of several parts of c are counted through.
    """
    if by_columns:
        size = (n_columns + n_parts * WIDE - 1) // (n_parts * WIDE) * WIDE
        return (0, n_rows), (part * size, max(min(part * size + size, n_columns), part * size))
    size = (n_rows + n_parts * SIDE - 1) // (n_parts * SIDE) * SIDE
    first = min(part * size, n_rows)
    return (first, min(first + size, n_rows)), (0, n_columns)


@allocating_kernel
def _product(left, right, bias, plus, times, rows, columns, pieces, c, parts):
    """Some rows and columns of c = (left @ right + bias + plus) times."""
    if rows[0] < rows[1] and columns[0] < columns[1]:
        width = (c.shape[1] + WIDE - 1) // WIDE * WIDE * parts.of_c
        start = filled_up(bias, width), np.zeros(WIDE, np.float32)
        begin = start, bias.size > 0, plus.reshape(-1), times.reshape(-1)
        squares = scratch_square(), scratch_square()
        _part_of_c(left, right, begin, rows, columns, pieces, squares, c, parts)


@kernel
def _part_of_c(left, right, begin, rows, columns, pieces, squares, c, parts):
    """Some rows and columns of c; columns begin with a strip. pieces: memory for what is cut of both factors."""
    (a, a_turned), (b, b_turned, strips), (cut_of_a, cut_of_b) = left, right, pieces
    n_rows, depth = a.shape[::-1] if a_turned else a.shape
    (bias, zeros), has_bias, plus, times = begin
    n_strips, part_steps = (c.shape[1] + WIDE - 1) // WIDE, (depth + STEP - 1) // STEP
    all_steps, is_cut = parts.before + parts.of_a * part_steps + parts.behind, strips.size > 0
    first, last = columns[0] // WIDE, (columns[1] + WIDE - 1) // WIDE
    chunk, block, group = _at_a_time(depth, rows[1] - rows[0], last - first, is_cut)
    for part in range(parts.of_a):
        for k0 in range(0, max(depth, 1), chunk):
            k1, first_step = min(k0 + chunk, depth), parts.before + part * part_steps + k0 // STEP
            n_steps, is_first = (k1 - k0 + STEP - 1) // STEP, part == 0 and k0 == 0
            before = plus if is_first else c.reshape(-1)
            factors = times[: times.size if part == parts.of_a - 1 and k1 >= depth else 0]
            for s0 in range(first, last, group):
                s1 = min(s0 + group, last)
                if is_cut:
                    apart, at = all_steps * STRIP_STEP, (s0 * all_steps + first_step) * STRIP_STEP
                else:
                    apart, at = n_steps * STRIP_STEP, 0
                    for s in range(s0, s1):
                        cut_strip(b, b_turned, k0, k1, s * WIDE, squares, cut_of_b, (s - s0) * apart)
                for i0 in range(rows[0], rows[1], block):
                    i1 = min(i0 + block, rows[1])
                    if s0 == first or block < rows[1] - rows[0]:
                        cut_rows(a, a_turned, part * n_rows + i0, part * n_rows + i1, k0, k1, squares, cut_of_a)
                    for s in range(s0, s1):
                        row, start = s // n_strips * n_rows, bias[s * WIDE : (s + 1) * WIDE] if is_first else zeros
                        place, following = at + (s - s0) * apart, at + (min(s + 1, s1 - 1) - s0) * apart
                        strip = Places(strips if is_cut else cut_of_b, place, STRIP_STEP)
                        has, begins, j = has_bias and is_first, (start, before), s % n_strips * WIDE
                        top, bottom, aside = row + i0, row + i1, squares[0]
                        _strip_of(c, top, bottom, j, cut_of_a, strip, n_steps, has, begins, factors, aside, following)


@kernel
def _at_a_time(depth, n_rows, n_strips, is_cut):
    """How many steps of k, rows and strips: all strips if they are cut; one, if all rows can be cut before; or a group.

    A strip takes 74 KB, 256 rows 590 KB.
    """
    chunk = _balanced(depth, DEPTH, STEP)
    if is_cut:
        return chunk, _balanced(n_rows, ROWS_AT_A_TIME, HIGH), max(n_strips, 1)
    if n_rows <= MOST_ROWS:
        return chunk, max(n_rows, 1), 1
    return chunk, _balanced(n_rows, ROWS_AT_A_TIME, HIGH), GROUP


@kernel
def _balanced(size, most, unit):
    """How large equal parts of `size` are that are at most `most` large, in whole units."""
    parts = max((size + most - 1) // most, 1)
    return max((size + parts * unit - 1) // (parts * unit), 1) * unit


@kernel
def _strip_of(c, i0, i1, j, left, right, n_steps, has_bias, begin, times, sums, following):
    """Rows i0:i1 of a strip of c, from column j on, = bias + before + the product of the pieces.

    Sums begin with bias or before, and what else there is to add is added at the end, and then multiplied by times, if
    it has numbers. Whole tiles are moved between the unit and memory; all others go by a scratch.
    """
    (bias, before), memory, aside = begin, c.reshape(-1), sums.reshape(-1)
    columns, width = min(WIDE, c.shape[1] - j), c.shape[1]
    before_first = before.size > 0 and not has_bias
    after = before[: 0 if before_first else before.size]
    simple = columns == WIDE and after.size == 0 and times.size == 0
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
            _put(sums, rows, columns, after, times, memory, i * width + j, width)


@kernel
def _put(sums, rows, columns, plus, times, memory, first, step):
    """Rows of memory, `step` apart, = (sums + plus) times; both lie as memory does, and may have no numbers."""
    for r in range(rows):
        at = first + r * step
        for n in range(0, columns, SIDE):
            if n + SIDE <= columns:
                row = load(sums, (r, n))
                if plus.size > 0:
                    row = add(row, load(plus, at + n))
                if times.size > 0:
                    row = times_each(row, load(times, at + n))
                store(memory, at + n, row)
            else:
                for k in range(n, columns):
                    number = sums[r, k]
                    if plus.size > 0:
                        number += plus[at + k]
                    if times.size > 0:
                        number *= times[at + k]
                    memory[at + k] = number
