"""GELU in its two forms (Hendrycks & Gimpel, 2016): by erf, which BERT uses, and by tanh, which Google's code uses.

Both compute y = f(x) and the derivative f'(x), the `act_grad`, together, as both need the same exponential function.
Backward is then dx = dy f'(x) for any f, and a product can do that on its way to memory (matmul_backward). The other
activations, which only an adapter's (T, M) bottleneck may have, are fast enough in NumPy: reference.py.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .runtime.compiling import kernel, parallel_kernel
from .runtime.pool import empty
from .runtime.threads import share
from .runtime.vector_math import normal, tanh

BLOCK = 4096  # numbers a task of the thread pool; a multiple of the vector's length
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def gelu(x):
    """y = x cdf(x), cdf that of the standard normal distribution, and y' = cdf(x) + x pdf(x).

    Any shape -> the same shape, twice.
    """
    share(ns=0.4 * x.size)
    return gelu_in_place(np.array(x, order="C"))


def gelu_tanh(x):
    """y = x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), and
    y' = (1 + tanh(u)) / 2 + x (1 - tanh(u)^2) u' / 2.

    Any shape -> the same shape, twice.
    """
    return _apply(_gelu_tanh, x)


def gelu_in_place(x):
    """gelu(x) and gelu'(x) in the memory of x, which is in C order: for a caller that needs x no longer.

    It runs on as many threads as the caller has chosen for the product before it: to choose again would take longer
    than is lost by a thread too many, or by one too few where the product was little work.
    """
    y = empty(x.shape, x.dtype)
    _gelu_in_place(x.reshape(-1), y.reshape(-1))
    return y, x


def _apply(kernel, x):
    x = np.ascontiguousarray(x)
    y, act_grad = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    share(ns=0.4 * x.size)
    kernel(x.reshape(-1), y.reshape(-1), act_grad.reshape(-1))
    return y, act_grad


@parallel_kernel
def _gelu_in_place(x, y):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        gelu_of(x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK])


@kernel
def gelu_of(x, y):
    """y = gelu(x), and in place x = gelu'(x); both 1-D."""
    for i in range(x.size):
        cdf, pdf = normal(x[i])
        # At an infinite x the pdf is zero, and so is x times it; written out, infinity times zero would be NaN.
        x_pdf = x[i] * pdf if pdf != 0 else pdf
        y[i] = x[i] * cdf
        x[i] = cdf + x_pdf


@parallel_kernel
def _gelu_tanh(x, y, act_grad):
    half, one, scale, cubic = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(SQRT_2_OVER_PI), x.dtype.type(0.044715)
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        start, stop = block * BLOCK, min((block + 1) * BLOCK, x.size)
        xs, ys, grads = x[start:stop], y[start:stop], act_grad[start:stop]
        for i in range(xs.size):
            t = tanh(scale * (xs[i] + cubic * xs[i] * xs[i] * xs[i]))
            du = scale * (one + (cubic + cubic + cubic) * xs[i] * xs[i])
            dt = one - t * t
            x_dt = xs[i] * dt * du if dt != 0 else dt  # zero where x^3 is too large for the type, too
            ys[i] = half * xs[i] * (one + t)
            grads[i] = half * (one + t + x_dt)
