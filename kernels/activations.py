"""The other nonlinearities an adapter may have. They see only the (T, M) bottleneck: plain NumPy is fast enough.

As those in gelu.py they return y = f(x) and x, which has become the slope f'(x).
"""

from __future__ import annotations

import numpy as np


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
