"""The matrix products by NumPy's BLAS, for MINIBERT_KERNELS=blas: a library that others tuned, to compare ours with.

The last bits of a BLAS may depend on the number of threads, and its threads and Numba's get into each other's way: see
docs/speed.md.
"""

from __future__ import annotations

import numpy as np

from .memory import empty
from .sums import bias_db


def matmul(x, W, b=None, strips=None, plus=None):
    """y = x @ W + b + plus.   (T, I) @ (I, O) -> (T, O)"""
    return _product(x, W, b, plus)


def matmul_dx(dy, W, strips=None, plus=None, times=None):
    """dx = (dy @ W.T + plus) times.   (T, O) @ (O, I) -> (T, I)"""
    dx = _product(dy, W.T, None, plus)
    return dx if times is None else np.multiply(dx, times, out=dx)


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW"""
    dW += _product(x.T, dy, None, None)


def matmul_backward(dy, x, W, dW=None, db=None, strips=None, plus=None, times=None):
    """dx is returned; dW and db, if they are there, are added to."""
    if dW is not None:
        matmul_dw(x, dy, dW)
    if db is not None:
        bias_db(dy, db)
    return matmul_dx(dy, W, strips, plus, times)


def prepare(W):
    """Nothing: BLAS rearranges W itself, in every call."""
    return None, None


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
