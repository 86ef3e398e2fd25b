"""A learner's functions beside ours, on the tensors of a real BERT: which is the first that gives something else?

The checker tries each function on small inputs in float64. What it cannot see (a size that is assumed, a float32 that
overflows, a cache that does not fit) shows here: plain/ computes, and every step of it is computed by the learner's
function, too, from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minibert.lessons import plain
from minibert.lessons.edits import copies
from minibert.lessons.telling import raised
from minibert.lessons.values import error

STEPS = ("embedding", "linear", "gelu", "layernorm", "softmax", "attention", "adapter")  # of a layer, and below it
FORWARD, BACKWARD = 1e-5, 1e-3  # largest relative difference; gradients are sums of many terms in float32
TINY = 1e-12  # what a difference is relative to at least: real gradients may all be small


class Wrong(Exception):
    """A learner's function is wrong, and why."""

    def __init__(self, name: str, why: str):
        super().__init__(f"{name}: {why}")
        self.name = name


class Both(NamedTuple):
    """Two caches of one step."""

    ours: object
    theirs: object


def call(functions: dict[str, Callable], name: str, *arguments):
    """Call a learner's function. Raises Wrong for whatever it raises."""
    try:
        return functions[name](*arguments)
    except (Exception, SystemExit) as failure:
        raise Wrong(name, raised(failure)) from failure


def pair(functions: dict[str, Callable], name: str, *arguments) -> tuple:
    """The two things that a forward function returns. Raises Wrong if they are not two."""
    found = call(functions, name, *arguments)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise Wrong(name, "it does not return two things: y, cache")
    return found[0], found[1]


def agree(name: str, found, wanted, tolerance: float, where: str = "") -> float:
    """The largest relative difference of two values: arrays, or tuples or dicts of them. Raises Wrong if it is above
    the tolerance, if a shape is another one, or a part is missing."""
    at = f" {where}" if where else ""
    if isinstance(wanted, dict):
        missing = [key for key in wanted if not isinstance(found, dict) or key not in found]
        if missing:
            raise Wrong(name, f"{missing[0]} is missing{at}")
        return max((agree(name, found[key], wanted[key], tolerance, f"of {key}{at}") for key in wanted), default=0.0)
    if isinstance(wanted, tuple):
        if not isinstance(found, (tuple, list)) or len(found) != len(wanted):
            raise Wrong(name, f"it does not return {len(wanted)} things{at}")
        parts = zip(found, wanted, strict=True)
        return max(agree(name, f, w, tolerance, f"of result {i}{at}") for i, (f, w) in enumerate(parts, 1))
    if np.shape(found) != np.shape(wanted):
        raise Wrong(name, f"the shape{at} is {np.shape(found)}; expected {np.shape(wanted)}")
    difference = error(found, wanted, TINY)
    if not difference <= tolerance:
        raise Wrong(name, f"the relative error{at} is {difference:.0e}, on arrays {np.shape(wanted)} of float32")
    return difference


def compared(functions: dict[str, Callable]) -> dict[str, Callable]:
    """The functions of plain/, each step of which is computed by the learner's function, too, and compared. Of a step
    that differs, its own steps are compared before Wrong is raised."""
    names = copies()
    for name in STEPS:
        inside, backward = names[name], f"{name}_backward"
        names[name] = _forward(functions, name, inside)
        names[backward] = _backward(functions, backward, names[backward])
    names["frozen_backward"] = lambda dy, cache: plain.frozen_backward(dy, cache.ours)
    return names


def _forward(functions: dict[str, Callable], name: str, inside: Callable) -> Callable:
    ours = getattr(plain, name)

    def both(*arguments):
        y, cache = ours(*arguments)
        try:
            found, their_cache = pair(functions, name, *arguments)
            agree(name, found, y, FORWARD)
        except Wrong:
            inside(*arguments)
            raise
        return y, Both(cache, their_cache)

    return both


def _backward(functions: dict[str, Callable], name: str, inside: Callable) -> Callable:
    ours = getattr(plain, name)

    def both(dy, cache):
        """cache: Both; inside of another step ours alone, which theirs may not be able to read."""
        known = isinstance(cache, Both)
        wanted = ours(dy, cache.ours if known else cache)
        try:
            agree(name, call(functions, name, dy, cache.theirs if known else cache), wanted, BACKWARD)
        except Wrong as wrong:
            inside(dy, cache.ours if known else cache)
            if known or wrong.__cause__ is None:
                raise
        return wanted

    return both
