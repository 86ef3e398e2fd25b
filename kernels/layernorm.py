"""LayerNorm (Ba et al., 2016) with the residual sum before it: y = gamma * normalize(x + residual) + beta."""

from __future__ import annotations

import numpy as np
from numba import prange

from .runtime.compiling import allocating_kernel, kernel, parallel_kernel
from .runtime.pool import empty

ROWS = 16  # rows a task of the thread pool
CHUNK = 64  # rows whose part of dgamma and dbeta is summed at a time


def layernorm(x, residual, gamma, beta, eps):
    """y = gamma (s - mean(s)) / sqrt(var(s) + eps) + beta with s = x + residual, row by row.   (T, D) -> (T, D)

    residual is (T, D) or None. var divides by D, not D - 1, and eps stands inside the root.
    Returns y, and what backward needs: normalized (T, D), which is written over x, and 1 / sqrt(var + eps) (T,).
    """
    if not x.flags.c_contiguous:
        raise ValueError(f"x must be in C order, got shape {x.shape} with strides {x.strides}")
    y, inverse_std = empty(x.shape, x.dtype), empty(x.shape[0], x.dtype)
    _layernorm(x, x[:0] if residual is None else residual, gamma, beta, eps, y, inverse_std)
    return y, x, inverse_std


def layernorm_backward(dy, normalized, inverse_std, gamma, dgamma=None, dbeta=None):
    """ds, the gradient of x and of the residual alike.   (T, D) -> (T, D)

    forward was y = gamma n + beta with n = (s - mean(s)) inverse_std. With g = dy gamma,
    ds = inverse_std (g - mean(g) - n mean(g n)): the mean and the variance depend on every element of the row.
    And if they are there, dgamma += sum of dy n over the rows, dbeta += sum of dy.
    """
    ds = empty(dy.shape, dy.dtype)
    dgamma, dbeta = inverse_std[:0] if dgamma is None else dgamma, inverse_std[:0] if dbeta is None else dbeta
    _layernorm_backward(dy, normalized, inverse_std, gamma, ds, dgamma, dbeta)
    return ds


@parallel_kernel
def _layernorm(x, residual, gamma, beta, eps, y, inverse_std):
    for task in prange((len(x) + ROWS - 1) // ROWS):
        for t in range(task * ROWS, min((task + 1) * ROWS, len(x))):
            _row(x, residual, gamma, beta, x.dtype.type(eps), t, y, inverse_std)


@kernel
def _row(x, residual, gamma, beta, eps, t, y, inverse_std):
    """Row t: x becomes what is normalized."""
    numbers, out, size = x[t], y[t], x.shape[1]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    share = one / x.dtype.type(size)
    if len(residual) > 0:
        more = residual[t]
        for d in range(size):
            numbers[d] += more[d]
    total = zero
    for d in range(size):
        total += numbers[d]
    mean = total * share
    squares = zero
    for d in range(size):
        centred = numbers[d] - mean
        squares += centred * centred
    scale = one / np.sqrt(squares * share + eps)
    inverse_std[t] = scale
    for d in range(size):
        numbers[d] = (numbers[d] - mean) * scale
        out[d] = gamma[d] * numbers[d] + beta[d]


@parallel_kernel
def _layernorm_backward(dy, normalized, inverse_std, gamma, ds, dgamma, dbeta):
    """Parts of dgamma and dbeta are summed for some rows each, then the parts: always in the same order."""
    n_chunks, trained = (len(dy) + CHUNK - 1) // CHUNK, dgamma.size > 0
    parts = _parts(n_chunks if trained else 0, gamma)
    for chunk in prange(n_chunks):
        for t in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(dy))):
            _row_backward(dy[t], normalized[t], inverse_std[t], gamma, ds[t])
            if trained:
                _add_row(dy[t], normalized[t], parts[chunk, 0], parts[chunk, 1])
    for which in prange(2 if trained else 0):
        for chunk in range(n_chunks):
            _add(parts[chunk, which], dgamma if which == 0 else dbeta)


@allocating_kernel
def _parts(n, like):
    return np.zeros((n, 2, like.size), like.dtype)


@kernel
def _row_backward(dy, normalized, scale, gamma, ds):
    zero, share = dy.dtype.type(0), dy.dtype.type(1) / dy.dtype.type(dy.size)
    for d in range(dy.size):
        ds[d] = dy[d] * gamma[d]
    sum_g, sum_gn = zero, zero
    for d in range(dy.size):
        sum_g += ds[d]
        sum_gn += ds[d] * normalized[d]
    mean_g, mean_gn = sum_g * share, sum_gn * share
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
