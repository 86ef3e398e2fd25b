"""Products with a matrix of at most eight rows or columns: those of small adapters, and of a head.

c = a @ b, and such a product does little with each number that it reads. Nothing may be prepared that costs more than
the product, so b is not brought into strips. Three cases:

    few columns of c        each number is a sum over k of products of neighbours; sixteen sums are lanes of one vector
                            in the end (simd_rows.totals)
    few steps of k          eight rows of b stay in registers, two vectors of each, while rows of a go by
    few rows of dW          dW.T = dy.T @ x if dy is narrow: x, which is long, is read as it lies, 32 columns at a time
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import LINE
from ..runtime.threads import n_threads
from .micro_kernel import Places, on_a_line, tile
from .vector_rows import add_inner, add_outer, columns_of, copies, rows_of, start_rows, store_rows, totals
from .vectors import VECTOR_BITS, add, lanes, load, prefetch, splat, store

FEW = 8
BLOCK = 64  # rows of the wide factor, or of c, that are read or written for all columns before the next ones
AHEAD = 16  # so many rows ahead they are fetched where neighbours in memory are not what comes next
LANES = VECTOR_BITS // 32
ROWS = LANES // FEW  # of a, whose sums with eight columns of b fill a vector; 0 where vectors are short
FLOAT32, NOTHING = np.dtype(np.float32), np.empty(0, np.float32)


def fits(a, b, transposed, c):
    """Whether `multiply` can do it: float32, a narrow b, and its other side as long as whole vectors."""
    depth, columns = b.shape
    if transposed:
        depth, columns = columns, depth
    if (depth > FEW and columns > FEW) or ROWS == 0 or c.dtype != FLOAT32:
        return False
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        return False
    if columns <= FEW:
        return columns > 0 and depth > 0 and depth % LANES == 0 and len(a) >= ROWS
    return depth > 0 and columns % (2 * LANES) == 0 and len(a) >= 2


def multiply(a, b, transposed, bias, plus, c):
    """c = a @ b + bias + plus, or a @ b.T; bias (C,) and plus may be None, and plus is not c."""
    bias, plus = NOTHING if bias is None else bias, NOTHING if plus is None else plus.reshape(-1)
    if c.shape[1] <= FEW:
        _few_columns(a, b, transposed, bias, plus, n_threads(), c)
    else:
        _few_steps(_filled_up(a), b, transposed, bias, plus, n_threads(), c)


def _filled_up(x):
    """x, with columns of zeros if it has fewer than eight."""
    if x.shape[1] == FEW:
        return x
    full = np.zeros((len(x), FEW), x.dtype)
    full[:, : x.shape[1]] = x
    return full


def fits_dw(x, dy, dW):
    """Whether `multiply_dw` can do it: float32 in C order, one side narrow, the other as long as whole strips."""
    rows, columns = dW.shape
    few, many = (rows, columns) if rows < columns else (columns, rows)
    if few > FEW or few == 0 or many % (2 * LANES) or ROWS == 0 or dW.dtype != FLOAT32:
        return False
    return x.flags.c_contiguous and dy.flags.c_contiguous and dW.flags.c_contiguous


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, where x or dy is narrow."""
    wide, narrow = (x, dy) if dy.shape[1] <= FEW else (dy, x)
    _few_rows(_filled_up(narrow), wide, n_threads(), wide is x, dW)


