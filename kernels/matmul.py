"""The products of a linear layer as plain loops: y = x W + b, and the two that its backward pass needs.

    y [t, o] = sum over i of  x [t, i] W [i, o]        y  = x @ W          (T, I) @ (I, O) -> (T, O)
    dx[t, i] = sum over o of  dy[t, o] W [i, o]        dx = dy @ W.T       (T, O) @ (O, I) -> (T, I)
    dW[i, o] += sum over t of x [t, i] dy[t, o]        dW += x.T @ dy      (I, T) @ (T, O) -> (I, O)

Three ideas make the loops fast enough to train with. The innermost one (rows.py) walks along rows, so that neighbours
in memory are loaded as one vector. It takes four rows of the second factor at a time, so that an element of the first,
or of the result, is loaded once for four multiply-adds. And eight rows of the result share what is fetched.
The default replaces this file by engine/gemm.py, at the machine's limit; ladder.py tells what lies between the two.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .activations import gelu_in_place
from .dropout import dropout as apply_dropout
from .reference import freeze, freeze_each  # noqa: F401  (plain loops, too, take a weight as it is)
from .rows import add_four_rows, add_row, dot, four_dots
from .runtime.checks import check_dw, check_product
from .runtime.compiling import parallel_kernel
from .runtime.threads import share

ROWS = 8  # rows of c that are one task of the thread pool


def matmul(x, W, b=None, residual=None, dropout=None):
    """y = dropout(x @ W + b + residual).   (T, I) @ (I, O) + (O,) + (T, O) -> (T, O)

    b, residual and dropout, (rate, key), may be None. Raises ValueError, as all products do, if shapes or dtypes do not
    fit.
    """
    y = np.zeros((len(x), W.shape[1]), x.dtype)
    check_product(x, W, False, b, residual, None, y)
    _multiply(x, W, y)
    y += (0 if b is None else b) + (0 if residual is None else residual)
    return y if dropout is None else apply_dropout(y, dropout)


def matmul_gelu(x, W, b=None):
    """y = gelu(u) with u = x @ W + b, and the derivative gelu'(u).   (T, I) @ (I, O) -> (T, O), (T, O)"""
    return gelu_in_place(matmul(x, W, b))


def matmul_dx(dy, W, dx_accum=None, act_grad=None):
    """dx = (dy @ W.T + dx_accum) act_grad.   (T, O) @ (O, I) -> (T, I)

    dx_accum (T, I): the gradient of x from its other consumer. act_grad (T, I): x was f(u), this is f'(u), and du is
    returned. Both may be None.
    """
    dx = np.empty((len(dy), len(W)), dy.dtype)
    check_product(dy, W, True, None, dx_accum, act_grad, dx)
    share(ns=0.1 * dx.size * W.shape[1])
    _dot_rows(np.ascontiguousarray(dy), np.ascontiguousarray(W), dx)
    if dx_accum is not None:
        dx += dx_accum
    return dx if act_grad is None else dx * act_grad


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW"""
    check_dw(x, dy, dW)
    _multiply(x.T, dy, dW)


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)"""
    db += dy.sum(axis=0)


def matmul_backward(dy, x, W, dW=None, db=None, dx_accum=None, act_grad=None, dropout=None):
    """All gradients of y = dropout(x @ W + b): dx is returned, as by `matmul_dx`; dW and db, if given, are added to.

    x may be None if dW is: a frozen weight does not need its layer's input. (The gradient of the residual, if there was
    one, is dy times the same mask: the caller has it.)
    """
    dy = dy if dropout is None else apply_dropout(dy, dropout)  # forward was y = u m, so now du = dy m
    if dW is not None:
        matmul_dw(x, dy, dW)
    if db is not None:
        bias_db(dy, db)
    return matmul_dx(dy, W, dx_accum, act_grad)


def matmul_each(x, Ws, bs):
    """x @ W + b for each of several weights.   (T, I), n times (I, O) -> n times (T, O)"""
    return [matmul(x, W, b) for W, b in zip(Ws, bs, strict=True)]


def matmul_dx_each(dys, Ws, dx_accum=None):
    """dx = the sum of dy @ W.T over several weights, + dx_accum.   n times (T, O), n times (I, O) -> (T, I)"""
    for dy, W in zip(dys, Ws, strict=True):
        dx_accum = matmul_dx(dy, W, dx_accum)
    return dx_accum


def _multiply(a, b, c):
    share(ns=0.1 * a.size * b.shape[1])
    _add_product(np.ascontiguousarray(a), np.ascontiguousarray(b), c)


@parallel_kernel
def _add_product(a, b, c):
    """c += a @ b.   (R, K) @ (K, C) -> (R, C);  a task owns rows of c: no sum depends on the number of threads."""
    for task in prange((len(a) + ROWS - 1) // ROWS):
        rows = range(task * ROWS, min((task + 1) * ROWS, len(a)))
        for k in range(0, len(b) - 3, 4):
            for r in rows:
                add_four_rows(c[r], a[r, k : k + 4], b[k], b[k + 1], b[k + 2], b[k + 3])
        for k in range(len(b) - len(b) % 4, len(b)):
            for r in rows:
                add_row(c[r], a[r, k], b[k])


@parallel_kernel
def _dot_rows(a, b, c):
    """c = a @ b.T: every element is the inner product of two rows.   (R, K) @ (K, C) -> (R, C)"""
    for task in prange((len(a) + ROWS - 1) // ROWS):
        rows = range(task * ROWS, min((task + 1) * ROWS, len(a)))
        for j in range(0, len(b) - 3, 4):
            for r in rows:
                four_dots(a[r], b[j], b[j + 1], b[j + 2], b[j + 3], c[r, j : j + 4])
        for j in range(len(b) - len(b) % 4, len(b)):
            for r in rows:
                c[r, j] = dot(a[r], b[j])
