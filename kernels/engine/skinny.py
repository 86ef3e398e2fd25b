"""Skinny products, of a matrix with at most eight rows or columns: those of small adapters, and of a head.

c = a @ b, (M, K) @ (K, N) -> (M, N). Such a product does little with each element that it reads, so nothing may be
prepared that costs more than the product: b is not packed into panels. Three cases:

    skinny N (y of few columns)     each element of c is an inner product of two contiguous rows; the 16 accumulators of
                                    two rows of c are reduced to the lanes of one vector (vector_rows.reduce_add_each)
    skinny K (few iterations)       eight rows of b stay in registers, two vectors of each, for many rows of a
    skinny M (dW of few rows)       dW = x.T @ dy if x is narrow, and dW.T = dy.T @ x if dy is: the wide factor is read
                                    where it lies, NR = 32 columns at a time
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import LINE
from ..runtime.threads import n_threads
from .micro_kernel import Strided, aligned_empty, micro_kernel
from .vector_rows import (
    add_inner,
    add_outer,
    columns_to_rows,
    copies,
    load_rows,
    reduce_add_each,
    rows_to_columns,
    store_rows,
)
from .vectors import VECTOR_BITS, add, lanes, load, prefetch, splat, store

SKINNY = 8
MC = 64  # rows of the wide factor, or of c, that are read or written for all columns before the next ones
PREFETCH_ROWS = 16  # distance of the prefetch, in rows, where rows are read that are not contiguous
LANES = VECTOR_BITS // 32
MR = LANES // SKINNY  # rows of a whose inner products with eight columns of b fill a vector; 0 if vectors are too short
FLOAT32, NO_VECTOR = np.dtype(np.float32), np.empty(0, np.float32)


def fits(a, b, transposed, c):
    """Whether `multiply` can compute c: float32, b skinny, and its long side a multiple of whole vectors."""
    depth, columns = b.shape
    if transposed:
        depth, columns = columns, depth
    if (depth > SKINNY and columns > SKINNY) or MR == 0 or c.dtype != FLOAT32:
        return False
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        return False
    if columns <= SKINNY:
        return columns > 0 and depth > 0 and depth % LANES == 0 and len(a) >= MR
    return depth > 0 and columns % (2 * LANES) == 0 and len(a) >= 2


def multiply(a, b, transposed, bias, residual, c):
    """c = a @ b + bias + residual, or a @ b.T; bias (N,) and residual may be None, and residual is not c."""
    bias, residual = NO_VECTOR if bias is None else bias, NO_VECTOR if residual is None else residual.reshape(-1)
    if c.shape[1] <= SKINNY:
        _skinny_n(a, b, transposed, bias, residual, n_threads(), c)
    else:
        _skinny_k(_padded(a), b, transposed, bias, residual, n_threads(), c)


def _padded(x):
    """x, padded with columns of zeros to eight."""
    if x.shape[1] == SKINNY:
        return x
    padded = np.zeros((len(x), SKINNY), x.dtype)
    padded[:, : x.shape[1]] = x
    return padded


def fits_dw(x, dy, dW):
    """Whether `multiply_dw` can compute dW: float32 in C order, one side skinny, the other a multiple of NR."""
    rows, columns = dW.shape
    short, long = (rows, columns) if rows < columns else (columns, rows)
    if short > SKINNY or short == 0 or long % (2 * LANES) or MR == 0 or dW.dtype != FLOAT32:
        return False
    return x.flags.c_contiguous and dy.flags.c_contiguous and dW.flags.c_contiguous


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, where x or dy is narrow."""
    wide, narrow = (x, dy) if dy.shape[1] <= SKINNY else (dy, x)
    _skinny_m(_padded(narrow), wide, n_threads(), wide is x, dW)


