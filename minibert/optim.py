"""Adam with decoupled weight decay, the learning rate's rise and fall, and clipping: the paper's section 3.1."""

from __future__ import annotations

import math

import numpy as np

import kernels
from kernels.memory import zeros
from minibert.packed import Packed

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def learning_rate(step: int, steps: int, peak: float, warmup: float = 0.1) -> float:
    """The rate of step 0, 1, ..., steps - 1: a straight line up over the first `warmup` of the steps, then down to
    zero."""
    rising = round(warmup * steps)  # whole steps: with half a step the line down would start above the peak
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)


def _pieces(arrays: dict[str, np.ndarray], names) -> list[np.ndarray]:
    """What to walk through: two pieces of a Packed, weights and the rest, or every array of another dict."""
    if isinstance(arrays, Packed):
        return [arrays.weights, arrays.rest]
    return [arrays[name] for name in names]


def clip_by_global_norm(grads: dict[str, np.ndarray], largest: float) -> float:
    """Scale all gradients in place so that their norm together is at most `largest` (0: leave them). Returns the norm
    before."""
    pieces = _pieces(grads, grads)
    norm = math.sqrt(sum(kernels.squared_norm(g) for g in pieces))
    if 0 < largest < norm < math.inf:
        for g in pieces:
            g *= g.dtype.type(largest / norm)
    return norm


class Adam:
    """Adam's two moving averages for a set of parameters. Weight decay is for weights (names that end in /W), as in
    BERT: biases and LayerNorms are left out. For a Packed the gradients must be one, too."""

    def __init__(self, params: dict[str, np.ndarray], weight_decay: float = 0.0):
        self.params, self.weight_decay, self.steps = params, weight_decay, 0
        like = Packed.zeros_like if isinstance(params, Packed) else _zeros_like
        self.m, self.v = like(params), like(params)

    def step(self, grads: dict[str, np.ndarray], lr: float) -> None:
        """Move every parameter, in place."""
        self.steps += 1
        is_weight = [True, False] if isinstance(self.params, Packed) else [n.endswith("/W") for n in self.params]
        pieces = [_pieces(arrays, self.params) for arrays in (self.params, grads, self.m, self.v)]
        for *p_g_m_v, decays in zip(*pieces, is_weight, strict=True):
            decay = self.weight_decay if decays else 0.0
            kernels.adam(*p_g_m_v, lr, BETA1, BETA2, EPS, decay, self.steps)

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs, by flat name: parameters and both averages."""
        return {
            f"{kind}/{name}": a
            for kind, arrays in (("params", self.params), ("m", self.m), ("v", self.v))
            for name, a in arrays.items()
        }

    def load_state(self, state: dict[str, np.ndarray], steps: int) -> None:
        """Put back what `state` gave."""
        self.steps = steps
        for name, array in self.state().items():
            array[...] = state[name]


def _zeros_like(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: zeros(a.shape, a.dtype) for name, a in arrays.items()}
