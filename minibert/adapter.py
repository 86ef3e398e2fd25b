"""The adapter of Houlsby et al. (2019), section 2.1: a bottleneck with a skip connection, at first near the identity.

    adapter(x) = x + f(x W_down + b_down) W_up + b_up

          x (T, D) ──┬── W_down, b_down ── f ── W_up, b_up ──(+)── y (T, D)
                     │      (T, M)                            │
                     └────────────────────────────────────────┘

Two sit in each layer, where a sublayer ends: after its projection back to D, before the residual sum and the LayerNorm
(bert.sublayer_end_forward). With M much smaller than D they add 2MD + D + M parameters each, and those, the
LayerNorms and the head are all that is trained. The rest of the network is frozen and may be shared by any number of
tasks.

The paper tried variants and set them aside (end of section 3.6); they are options of AdapterConfig, and named where
they differ. On a first reading skip them: with the defaults, adapter and bottleneck are the four lines of the drawing.
"""

from __future__ import annotations

import zlib

import numpy as np

from minibert.config import AdapterConfig, BertConfig
from minibert.layers import (
    activated_linear_forward,
    inside,
    linear_backward,
    linear_forward,
    residual_layernorm_backward,
    residual_layernorm_forward,
)

LAYERNORM_EPS = 1e-12  # as in BERT

# Settings of AdapterConfig for each form that the paper tried (end of section 3.6), beside its own.
VARIANTS = {
    "paper": {},
    "layernorm": {"layernorm": True},
    "two hidden layers": {"depth": 2},
    "three hidden layers": {"depth": 3},
    "tanh": {"activation": "tanh"},
    "relu": {"activation": "relu"},
    "swish": {"activation": "swish"},
    "attention only": {"sublayers": ("attention",)},
    "feed-forward only": {"sublayers": ("feed_forward",)},
    "parallel": {"parallel": True},
    "multiplicative": {"multiplicative": True},
    "parallel, multiplicative": {"parallel": True, "multiplicative": True},
}


def adapter_init(config: AdapterConfig, bert: BertConfig, seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    """Flat name -> start value of every adapter parameter of a model.

    Weights come from a Gaussian of standard deviation config.init_std, cut off at two of them; biases are zero. With
    the paper's 1e-2 each adapter is nearly the identity: training starts from the pre-trained network (section 3.6).
    """
    start = {}
    for name, shape in config.shapes(bert).items():
        if name.endswith("/W"):
            start[name] = truncated_normal(name, shape, config.init_std, seed, dtype)
        else:
            start[name] = np.ones(shape, dtype) if name.endswith("/gamma") else np.zeros(shape, dtype)
    return start


def truncated_normal(name: str, shape, std: float, seed: int, dtype=np.float32) -> np.ndarray:
    """Gaussian numbers, those beyond two standard deviations drawn again. A function of (seed, name) alone."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(outside.sum())
    return (std * values).astype(dtype)


def adapter_forward(x, p, grads, config: AdapterConfig, sublayer_input=None):
    """y = x + f(x W_down + b_down) W_up + b_up.   (T, D) -> (T, D)

    Two variants read or join otherwise. config.parallel: the bottleneck reads sublayer_input, which the sublayer read
    to give x. config.multiplicative: y = x (1 + bottleneck), element by element; a bottleneck near zero is again
    the identity.
    """
    read = sublayer_input if config.parallel else x
    if config.multiplicative:
        z, z_cache = bottleneck_forward(read, p, grads, config)
        return x * (1 + z), None if grads is None else (z_cache, x, z)
    y, z_cache = bottleneck_forward(read, p, grads, config, plus=x)  # the skip connection
    return y, None if grads is None else (z_cache, None, None)


def adapter_backward(dy, p, cache, grads, config: AdapterConfig):
    """dx, and the gradient of sublayer_input or None.   (T, D) -> (T, D), (T, D)"""
    z_cache, x, z = cache
    dx, dz = (dy * (1 + z), dy * x) if config.multiplicative else (dy, dy)  # y was x (1 + z), or x + z
    if config.parallel:
        return dx, bottleneck_backward(dz, p, z_cache, grads, config)
    # z was computed from x: two ways lead there, and the skip connection passes dy on unchanged
    return bottleneck_backward(dz, p, z_cache, grads, config, plus=dx), None


def bottleneck_forward(x, p, grads, config: AdapterConfig, plus=None):
    """z = f(x W_down + b_down) W_up + b_up + plus.   (T, D) -> (T, M) -> (T, D)

    Two variants put something in between: config.layernorm a LayerNorm before W_down, and config.depth above 1 further
    layers of M units, each with the nonlinearity f, before W_up.
    """
    norm_cache, hidden_caches = None, []
    if config.layernorm:
        x, norm_cache = residual_layernorm_forward(x.copy(), None, p["norm"], inside(grads, "norm"), LAYERNORM_EPS)
    # h = f(x W_down + b_down): (T, D) @ (D, M) -> (T, M)
    h, down_cache, slope = activated_linear_forward(x, p["down"], inside(grads, "down"), config.activation)
    for i in range(config.depth - 1):
        hidden, hidden_grads, slope_before = p["hidden"][str(i)], inside(inside(grads, "hidden"), str(i)), slope
        h, hidden_cache, slope = activated_linear_forward(h, hidden, hidden_grads, config.activation)  # (T, M)
        hidden_caches.append((hidden_cache, slope_before))
    z, up_cache = linear_forward(h, p["up"], inside(grads, "up"), plus)  # (T, M) @ (M, D) -> (T, D)
    return z, None if grads is None else (norm_cache, down_cache, hidden_caches, slope, up_cache)


def bottleneck_backward(dz, p, cache, grads, config: AdapterConfig, plus=None):
    """The forward's lines from the last to the first; plus is added.   (T, D) -> (T, M) -> (T, D)"""
    norm_cache, down_cache, hidden_caches, slope, up_cache = cache
    # z was h W_up + b_up and h was f(u), so du = (dz W_up.T) f'(u)
    du = linear_backward(dz, p["up"], up_cache, inside(grads, "up"), slope=slope)
    for i in reversed(range(config.depth - 1)):
        hidden_cache, slope = hidden_caches[i]
        hidden_grads = inside(inside(grads, "hidden"), str(i))
        du = linear_backward(du, p["hidden"][str(i)], hidden_cache, hidden_grads, slope=slope)
    # u was x W_down + b_down
    dx = linear_backward(du, p["down"], down_cache, inside(grads, "down"), None if config.layernorm else plus)
    if config.layernorm:
        dx = residual_layernorm_backward(dx, p["norm"], norm_cache, inside(grads, "norm"))
        dx = dx if plus is None else dx + plus
    return dx
