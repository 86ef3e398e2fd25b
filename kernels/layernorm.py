"""LayerNorm (Ba et al., 2016) with the residual sum before it: y = gamma * normalize(x + residual) + beta."""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import parallel_kernel
from .memory import empty

ROWS = 16  # rows a task of the thread pool


def layernorm(x, residual, gamma, beta, eps):
    """y = gamma (s - mean(s)) / sqrt(var(s) + eps) + beta with s = x + residual, row by row.   (T, D) -> (T, D)

    residual is (T, D) or None. var divides by D, not D - 1, and eps stands inside the root.
    Returns y, and what backward needs: normalized (T, D) and 1 / sqrt(var + eps) (T,).
    """
    y, normalized = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    inverse_std = empty(x.shape[0], x.dtype)
    _layernorm(x, x[:0] if residual is None else residual, gamma, beta, eps, y, normalized, inverse_std)
    return y, normalized, inverse_std


def layernorm_backward(dy, normalized, inverse_std, gamma):
    """ds, the gradient of x and of the residual alike.   (T, D) -> (T, D)

    forward was y = gamma n + beta with n = (s - mean(s)) inverse_std. With g = dy gamma,
    ds = inverse_std (g - mean(g) - n mean(g n)): the mean and the variance depend on every element of the row.
    """
    ds = empty(dy.shape, dy.dtype)
    _layernorm_backward(dy, normalized, inverse_std, gamma, ds)
    return ds


def layernorm_dgamma_dbeta(dy, normalized, dgamma, dbeta):
    """dgamma += sum of dy n over the rows, dbeta += sum of dy."""
    _layernorm_dgamma_dbeta(dy, normalized, dgamma, dbeta)


@parallel_kernel
def _layernorm(x, residual, gamma, beta, eps, y, normalized, inverse_std):
    n_rows, size = x.shape
    one, zero = x.dtype.type(1), x.dtype.type(0)
    share, eps_typed = one / x.dtype.type(size), x.dtype.type(eps)
    add = residual.shape[0] > 0
    for task in prange((n_rows + ROWS - 1) // ROWS):
        for t in range(task * ROWS, min((task + 1) * ROWS, n_rows)):
            row, out, norm = x[t], y[t], normalized[t]
            if add:
                res = residual[t]
                for d in range(size):
                    norm[d] = row[d] + res[d]
            else:
                for d in range(size):
                    norm[d] = row[d]
            total = zero
            for d in range(size):
                total += norm[d]
            mean = total * share
            squares = zero
            for d in range(size):
                centred = norm[d] - mean
                squares += centred * centred
            scale = one / np.sqrt(squares * share + eps_typed)
            inverse_std[t] = scale
            for d in range(size):
                norm[d] = (norm[d] - mean) * scale
                out[d] = gamma[d] * norm[d] + beta[d]


@parallel_kernel
def _layernorm_backward(dy, normalized, inverse_std, gamma, ds):
    n_rows, size = dy.shape
    zero, share = dy.dtype.type(0), dy.dtype.type(1) / dy.dtype.type(size)
    for task in prange((n_rows + ROWS - 1) // ROWS):
        for t in range(task * ROWS, min((task + 1) * ROWS, n_rows)):
            grad, norm, out, scale = dy[t], normalized[t], ds[t], inverse_std[t]
            for d in range(size):
                out[d] = grad[d] * gamma[d]
            sum_g, sum_gn = zero, zero
            for d in range(size):
                sum_g += out[d]
                sum_gn += out[d] * norm[d]
            mean_g, mean_gn = sum_g * share, sum_gn * share
            for d in range(size):
                out[d] = scale * (out[d] - (mean_g + norm[d] * mean_gn))


@parallel_kernel
def _layernorm_dgamma_dbeta(dy, normalized, dgamma, dbeta):
    n_columns = dgamma.size
    for block in prange((n_columns + 63) // 64):  # each task owns columns: the order of the sum is fixed
        d0, d1 = block * 64, min(block * 64 + 64, n_columns)
        to_gamma, to_beta = dgamma[d0:d1], dbeta[d0:d1]
        for t in range(dy.shape[0]):
            grad, norm = dy[t, d0:d1], normalized[t, d0:d1]
            for d in range(grad.size):
                to_gamma[d] += grad[d] * norm[d]
                to_beta[d] += grad[d]
