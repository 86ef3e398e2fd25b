"""What an exercise of the course is: a function to write, the inputs it is tried on, hints, and known mistakes.

An exercise is named after its function of plain/. Inputs are random, in float64, and of sizes that all differ, so
that a transposed matrix or a mean over the wrong axis cannot pass. Those of one seed are always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minibert.lessons import plain

Cases = Callable[[np.random.Generator], list[tuple]]
Judge = Callable[[list[tuple], list], tuple[str, ...]]


class Mistake(NamedTuple):
    """A known mistake: an edit of `function` of plain/, that is a line, or a part of it, and what stands there
    instead; and what to say to who makes it.

    If a learner's function gives on every input what the edited one gives, this is the mistake that was made. That is
    how a message can name it, whatever way the function is written in.
    """

    function: str
    line: str
    instead: str
    message: str


@dataclass(frozen=True)
class Exercise:
    """One function to write.

    outputs   the names of what it returns: one, or of a tuple several, in which a tuple stands for a tuple; the arrays
              of a dict are called by its keys
    cache     of a function that returns (y, cache): the names of its cache, such as ("x", "W"); outputs is then of y
    cases     a random generator -> the lists of arguments it is tried on; None for a backward function: those of its
              forward function serve
    hints     from a question to nearly the line
    exact     whether a dict that is returned must have no further keys (further gradients do no harm)
    order     names of outputs in the order in which they are computed, to find the first that is wrong
    unseen    (the name of a part of the cache, why another one gives the same result) for those that surprise
    put_back  (name of an argument, what to say if it is changed) where "compute a new array" would not help
    mistakes  those that are made most often first; each is (line, instead, message), or (function, line, instead,
              message) for a mistake in another function that this one calls
    judge     for a function that draws random numbers, where many results are right: (the lists of arguments, the
              results) -> () if all have the properties that they must have, else what to say: the diagnosis, which is
              the message of one of `mistakes` if it is a known one, then details. Shapes have been checked before.
    """

    name: str
    lesson: int
    outputs: tuple
    cases: Cases | None
    hints: tuple[str, ...]
    cache: tuple | str | None = None
    order: tuple[str, ...] = ()
    exact: bool = False
    put_back: tuple[tuple[str, str], ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    mistakes: tuple[tuple[str, ...], ...] = ()
    judge: Judge | None = None

    def __post_init__(self):
        named = (Mistake(*edit) if len(edit) == 4 else Mistake(self.name, *edit) for edit in self.mistakes)
        object.__setattr__(self, "mistakes", tuple(named))

    @property
    def solution(self) -> Callable:
        """The function of plain/."""
        return getattr(plain, self.name)

    @property
    def forward(self) -> str:
        """Of a backward function: the name of the function that makes its cache; else ""."""
        return self.name.removesuffix("_backward") if self.name.endswith("_backward") else ""
