"""Numbers in pieces: how the matrix unit (amx.py), which multiplies 8 significant bits only, gives float32 products.

A float32 has 24 significant bits. So each number is cut into three pieces, x = x0 + x1 + x2, by taking its first 8
bits, the first 8 of what is left, and the rest; nothing is lost. Then

    a b = a0 b0 + (a0 b1 + a1 b0) + (a0 b2 + a1 b1 + a2 b0) + ...

and each product on the right is one that the unit can do and sum as float32. What the dots leave out is on average
2^-23 of a b, about what a float32 loses when it is rounded, and the results are as near to the exact ones as those of
plain float32 products, mostly nearer. Six products for one; yet the unit does sixteen in the time of one. (Henry, Tang
& Heinecke, 2019, arXiv 1904.06376; in Intel's MKL it is called float_to_bf16x3.)

Two things are other than with plain float32: an infinite number gives NaN, since infinity less infinity is left of it;
and of numbers below 1e-33 the last bits count as zero, as all of those below 1e-38 do.

A left factor (R, K) in pieces is an array of (R / 16, K / 32, PIECES, tile), a right one (K, C) of (C / 32, K / 32, 2,
PIECES, tile).
"""

from __future__ import annotations

import numpy as np

from ..runtime.compiling import allocating_kernel, inlined_kernel, kernel
from .amx import (
    PIECES,
    ROWS,
    SIDE,
    STEP,
    TILE,
    add_products,
    leading,
    load_sums,
    store_in_turns,
    store_sums,
)
from .micro_kernel import on_a_line
from .vectors import load, store, subtract, transpose_square

HIGH = WIDE = 2 * SIDE  # rows and columns that are summed at a time; WIDE is a strip's
CUT = PIECES * TILE  # pieces of 16 x 32 numbers
STRIP_STEP = 2 * CUT  # numbers of a strip in a step of k
PACE = 3  # steps, see _sum


@allocating_kernel
def scratch_square():
    """A square of 32 x 32 float32."""
    return on_a_line(HIGH * WIDE, np.float32).reshape(HIGH, WIDE)


# ------------------------------------------------------------------------------------------------------------ cutting


@kernel
def _cut(first, second, out, at):
    """Two vectors of numbers, whose pieces are TILE from each other, those of the second in turns with the first's."""
    for _ in range(PIECES - 1):
        store_in_turns(out, at, first, second)
        first, second = subtract(first, leading(first)), subtract(second, leading(second))
        at += TILE
    store_in_turns(out, at, first, second)


@kernel
def cut_row(a, i, k, out, at):
    """32 numbers from a[i, k] on, a row of a left factor's tile."""
    _cut(load(a, (i, k)), load(a, (i, k + SIDE)), out, at)


@kernel
def cut_columns(b, k, j, out, at):
    """b[k : k + 32, j : j + 16], a tile of a right factor."""
    for r in range(SIDE):
        _cut(load(b, (k + r, j)), load(b, (k + SIDE + r, j)), out, at + r * STEP)


@kernel
def take(x, i, rows, j, columns, out, height, width):
    """out[:height, :width] = x[i : i + rows, j : j + columns], and zeros behind; width is one vector or two."""
    for r in range(rows):
        for c in range(0, width, SIDE):
            if c + SIDE <= columns:
                store(out, (r, c), load(x, (i + r, j + c)))
            else:
                out[r, c : c + SIDE] = 0
                for n in range(c, columns):
                    out[r, n] = x[i + r, j + n]
    out[rows:height, :width] = 0


@kernel
def transpose_tall(x, i, rows, j, columns, out, spare):
    """out[:16, :32] = x[i : i + rows, j : j + columns].T, and zeros behind; at most 32 rows and 16 columns."""
    if rows < STEP or columns < SIDE:
        take(x, i, rows, j, columns, spare, STEP, SIDE)
        x, i, j = spare, 0, 0
    transpose_square(x, (i, j), out, (0, 0))
    transpose_square(x, (i + SIDE, j), out, (0, SIDE))


