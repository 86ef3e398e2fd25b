"""Matrix products for linear layers: forward, and the two products that backward needs.

All three are one loop, c = a @ b:

    y  = x @ W + b     a = x (T, I),    b = W   (I, O)
    dx = dy @ W.T      a = dy (T, O),   b = W.T (O, I)
    dW = x.T @ dy      a = x.T (I, T),  b = dy  (T, O)

The innermost loop walks along a row of b and a row of c, where neighbours are loaded, multiplied and added as vectors.
On its own that would be slow: each multiply-add would wait for two loads and a store. So a *tile* of four rows of c
takes four steps of k at once: for each vector of columns, 4 loads from b and 4 from c feed 16 multiply-adds. The 16
numbers of a stay in registers; AVX-512 has 32 of these, AVX2 16, and there some are loaded again. (More rows or more
steps would need more registers than there are.) The loops around the tile keep what it reads in the caches:

    for each thread's band of rows of c
        for each strip of b: 384 columns, copied so that a row follows directly upon the one before
            for each 128 rows of the band: 192 KB of c, which stay in the L2 cache
                for each 192 rows of the strip: 288 KB of b, which stay there, too
                    for each tile: sums in a scratch of 4 rows (6 KB, L1 cache), then stored in c or added to it

A weight that never changes is copied into strips once (`prepare`). The number of columns of a strip is a constant in
the code: LLVM then knows how often the loop turns, writes no second loop for a remainder, and does not run out of
registers. And 192 numbers at a time round better than one long sum.

Every number of c is summed by one thread. For products of one shape the order of its sum depends on nothing else: not
on the number of threads, not on the other numbers, not on where arrays lie. (Fewer than 64 columns are summed in
another order than more.)
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange

from ._compile import kernel, ordered_kernel, parallel_kernel
from .memory import empty

WIDE, NARROW = 384, 64  # columns of a strip: the D of MiniLM, half that of BERT-base, and the usual M of an adapter
DEPTH = 192  # rows of a strip that are used again and again, best of 128, 192, 256 and 384
ROWS, BLOCK = 4, 128  # of a tile, and of what stays in the L2 cache of c


def matmul(x, W, b=None, strips=None):
    """y = x @ W + b.   (T, I) @ (I, O) -> (T, O)

    strips: the first of `prepare(W)`, if the caller keeps it.
    """
    y, bias = empty((x.shape[0], W.shape[1]), x.dtype), np.zeros(W.shape[1], x.dtype) if b is None else b
    if W.shape[1] < NARROW:
        _dots(x, np.ascontiguousarray(W.T), bias, y)
    else:
        _product(x, _strips(W) if strips is None else strips, bias, y)
    return y


def matmul_dx(dy, W, strips=None):
    """dx = dy @ W.T.   (T, O) @ (O, I) -> (T, I)

    strips: the second of `prepare(W)`, if the caller keeps it.
    """
    dx, bias = empty((dy.shape[0], W.shape[0]), dy.dtype), np.zeros(W.shape[0], dy.dtype)
    if W.shape[0] < NARROW:
        _dots(dy, W, bias, dx)
    else:
        _product(dy, _strips(W, transposed=True) if strips is None else strips, bias, dx)
    return dx


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW"""
    if dW.shape[1] > NARROW:
        _product(_transposed(x), _strips(dy), None, dW)
    elif dW.shape[0] >= NARROW:  # few columns but many rows: dW.T = dy.T @ x has less to transpose, and wide strips
        dW_t = empty(dW.shape[::-1], dW.dtype)
        _product(_transposed(dy), _strips(x), np.zeros(dW.shape[0], dW.dtype), dW_t)
        dW += dW_t.T
    else:
        small = empty(dW.shape, dW.dtype)
        _dots(_transposed(x), _transposed(dy), np.zeros(dW.shape[1], dW.dtype), small)
        dW += small


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)"""
    _sum_rows(dy, db)


def prepare(W):
    """What `matmul` and what `matmul_dx` can use of a W that never changes: the strips of W, and those of W.T."""
    return (_strips(W) if W.shape[1] >= NARROW else None), (_strips(W, True) if W.shape[0] >= NARROW else None)


# ------------------------------------------------------------------------------------------------------------ strips


@kernel
def _width(columns_left):
    return WIDE if columns_left >= WIDE else NARROW


def _strips(b, transposed=False):
    """The strips of b, or of b.T, one behind the other. A b that is a single strip is not copied."""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    if n_columns in (WIDE, NARROW) and not transposed:
        return np.ascontiguousarray(b).reshape(-1)
    wide, rest = divmod(n_columns, WIDE)
    strips = empty((depth * (wide * WIDE + -(-rest // NARROW) * NARROW),), b.dtype)
    _copy_strips(b, transposed, n_columns, strips)
    return strips


@parallel_kernel
def _copy_strips(b, transposed, n_columns, strips):
    """Each thread copies blocks of 16 rows. The last strip is moved back until it fits, and overlaps its neighbour.

    b.T is read in squares of 16 x 16, which stay in the L1 cache, so that both sides are walked along their rows.
    """
    depth = b.shape[1] if transposed else b.shape[0]
    for block in prange((depth + 15) // 16):
        k0, k1 = block * 16, min(block * 16 + 16, depth)
        column, begin = 0, 0
        while column < n_columns:
            width = _width(n_columns - column)
            left = min(column, n_columns - width)
            for j0 in range(0, width, 16):
                for k in range(k0, k1):
                    row = strips[begin + k * width + j0 : begin + k * width + j0 + 16]
                    if transposed:
                        for j in range(16):
                            row[j] = b[left + j0 + j, k]
                    else:
                        _copy(b[k, left + j0 : left + j0 + 16], row)
            column, begin = left + width, begin + depth * width


@kernel
def _copy(source, target):
    for j in range(target.size):
        target[j] = source[j]


# ----------------------------------------------------------------------------------------------------------- product


def _product(a, strips, bias, c):
    """c = a @ b + bias; or c += a @ b if bias is None. At least NARROW columns."""
    if a.shape[1] == 0:  # nothing to sum, and a tile would never be stored
        if bias is not None:
            c[...] = bias
        return
    if a.shape[0] < ROWS:  # a batch of one short text: with rows of zeros it fills a tile
        few, c_few = np.zeros((ROWS, a.shape[1]), a.dtype), np.zeros((ROWS, c.shape[1]), a.dtype)
        few[: len(a)], c_few[: len(a)] = a, c
        _product(few, strips, bias, c_few)
        c[...] = c_few[: len(a)]
        return
    n_threads = get_num_threads()
    rows = -(-a.shape[0] // (n_threads * ROWS)) * ROWS  # one band of whole tiles for each thread
    sums = empty((n_threads, ROWS * WIDE), a.dtype)
    adds = bias is None
    _multiply(a, strips, np.zeros(c.shape[1], a.dtype) if adds else bias, adds, rows, sums, c)


@parallel_kernel
def _multiply(a, strips, bias, adds, rows, sums, c):
    """Each thread owns a band of rows of c, and takes it through strip after strip.

    The last tile and the last strip of an edge are moved back until they fit. What they compute for the second time is
    not stored.
    """
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    for band in prange((n_rows + rows - 1) // rows):
        top, bottom, mine = band * rows, min(band * rows + rows, n_rows), sums[band]
        column, begin = 0, 0
        while column < n_columns:
            width = _width(n_columns - column)
            left = min(column, n_columns - width)
            strip = strips[begin : begin + depth * width]
            for block in range(top, bottom, BLOCK):
                below = min(block + BLOCK, bottom)
                for k0 in range(0, depth, DEPTH):
                    k1 = min(k0 + DEPTH, depth)
                    for row in range(block, below, ROWS):
                        i = min(row, n_rows - ROWS)
                        _begin(bias[left : left + width], adds or k0 > 0, mine)
                        if width == WIDE:
                            _wide_tile(a, i, k0, k1, strip, mine)
                        else:
                            _narrow_tile(a, i, k0, k1, strip, mine)
                        for r in range(row - i, ROWS):
                            new = mine[r * width + column - left : r * width + width]
                            _store(new, adds or k0 > 0, c[i + r, column : left + width])
            column, begin = left + width, begin + depth * width


@kernel
def _begin(bias, adds, sums):
    """Four rows of sums start from the bias; or from zero, if they will be added to what c has already."""
    for r in range(ROWS):
        row = sums[r * bias.size : (r + 1) * bias.size]
        for j in range(row.size):
            row[j] = 0 if adds else bias[j]


@kernel
def _store(sums, adds, c):
    for j in range(c.size):
        c[j] = c[j] + sums[j] if adds else sums[j]


@ordered_kernel
def add_four(total, x, y):
    """total + x[0] y[0] + x[1] y[1] + x[2] y[2] + x[3] y[3], in this order."""
    return total + x[0] * y[0] + x[1] * y[1] + x[2] * y[2] + x[3] * y[3]


@kernel
def four(row, k):
    return row[k], row[k + 1], row[k + 2], row[k + 3]


def _tile_of(width):
    """A tile with a constant number of columns."""

    @ordered_kernel
    def tile(a, i, k0, k1, strip, sums):
        """sums (4, width) += a[i : i + 4, k0:k1] @ the strip's rows k0:k1

        The loop over k is a range from zero: LLVM then knows that no index is negative, and need not ask.
        """
        depth, b = k1 - k0, strip[k0 * width : k1 * width]
        s0, s1, s2, s3 = sums[:width], sums[width : 2 * width], sums[2 * width : 3 * width], sums[3 * width : 4 * width]
        a0, a1, a2, a3 = a[i, k0:k1], a[i + 1, k0:k1], a[i + 2, k0:k1], a[i + 3, k0:k1]
        for n in range(depth // 4):
            k, at = 4 * n, 4 * n * width
            x0, x1, x2, x3 = four(a0, k), four(a1, k), four(a2, k), four(a3, k)
            b0, b1 = b[at : at + width], b[at + width : at + 2 * width]
            b2, b3 = b[at + 2 * width : at + 3 * width], b[at + 3 * width : at + 4 * width]
            for j in range(width):
                y = b0[j], b1[j], b2[j], b3[j]
                t0, t1 = add_four(s0[j], x0, y), add_four(s1[j], x1, y)
                t2, t3 = add_four(s2[j], x2, y), add_four(s3[j], x3, y)
                s0[j], s1[j], s2[j], s3[j] = t0, t1, t2, t3
        for k in range(depth // 4 * 4, depth):
            x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
            b0 = b[k * width : k * width + width]
            for j in range(width):
                y = b0[j]
                t0, t1, t2, t3 = s0[j] + x0 * y, s1[j] + x1 * y, s2[j] + x2 * y, s3[j] + x3 * y
                s0[j], s1[j], s2[j], s3[j] = t0, t1, t2, t3

    return tile


_wide_tile, _narrow_tile = _tile_of(WIDE), _tile_of(NARROW)


# --------------------------------------------------------------------------------------------------------- few columns


@parallel_kernel
def _dots(a, b_rows, bias, c):
    """c = a @ b_rows.T + bias, for few columns: a head with two classes, an adapter with M = 8.

    A strip would be mostly empty. Here c[i, j] is the dot product of two rows, and vectors go along k.
    """
    for i in prange(a.shape[0]):
        row, n_columns = a[i], b_rows.shape[0]
        for column in range(0, n_columns, 4):
            if n_columns < 4:
                for j in range(n_columns):
                    c[i, j] = _dot(row, b_rows[j]) + bias[j]
            else:
                j = min(column, n_columns - 4)
                d0, d1, d2, d3 = _four_dots(row, b_rows[j], b_rows[j + 1], b_rows[j + 2], b_rows[j + 3])
                c[i, j], c[i, j + 1] = d0 + bias[j], d1 + bias[j + 1]
                c[i, j + 2], c[i, j + 3] = d2 + bias[j + 2], d3 + bias[j + 3]


@kernel
def _dot(a, b):
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@kernel
def _four_dots(a, b0, b1, b2, b3):
    zero = a.dtype.type(0)
    d0 = d1 = d2 = d3 = zero
    for k in range(a.size):
        d0 += a[k] * b0[k]
        d1 += a[k] * b1[k]
        d2 += a[k] * b2[k]
        d3 += a[k] * b3[k]
    return d0, d1, d2, d3


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
