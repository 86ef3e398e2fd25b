"""The matrix products by NumPy's BLAS, for MINIBERT_KERNELS=blas: a library that others tuned, to compare ours with.

The last bits of a BLAS may depend on the number of threads, and its threads and Numba's get into each other's way: see
docs/speed.md.
"""

from __future__ import annotations

import numpy as np

from .dropout import NO_KEY, dropout
from .gelu import gelu
from .memory import empty
from .sums import bias_db


def matmul(x, W, b=None, strips=None, plus=None, rate=0.0, key=NO_KEY):
    """y = dropout(x @ W + b + plus).   (T, I) @ (I, O) -> (T, O)"""
    y = _product(x, W, b, plus)
    return dropout(y, rate, key) if rate > 0 else y


def matmul_gelu(x, W, b=None, strips=None):
    """y = gelu(u) with u = x @ W + b, and the slope gelu'(u).   (T, I) @ (I, O) -> (T, O), (T, O)"""
    return gelu(_product(x, W, b, None))


def matmul_dx(dy, W, strips=None, plus=None, times=None):
    """dx = (dy @ W.T + plus) times.   (T, O) @ (O, I) -> (T, I)"""
    dx = _product(dy, W.T, None, plus)
    return dx if times is None else np.multiply(dx, times, out=dx)


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW"""
    dW += _product(x.T, dy, None, None)


def matmul_backward(dy, x, W, dW=None, db=None, strips=None, plus=None, times=None, rate=0.0, key=NO_KEY):
    """Of y = dropout(x @ W + b): dx is returned; dW and db, if they are there, are added to."""
    dy = dropout(dy, rate, key) if rate > 0 else dy
    if dW is not None:
        matmul_dw(x, dy, dW)
    if db is not None:
        bias_db(dy, db)
    return matmul_dx(dy, W, strips, plus, times)


def prepare(W):
    """Nothing: BLAS rearranges W itself, in every call."""
    return None, None


def prepare_each(Ws, bs):
    """Nothing, for each."""
    return [prepare(W) for W in Ws]


def matmul_each(x, Ws, bs, prepared, first=0):
    """x @ W + b for each of several weights.   (T, I), n times (I, O) -> n times (T, O)"""
    return [matmul(x, W, b) for W, b in zip(Ws, bs, strict=True)]


def matmul_dx_each(dys, Ws, prepared, first=0, plus=None):
    """dx = the sum of dy @ W.T over several weights, + plus.   n times (T, O), n times (I, O) -> (T, I)"""
    for dy, W in zip(dys, Ws, strict=True):
        plus = matmul_dx(dy, W, None, plus)
    return plus


def _product(a, b, *added):
    c = empty((a.shape[0], b.shape[1]), a.dtype)
    np.matmul(a, b, out=c)
    for term in added:
        if term is not None:
            c += term
    return c


def library() -> str:
    """Name and version of the BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