@kernel
def cut_strip(b, transposed, k0, k1, j, squares, out, at):
    """Steps k0:k1 of b, or of b.T, and 32 columns from j on, as a strip of a right factor, with zeros at its ends."""
    square, spare = squares
    columns = min(WIDE, b.shape[0 if transposed else 1] - j)
    for k in range(k0, k1, STEP):
        steps = min(STEP, k1 - k)
        whole = columns == WIDE and steps == STEP
        if whole and not transposed:
            for half in range(2):
                cut_columns(b, k, j + half * SIDE, out, at + half * CUT)
        else:
            if not transposed:
                take(b, k, steps, j, columns, square, STEP, WIDE)
            elif whole:
                transpose_wide(b, j, k, square)
            else:
                take(b, j, columns, k, steps, spare, WIDE, STEP)
                transpose_wide(spare, 0, 0, square)
            for half in range(2):
                cut_columns(square, 0, half * SIDE, out, at + half * CUT)
        at += STRIP_STEP


@kernel
def transpose_wide(x, i, j, out):
    """out = x[i : i + 32, j : j + 32].T"""
    for r in range(0, 2 * SIDE, SIDE):
        for c in range(0, 2 * SIDE, SIDE):
            transpose_square(x, (i + r, j + c), out, (c, r))


@kernel
def cut_rows(a, transposed, i0, i1, k0, k1, squares, out):
    """Rows i0:i1 of a, or of a.T, and steps k0:k1, as a left factor. Rows of a.T are transposed in registers."""
    n_steps, whole = (k1 - k0 + STEP - 1) // STEP, 0 if transposed else (k1 - k0) // STEP
    square, spare = squares
    for i in range(i0, i1, SIDE):
        rows, at = min(SIDE, i1 - i), (i - i0) // SIDE * n_steps * CUT
        for step in range(whole):
            for r in range(rows):
                cut_row(a, i + r, k0 + step * STEP, out, at + step * CUT + r * STEP)
    for step in range(whole, n_steps):
        k, steps = k0 + step * STEP, min(STEP, k1 - k0 - step * STEP)
        for i in range(i0, i1, SIDE):
            rows, at = min(SIDE, i1 - i), ((i - i0) // SIDE * n_steps + step) * CUT
            if transposed:
                transpose_tall(a, k, steps, i, rows, square, spare)
            else:
                take(a, i, rows, k, steps, square, SIDE, STEP)
            for r in range(SIDE):
                cut_row(square, r, 0, out, at + r * STEP)


# ------------------------------------------------------------------------------------------------------------ summing


@inlined_kernel
def sum_tiles(rows, left, first, n_steps, right, begin, end, ahead, coming, aside):
    """end = begin + the product of up to 32 rows, from left[first] on, and of 32 columns, in the Places of right.

    begin, end: Places of the rows of both, which are moved in whole tiles. ahead: Places of which LINES cache lines
    are fetched in each of the n_steps. coming: Places of rows of the next sums, of which ROWS are fetched in each
    step. aside: memory for 16 numbers that nobody reads.
    """
    if rows > SIDE:
        _sum(2, left, first, n_steps, right, begin, end, ahead, coming, aside)
    else:
        _sum(1, left, first, n_steps, right, begin, end, ahead, coming, aside)


@inlined_kernel
def _sum(rows, left, first, n_steps, right, begin, end, ahead, coming, aside):
    """The same; rows are now 1 or 2 tiles, written as a number.

    Every third step a tile is stored, for nothing but its effect on the pace: where stores are rare, loads run far
    ahead of the unit, and the next store costs some 900 cycles. 12 steps take 4,500 cycles, with four stores at their
    end 5,700, and with stores in between 4,500 again.
    """
    load_sums(rows, 2, begin.memory, begin.first, begin.step)
    for step in range(n_steps):
        add_products(
            rows,
            2,
            (left, first + step * CUT, n_steps * CUT),
            (right.memory, right.first + step * right.step, CUT),
            (ahead.memory, ahead.first + step * ahead.step),
            (coming.memory, coming.first + step * ROWS * coming.step, coming.step),
        )
        if step % PACE == 1:
            store_sums(1, 1, aside, 0, 0)
    store_sums(rows, 2, end.memory, end.first, end.step)