@parallel_kernel
def _few_columns(a, b, transposed, bias, plus, n_threads, c):
    """Each thread owns some rows of c."""
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    n_tiles = (n_rows + ROWS - 1) // ROWS
    for part in prange(n_threads):
        columns, first = _eight_rows(b, not transposed, depth), np.zeros((ROWS, FEW), a.dtype)
        sums = np.zeros(ROWS * FEW, a.dtype)
        for r in range(ROWS):
            for j in range(bias.size):
                first[r, j] = bias[j]
        for t in range(part * n_tiles // n_threads, (part + 1) * n_tiles // n_threads):
            i = min(t * ROWS, n_rows - ROWS)  # the last tile is moved back: it computes a row again, to the last bit
            result = add(_inner_products(a, i, columns), load(first, (0, 0)))
            if n_columns == FEW:
                store(c, (i, 0), add(load(plus, i * FEW), result) if plus.size > 0 else result)
            else:
                store(sums, 0, result)
                for r in range(ROWS):
                    for j in range(n_columns):
                        more = plus[(i + r) * n_columns + j] if plus.size > 0 else sums.dtype.type(0)
                        c[i + r, j] = sums[r * FEW + j] + more


@allocating_kernel
def _eight_rows(b, transposed, width):
    """The rows of b, or of b.T, and zeros for those that are missing; more rows behind them mean nothing.

    They begin on a cache line: a vector that lies on two takes two loads, and each is loaded many times.
    """
    side = lanes(b)
    if not transposed and b.shape[0] == FEW and b.ctypes.data % LINE == 0:
        return b
    rows, done = on_a_line(max(FEW, side) * width, b.dtype).reshape(max(FEW, side), width), 0
    if b.shape[1 if transposed else 0] < FEW:
        rows[:] = 0
    if not transposed:
        for i in range(b.shape[0]):
            for j in range(0, width, side):
                store(rows, (i, j), load(b, (i, j)))
        return rows
    if b.shape[1] == FEW:
        numbers, nothing = b.reshape(-1), (splat(b.dtype.type(-0.0)),)
        while done + side <= len(b):
            store_rows(columns_of(start_rows(FEW, numbers, done * FEW, side, nothing)), rows, (0, done))
            done += side
    for i in range(done, b.shape[0]):
        for j in range(b.shape[1]):
            rows[j, i] = b[i, j]
    return rows


@kernel
def _inner_products(a, i, columns):
    """Rows i and i + 1 of a @ columns.T, as one vector."""
    zero = splat(a.dtype.type(0))
    sums = copies(ROWS, (zero, zero, zero, zero, zero, zero, zero, zero))
    for k in range(0, a.shape[1], lanes(a)):
        prefetch(a, (i + 2 * ROWS, k))  # the tile after the next one
        prefetch(a, (i + 2 * ROWS + 1, k))
        sums = add_inner(sums, a, (i, k), columns)
    return totals(sums)


@parallel_kernel
def _few_steps(a, b, transposed, bias, plus, n_threads, c):
    """Each thread owns some rows of c. Eight rows of b, two vectors wide, stay in registers for some rows of a."""
    n_rows, n_columns = c.shape
    width = 2 * lanes(c)
    for part in prange(n_threads):
        rows, zeros = _eight_rows(b, transposed, n_columns), np.zeros(width, c.dtype)
        start = bias if bias.size > 0 else np.zeros(n_columns, c.dtype)
        top, bottom = part * n_rows // n_threads // 2 * 2, (part + 1) * n_rows // n_threads // 2 * 2
        bottom = n_rows if part == n_threads - 1 else bottom
        for block in range(top, bottom, BLOCK):
            for j in range(0, n_columns, width):
                begin = Places(plus, j, n_columns) if plus.size > 0 else Places(zeros, 0, 0)
                _rows_of_strip(a, rows, j, block, min(block + BLOCK, bottom), begin, start, c)


@kernel
def _rows_of_strip(a, b, j, top, bottom, begin, bias, c):
    """Rows top:bottom of c[:, j : j + two vectors] = a @ b + bias + begin."""
    half = lanes(c)
    b0, b1 = (load(b, (0, j)), load(b, (0, j + half))), (load(b, (1, j)), load(b, (1, j + half)))
    b2, b3 = (load(b, (2, j)), load(b, (2, j + half))), (load(b, (3, j)), load(b, (3, j + half)))
    b4, b5 = (load(b, (4, j)), load(b, (4, j + half))), (load(b, (5, j)), load(b, (5, j + half)))
    b6, b7 = (load(b, (6, j)), load(b, (6, j + half))), (load(b, (7, j)), load(b, (7, j + half)))
    first = load(bias, j), load(bias, j + half)
    for row in range(top, bottom, 2):
        i = min(row, len(a) - 2)
        sums = start_rows(2, begin.memory, begin.first + i * begin.step, begin.step, first)
        sums = add_outer(add_outer(sums, a, (i, 0), b0), a, (i, 1), b1)
        sums = add_outer(add_outer(sums, a, (i, 2), b2), a, (i, 3), b3)
        sums = add_outer(add_outer(sums, a, (i, 4), b4), a, (i, 5), b5)
        sums = add_outer(add_outer(sums, a, (i, 6), b6), a, (i, 7), b7)
        store_rows(sums, c, (i, j))


@parallel_kernel
def _few_rows(narrow, wide, n_threads, turned, c):
    """c += narrow.T @ wide, or c.T if it is turned.   (8, T) @ (T, N), of which c may have some rows only

    Each thread owns columns.
    """
    n_strips = wide.shape[1] // (2 * lanes(wide))
    for part in prange(n_threads):
        _columns_of_dw(narrow, wide, part * n_strips // n_threads, (part + 1) * n_strips // n_threads, turned, c)


@allocating_kernel
def _columns_of_dw(narrow, wide, first, last, turned, c):
    """Strips first:last, some rows of the factors at a time: so what is read next lies near, for all strips."""
    width, side = 2 * lanes(wide), lanes(wide)
    n_rows, zeros, x = (last - first) * FEW, np.zeros(width, wide.dtype), wide.reshape(-1)
    so_far = on_a_line(n_rows * width, wide.dtype)
    so_far[:], sums = 0, so_far.reshape(n_rows, width)
    for t in range(0, len(wide), BLOCK):
        end = min(t + BLOCK, len(wide))
        for s in range(first, last):
            j, row = s * width, (s - first) * FEW
            begin = Places(so_far, row * width, width)
            ahead = Places(x, (t + AHEAD) * wide.shape[1] + j, wide.shape[1])
            tile(FEW, narrow[t:end].T, wide[t:end, j : j + width], zeros, begin, sums, row, 0, ahead)
    if turned and c.shape[1] == FEW:
        out, square, nothing = c.reshape(-1), np.empty((FEW, side), c.dtype), (splat(c.dtype.type(-0.0)),)
        for j in range(first * width, last * width, side):
            place = (j // width - first) * FEW * width + j % width
            store_rows(rows_of(start_rows(FEW, so_far, place, width, nothing)), square, (0, 0))
            for r in range(FEW):
                for n in range(side):
                    out[j * FEW + r * side + n] += square[r, n]
    elif turned:
        for s in range(first, last):
            for n in range(width):
                for r in range(c.shape[1]):
                    c[s * width + n, r] += sums[(s - first) * FEW + r, n]
    else:
        for s in range(first, last):
            for r in range(len(c)):
                for n in range(width):
                    c[r, s * width + n] += sums[(s - first) * FEW + r, n]
