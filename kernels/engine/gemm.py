"""The products of a linear layer, fast: the twin of kernels/matmul.py, under the same names.

All three products are one, c = a @ b:

    y  = x @ W + b     a = x (T, I),    b = W   (I, O)
    dx = dy @ W.T      a = dy (T, O),   b = W.T (O, I)
    dW = x.T @ dy      a = x.T (I, T),  b = dy  (T, O)

and there are three back ends, files with the same functions: `pack_panels` copies b into the order in which the
micro-kernel reads it, and `multiply` does the rest. With vectors of multiply-adds: gemm_fma.py. With AMX tiles, where
the processor has them and the dtype is float32: gemm_amx.py. MINIBERT_KERNELS=blas puts NumPy's BLAS in their place:
blas.py. Skinny products, of a matrix with at most eight rows or columns, are a case of their own: skinny.py.

A weight that never changes is packed once (`freeze`), any other by each product.

What follows a product can be fused with it, as its epilogue, which saves a pass over memory: adding a residual or
another gradient, multiplying by the derivative of an activation, dropout, GELU. `matmul_backward` is one call for all
gradients of a linear layer. Few calls matter: after a kernel Python finds the processor's caches empty, and what takes
6 us otherwise takes 40.
"""

from __future__ import annotations

import os

import numpy as np

from ..activations import gelu_in_place
from ..dropout import dropout as apply_dropout
from ..dropout import dropout_in_place, settings
from ..runtime.checks import check_dw, check_product, check_shapes
from ..runtime.pool import empty, zeros
from ..runtime.threads import share
from . import amx, blas, gemm_amx, gemm_fma, skinny
from .skinny import FLOAT32
from .sums import add_to_db, check_db, multiply_elements

BLAS = os.environ.get("MINIBERT_KERNELS") == "blas"
FEW_ROWS, LITTLE = 32, 100_000  # of fewer rows, a product that takes one thread fewer ns than this is little work


class Frozen:
    """A weight (I, O) that never changes. It stands where the array stands, and keeps the array in packed panels.

    Panels of W (for y) and of W.T (for dx) are packed when a product first needs them. together: all weights that read
    the same x, and index: which of them this is; one product may then serve several (see `matmul_each`).
    """

    __slots__ = ("W", "_panels", "_panels_t", "dtype", "index", "nbytes", "shape", "size", "together")

    def __init__(self, W):
        self.W, self._panels, self._panels_t, self.together, self.index = W, None, None, None, 0
        self.shape, self.dtype, self.size, self.nbytes = W.shape, W.dtype, W.size, W.nbytes

    @property
    def T(self):
        """The array, transposed."""
        return self.W.T

    def __len__(self):
        return len(self.W)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.W, dtype) if copy else np.asarray(self.W, dtype)

    def panels(self, transposed):
        """Those of W, or of W.T."""
        panels = self._panels_t if transposed else self._panels
        if panels is None:
            panels = _back_end(self.W).pack_panels(self.W, transposed)
            if transposed:
                self._panels_t = panels
            else:
                self._panels = panels
        return panels


def freeze(W):
    """W (I, O) as an object that stands where W stands, for a weight that never changes."""
    return W if BLAS else Frozen(W)


def freeze_each(Ws):
    """Weights (I, O) that read the same x, frozen: `matmul_each` and `matmul_dx_each` may take them as one product."""
    frozen = [freeze(W) for W in Ws]
    same = all(W.shape == Ws[0].shape and W.dtype == Ws[0].dtype for W in Ws)
    if same and len(Ws) > 0 and _fuses(Ws[0], Ws[0]) and Ws[0].shape[1] % gemm_amx.NR == 0:
        together = Frozen(np.hstack(Ws))
        for i, weight in enumerate(frozen):
            weight.together, weight.index = together, i
    return frozen


