"""All exercises of the course, in the order of its lessons; each topic has a file in catalogue/."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minibert.lessons import plain
from minibert.lessons.catalogue import (
    activations,
    adapter,
    adapter_init,
    attention,
    attention_backward,
    counts,
    cross_entropy,
    encoder,
    evidence,
    frozen,
    gradients,
    kernels,
    layernorm,
    loop,
    methods,
    optimizer,
    recomputed,
    tasks,
    text,
)
from minibert.lessons.exercise import Exercise

_TOPICS = (
    counts,
    text,
    attention,
    attention_backward,
    gradients,
    cross_entropy,
    activations,
    layernorm,
    recomputed,
    encoder,
    adapter,
    adapter_init,
    frozen,
    methods,
    optimizer,
    loop,
    evidence,
    kernels,
    tasks,
)
EXERCISES = {
    exercise.name: exercise
    for exercise in sorted((e for topic in _TOPICS for e in topic.EXERCISES), key=lambda exercise: exercise.lesson)
}


def arguments_of(exercise: Exercise, rng: np.random.Generator, forward: Callable | None = None) -> list[tuple]:
    """The arguments an exercise is tried on. Those of a backward function are the gradient of a forward function's
    output, and that function's cache; forward: the learner's own. A loss is the end: its gradient is 1, and is not
    given.
    """
    if exercise.cases is not None:
        return exercise.cases(rng)
    found = []
    for given in EXERCISES[exercise.forward].cases(rng):
        y, cache = (forward or getattr(plain, exercise.forward))(*given)
        found.append((rng.normal(size=np.shape(y)), cache) if np.ndim(y) else (cache,))
    return found