@parallel_kernel
def _skinny_n(a, b, transposed, bias, residual, n_threads, c):
    """Each thread owns some rows of c."""
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    n_tiles = (n_rows + MR - 1) // MR
    for part in prange(n_threads):
        columns, biases = _eight_rows(b, not transposed, depth), np.zeros((MR, SKINNY), a.dtype)
        sums = np.zeros(MR * SKINNY, a.dtype)
        for r in range(MR):
            for j in range(bias.size):
                biases[r, j] = bias[j]
        for t in range(part * n_tiles // n_threads, (part + 1) * n_tiles // n_threads):
            i = min(t * MR, n_rows - MR)  # the last micro-tile is moved up: it computes a row again, with the same bits
            result = add(_inner_products(a, i, columns), load(biases, (0, 0)))
            if n_columns == SKINNY:
                store(c, (i, 0), add(load(residual, i * SKINNY), result) if residual.size > 0 else result)
            else:
                store(sums, 0, result)
                for r in range(MR):
                    for j in range(n_columns):
                        start = residual[(i + r) * n_columns + j] if residual.size > 0 else sums.dtype.type(0)
                        c[i + r, j] = sums[r * SKINNY + j] + start


@allocating_kernel
def _eight_rows(b, transposed, width):
    """The rows of b, or of b.T, padded with zeros to eight; any further rows are to be ignored.

    They begin on a cache line: a vector that crosses two takes two loads, and each is loaded many times.
    """
    side = lanes(b)
    if not transposed and b.shape[0] == SKINNY and b.ctypes.data % LINE == 0:
        return b
    rows, done = aligned_empty(max(SKINNY, side) * width, b.dtype).reshape(max(SKINNY, side), width), 0
    if b.shape[1 if transposed else 0] < SKINNY:
        rows[:] = 0
    if not transposed:
        for i in range(b.shape[0]):
            for j in range(0, width, side):
                store(rows, (i, j), load(b, (i, j)))
        return rows
    if b.shape[1] == SKINNY:
        flat_b, zero = b.reshape(-1), (splat(b.dtype.type(-0.0)),)
        while done + side <= len(b):
            store_rows(rows_to_columns(load_rows(SKINNY, flat_b, done * SKINNY, side, zero)), rows, (0, done))
            done += side
    for i in range(done, b.shape[0]):
        for j in range(b.shape[1]):
            rows[j, i] = b[i, j]
    return rows


@kernel
def _inner_products(a, i, columns):
    """Rows i and i + 1 of a @ columns.T, as one vector.   (2, K) @ (K, 8) -> (16,)"""
    zero = splat(a.dtype.type(0))
    sums = copies(MR, (zero, zero, zero, zero, zero, zero, zero, zero))
    for k in range(0, a.shape[1], lanes(a)):
        prefetch(a, (i + 2 * MR, k))  # the micro-tile after the next one
        prefetch(a, (i + 2 * MR + 1, k))
        sums = add_inner(sums, a, (i, k), columns)
    return reduce_add_each(sums)


@parallel_kernel
def _skinny_k(a, b, transposed, bias, residual, n_threads, c):
    """Each thread owns some rows of c. Eight rows of b, two vectors wide, stay in registers for some rows of a."""
    n_rows, n_columns = c.shape
    nr = 2 * lanes(c)
    for part in prange(n_threads):
        rows, zeros = _eight_rows(b, transposed, n_columns), np.zeros(nr, c.dtype)
        biases = bias if bias.size > 0 else np.zeros(n_columns, c.dtype)
        top, bottom = part * n_rows // n_threads // 2 * 2, (part + 1) * n_rows // n_threads // 2 * 2
        bottom = n_rows if part == n_threads - 1 else bottom
        for i0 in range(top, bottom, MC):
            for j in range(0, n_columns, nr):
                c_from = Strided(residual, j, n_columns) if residual.size > 0 else Strided(zeros, 0, 0)
                _rows_of_panel(a, rows, j, i0, min(i0 + MC, bottom), c_from, biases, c)


@kernel
def _rows_of_panel(a, b, j, top, bottom, c_from, bias, c):
    """Rows top:bottom of c[:, j : j + NR] = a @ b + bias + c_from.   (M, 8) @ (8, NR) -> (M, NR)"""
    half = lanes(c)
    b0, b1 = (load(b, (0, j)), load(b, (0, j + half))), (load(b, (1, j)), load(b, (1, j + half)))
    b2, b3 = (load(b, (2, j)), load(b, (2, j + half))), (load(b, (3, j)), load(b, (3, j + half)))
    b4, b5 = (load(b, (4, j)), load(b, (4, j + half))), (load(b, (5, j)), load(b, (5, j + half)))
    b6, b7 = (load(b, (6, j)), load(b, (6, j + half))), (load(b, (7, j)), load(b, (7, j + half)))
    start = load(bias, j), load(bias, j + half)
    for row in range(top, bottom, 2):
        i = min(row, len(a) - 2)
        sums = load_rows(2, c_from.memory, c_from.first + i * c_from.stride, c_from.stride, start)
        sums = add_outer(add_outer(sums, a, (i, 0), b0), a, (i, 1), b1)
        sums = add_outer(add_outer(sums, a, (i, 2), b2), a, (i, 3), b3)
        sums = add_outer(add_outer(sums, a, (i, 4), b4), a, (i, 5), b5)
        sums = add_outer(add_outer(sums, a, (i, 6), b6), a, (i, 7), b7)
        store_rows(sums, c, (i, j))


@parallel_kernel
def _skinny_m(narrow, wide, n_threads, transposed, c):
    """c += narrow.T @ wide, or c.T if transposed.   (8, T) @ (T, N) -> (8, N), of which c may have only the first rows

    Each thread owns some columns of the product.
    """
    n_panels = wide.shape[1] // (2 * lanes(wide))
    for part in prange(n_threads):
        _columns_of_dw(narrow, wide, part * n_panels // n_threads, (part + 1) * n_panels // n_threads, transposed, c)


@allocating_kernel
def _columns_of_dw(narrow, wide, first, last, transposed, c):
    """Panels first:last of dW, MC rows of the factors at a time: what the next panel reads is then near in memory."""
    nr, side = 2 * lanes(wide), lanes(wide)
    n_rows, zeros, x = (last - first) * SKINNY, np.zeros(nr, wide.dtype), wide.reshape(-1)
    flat_sums = aligned_empty(n_rows * nr, wide.dtype)
    flat_sums[:], sums = 0, flat_sums.reshape(n_rows, nr)
    for t in range(0, len(wide), MC):
        end = min(t + MC, len(wide))
        for p in range(first, last):
            j, row = p * nr, (p - first) * SKINNY
            c_from = Strided(flat_sums, row * nr, nr)
            next_rows = Strided(x, (t + PREFETCH_ROWS) * wide.shape[1] + j, wide.shape[1])
            micro_kernel(SKINNY, narrow[t:end].T, wide[t:end, j : j + nr], zeros, c_from, sums, row, 0, next_rows)
    if transposed and c.shape[1] == SKINNY:
        out, square, zero = c.reshape(-1), np.empty((SKINNY, side), c.dtype), (splat(c.dtype.type(-0.0)),)
        for j in range(first * nr, last * nr, side):
            position = (j // nr - first) * SKINNY * nr + j % nr
            store_rows(columns_to_rows(load_rows(SKINNY, flat_sums, position, nr, zero)), square, (0, 0))
            for r in range(SKINNY):
                for n in range(side):
                    out[j * SKINNY + r * side + n] += square[r, n]
    elif transposed:
        for p in range(first, last):
            for n in range(nr):
                for r in range(c.shape[1]):
                    c[p * nr + n, r] += sums[(p - first) * SKINNY + r, n]
    else:
        for p in range(first, last):
            for r in range(len(c)):
                for n in range(nr):
                    c[r, p * nr + n] += sums[(p - first) * SKINNY + r, n]
