"""The adapter of Houlsby et al. (2019), section 2.1: a bottleneck with a skip connection, at first near the identity.

    adapter(x) = x + f(x W_down + b_down) W_up + b_up

          x (T, D) ──┬── W_down, b_down ── f ── W_up, b_up ──(+)── y (T, D)
                     │      (T, M)                            │
                     └────────────────────────────────────────┘

Two sit in each layer, where a sublayer ends: after its projection back to D, before the residual sum and the LayerNorm
(bert.sublayer_end_forward). With M much smaller than D they add 2MD + D + M parameters each, and those, the
LayerNorms and the head are all that is trained. The rest of the network is frozen and may be shared by any number of
tasks.
"""

from __future__ import annotations

import zlib

import numpy as np

from minibert.config import AdapterConfig, BertConfig
from minibert.layers import activation_backward, activation_forward, inside, linear_backward, linear_forward


def adapter_init(config: AdapterConfig, bert: BertConfig, seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    """Flat name -> start value of every adapter parameter of a model.

    Weights come from a Gaussian of standard deviation config.init_std, cut off at two of them; biases are zero. With
    the paper's 1e-2 each adapter is nearly the identity: training starts from the pre-trained network (section 3.6).
    """
    start = {}
    for name, shape in config.shapes(bert).items():
        is_weight = name.endswith("/W")
        start[name] = (
            truncated_normal(name, shape, config.init_std, seed, dtype) if is_weight else np.zeros(shape, dtype)
        )
    return start


def truncated_normal(name: str, shape, std: float, seed: int, dtype=np.float32) -> np.ndarray:
    """Gaussian numbers, those beyond two standard deviations drawn again. A function of (seed, name) alone."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(outside.sum())
    return (std * values).astype(dtype)


def adapter_forward(x, p, grads, config: AdapterConfig):
    """y = x + f(x W_down + b_down) W_up + b_up.   (T, D) -> (T, D)"""
    u, down_cache = linear_forward(x, p["down"], inside(grads, "down"))  # (T, D) @ (D, M) -> (T, M)
    h = activation_forward(u, config.activation)  # (T, M)
    z, up_cache = linear_forward(h, p["up"], inside(grads, "up"))  # (T, M) @ (M, D) -> (T, D)
    z += x
    return z, None if grads is None else (down_cache, u, up_cache)


def adapter_backward(dy, p, cache, grads, config: AdapterConfig):
    """The forward's lines from the last to the first.   (T, D) -> (T, D)"""
    down_cache, u, up_cache = cache
    dh = linear_backward(dy, p["up"], up_cache, inside(grads, "up"))  # z was h W_up + b_up
    du = activation_backward(dh, u, config.activation)  # h was f(u)
    dx = linear_backward(du, p["down"], down_cache, inside(grads, "down"))  # u was x W_down + b_down
    dx += dy  # y was x + z: the skip connection passes dy on unchanged
    return dx