def matmul(x, W, b=None, residual=None, dropout=None):
    """y = dropout(x @ W + b + residual).   (T, I) @ (I, O) + (O,) + (T, O) -> (T, O)

    b, residual and dropout, (rate, key), may be None. Raises ValueError if shapes or dtypes do not fit.
    """
    y, residual = empty((x.shape[0], W.shape[1]), x.dtype), _in_rows(residual)
    _share(len(x), W)
    if dropout is not None and _fuses(x, W):
        _product(x, W, False, b, residual, y, dropout=settings(dropout))
        return y
    _product(x, W, False, b, residual, y)
    return y if dropout is None else dropout_in_place(y, dropout)


def matmul_gelu(x, W, b=None):
    """y = gelu(u) with u = x @ W + b, and the derivative gelu'(u).   (T, I) @ (I, O) -> (T, O), (T, O)"""
    u = empty((x.shape[0], W.shape[1]), x.dtype)
    _share(len(x), W)
    if _fuses(x, W):
        y = empty(u.shape, u.dtype)
        _product(x, W, False, b, None, u, activated=y)
        return y, u
    return gelu_in_place(_product(x, W, False, b, None, u))


def matmul_dx(dy, W, dx_accum=None, act_grad=None):
    """dx = (dy @ W.T + dx_accum) act_grad.   (T, O) @ (O, I) -> (T, I)

    dx_accum (T, I): the gradient of x from its other consumer. act_grad (T, I): x was f(u), and this is f'(u); what is
    returned is then du. Both may be None.
    """
    dx = empty((dy.shape[0], W.shape[0]), dy.dtype)
    _share(len(dy), W)
    return _product(dy, W, True, None, _in_rows(dx_accum), dx, _in_rows(act_grad))


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW

    Raises ValueError if neighbours in a row of dW are not neighbours in memory.
    """
    check_dw(x, dy, dW)
    _share(len(x), dW)
    _add_dw(x, dy, dW)


def _add_dw(x, dy, dW):
    if not BLAS and skinny.fits_dw(x, dy, dW):
        skinny.multiply_dw(x, dy, dW)
    elif dW.flags.c_contiguous:
        _back_end(dW).multiply_dw(_in_rows(x), _in_rows(dy), dW)
    else:  # a part of a wider array
        part = zeros(dW.shape, dW.dtype)
        _add_dw(x, dy, part)
        dW += part


def matmul_backward(dy, x, W, dW=None, db=None, dx_accum=None, act_grad=None, dropout=None):
    """All gradients of y = dropout(x @ W + b): dx is returned, as by `matmul_dx`; dW and db, if given, are added to.

    x may be None if dW is: a frozen weight does not need its layer's input.
    """
    dy = dy if dropout is None else apply_dropout(dy, dropout)  # forward was y = u m, so now du = dy m
    dx, dx_accum, act_grad = empty((dy.shape[0], W.shape[0]), dy.dtype), _in_rows(dx_accum), _in_rows(act_grad)
    if dW is not None:
        check_dw(x, dy, dW)
    if db is not None:
        check_db(dy, db)
    _share(len(dy), W)
    if (dW is None or dW.flags.c_contiguous) and _fuses(dy, W):
        dy = _in_rows(dy)
        grads = None if dW is None else _in_rows(x), dy, dW, db
        return _product(dy, W, True, None, dx_accum, dx, act_grad, grads=grads)
    if dW is not None:
        _add_dw(x, dy, dW)
    if db is not None:
        add_to_db(dy, db)
    return _product(dy, W, True, None, dx_accum, dx, act_grad)


def _fuses(x, W):
    """Whether the back end for these has the epilogues dropout and GELU, and takes all gradients in one call."""
    return _back_end(x) is gemm_amx and min(W.shape) > skinny.SKINNY


# ------------------------------------------------------------------------------------- several weights of the same x


def matmul_each(x, Ws, bs):
    """x @ W + b for each of the weights.   (T, I), n times (I, O) -> n times (T, O), a list or an array (n, T, O)"""
    together = _together(Ws)
    if together is None:
        return [matmul(x, W, b) for W, b in zip(Ws, bs, strict=True)]
    n, width, panels = len(Ws), Ws[0].shape[1], together.panels(False)
    if len(bs) != n:
        raise ValueError(f"{len(bs)} biases for {n} weights")
    check_shapes("matmul_each", x.dtype, bs, [(width,)] * n)
    size = panels.size // (together.shape[1] // width)  # of the panels of one weight
    _share(n * len(x), Ws[0])
    panels, ys = panels[Ws[0].index * size : (Ws[0].index + n) * size], empty((n, len(x), width), x.dtype)
    c = ys.reshape(n * len(x), width)
    check_product(x, Ws[0].W, False, None, None, None, c)
    gemm_amx.multiply(_in_rows(x), Ws[0].W, False, panels, np.concatenate(bs), None, c, parts=(1, n, 0, 0))
    return ys


def matmul_dx_each(dys, Ws, dx_accum=None):
    """dx = the sum of dy @ W.T over several weights, + dx_accum.   n times (T, O), n times (I, O) -> (T, I)

    It can be one product if dys are one array (n, T, O). Raises ValueError if there are not as many weights.
    """
    if len(dys) != len(Ws):
        raise ValueError(f"{len(dys)} gradients for {len(Ws)} weights")
    together = _together(Ws)
    if together is None or not isinstance(dys, np.ndarray):
        for dy, W in zip(dys, Ws, strict=True):
            dx_accum = matmul_dx(dy, W, dx_accum)
        return dx_accum
    n, width, dys, dx_accum = len(Ws), Ws[0].shape[1], _in_rows(dys), _in_rows(dx_accum)
    _share(n * dys.shape[1], Ws[0])
    steps, others = width // gemm_amx.TILE_K, together.shape[1] // width - Ws[0].index - n
    dx, dy = empty((dys.shape[1], len(Ws[0])), dys.dtype), dys[0]
    check_product(dy, Ws[0].W, True, None, dx_accum, None, dx)
    parts = n, 1, Ws[0].index * steps, others * steps
    gemm_amx.multiply(dy, Ws[0].W, True, together.panels(True), None, dx_accum, dx, parts=parts)
    return dx


def _together(Ws):
    """The one weight that holds all of Ws side by side and in this order, if there is one."""
    first = Ws[0] if len(Ws) > 0 else None
    if not isinstance(first, Frozen) or first.together is None:
        return None
    follow = all(
        isinstance(W, Frozen) and W.together is first.together and W.index == first.index + i for i, W in enumerate(Ws)
    )
    return first.together if follow else None


# ----------------------------------------------------------------------------------------------------------- product


def _share(n_rows, W):
    """Choose the threads: one does some 240 operations a nanosecond, and a product has two for each row and weight.

    Products of few rows, as those of one short text, are many and small, and a pass of them is over before busy cores
    are noticed: unless the weight is large, they are one thread's.
    """
    ns = 0.008 * n_rows * W.size
    share(ns if n_rows >= FEW_ROWS or ns > LITTLE else 0)


def _back_end(x):
    if BLAS:
        return blas
    return gemm_amx if amx.ALLOWED and x.dtype == FLOAT32 else gemm_fma


def _product(a, W, transposed, bias, residual, c, act_grad=None, **fused):
    """c = (a @ W + bias + residual) act_grad, or a @ W.T. Returns c. fused: the epilogues that only AMX has."""
    b, panels = (W.W, W.panels(transposed)) if isinstance(W, Frozen) else (W, None)
    check_product(a, b, transposed, bias, residual, act_grad, c)
    back_end = _back_end(c)
    if panels is None and not BLAS and skinny.fits(a, b, transposed, c):
        skinny.multiply(a, b, transposed, bias, residual, c)
    elif back_end is gemm_amx:
        gemm_amx.multiply(_in_rows(a), b, transposed, panels, bias, residual, c, act_grad, **fused)
        return c
    else:
        back_end.multiply(_in_rows(a), b, transposed, panels, bias, residual, c)
    return c if act_grad is None else multiply_elements(c, act_grad)


def _in_rows(x):
    return x if x is None or x.flags.c_contiguous else np.ascontiguousarray(x)
