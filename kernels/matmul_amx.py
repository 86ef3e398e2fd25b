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

from ._compile import allocating_kernel, kernel, parallel_kernel
from .amx import LINES, ROWS, SIDE, STEP, leave_tiles, use_tiles
from .dropout import NO_KEY, drop, settings
from .gelu import gelu_of
from .memory import empty, scratch
from .pieces import CUT, HIGH, STRIP_STEP, WIDE, cut_blocks, cut_rows, scratch_square, sum_tiles, take
from .simd import add, load, prefetch_rows, store
from .simd import multiply as times_each
from .sums import add_rows, add_rows_transposed
from .threads import n_threads
from .tile import Places, better_turned, filled_up

DEPTH, BLOCK = 384, 256  # steps of k and rows that are cut at a time
MOST = BLOCK // SIDE * DEPTH // STEP * CUT  # numbers that a thread cuts at a time
NOTHING, NO_MATRIX = np.empty(0, np.float32), np.empty((0, 0), np.float32)
ONE = (1, 1, 0, 0)  # parts of a, and of c; steps of k of other parts before and behind those of a in each strip
NO_GRADS, NO_PRODUCT = (None, None, None, None), (NO_MATRIX,) * 4
NO_DROPOUT = (*settings(0.0, NO_KEY), False)


def in_strips(b, transposed):
    """b, or b.T, as a right factor in pieces.   (K, C) -> (C / 32 * K / 32 * 2 * CUT,), with zeros at its ends"""
    b, transposed = _in_c_order(b, transposed)
    strips = empty(_size_of_strips(b, transposed), np.uint16)
    _cut(b, transposed, n_threads(), strips)
    return strips


