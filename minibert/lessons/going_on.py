"""Help on the way: a hint, and a function to go on with."""

from __future__ import annotations

from collections.abc import Callable

from minibert.errors import InputError, shown
from minibert.lessons.checker import TO_YOURS, check, find

_SHOWN: dict[str, int] = {}


def hint(name: str, number: int | None = None) -> str:
    """A hint of an exercise: the first is a question, then where to look, the last nearly the line.

    number: which, from 1; None: the next one. Raises InputError if there is none of that number.
    """
    hints = find(name).hints
    if number is None:
        number = min(_SHOWN.get(name, 0) + 1, len(hints))
    if not isinstance(number, int) or not 1 <= number <= len(hints):
        raise InputError(f"{name} has hints 1 to {len(hints)}, got {shown(number)}")
    _SHOWN[name] = number
    return f"{name}, hint {number} of {len(hints)}: {hints[number - 1]}"


def take(name: str, function: Callable, forward: Callable | None = None) -> Callable:
    """The learner's function if it is right, else that of plain/, so that the lesson goes on; prints which."""
    report = check(name, function, forward)
    if report:
        print(f"{name}: ours, as taken before. {TO_YOURS}" if report.is_ours else f"{name}: yours")
        return function
    print(f'{name}: ours, until yours is right (lessons.check("{name}", …))')
    exercise = find(name)
    has_own = exercise.forward and forward is not None and not report.begin  # it is right
    if has_own and check(exercise.forward, forward).own_cache:
        print(f"  ours needs the cache that is described; {exercise.forward} has another one")
    return exercise.solution
