"""Matrix products for linear layers: forward, and the two products that backward needs.

All three are one, c = a @ b:

    y  = x @ W + b     a = x (T, I),    b = W   (I, O)
    dx = dy @ W.T      a = dy (T, O),   b = W.T (O, I)
    dW = x.T @ dy      a = x.T (I, T),  b = dy  (T, O)

and there are two ways to it, each a file with the same two functions: `pack_panels` copies b into the order in which
the micro-kernel reads it, and `multiply` does the rest. With multiply-adds of vectors: gemm_fma.py. With AMX tiles, if
the processor has them and numbers are float32: gemm_amx.py. A b that never changes, a frozen weight, is brought
into its order once (`prepare`), all others by each product. Narrow ones are a case of their own: skinny.py. And
MINIBERT_KERNELS=blas puts NumPy's BLAS in the place of all of them: blas.py.

What follows a product can be done with it, which saves a pass over memory: adding another gradient (`plus`), and
multiplying by the slope of an activation (`times`). And since Python, too, finds its caches empty after a kernel, and
takes 40 us instead of 6, what follows most products is part of the same call: dropout, GELU (`matmul_gelu`), and
all gradients of a linear layer (`matmul_backward`).
"""

from __future__ import annotations

import os

import numpy as np

from ..activations import gelu
from ..dropout import NO_KEY, dropout, settings
from ..runtime.pool import empty, zeros
from . import amx, blas, gemm_amx, gemm_fma, skinny
from .skinny import FLOAT32
from .sums import bias_db, check_db

BLAS = os.environ.get("MINIBERT_KERNELS") == "blas"


def matmul(x, W, b=None, strips=None, plus=None, rate=0.0, key=NO_KEY):
    """y = dropout(x @ W + b + plus).   (T, I) @ (I, O) -> (T, O)

    strips: the first of `prepare(W)`, if the caller keeps it. plus (T, O): what is to be added, on the way to memory.
    rate, key: those of `dropout`; rate 0 switches it off.
    """
    y, plus = empty((x.shape[0], W.shape[1]), x.dtype), plus if plus is None else _in_rows(plus)
    if rate > 0 and _at_once(x, W):
        _check(x, W, False, b, plus, None, y)
        gemm_amx.multiply(_in_rows(x), W, False, strips, b, plus, y, dropout=(*settings(rate, key), True))
        return y
    _product(x, W, False, strips, b, plus, y)
    return dropout(y, rate, key) if rate > 0 else y


def matmul_gelu(x, W, b=None, strips=None):
    """y = gelu(u) with u = x @ W + b, and the slope gelu'(u).   (T, I) @ (I, O) -> (T, O), (T, O)"""
    u = empty((x.shape[0], W.shape[1]), x.dtype)
    if _at_once(x, W):
        y = empty(u.shape, u.dtype)
        _check(x, W, False, b, None, None, u)
        gemm_amx.multiply(_in_rows(x), W, False, strips, b, None, u, activated=y)
        return y, u
    return gelu(_product(x, W, False, strips, b, None, u))


