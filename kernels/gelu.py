"""GELU in its two forms (Hendrycks & Gimpel, 2016): by erf, which BERT uses, and by tanh, which Google's code uses."""

from __future__ import annotations

import math

from numba import prange

from ._compile import parallel_kernel
from .memory import empty
from .scalar import normal, tanh

BLOCK = 4096  # numbers a task of the thread pool; a multiple of the vector's length
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def gelu(x):
    """y = x Phi(x), Phi being the standard normal distribution.   Any shape -> the same shape"""
    y = empty(x.shape, x.dtype)
    _gelu(x.reshape(-1), y.reshape(-1))
    return y


def gelu_backward(dy, x):
    """forward was y = x Phi(x), so now dx = dy (Phi(x) + x phi(x))."""
    dx = empty(x.shape, x.dtype)
    _gelu_backward(dy.reshape(-1), x.reshape(-1), dx.reshape(-1))
    return dx


def gelu_tanh(x):
    """y = x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    y = empty(x.shape, x.dtype)
    _gelu_tanh(x.reshape(-1), y.reshape(-1))
    return y


def gelu_tanh_backward(dy, x):
    """forward was y = x (1 + tanh(u)) / 2, so now dx = dy ((1 + tanh(u)) / 2 + x (1 - tanh(u)^2) u' / 2)."""
    dx = empty(x.shape, x.dtype)
    _gelu_tanh_backward(dy.reshape(-1), x.reshape(-1), dx.reshape(-1))
    return dx


@parallel_kernel
def _gelu(x, y):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        for i in range(xs.size):
            ys[i] = xs[i] * normal(xs[i])[0]


@parallel_kernel
def _gelu_backward(dy, x, dx):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        xs, ds = x[block * BLOCK : (block + 1) * BLOCK], dy[block * BLOCK : (block + 1) * BLOCK]
        out = dx[block * BLOCK : (block + 1) * BLOCK]
        for i in range(xs.size):
            below, density = normal(xs[i])
            # At an infinite x the density is zero, and so is x times it; written out, infinity times zero would be NaN.
            slope = xs[i] * density if density != 0 else density
            out[i] = ds[i] * (below + slope)


@parallel_kernel
def _gelu_tanh(x, y):
    half, one, scale, cubic = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(SQRT_2_OVER_PI), x.dtype.type(0.044715)
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        for i in range(xs.size):
            v = xs[i]
            ys[i] = half * v * (one + tanh(scale * (v + cubic * v * v * v)))


@parallel_kernel
def _gelu_tanh_backward(dy, x, dx):
    half, one, scale, cubic = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(SQRT_2_OVER_PI), x.dtype.type(0.044715)
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        xs, ds = x[block * BLOCK : (block + 1) * BLOCK], dy[block * BLOCK : (block + 1) * BLOCK]
        out = dx[block * BLOCK : (block + 1) * BLOCK]
        for i in range(xs.size):
            v = xs[i]
            th = tanh(scale * (v + cubic * v * v * v))
            du = scale * (one + (cubic + cubic + cubic) * v * v)
            flat = one - th * th
            slope = v * flat * du if flat != 0 else flat  # zero where x^3 is too large for the type, too
            out[i] = ds[i] * half * (one + th + slope)