def multiply(
    a, b, transposed, strips, bias, plus, c, times=None, grads=NO_GRADS, activated=None, dropout=NO_DROPOUT, parts=ONE
):
    """c = a @ b + bias + plus, or a @ b.T, all float32;  c is in C order.

    strips, those of b or of b.T, bias (C,) and plus may be None, and plus may be c itself. What else may be done at
    once, while numbers are in the caches:

        times      like c: c is multiplied by it, number by number
        grads      (x, dy, dW, db), in C order: dW += x.T @ dy, db += the sum of dy over its rows; or each None
        activated  becomes gelu(c), and c the slope there
        dropout    what dropout.settings returns, and whether it is for c, or for a before everything else
        parts      several products in one, their weights side by side in strips: see matmul.prepare_each
    """
    bias = NOTHING if bias is None else bias
    plus, times = NOTHING if plus is None else plus.reshape(-1), NOTHING if times is None else times.reshape(-1)
    activated, threads = NOTHING if activated is None else activated.reshape(-1), n_threads()
    size = pieces = threads * MOST
    if strips is None:
        b, transposed = _in_c_order(b, transposed)
        size += _size_of_strips(b, transposed)
    if grads is NO_GRADS:
        products, db = NO_PRODUCT, (NO_MATRIX, NOTHING)
    else:
        x, dy, dW, db = grads
        products = NO_PRODUCT if dW is None else _as_product(x, dy, dW)
        db = (NO_MATRIX, NOTHING) if db is None else (dy, db)
    fresh = size
    size += _size_of_strips(products[1], False)
    memory = scratch(size, np.uint16)
    if strips is None:
        strips = memory[pieces:fresh]
    else:
        b = NO_MATRIX
    _multiply(
        a,
        b,
        transposed,
        strips,
        bias,
        plus,
        times,
        c,
        *products,
        *db,
        activated,
        *dropout,
        *parts,
        threads,
        fresh,
        memory,
    )


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, all in C order."""
    multiply(NO_MATRIX, NO_MATRIX, False, NOTHING.view(np.uint16), None, None, NO_MATRIX, grads=(x, dy, dW, None))


def _as_product(x, dy, dW):
    """left, right, sums, turned: dW += x.T @ dy as sums = left.T @ right, and then turned += sums.T, if it is there."""
    if better_turned(*dW.shape, WIDE):
        return dy, x, empty(dW.shape[::-1], dW.dtype), dW
    return x, dy, dW, NO_MATRIX


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
        cut_blocks(b, transposed, part, n_threads, strips)


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
    left,
    right,
    sums,
    turned,
    dy,
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
    n_threads,
    fresh,
    memory,
):
    """Both products of `multiply`; what is not wanted has no numbers.

    Each thread cuts a part of b, if there is one, and of right into strips, and then owns a band of rows of c and sums.
    """
    dropout, right_strips = (least, scale, key_low, key_high), memory[fresh:]
    if least > 0 and not drops_c:
        for part in prange(n_threads):
            _drop_rows(a, part, n_threads, dropout)
    if b.size + right.size + db.size > 0:
        for part in prange(n_threads):
            cut_blocks(b, transposed, part, n_threads, strips)
            cut_blocks(right, False, part, n_threads, right_strips)
            add_rows(dy, db, part, n_threads)
    for part in prange(n_threads):
        pieces = memory[part * MOST : (part + 1) * MOST]
        parts = a_parts, c_parts, first_step, more_steps
        _band(a, strips, bias, plus, times, part, n_threads, pieces, c, parts)
        if least > 0 and drops_c:
            _drop_rows(c, part, n_threads, dropout)
        if activated.size > 0:
            first, last = _numbers_of_band(c, part, n_threads)
            gelu_of(c.reshape(-1)[first:last], activated[first:last])
        if right.size > 0:
            _band_of_grads(left, right_strips, sums, turned, part, n_threads, pieces)


@kernel
def _numbers_of_band(x, part, n_parts):
    rows = _rows_of_band(len(x), n_parts)
    return min(part * rows, len(x)) * x.shape[1], min(part * rows + rows, len(x)) * x.shape[1]


@kernel
def _drop_rows(x, part, n_parts, dropout):
    first, last = _numbers_of_band(x, part, n_parts)
    drop(x.reshape(-1), first, last, dropout)


@allocating_kernel
def _band_of_grads(left, strips, sums, turned, part, n_parts, pieces):
    """A band of rows of sums += left.T @ right; or of sums = left.T @ right, and turned += sums.T."""
    nothing = sums.reshape(-1)[:0]
    before = sums.reshape(-1) if turned.size == 0 else nothing
    _band(left.T, strips, nothing, before, nothing, part, n_parts, pieces, sums, ONE)
    if turned.size > 0:
        rows = _rows_of_band(len(sums), n_parts)
        add_rows_transposed(sums, part * rows, min(part * rows + rows, len(sums)), turned)


@kernel
def _rows_of_band(n_rows, n_parts):
    """How many rows each thread owns: whole tiles."""
    return (n_rows + n_parts * SIDE - 1) // (n_parts * SIDE) * SIDE


@allocating_kernel
def _band(a, strips, bias, plus, times, part, n_parts, left, c, parts):
    """A band of rows of c; left is memory for what is cut of a."""
    width = (c.shape[1] + WIDE - 1) // WIDE * WIDE * parts[1]
    rows, start = _rows_of_band(len(a), n_parts), (filled_up(bias, width), np.zeros(WIDE, np.float32))
    begin, band = (start, bias.size > 0, plus, times), (part * rows, min(part * rows + rows, len(a)))
    use_tiles()
    _rows_of_c(a, strips, begin, band, left, (scratch_square(), scratch_square()), c, parts)
    leave_tiles()


@kernel
def _rows_of_c(a, strips, begin, band, left, squares, c, parts):
    """Rows of c in a band of rows of a. Parts of a and of c follow upon each other in memory."""
    (depth, n_columns), (a_parts, c_parts, all_before, all_behind) = (a.shape[1], c.shape[1]), parts
    ((bias, zeros), has_bias, plus, times), n_rows = begin, len(a)
    n_strips, part_steps = (n_columns + WIDE - 1) // WIDE, (depth + STEP - 1) // STEP
    all_steps = all_before + a_parts * part_steps + all_behind
    for part in range(a_parts):
        for k0 in range(0, max(depth, 1), DEPTH):
            k1, first_step = min(k0 + DEPTH, depth), all_before + part * part_steps + k0 // STEP
            n_steps, is_first = (k1 - k0 + STEP - 1) // STEP, part == 0 and k0 == 0
            before = plus if is_first else c.reshape(-1)
            factors = times[: times.size if part == a_parts - 1 and k1 >= depth else 0]
            for i0 in range(band[0], band[1], BLOCK):
                i1 = min(i0 + BLOCK, band[1])
                cut_rows(a, part * n_rows + i0, part * n_rows + i1, k0, k1, squares, left)
                for s in range(c_parts * n_strips):
                    row, start = s // n_strips * n_rows, bias[s * WIDE : (s + 1) * WIDE] if is_first else zeros
                    right = Places(strips, (s * all_steps + first_step) * STRIP_STEP, STRIP_STEP)
                    following = (min(s + 1, c_parts * n_strips - 1) * all_steps + first_step) * STRIP_STEP
                    begins, j = (start, has_bias and is_first, before), s % n_strips * WIDE
                    _strip_of(c, row + i0, row + i1, j, left, right, n_steps, begins, factors, squares[0], following)


@kernel
def _strip_of(c, i0, i1, j, left, right, n_steps, begin, times, sums, following):
    """Rows i0:i1 of a strip of c, from column j on, = bias + before + the product of the pieces.

    Sums begin with bias or before, and what else there is to add is added at the end, and then multiplied by times, if
    it has numbers. Whole tiles are moved between the unit and memory; all others go by a scratch.
    """
    (bias, has_bias, before), memory, aside = begin, c.reshape(-1), sums.reshape(-1)
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
