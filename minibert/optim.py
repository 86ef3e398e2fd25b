"""Adam, the learning rate's rise and fall, and clipping.

The paper's section 3.1 names Adam and the schedule, and refers to Devlin et al. (2018) for the rest: weight decay and
clipping by the norm are BERT's.
"""

from __future__ import annotations

import math

import numpy as np

import kernels
from minibert.errors import InputError
from minibert.params import FlatParams

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def learning_rate(step: int, steps: int, peak: float, warmup: float = 0.1) -> float:
    """The rate of step 0, 1, ..., steps - 1: a straight line up over the first `warmup` of the steps, then one down,
    which would reach zero one step after the last."""
    rising = round(warmup * steps)  # whole steps: with 1.5 of them the line up would reach 2 / 1.5 of the peak
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)


def clip_by_global_norm(grads: FlatParams, largest: float) -> float:
    """Scale all gradients in place so that their norm together is at most `largest` (0: leave them). Returns the norm
    before (derivations, eq. (29))."""
    _check_flat(grads)
    return math.sqrt(kernels.squared_norm(grads.all, largest))


def _check_flat(grads) -> None:
    if not isinstance(grads, FlatParams):
        raise TypeError("gradients must be FlatParams, as of loss_and_grads; FlatParams.copy_of(dict) makes them")


class Adam:
    """Adam (Kingma & Ba, 2014) with decoupled weight decay, for a set of parameters. With g the gradient at step t:

        m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
        p = p - lr weight_decay p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Weight decay is for weights (names that end in /W), as in BERT: biases and LayerNorms are left out.
    """

    def __init__(self, params: FlatParams, weight_decay: float = 0.0):
        self.params, self.weight_decay, self.steps = params, weight_decay, 0
        self.m, self.v = FlatParams.zeros_like(params), FlatParams.zeros_like(params)

    def step(self, grads: FlatParams, lr: float) -> None:
        """Move every parameter, in place. Raises ValueError if the gradients are not those of the parameters."""
        _check_flat(grads)
        if list(grads) != list(self.params):
            raise ValueError("the gradients must have the parameters' names, in their order")
        self.steps += 1
        p, g, m, v = self.params, grads, self.m, self.v
        kernels.adam(p.decay, g.decay, m.decay, v.decay, lr, BETA1, BETA2, EPS, self.weight_decay, self.steps)
        kernels.adam(p.no_decay, g.no_decay, m.no_decay, v.no_decay, lr, BETA1, BETA2, EPS, 0.0, self.steps)

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
