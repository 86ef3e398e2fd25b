"""Adam with decoupled weight decay, the learning rate's rise and fall, and clipping: the paper's section 3.1."""

from __future__ import annotations

import math

import numpy as np

import kernels
from minibert.errors import InputError
from minibert.params import FlatParams

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def learning_rate(step: int, steps: int, peak: float, warmup: float = 0.1) -> float:
    """The rate of step 0, 1, ..., steps - 1: a straight line up over the first `warmup` of the steps, then down to
    zero."""
    rising = round(warmup * steps)  # whole steps: with half a step the line down would start above the peak
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)


def clip_by_global_norm(grads: dict[str, np.ndarray], largest: float) -> float:
    """Scale all gradients in place so that their norm together is at most `largest` (0: leave them). Returns the norm
    before (derivations, eq. (29))."""
    if isinstance(grads, FlatParams):
        return math.sqrt(kernels.squared_norm(grads.all, largest))
    norm = math.sqrt(sum(kernels.squared_norm(g) for g in grads.values()))
    if 0 < largest < norm < math.inf:
        for g in grads.values():
            g *= g.dtype.type(largest / norm)
    return norm


class Adam:
    """Adam (Kingma & Ba, 2014) with decoupled weight decay, for a set of parameters. With g the gradient at step t:

        m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
        p = p - lr weight_decay p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Weight decay is for weights (names that end in /W), as in BERT: biases and LayerNorms are left out.
    """

    def __init__(self, params: dict[str, np.ndarray], weight_decay: float = 0.0):
        self.params, self.weight_decay, self.steps = params, weight_decay, 0
        self.m, self.v = FlatParams.zeros_like(params), FlatParams.zeros_like(params)

    def step(self, grads: dict[str, np.ndarray], lr: float) -> None:
        """Move every parameter, in place. grads may hold those of further parameters, too."""
        self.steps += 1
        for *p_g_m_v, decays in self._pieces(grads):
            decay = self.weight_decay if decays else 0.0
            kernels.adam(*p_g_m_v, lr, BETA1, BETA2, EPS, decay, self.steps)

    def _pieces(self, grads: dict[str, np.ndarray]):
        """(p, g, m, v, is it weights?): two pieces where all four are packed alike, else one for every parameter."""
        four = self.params, grads, self.m, self.v
        if all(isinstance(arrays, FlatParams) for arrays in four) and list(grads) == list(self.params):
            yield *(arrays.decay for arrays in four), True
            yield *(arrays.no_decay for arrays in four), False
        else:
            for name in self.params:
                yield *(arrays[name] for arrays in four), name.endswith("/W")

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs, by flat name: parameters and both averages."""
        return {
            f"{kind}/{name}": a
            for kind, arrays in (("params", self.params), ("m", self.m), ("v", self.v))
            for name, a in arrays.items()
        }

    def load_state(self, state: dict[str, np.ndarray], steps: int) -> None:
        """Put back what `state` gave. Raises InputError if an array is missing, unknown, or of another shape or dtype;
        then nothing has been copied."""
        mine = self.state()
        for name in mine | state:
            expected, found = _kind_of(mine.get(name)), _kind_of(state.get(name))
            if found != expected:
                raise InputError(f"the state's array {name} is {found}, expected {expected}")
        self.steps = steps
        for name, array in mine.items():
            array[...] = state[name]


def _kind_of(array: np.ndarray | None) -> str:
    return "missing" if array is None else f"{array.dtype} {array.shape}"
