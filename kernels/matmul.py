"""Matrix products for linear layers: forward, and the two products that backward needs.

All three are one, c = a @ b:

    y  = x @ W + b     a = x (T, I),    b = W   (I, O)
    dx = dy @ W.T      a = dy (T, O),   b = W.T (O, I)
    dW = x.T @ dy      a = x.T (I, T),  b = dy  (T, O)

and there are two ways to it, each a file with the same two functions: `in_strips` brings b into the order in which the
innermost loop reads it, and `multiply` does the rest. With multiply-adds of vectors: matmul_fma.py. On the matrix unit,
if the processor has one and numbers are float32: matmul_amx.py. A b that never changes, a frozen weight, is brought
into its order once (`prepare`), all others by each product. Narrow ones are a case of their own: matmul_narrow.py.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from . import amx, matmul_amx, matmul_fma, matmul_narrow
from ._compile import parallel_kernel
from .memory import empty
from .simd import add, lanes, load, store, transpose_square


def matmul(x, W, b=None, strips=None, plus=None):
    """y = x @ W + b + plus.   (T, I) @ (I, O) -> (T, O)

    strips: the first of `prepare(W)`, if the caller keeps it. plus (T, O): what is to be added, on the way to memory.
    """
    y = empty((x.shape[0], W.shape[1]), x.dtype)
    return _product(x, W, False, strips, b, _in_rows(plus), y)


def matmul_dx(dy, W, strips=None, plus=None):
    """dx = dy @ W.T + plus.   (T, O) @ (O, I) -> (T, I)

    strips: the second of `prepare(W)`, if the caller keeps it. plus (T, I): another gradient of the same x.
    """
    dx = empty((dy.shape[0], W.shape[0]), dy.dtype)
    return _product(dy, W, True, strips, None, _in_rows(plus), dx)


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW

    Raises ValueError if neighbours in a row of dW are not neighbours in memory.
    """
    if dW.shape != (x.shape[1], dy.shape[1]):
        raise ValueError(f"dW of shape {dW.shape} for a product of {x.T.shape} and {dy.shape}: the shapes do not fit")
    if dW.strides[1] != dW.itemsize:
        raise ValueError(f"dW must be in C order, got shape {dW.shape} with strides {dW.strides}")
    if matmul_narrow.fits_dw(x, dy, dW):
        matmul_narrow.multiply_dw(x, dy, dW)
        return
    rows, columns, width = *dW.shape, 2 * lanes(dW)
    # A strip would be half empty, but not of dW.T = dy.T @ x; or all of a wide dy would be cut or copied for few tiles.
    if columns < width <= rows or width <= rows <= columns // 6:
        transposed = _product(dy.T, x, False, None, None, None, empty((columns, rows), dW.dtype))
        if dW.flags.c_contiguous:
            _add_transposed(transposed, dW)
        else:
            dW += transposed.T
    elif dW.flags.c_contiguous:
        _product(x.T, dy, False, None, None, dW, dW)
    else:  # a part of a wider array
        dW += _product(x.T, dy, False, None, None, None, empty(dW.shape, dW.dtype))


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)"""
    _sum_rows(dy, db)


def prepare(W):
    """What `matmul` and what `matmul_dx` can use of a W that never changes: W in strips, and W.T."""
    return _way_of(W).in_strips(W, False), _way_of(W).in_strips(W, True)


# ----------------------------------------------------------------------------------------------------------- product


def _way_of(numbers):
    return matmul_amx if amx.ALLOWED and numbers.dtype == np.float32 else matmul_fma


def _product(a, b, transposed, strips, bias, plus, c):
    """c = a @ b + bias + plus, or a @ b.T; strips, bias and plus may be None, and plus may be c itself. Returns c."""
    _check(a, b.T if transposed else b, bias, plus, c)
    if strips is None and plus is not c and matmul_narrow.fits(a, b, transposed, c):
        matmul_narrow.multiply(a, b, transposed, bias, plus, c)
    else:
        _way_of(c).multiply(_one_piece(a), b, transposed, strips, bias, plus, c)
    return c


def _one_piece(a):
    return a if a.flags.c_contiguous or a.flags.f_contiguous else np.ascontiguousarray(a)


def _in_rows(plus):
    return None if plus is None else np.ascontiguousarray(plus)


def _check(a, b, bias, plus, c):
    """Kernels do not check bounds: a shape that does not fit would be whatever memory lies there."""
    fits, dtype = a.shape[1] == b.shape[0], b.dtype
    fits = fits and (bias is None or bias.shape == c.shape[1:]) and (plus is None or plus.shape == c.shape)
    if not fits:
        added = "".join(f", to which {x.shape} is added" for x in (bias, plus) if x is not None)
        raise ValueError(f"a product of {a.shape} and {b.shape}{added}: the shapes do not fit")
    for x in (a, bias, plus, c):
        if x is not None and x.dtype != dtype:
            raise ValueError(f"a product of {a.dtype} and {dtype}: all arrays must have one dtype")


@parallel_kernel
def _add_transposed(x, out):
    """out += x.T, in squares as wide as a vector."""
    (n_rows, n_columns), side = out.shape, lanes(x)
    for block in prange((n_rows + side - 1) // side):
        square, i = np.empty((side, side), x.dtype), block * side
        for j in range(0, n_columns, side):
            if i + side <= n_rows and j + side <= n_columns:
                transpose_square(x, (j, i), square, (0, 0))
                for r in range(side):
                    store(out, (i + r, j), add(load(out, (i + r, j)), load(square, (r, 0))))
            else:
                for r in range(i, min(i + side, n_rows)):
                    for c in range(j, min(j + side, n_columns)):
                        out[r, c] += x[c, r]


# ------------------------------------------------------------------------------------------------------ sum of rows


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