def matmul_dx(dy, W, strips=None, plus=None, times=None):
    """dx = (dy @ W.T + plus) times.   (T, O) @ (O, I) -> (T, I)

    strips: the second of `prepare(W)`, if the caller keeps it. plus (T, I): another gradient of the same x. times
    (T, I): x was f(u), and this is f'(u); what is returned is then du.
    """
    dx = empty((dy.shape[0], W.shape[0]), dy.dtype)
    return _product(dy, W, True, strips, None, _in_rows(plus), dx, _in_rows(times))


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW

    Raises ValueError if neighbours in a row of dW are not neighbours in memory.
    """
    _check_dw(x, dy, dW)
    if not BLAS and skinny.fits_dw(x, dy, dW):
        skinny.multiply_dw(x, dy, dW)
    elif dW.flags.c_contiguous:
        _way_of(dW).multiply_dw(_in_rows(x), _in_rows(dy), dW)
    else:  # a part of a wider array
        part = zeros(dW.shape, dW.dtype)
        matmul_dw(x, dy, part)
        dW += part


def matmul_backward(dy, x, W, dW=None, db=None, strips=None, plus=None, times=None, rate=0.0, key=NO_KEY):
    """All gradients of y = dropout(x @ W + b): dx is returned, as by `matmul_dx`, and dW and db are added to.

    x may be None if dW is. With dropout, dy is written over: what y dropped is dropped there, too.
    """
    if not ((dW is None or dW.flags.c_contiguous) and _at_once(dy, W)):
        dy = dropout(dy, rate, key) if rate > 0 else dy
        if dW is not None:
            matmul_dw(x, dy, dW)
        if db is not None:
            bias_db(dy, db)
        return matmul_dx(dy, W, strips, plus, times)
    dx, dy, plus, times = empty((dy.shape[0], W.shape[0]), dy.dtype), _in_rows(dy), _in_rows(plus), _in_rows(times)
    _check(dy, W, True, None, plus, times, dx)
    if dW is None:
        x = None
    else:
        _check_dw(x, dy, dW)
        x = _in_rows(x)
    if db is not None:
        check_db(dy, db)
    dropped = (*settings(rate, key), False) if rate > 0 else gemm_amx.NO_DROPOUT
    gemm_amx.multiply(dy, W, True, strips, None, plus, dx, times, grads=(x, dy, dW, db), dropout=dropped)
    return dx


def _at_once(x, W):
    """Whether what follows a product of these is part of it."""
    return _way_of(x) is gemm_amx and min(W.shape) > skinny.FEW


def prepare(W):
    """What `matmul` and what `matmul_dx` can use of a W that never changes: W in strips, and W.T."""
    return _way_of(W).pack_panels(W, False), _way_of(W).pack_panels(W, True)


# ------------------------------------------------------------------------------------- several weights of the same x


def prepare_each(Ws, bs):
    """What `matmul_each` and `matmul_dx_each` can use of weights (I, O) and biases (O,) that never change.

    On the matrix unit all weights side by side, whose product with x is one. Else of each what `prepare` gives.
    """
    if _at_once(Ws[0], Ws[0]) and Ws[0].shape[1] % gemm_amx.NR == 0:
        return (*prepare(np.hstack(Ws)), np.concatenate(bs))
    return [prepare(W) for W in Ws]


def matmul_each(x, Ws, bs, prepared, first=0):
    """x @ W + b for each of the weights.   (T, I), n times (I, O) -> n times (T, O), a list or an array (n, T, O)

    prepared: what `prepare_each` made of these weights, and of `first` others before them, and maybe more behind.
    """
    if isinstance(prepared, list):
        return [matmul(x, W, b, strips) for W, b, (strips, _) in zip(Ws, bs, prepared[first:], strict=False)]
    (strips, _, bias), n, width = prepared, len(Ws), Ws[0].shape[1]
    if n * width < bias.size:
        size = strips.size // (bias.size // width)
        strips, bias = strips[first * size : (first + n) * size], bias[first * width : (first + n) * width]
    ys = empty((n, len(x), width), x.dtype)
    c = ys.reshape(n * len(x), width)
    _check(x, Ws[0], False, None, None, None, c)
    gemm_amx.multiply(_in_rows(x), Ws[0], False, strips, bias, None, c, parts=(1, n, 0, 0))
    return ys


def matmul_dx_each(dys, Ws, prepared, first=0, plus=None):
    """dx = the sum of dy @ W.T over several weights, + plus.   n times (T, O), n times (I, O) -> (T, I)

    It can be one product if dys are one array (n, T, O). Raises ValueError if there are not as many weights.
    """
    if len(dys) != len(Ws):
        raise ValueError(f"{len(dys)} gradients for {len(Ws)} weights")
    if isinstance(prepared, list) or not isinstance(dys, np.ndarray):
        all_strips = [strips for _, strips in prepared[first:]] if isinstance(prepared, list) else [None] * len(Ws)
        for dy, W, strips in zip(dys, Ws, all_strips, strict=False):
            plus = matmul_dx(dy, W, strips, plus)
        return plus
    (_, strips, bias), n, width, dys, plus = prepared, len(Ws), Ws[0].shape[1], _in_rows(dys), _in_rows(plus)
    steps, others = width // gemm_amx.TILE_K, bias.size // width - first - n
    dx, dy = empty((dys.shape[1], len(Ws[0])), dys.dtype), dys[0]
    _check(dy, Ws[0], True, None, plus, None, dx)
    parts = n, 1, first * steps, others * steps
    gemm_amx.multiply(dy, Ws[0], True, strips, None, plus, dx, parts=parts)
    return dx


# ----------------------------------------------------------------------------------------------------------- product


def _way_of(numbers):
    if BLAS:
        return blas
    return gemm_amx if amx.ALLOWED and numbers.dtype == FLOAT32 else gemm_fma


def _product(a, b, transposed, strips, bias, plus, c, times=None):
    """c = (a @ b + bias + plus) times, or a @ b.T. Returns c."""
    _check(a, b, transposed, bias, plus, times, c)
    if strips is None and not BLAS and skinny.fits(a, b, transposed, c):
        skinny.multiply(a, b, transposed, bias, plus, c)
    elif _way_of(c) is gemm_amx:
        gemm_amx.multiply(_in_rows(a), b, transposed, strips, bias, plus, c, times)
        return c
    else:
        _way_of(c).multiply(_in_rows(a), b, transposed, strips, bias, plus, c)
    return c if times is None else np.multiply(c, times, out=c)


def _in_rows(plus):
    return plus if plus is None or plus.flags.c_contiguous else np.ascontiguousarray(plus)


def _check(a, b, transposed, bias, plus, times, c):
    """Kernels do not check bounds: a shape that does not fit would be whatever memory lies there."""
    shape, dtype = c.shape, c.dtype
    fits = a.shape[1] == b.shape[transposed] and (bias is None or bias.shape == shape[1:])
    if not (fits and (plus is None or plus.shape == shape) and (times is None or times.shape == shape)):
        more = "".join(f", and {x.shape} beside it" for x in (bias, plus, times) if x is not None)
        b = b.T if transposed else b
        raise ValueError(f"a product of {a.shape} and {b.shape}{more}: the shapes do not fit")
    if a.dtype is b.dtype is dtype and plus is None and times is None and (bias is None or bias.dtype is dtype):
        return  # most products, checked in half the time
    for x in (a, b, bias, plus, times):
        if x is not None and x.dtype is not dtype and x.dtype != dtype:
            raise ValueError(f"a product of {a.dtype} and {x.dtype}: all arrays must have one dtype")


def _check_dw(x, dy, dW):
    if len(x) != len(dy) or dW.shape != (x.shape[1], dy.shape[1]):
        raise ValueError(f"dW of shape {dW.shape} for a product of {x.T.shape} and {dy.shape}: the shapes do not fit")
    if not x.dtype == dy.dtype == dW.dtype:
        raise ValueError(f"a product of {x.dtype} and {dy.dtype} for {dW.dtype}: all arrays must have one dtype")
    if dW.strides[1] != dW.itemsize:
        raise ValueError(f"dW must be in C order, got shape {dW.shape} with strides {dW.strides}")
