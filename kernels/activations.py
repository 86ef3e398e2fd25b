"""The other nonlinearities an adapter may have. They see only the (T, M) bottleneck: plain NumPy is fast enough."""

from __future__ import annotations

import numpy as np


def relu(x):
    """y = max(x, 0)."""
    return np.maximum(x, 0)


def relu_backward(dy, x):
    """forward was y = max(x, 0), so now dx = dy where x was positive."""
    return dy * (x > 0)


def tanh(x):
    """y = tanh(x)."""
    return np.tanh(x)


def tanh_backward(dy, x):
    """forward was y = tanh(x), so now dx = dy (1 - tanh(x)^2)."""
    return dy * (1 - np.tanh(x) ** 2)


def swish(x):
    """y = x sigmoid(x)."""
    return x * _sigmoid(x)


def swish_backward(dy, x):
    """forward was y = x sigmoid(x), so now dx = dy sigmoid(x) (1 + x (1 - sigmoid(x)))."""
    s = _sigmoid(x)
    return dy * s * (1 + x * (1 - s))


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))  # cannot overflow
