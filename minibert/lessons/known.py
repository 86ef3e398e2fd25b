"""Which known mistake is it? The inputs of an exercise, what its solution gives, and what each mistake gives."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from minibert.lessons.comparison import judged
from minibert.lessons.edits import with_mistake
from minibert.lessons.exercise import Exercise
from minibert.lessons.exercises import arguments_of
from minibert.lessons.values import agree, is_lost

SEED = 0


def cases(exercise: Exercise, forward: Callable | None = None) -> list[tuple[tuple, object]]:
    """The arguments of the exercise, and what its solution gives for them. forward: whose cache they hold; ours if
    None."""
    usual = _usual_cases(exercise)
    if forward is None or not exercise.forward:
        return usual
    own = arguments_of(exercise, np.random.default_rng(SEED), forward)
    return [(given, expected) for given, (_, expected) in zip(own, usual, strict=True)]


@functools.cache
def _usual_cases(exercise: Exercise) -> list[tuple[tuple, object]]:
    given = arguments_of(exercise, np.random.default_rng(SEED))
    return [(arguments, exercise.solution(*copy.deepcopy(arguments))) for arguments in given]


@contextmanager
def _quiet() -> Iterator[None]:
    """What our own lines overflow while mistakes are tried is nobody's business, and a warning shows the line."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def by_numbers(exercise: Exercise, answers: list) -> tuple[str, bool]:
    """(the message of the first known mistake that gives these very answers, whether it is certain); "" if none does.

    Where nothing finite is left, any mistake that leaves nothing finite gives the same: then it is a guess.
    """
    pairs = list(zip(cases(exercise), answers, strict=False))  # it may have failed on one, and not gone on
    for mistake in exercise.mistakes:
        edited = with_mistake(exercise.name, mistake)
        if all(_gives(exercise, edited, arguments, answer) for (arguments, _), answer in pairs):
            return mistake.message, not all(is_lost(judged(answer, exercise)) for answer in answers)
    return "", False


def by_error(exercise: Exercise, arguments: tuple, error: BaseException) -> str:
    """The message of the first known mistake that raises the very same error; "" if none does, or if the solution
    itself raises one on these arguments: then they are not those that the mistakes are made for."""
    if _raised_by(exercise.solution, arguments) is not None:
        return ""
    for mistake in exercise.mistakes:
        other = _raised_by(with_mistake(exercise.name, mistake), arguments)
        if type(other) is type(error) and str(other) == str(error):
            return mistake.message
    return ""


def _raised_by(function: Callable, arguments: tuple) -> Exception | None:
    try:
        with _quiet():
            function(*copy.deepcopy(arguments))
    except Exception as error:  # whatever an edit may raise
        return error
    return None


def _gives(exercise: Exercise, edited: Callable, arguments: tuple, answer) -> bool:
    try:
        with _quiet():
            wrong = edited(*copy.deepcopy(arguments))
        return agree(judged(answer, exercise), judged(wrong, exercise))
    except Exception:  # an edit that cannot be computed on these inputs is not what the learner wrote
        return False
