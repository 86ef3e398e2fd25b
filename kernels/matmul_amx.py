"""c = a @ b for float32 on the matrix unit (amx.py), which multiplies numbers of 8 significant bits only.

A float32 has 24. So each number is cut into three pieces, x = x0 + x1 + x2, by taking its first 8 bits, the first 8 of
what is left, and the rest; nothing is lost. Then

    a b = a0 b0 + (a0 b1 + a1 b0) + (a0 b2 + a1 b1 + a2 b0) + ...

and each product on the right is one that the unit can do and sum as float32. What the dots leave out is on average
2^-23 of a b, about what a float32 loses when it is rounded, and the results are as near to the exact ones as those of
plain float32 products, mostly nearer. Six products for one; yet the unit does sixteen in the time of one. (Henry, Tang
& Heinecke, 2019, arXiv 1904.06376, and Intel's MKL as float_to_bf16x3.)

Two things are other than with plain float32: an infinite number gives NaN, since infinity less infinity is left of it;
and of numbers below 1e-33 the last bits count as zero, as those of b below 1e-38 do anyway.

The loops are those of matmul.py, and b comes in the same strips:

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
from .amx import (
    PIECES,
    SIDE,
    STEP,
    TILE,
    add_products,
    clear,
    leading,
    leave_tiles,
    store_in_turns,
    store_one_behind_other,
    store_sums,
    transpose_square,
    use_tiles,
)
from .simd import add, load, prefetch, prefetch_rows, store, subtract

ROWS, WIDTH = 2 * SIDE, 2 * SIDE  # of what is summed at a time; WIDTH is a strip's
DEPTH, BLOCK = 768, 256  # steps of k and rows that are cut at a time
MOST = 512  # rows of a block, if k has few steps


def multiply(a, strips, bias, plus, c):
    """c = a @ b + bias + plus, all float32.   bias (C,) and plus (T C,) may have no numbers, plus may be c's"""
    _multiply(a, strips, bias, plus, get_num_threads(), c)


