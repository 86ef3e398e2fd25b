"""GELU in its two forms (Hendrycks & Gimpel, 2016): by erf, which BERT uses, and by tanh, which Google's code uses.

Both compute y = f(x) and the slope f'(x) at once, as both need the same exponential function. Backward is then
dx = dy f'(x), for any f: a product can do it on its way to memory (matmul.py, `times`). Nobody needs x any more, and so
the slope is written over it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .runtime.compiling import kernel, parallel_kernel
from .runtime.pool import empty
from .runtime.vector_math import normal
from .runtime.vector_math import tanh as tanh_of

BLOCK = 4096  # numbers a task of the thread pool; a multiple of the vector's length
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def gelu(x):
    """y = x Phi(x), Phi being the standard normal distribution, and x = y' = Phi(x) + x phi(x).

    Any shape; returns y and x.
    """
    return _apply(_gelu, x)


def gelu_tanh(x):
    """y = x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), and
    x = y' = (1 + tanh(u)) / 2 + x (1 - tanh(u)^2) u' / 2.

    Any shape; returns y and x.
    """
    return _apply(_gelu_tanh, x)


def _apply(kernel, x):
    if not x.flags.c_contiguous:
        raise ValueError(f"x must be in C order, got shape {x.shape} with strides {x.strides}")
    y = empty(x.shape, x.dtype)
    kernel(x.reshape(-1), y.reshape(-1))
    return y, x


@parallel_kernel
def _gelu(x, y):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        gelu_of(x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK])


@kernel
def gelu_of(x, y):
    """y = gelu(x), and x = the slope there; both 1-D."""
    for i in range(x.size):
        below, density = normal(x[i])
        # At an infinite x the density is zero, and so is x times it; written out, infinity times zero would be NaN.
        bend = x[i] * density if density != 0 else density
        y[i] = x[i] * below
        x[i] = below + bend


@parallel_kernel
def _gelu_tanh(x, y):
    half, one, scale, cubic = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(SQRT_2_OVER_PI), x.dtype.type(0.044715)
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        for i in range(xs.size):
            v = xs[i]
            th = tanh_of(scale * (v + cubic * v * v * v))
            du = scale * (one + (cubic + cubic + cubic) * v * v)
            flat = one - th * th
            bend = v * flat * du if flat != 0 else flat  # zero where x^3 is too large for the type, too
            ys[i] = half * v * (one + th)
            xs[i] = half * (one + th + bend)


# The others that an adapter may have see only the (T, M) bottleneck: plain NumPy is fast enough.


def relu(x):
    """y = max(x, 0), and x = y' = 1 where x is positive, else 0."""
    y = np.maximum(x, 0)
    x[...] = x > 0
    return y, x


def tanh(x):
    """y = tanh(x), and x = y' = 1 - y^2."""
    y = np.tanh(x)
    x[...] = 1 - y**2
    return y, x


def swish(x):
    """y = x sigmoid(x), and x = y' = sigmoid(x) (1 + x (1 - sigmoid(x)))."""
    s = 0.5 * (1 + np.tanh(0.5 * x))  # the sigmoid; cannot overflow
    y = x * s
    x[...] = s * (1 + x * (1 - s))
    return y, x
