"""The adapter of Houlsby et al. (2019), section 2.1: a bottleneck with a skip connection, at first near the identity.

    adapter(x) = x + gelu(x W_down + b_down) W_up + b_up

          x (T, D) ──┬── W_down, b_down ── gelu ── W_up, b_up ──(+)── y (T, D)
                     │        (T, M)                             │
                     └───────────────────────────────────────────┘

Two sit in each layer (bert.py): on the output of attention and on that of the feed-forward block, before the residual
is added and before the LayerNorm. With M much smaller than D they add 2MD + D + M parameters each. Those, the
LayerNorms and the head are all that is trained. The rest of the network is frozen, and shared by any number of tasks.

p holds W and b of "down" and "up", and grads the places where their gradients are added (layers.py tells the convention
of all layers). The variants of the paper's section 3.6 are in adapter_variants.py.
"""

from __future__ import annotations

import numpy as np

import kernels
from minibert.config import AdapterConfig, BertConfig
from minibert.params import truncated_normal


def adapter_forward(x, p, grads):
    """y = x + h W_up + b_up with h = gelu(u), u = x W_down + b_down.   (T, D) -> (T, D), and the cache for backward"""
    h, act_grad = kernels.matmul_gelu(x, p["down"]["W"], p["down"]["b"])  # (T, D) @ (D, M) -> (T, M), gelu'(u)
    y = kernels.matmul(h, p["up"]["W"], p["up"]["b"], residual=x)  # (T, M) @ (M, D) + the skip connection -> (T, D)
    return y, None if grads is None else (x, h, act_grad)


def adapter_backward(dy, p, cache, grads):
    """The same lines, last to first: dx, and the gradients of W and b are added into grads (derivations, eq. (23))."""
    x, h, act_grad = cache
    down, up = grads.get("down", {}), grads.get("up", {})
    # y was x + h W_up + b_up, and h was gelu(u): dW_up += h.T dy, db_up += sum of dy, du = (dy W_up.T) gelu'(u)
    du = kernels.matmul_backward(dy, h, p["up"]["W"], up.get("W"), up.get("b"), act_grad=act_grad)  # (T, D) -> (T, M)
    # u was x W_down + b_down: dW_down += x.T du, db_down += sum of du, dx = du W_down.T + dy, which the skip passes on
    return kernels.matmul_backward(du, x, p["down"]["W"], down.get("W"), down.get("b"), dx_accum=dy)  # (T, M) -> (T, D)


def adapter_init(config: AdapterConfig, bert: BertConfig, seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    """Flat name -> initial value of every adapter parameter of a model.

    Weights come from a Gaussian of standard deviation config.init_std, truncated at two of them (the paper's 1e-2:
    section 3.6); biases are zero. Each adapter is then nearly the identity: training begins at the pre-trained network
    (section 2).
    """
    initial = {}
    for name, shape in config.shapes(bert).items():
        if name.endswith("/W"):
            initial[name] = truncated_normal(name, shape, config.init_std, seed, dtype)
        else:
            initial[name] = np.ones(shape, dtype) if name.endswith("/gamma") else np.zeros(shape, dtype)
    return initial
