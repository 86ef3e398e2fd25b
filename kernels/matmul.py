"""Matrix products for linear layers: forward, and the two products that backward needs.

All three are one loop, c = a @ b:

    y  = x @ W + b     a = x (T, I),    b = W   (I, O)
    dx = dy @ W.T      a = dy (T, O),   b = W.T (O, I)
    dW = x.T @ dy      a = x.T (I, T),  b = dy  (T, O)

A processor can begin two vector multiply-adds in a cycle, but also only two loads. So what was loaded must be used more
than once: a *tile* of c, 6 rows of two vectors, is summed in 12 registers, and each step of k loads 2 vectors of b and
6 numbers of a for 12 multiply-adds. With b's two vectors and a number of a in every lane that makes 15 registers, and
AVX2 has 16. The loops around the tile keep what it reads in the caches:

    for each thread's band of rows of c
        for each 120 rows of the band
            for each 192 steps of k: 90 KB of a, which stay in the L2 cache
                for each strip of b, two vectors wide: 24 KB with AVX-512, which stay in the L1 cache
                    for each tile: sum in registers, then store in c or add to it

b is copied into *strips*, in which the two vectors of a row follow directly upon those of the row before; the last one
is filled up with zeros. A weight that never changes is copied once (`prepare`).

Every number of c is summed by one thread, in an order that depends on the length of the sum alone: not on the number of
threads, not on the other numbers, not on where arrays lie.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange

from ._compile import kernel, parallel_kernel
from .memory import empty, zeros
from .simd import lanes
from .tile import ROWS, fill_strips, fill_strips_transposed, tile

BLOCK, DEPTH = 20 * ROWS, 192  # rows and steps of a that stay in the L2 cache


def matmul(x, W, b=None, strips=None):
    """y = x @ W + b.   (T, I) @ (I, O) -> (T, O)

    strips: the first of `prepare(W)`, if the caller keeps it.
    """
    y = empty((x.shape[0], W.shape[1]), x.dtype)
    _product(x, _strips(W) if strips is None else strips, b, y)
    return y


def matmul_dx(dy, W, strips=None):
    """dx = dy @ W.T.   (T, O) @ (O, I) -> (T, I)

    strips: the second of `prepare(W)`, if the caller keeps it.
    """
    dx = empty((dy.shape[0], W.shape[0]), dy.dtype)
    _product(dy, _strips(W, transposed=True) if strips is None else strips, None, dx)
    return dx


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW

    Raises ValueError if neighbours in a row of dW are not neighbours in memory.
    """
    if dW.strides[1] != dW.itemsize:
        raise ValueError(f"dW must be in C order, got shape {dW.shape} with strides {dW.strides}")
    if dW.shape[1] < 2 * lanes(dW) <= dW.shape[0]:  # a strip would be half empty, but not with dW.T = dy.T @ x
        dW_t = zeros(dW.shape[::-1], dW.dtype)
        _product(_transposed(dy), _strips(x), None, dW_t, adds=True)
        dW += dW_t.T
    else:
        _product(_transposed(x), _strips(dy), None, dW, adds=True)


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)"""
    _sum_rows(dy, db)


def prepare(W):
    """What `matmul` and what `matmul_dx` can use of a W that never changes: the strips of W, and those of W.T."""
    return _strips(W), _strips(W, transposed=True)


# ------------------------------------------------------------------------------------------------------------ strips


def _strips(b, transposed=False):
    """The strips of b, or of b.T.   (K, C) -> (strips, K, width)"""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    width = 2 * lanes(b)
    strips = empty((-(-n_columns // width), depth, width), b.dtype)
    strips[n_columns // width :] = 0
    _fill_strips(b, transposed, strips)
    return strips


@parallel_kernel
def _fill_strips(b, transposed, strips):
    """Each thread fills blocks of 16 rows of the strips; that few of all columns of a strip stay in the L1 cache."""
    depth = strips.shape[1]
    for block in prange((depth + 15) // 16):
        k0, k1 = block * 16, min(block * 16 + 16, depth)
        if transposed:
            fill_strips_transposed(b, 0, k0, k1, strips)
        else:
            fill_strips(b, 0, b.shape[1], k0, k1, strips)


# ----------------------------------------------------------------------------------------------------------- product


def _product(a, strips, bias, c, adds=False):
    """c = a @ b + bias (None: no bias); or c += a @ b if adds."""
    n_strips, depth, width = strips.shape
    if depth == 0 and not adds:  # nothing to sum, and a tile would never be stored
        c[...] = 0 if bias is None else bias
    if depth == 0 or len(a) == 0:
        return
    if len(a) < ROWS:  # a batch of one short text: with rows of zeros it fills a tile
        few, c_few = zeros((ROWS, depth), a.dtype), zeros((ROWS, c.shape[1]), a.dtype)
        few[: len(a)], c_few[: len(a)] = a, c
        _product(few, strips, bias, c_few, adds)
        c[...] = c_few[: len(a)]
        return
    start = zeros(n_strips * width, a.dtype)
    if bias is not None:
        start[: len(bias)] = bias
    n_threads = get_num_threads()
    rows = -(-len(a) // (n_threads * ROWS)) * ROWS  # one band of whole tiles for each thread
    _multiply(a, strips, start, adds, rows, empty((n_threads, ROWS, width), a.dtype), c)


@parallel_kernel
def _multiply(a, strips, start, adds, rows, scratch, c):
    """Each thread owns a band of rows of c.

    The last tile of all rows is moved back until it fits, and the last strip may be wider than c. There the tile goes
    to a scratch, and what is wanted of it is stored from there.
    """
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    n_strips, _, width = strips.shape
    nothing = np.zeros(width, start.dtype)
    for band in prange((n_rows + rows - 1) // rows):
        bottom, edge = min(band * rows + rows, n_rows), scratch[band]
        for block in range(band * rows, bottom, BLOCK):
            for k0 in range(0, depth, DEPTH):
                k1, more = min(k0 + DEPTH, depth), adds or k0 > 0
                for s in range(n_strips):
                    left = s * width
                    strip, begin = strips[s, k0:k1].reshape(-1), nothing if more else start[left : left + width]
                    for row in range(block, min(block + BLOCK, bottom), ROWS):
                        i, wanted = min(row, n_rows - ROWS), min(width, n_columns - left)
                        if i == row and wanted == width:
                            tile(a[i : i + ROWS, k0:k1], strip, begin, more, c[i : i + ROWS, left : left + width])
                        else:
                            tile(a[i : i + ROWS, k0:k1], strip, begin, False, edge)
                            for r in range(row - i, ROWS):
                                _store(edge[r, :wanted], more, c[i + r, left : left + wanted])


@kernel
def _store(sums, adds, c):
    for j in range(c.size):
        c[j] = c[j] + sums[j] if adds else sums[j]


# ----------------------------------------------------------------------------------------------- transpose, sum of rows


def _transposed(a):
    t = empty(a.shape[::-1], a.dtype)
    _transpose(a, t)
    return t


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
