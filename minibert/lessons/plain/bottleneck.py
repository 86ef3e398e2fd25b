"""The adapter."""

from __future__ import annotations

import numpy as np

from minibert.lessons.plain.activations import gelu, gelu_backward
from minibert.lessons.plain.gradients import linear, linear_backward


def adapter(x, p):
    """y = x + gelu(x W_down + b_down) W_up + b_up.   (T, D) -> (T, M) -> (T, D)

    p: {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
    """
    u, down_cache = linear(x, p["down/W"], p["down/b"])
    h, gelu_cache = gelu(u)
    z, up_cache = linear(h, p["up/W"], p["up/b"])
    y = x + z
    return y, (down_cache, gelu_cache, up_cache)


def adapter_backward(dy, cache):
    """dx (T, D), and {name: gradient} of the four parameters."""
    down_cache, gelu_cache, up_cache = cache
    dh, dW_up, db_up = linear_backward(dy, up_cache)
    du = gelu_backward(dh, gelu_cache)
    dx, dW_down, db_down = linear_backward(du, down_cache)
    dx = dy + dx
    return dx, {"down/W": dW_down, "down/b": db_down, "up/W": dW_up, "up/b": db_up}


def adapter_init(D, M, rng, std=1e-2):
    """Near the identity: Gaussian weights, drawn again beyond two standard deviations, and zero biases."""

    def truncated_normal(shape):
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(outside.sum())
        return std * values

    return {
        "down/W": truncated_normal((D, M)),
        "down/b": np.zeros(M),
        "up/W": truncated_normal((M, D)),
        "up/b": np.zeros(D),
    }
