"""LayerNorm (Ba et al., 2016) with the residual sum before it: y = gamma * normalize(x + residual) + beta."""

from __future__ import annotations

import numpy as np
from numba import prange

from .runtime.checks import check_shapes
from .runtime.compiling import allocating_kernel, kernel, parallel_kernel
from .runtime.pool import empty
from .runtime.threads import share

ROWS = 16  # rows that are one task of the thread pool
CHUNK = 64  # rows of one partial sum of dgamma and dbeta


def layernorm(x, residual, gamma, beta, eps):
    """y = gamma (s - mean(s)) / sqrt(var(s) + eps) + beta with s = x + residual, row by row.   (T, D) -> (T, D)

    residual is (T, D) or None. var divides by D, not D - 1, and eps stands inside the root. Raises ValueError if shapes
    or dtypes do not fit.
    Returns y, and what backward needs: normalized (T, D), and 1 / sqrt(var + eps) (T,).
    """
    shape, row = x.shape, x.shape[1:]
    check_shapes("layernorm", x.dtype, (residual, gamma, beta), (shape, row, row))
    x, residual = np.ascontiguousarray(x), x[:0] if residual is None else np.ascontiguousarray(residual)
    y, normalized, inverse_std = empty(x.shape, x.dtype), empty(x.shape, x.dtype), empty(x.shape[0], x.dtype)
    share(ns=0.3 * x.size)
    _layernorm(x, residual, gamma, beta, eps, y, normalized, inverse_std)
    return y, normalized, inverse_std


def layernorm_backward(dy, normalized, inverse_std, gamma, dgamma=None, dbeta=None):
    """ds, the gradient of x and of the residual alike.   (T, D) -> (T, D)

    forward was y = gamma n + beta with n = (s - mean(s)) inverse_std. With g = dy gamma,
    ds = inverse_std (g - mean(g) - n mean(g n)): the mean and the variance depend on every element of the row.
    And if they are there, dgamma += sum of dy n over the rows, dbeta += sum of dy. Raises ValueError if shapes or
    dtypes do not fit.
    """
    arrays, row = (normalized, inverse_std, gamma, dgamma, dbeta), dy.shape[1:]
    check_shapes("layernorm_backward", dy.dtype, arrays, (dy.shape, dy.shape[:1], row, row, row))
    dy, ds = np.ascontiguousarray(dy), empty(dy.shape, dy.dtype)
    if (dgamma is None) != (dbeta is None):  # the kernel adds to both or to none
        dgamma, dbeta = (np.zeros_like(gamma) if grad is None else grad for grad in (dgamma, dbeta))
    dgamma, dbeta = inverse_std[:0] if dgamma is None else dgamma, inverse_std[:0] if dbeta is None else dbeta
    share(ns=0.3 * dy.size)
    _layernorm_backward(dy, normalized, inverse_std, gamma, ds, dgamma, dbeta)
    return ds


@parallel_kernel
def _layernorm(x, residual, gamma, beta, eps, y, normalized, inverse_std):
    for task in prange((len(x) + ROWS - 1) // ROWS):
        for t in range(task * ROWS, min((task + 1) * ROWS, len(x))):
            s = normalized[t]
            if len(residual) > 0:
                _sum(x[t], residual[t], s)
            else:
                _copy(x[t], s)
            inverse_std[t] = _normalize(s, x.dtype.type(eps))
            _scale(s, gamma, beta, y[t])


@kernel
def _sum(x, residual, s):
    for d in range(s.size):
        s[d] = x[d] + residual[d]


@kernel
def _copy(x, s):
    for d in range(s.size):
        s[d] = x[d]


@kernel
def _normalize(s, eps):
    """A row s becomes (s - mean(s)) / sqrt(var(s) + eps); what it is multiplied by is returned."""
    total, squares = s.dtype.type(0), s.dtype.type(0)
    one_over_d = s.dtype.type(1) / s.dtype.type(s.size)
    for d in range(s.size):
        total += s[d]
    mean = total * one_over_d
    for d in range(s.size):
        centred = s[d] - mean
        squares += centred * centred
    inverse_std = s.dtype.type(1) / np.sqrt(squares * one_over_d + eps)
    for d in range(s.size):
        s[d] = (s[d] - mean) * inverse_std
    return inverse_std


@kernel
def _scale(normalized, gamma, beta, y):
    for d in range(y.size):
        y[d] = gamma[d] * normalized[d] + beta[d]


@parallel_kernel
def _layernorm_backward(dy, normalized, inverse_std, gamma, ds, dgamma, dbeta):
    """Partial sums of dgamma and dbeta for some rows each, then their sum: always in the same order."""
    n_chunks, trained = (len(dy) + CHUNK - 1) // CHUNK, dgamma.size > 0
    partial = _partial_sums(n_chunks if trained else 0, gamma)
    for chunk in prange(n_chunks):
        for t in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(dy))):
            _row_backward(dy[t], normalized[t], inverse_std[t], gamma, ds[t])
            if trained:
                _add_row(dy[t], normalized[t], partial[chunk, 0], partial[chunk, 1])
    for which in prange(2 if trained else 0):
        for chunk in range(n_chunks):
            _add(partial[chunk, which], dgamma if which == 0 else dbeta)


@allocating_kernel
def _partial_sums(n, like):
    return np.zeros((n, 2, like.size), like.dtype)


@kernel
def _row_backward(dy, normalized, scale, gamma, ds):
    zero, one_over_d = dy.dtype.type(0), dy.dtype.type(1) / dy.dtype.type(dy.size)
    for d in range(dy.size):
        ds[d] = dy[d] * gamma[d]
    sum_g, sum_gn = zero, zero
    for d in range(dy.size):
        sum_g += ds[d]
        sum_gn += ds[d] * normalized[d]
    mean_g, mean_gn = sum_g * one_over_d, sum_gn * one_over_d
    for d in range(dy.size):
        ds[d] = scale * (ds[d] - (mean_g + normalized[d] * mean_gn))


@kernel
def _add_row(dy, normalized, to_gamma, to_beta):
    for d in range(dy.size):
        to_gamma[d] += dy[d] * normalized[d]
    _add(dy, to_beta)


@kernel
def _add(x, to):
    for d in range(x.size):
        to[d] += x[d]
