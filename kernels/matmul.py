"""Matrix products for linear layers: forward, and the two products that backward needs.

All three are one loop. "Rows times rows": c[i, j] is the dot product of row i of a and row j of b, both of which lie
contiguously in memory, so the sum over k runs over neighbours and LLVM makes vector instructions of it.

    y  = x @ W + b     a = x (T, I),    b = W.T (O, I)     W is transposed first
    dx = dy @ W.T      a = dy (T, O),   b = W   (I, O)     nothing to transpose
    dW = x.T @ dy      a = x.T (I, T),  b = dy.T (O, T)    both are

A transpose moves each number once, a product uses it hundreds of times. One dot product at a time would still be
slow, since each multiplication would wait for two loads. So a *tile* of 6 rows and 4 columns is summed at once: 10
loads feed 24 multiply-adds, and the 24 running sums stay in registers. Tiles are taken from panels that fit the L2
cache.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import kernel, parallel_kernel
from .memory import empty

TILE_ROWS, TILE_COLUMNS = 6, 4  # 24 sums + 4 b's + 1 a fit the 32 vector registers of AVX-512
PANEL_ROWS, PANEL_COLUMNS = 24, 96  # one task of the thread pool, best of 14 measured; multiples of the tile


def matmul(x, W, b=None, W_t=None):
    """y = x @ W + b.   (T, I) @ (I, O) -> (T, O)

    W_t is W.T in C order (O, I), if the caller keeps it: a frozen W need not be transposed again in every step.
    """
    return _rows_times_rows(x, _transposed(W) if W_t is None else W_t, b)


def matmul_dx(dy, W):
    """dx = dy @ W.T.   (T, O) @ (O, I) -> (T, I)"""
    return _rows_times_rows(dy, W)


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW"""
    dW += _rows_times_rows(_transposed(x), _transposed(dy))


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)"""
    _sum_rows(dy, db)


def _transposed(a):
    t = empty(a.shape[::-1], a.dtype)
    _transpose(a, t)
    return t


@kernel
def _multiply_add(sums, x, y):
    """Four running sums: sums + x * y."""
    return sums[0] + x * y[0], sums[1] + x * y[1], sums[2] + x * y[2], sums[3] + x * y[3]


@kernel
def _tile(a, b, i, j, bias, c):
    """The 6 x 4 numbers of c whose corner is (i, j)."""
    a0, a1, a2, a3, a4, a5 = a[i], a[i + 1], a[i + 2], a[i + 3], a[i + 4], a[i + 5]
    b0, b1, b2, b3 = b[j], b[j + 1], b[j + 2], b[j + 3]
    zero = a.dtype.type(0)
    s0 = s1 = s2 = s3 = s4 = s5 = (zero, zero, zero, zero)
    for k in range(a.shape[1]):
        y = (b0[k], b1[k], b2[k], b3[k])
        s0 = _multiply_add(s0, a0[k], y)
        s1 = _multiply_add(s1, a1[k], y)
        s2 = _multiply_add(s2, a2[k], y)
        s3 = _multiply_add(s3, a3[k], y)
        s4 = _multiply_add(s4, a4[k], y)
        s5 = _multiply_add(s5, a5[k], y)
    _store(c[i], j, s0, bias)
    _store(c[i + 1], j, s1, bias)
    _store(c[i + 2], j, s2, bias)
    _store(c[i + 3], j, s3, bias)
    _store(c[i + 4], j, s4, bias)
    _store(c[i + 5], j, s5, bias)


@kernel
def _store(row, j, sums, bias):
    row[j] = sums[0] + bias[j]
    row[j + 1] = sums[1] + bias[j + 1]
    row[j + 2] = sums[2] + bias[j + 2]
    row[j + 3] = sums[3] + bias[j + 3]


@kernel
def _dot(a, b):
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@parallel_kernel
def _small_rows_times_rows(a, b, bias, c):
    """The same product without tiles, for a c smaller than one: a head with two classes, a batch of one text."""
    for i in prange(a.shape[0]):
        for j in range(b.shape[0]):
            c[i, j] = _dot(a[i], b[j]) + bias[j]


@parallel_kernel
def _tiled_rows_times_rows(a, b, bias, c):
    """c = a @ b.T + bias.   (R, K) and (S, K) -> (R, S), with R >= 6 and S >= 4

    The last tile of an edge is moved back until it fits, and computes a few numbers that its neighbour has too, in
    the same order and so with the same bits: no special code for remainders.
    """
    n_rows, n_columns = a.shape[0], b.shape[0]
    panels_down = (n_rows + PANEL_ROWS - 1) // PANEL_ROWS
    panels_across = (n_columns + PANEL_COLUMNS - 1) // PANEL_COLUMNS
    for panel in prange(panels_across * panels_down):
        left = panel // panels_down * PANEL_COLUMNS  # down first: a panel of b stays in the cache, a streams past it
        top = panel % panels_down * PANEL_ROWS
        for row in range(top, min(top + PANEL_ROWS, n_rows), TILE_ROWS):
            i = min(row, n_rows - TILE_ROWS)
            for column in range(left, min(left + PANEL_COLUMNS, n_columns), TILE_COLUMNS):
                _tile(a, b, i, min(column, n_columns - TILE_COLUMNS), bias, c)


def _rows_times_rows(a, b, bias=None):
    c = empty((a.shape[0], b.shape[0]), a.dtype)
    fits = a.shape[0] >= TILE_ROWS and b.shape[0] >= TILE_COLUMNS
    multiply = _tiled_rows_times_rows if fits else _small_rows_times_rows
    multiply(a, b, np.zeros(b.shape[0], a.dtype) if bias is None else bias, c)
    return c


@parallel_kernel
def _transpose(a, t):
    """t = a.T, in squares of 16 x 16 that stay in the L1 cache, so that both sides are walked along their rows."""
    n_rows, n_columns = a.shape
    for block in prange((n_columns + 15) // 16):
        j0, j1 = block * 16, min(block * 16 + 16, n_columns)
        for i0 in range(0, n_rows, 16):
            i1 = min(i0 + 16, n_rows)
            for j in range(j0, j1):
                row = t[j, i0:i1]
                for i in range(row.size):
                    row[i] = a[i0 + i, j]


@parallel_kernel
def _sum_rows(dy, db):
    """Each thread owns columns and walks down all rows, so the order of the sum is fixed."""
    n_columns = db.size
    for block in prange((n_columns + 63) // 64):
        j0, j1 = block * 64, min(block * 64 + 64, n_columns)
        total = db[j0:j1]
        for i in range(dy.shape[0]):
            row = dy[i, j0:j1]
            for j in range(row.size):
                total[j] += row[j]