@parallel_kernel
def _multiply(a, strips, bias, plus, n_threads, c):
    """Each thread owns a band of rows of c."""
    (n_rows, depth), n_strips = a.shape, len(strips)
    start = _beginnings(bias, n_strips * WIDTH)
    rows = max((n_rows + n_threads * SIDE - 1) // (n_threads * SIDE), 1) * SIDE  # of a band: whole tiles
    most_steps = min((depth + STEP - 1) // STEP, DEPTH // STEP)
    block = min(BLOCK * DEPTH // max(most_steps * STEP, 1) // ROWS * ROWS, MOST, (rows + ROWS - 1) // ROWS * ROWS)
    for band in prange((n_rows + rows - 1) // rows):
        bottom = min(band * rows + rows, n_rows)
        left, right = _scratch(block * most_steps * STEP * PIECES), _scratch(WIDTH * most_steps * STEP * PIECES)
        square = _scratch(2 * STEP * WIDTH).view(np.float32).reshape(STEP, WIDTH)
        sums = _scratch(2 * ROWS * WIDTH).view(np.float32).reshape(ROWS, WIDTH)
        use_tiles()
        for k0 in range(0, max(depth, 1), DEPTH):
            k1 = min(k0 + DEPTH, depth)
            n_steps = (k1 - k0 + STEP - 1) // STEP
            for i0 in range(band * rows, bottom, block):
                i1 = min(i0 + block, bottom)
                _cut_rows(a, i0, i1, k0, k1, square, sums, left)
                for s in range(n_strips):
                    _cut_strip(strips[s, k0:k1], c.shape[1] - s * WIDTH > SIDE, square, right)
                    before = plus if k0 == 0 else _memory(c)
                    begin = start[min(k0, 1), s * WIDTH : (s + 1) * WIDTH]
                    _strip_of(c, i0, i1, s, left, right, n_steps, begin, before, sums, square, strips, k0)
        leave_tiles()


@kernel
def _beginnings(bias, size):
    """What the first sums begin with, and all others: the bias, and zeros.   (C,) -> (2, size)"""
    start = np.zeros((2, size), np.float32)
    start[0, : bias.size] = bias
    return start


@kernel
def _scratch(size):
    """16-bit numbers that begin on a cache line, so that no vector or row of a tile lies on two."""
    memory = np.empty(size + 32, np.uint16)
    first = (-memory.ctypes.data // 2) % 32
    return memory[first : first + size]


@kernel
def _strip_of(c, i0, i1, s, left, right, n_steps, begin, before, sums, square, strips, k0):
    """Rows i0:i1 of a strip of c = begin + before + the product of the pieces, 32 or 16 rows at a time."""
    j, wanted = s * WIDTH, min(WIDTH, c.shape[1] - s * WIDTH)
    n_sums, apart = (i1 - i0 + ROWS - 1) // ROWS, PIECES * TILE * n_steps
    following = strips[min(s + 1, len(strips) - 1), k0:].reshape(-1)
    lines = (4 * SIDE + n_sums - 1) // n_sums  # of the next strip, to be fetched in each step
    for i in range(i0, i1, ROWS):
        first, high = (i - i0) // SIDE * apart, i1 - i > SIDE
        coming = (i - i0) // ROWS * n_steps * lines * SIDE
        if wanted == WIDTH and _in_order(c):
            prefetch_rows(SIDE, c, (i, j))
            prefetch_rows(SIDE, c, (i + SIDE, j))
        if high and wanted > SIDE:
            _sum(2, 2, left, first, apart, right, n_steps, sums, following, coming, lines)
        elif wanted > SIDE:
            _sum(1, 2, left, first, apart, right, n_steps, sums, following, coming, lines)
        elif high:
            _sum(2, 1, left, first, apart, right, n_steps, sums, following, coming, lines)
        else:
            _sum(1, 1, left, first, apart, right, n_steps, sums, following, coming, lines)
        _put(sums, min(ROWS, i1 - i), wanted, begin, before, square, c, i, j)


@kernel
def _sum(rows, columns, left, first, apart, right, n_steps, sums, following, coming, lines):
    """sums = the product; rows and columns say whether it is 1 tile or 2 high, and wide."""
    clear(rows, columns)
    for step in range(n_steps):
        for line in range(lines):
            prefetch(following, coming + (step * lines + line) * SIDE)
        at, b_at = PIECES * TILE * step, 2 * PIECES * TILE * step
        add_products(rows, columns, left, first + at, apart, right, b_at, PIECES * TILE)
    store_sums(rows, columns, sums)


@kernel
def _put(sums, rows, columns, begin, before, square, c, i, j):
    """c[i : i + rows, j : j + columns] = sums + begin + before.

    before: as c lies in memory; it may have no numbers. Where c is some C.T, begin is zero.
    """
    if columns < WIDTH or (rows < ROWS and not _in_order(c)):
        for r in range(rows):
            for n in range(columns):
                at = (i + r) * c.shape[1] + j + n if _in_order(c) else (j + n) * c.shape[0] + i + r
                x = before[at] if before.size > 0 else np.float32(0)
                c[i + r, j + n] = sums[r, n] + (x + begin[n])
    elif _in_order(c):
        _add_rows(sums, rows, begin, before, c, i, j)
    else:
        for r in range(0, ROWS, SIDE):
            for n in range(0, WIDTH, SIDE):
                transpose_square(sums, (r, n), square, (n, r))
        _add_rows(square, WIDTH, begin, before, c.T, j, i)


@kernel
def _add_rows(sums, rows, begin, before, c, i, j):
    for r in range(rows):
        at = (i + r) * c.shape[1] + j
        for half in range(0, WIDTH, SIDE):
            v = load(begin, half)
            if before.size > 0:
                v = add(load(before, at + half), v)
            store(c, (i + r, j + half), add(load(sums, (r, half)), v))


# ------------------------------------------------------------------------------------------------------------ cutting


@kernel
def _cut(first, second, out, at, apart, in_turns):
    """Two vectors into pieces, the pieces of a number `apart` from each other."""
    for _ in range(PIECES - 1):
        _store(first, second, out, at, in_turns)
        first, second = subtract(first, leading(first)), subtract(second, leading(second))
        at += apart
    _store(first, second, out, at, in_turns)


@kernel
def _store(first, second, out, at, in_turns):
    if in_turns:
        store_in_turns(out, at, first, second)
    else:
        store_one_behind_other(out, at, first, second)


@kernel
def _cut_rows(a, i0, i1, k0, k1, square, spare, out):
    """a[i0:i1, k0:k1] into pieces, as left factors.   (rows, K) -> (rows / 16, K / 32, pieces, tile)

    Where a is some x.T, and in the last step if it is not a whole one, 16 x 32 numbers are first put in order in a
    scratch. The steps come one after the other, so that x is read row by row.
    """
    size = PIECES * TILE
    n_steps, whole = (k1 - k0 + STEP - 1) // STEP, (k1 - k0) // STEP if _in_order(a) else 0
    for i in range(i0, i1, SIDE):
        at = (i - i0) // SIDE * n_steps * size
        for r in range(min(SIDE, i1 - i)):
            for step in range(whole):
                _cut_row(a, i + r, k0 + step * STEP, out, at + r * STEP + step * size)
    for step in range(whole, n_steps):
        for i in range(i0, i1, SIDE):
            at = ((i - i0) // SIDE * n_steps + step) * size
            _put_in_order(a, i, min(SIDE, i1 - i), k0 + step * STEP, k1, square, spare)
            for r in range(SIDE):
                _cut_row(square, r, 0, out, at + r * STEP)


@kernel
def _cut_row(a, i, k, out, at):
    _cut(load(a, (i, k)), load(a, (i, k + SIDE)), out, at, TILE, False)


@kernel
def _put_in_order(a, i, rows, k, stop, square, spare):
    """square = a[i : i + rows, k:stop], at most 32 columns, and zeros where there are fewer."""
    columns = min(stop - k, STEP)
    if rows == SIDE and not _in_order(a):
        x, first = a.T, k
        if columns < STEP:
            for n in range(columns):
                store(spare, (n, 0), load(x, (k + n, i)))
            spare[columns:STEP, :SIDE] = 0
            x, first, i = spare, 0, 0
        transpose_square(x, (first, i), square, (0, 0))
        transpose_square(x, (first + SIDE, i), square, (0, SIDE))
    else:
        square[:] = 0
        for r in range(rows):
            for n in range(columns):
                square[r, n] = a[i + r, k + n]


@kernel
def _cut_strip(strip, wide, square, out):
    """A strip, or its first 16 columns, into pieces, as right factors.   (K, 32) -> (K / 32, 2, pieces, tile)"""
    size, whole = 2 * PIECES * TILE, len(strip) // STEP
    for step in range(whole):
        _cut_step(strip, step * STEP, wide, out, step * size)
    left = len(strip) - whole * STEP
    if left > 0:
        square[:left], square[left:] = strip[whole * STEP :], 0
        _cut_step(square, 0, wide, out, whole * size)


@kernel
def _cut_step(rows, k, wide, out, at):
    for half in range(2 if wide else 1):
        for r in range(SIDE):
            first, second = load(rows, (k + 2 * r, half * SIDE)), load(rows, (k + 2 * r + 1, half * SIDE))
            _cut(first, second, out, at + half * PIECES * TILE + r * STEP, TILE, True)


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
