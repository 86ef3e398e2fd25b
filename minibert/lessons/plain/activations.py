"""GELU and LayerNorm."""

from __future__ import annotations

import math

import numpy as np


def normal_cdf(x):
    """Phi(x), the share of a standard normal distribution that lies below x."""
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def gelu(x):
    """y = x Phi(x), element by element."""
    y = x * normal_cdf(x)
    return y, x


def gelu_backward(dy, cache):
    """dx = dy (Phi(x) + x phi(x)), phi the density."""
    x = cache
    density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    dx = dy * (normal_cdf(x) + x * density)
    return dx


def layernorm(x, gamma, beta, eps=1e-12):
    """y = gamma n + beta, n the row with mean 0 and variance 1.   (T, D), (D,), (D,) -> (T, D)"""
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    inverse_std = 1 / np.sqrt(variance + eps)
    n = (x - mean) * inverse_std
    y = gamma * n + beta
    return y, (n, inverse_std, gamma)


def layernorm_backward(dy, cache):
    """dx (T, D), dgamma (D,), dbeta (D,). The mean and the variance depend on x, too: hence the two means."""
    n, inverse_std, gamma = cache
    dgamma = (dy * n).sum(axis=0)
    dbeta = dy.sum(axis=0)
    g = dy * gamma
    mean_g = g.mean(axis=1, keepdims=True)
    mean_gn = (g * n).mean(axis=1, keepdims=True)
    dx = inverse_std * (g - mean_g - n * mean_gn)
    return dx, dgamma, dbeta
