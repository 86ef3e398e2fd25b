"""The products of a linear layer as plain loops: y = x W + b, and the two that its backward pass needs.

    y [t, o] = sum over i of  x [t, i] W [i, o]        y  = x @ W          (T, I) @ (I, O) -> (T, O)
    dx[t, i] = sum over o of  dy[t, o] W [i, o]        dx = dy @ W.T       (T, O) @ (O, I) -> (T, I)
    dW[i, o] += sum over t of x [t, i] dy[t, o]        dW += x.T @ dy      (I, T) @ (T, O) -> (I, O)

All three are c += a @ b, and one kernel serves them. Three ideas make it fast enough to train with. The innermost loop
walks along rows, so that neighbours in memory are loaded as one vector. Four steps of the sum are taken at a time: an
element of c is loaded and stored once for four multiply-adds. And eight rows of c share what is fetched of b.

The default replaces this file by engine/gemm.py, at the machine's limit; ladder.py tells what lies between the two.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .activations import gelu_in_place
from .dropout import dropout as apply_dropout
from .reference import freeze, freeze_each  # noqa: F401  (plain loops, too, take a weight as it is)
from .runtime.checks import check_dw, check_product
from .runtime.compiling import kernel, parallel_kernel
from .runtime.threads import share

ROWS = 8  # rows of c that are one task of the thread pool


def matmul(x, W, b=None, residual=None, dropout=None):
    """y = dropout(x @ W + b + residual).   (T, I) @ (I, O) + (O,) + (T, O) -> (T, O)

    b, residual and dropout, (rate, key), may be None.
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
    dx = np.zeros((len(dy), len(W)), dy.dtype)
    check_product(dy, W, True, None, dx_accum, act_grad, dx)
    _multiply(dy, W.T, dx)
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

    x may be None if dW is: a frozen weight does not need its layer's input.
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
    """c += a @ b.   (R, K) @ (K, C) -> (R, C)

    Each task owns eight rows of c, so every sum is added in the same order on any number of threads.
    """
    depth = a.shape[1]
    for task in prange((len(a) + ROWS - 1) // ROWS):
        rows = range(task * ROWS, min((task + 1) * ROWS, len(a)))
        for k in range(0, depth - 3, 4):
            for r in rows:
                _add_four_rows(c[r], a[r, k : k + 4], b[k], b[k + 1], b[k + 2], b[k + 3])
        for k in range(depth - depth % 4, depth):
            for r in rows:
                add_row(c[r], a[r, k], b[k])


@kernel
def _add_four_rows(out, a, b0, b1, b2, b3):
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    for j in range(out.size):
        out[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]


@kernel
def add_row(out, a, b):
    """out += a b, for rows out and b and a number a."""
    for j in range(out.size):
        out[j] += a * b[j]
