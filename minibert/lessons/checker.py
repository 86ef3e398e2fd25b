"""The checker: is a learner's function right, and if not, which mistake is it?

    >>> lessons.check("layernorm", my_layernorm)

It calls the function on the exercise's inputs and compares what it gives with the function of plain/, in float64. If
they differ, it tries every known mistake (catalogue/): one that gives the very same numbers is the one that was made.
A function that draws random numbers is judged by the properties of its results.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from minibert.errors import InputError, did_you_mean, shown
from minibert.lessons import known
from minibert.lessons.comparison import TAKE_Y, Comparison, compare, wrong_form
from minibert.lessons.exercise import Exercise
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.known import cases
from minibert.lessons.telling import arguments_told, raised
from minibert.lessons.time_limit import SECONDS, DoesNotEnd, limited
from minibert.lessons.values import kind, names_told, returned, same

PUT_BACK = 1e-9  # relative: x + e - 2 e + e is x up to its last bits
UNWRITTEN = "it is not written yet"
TO_YOURS = "Run the cell of your def again, then the check."


class WrongAnswer(AssertionError):
    """What `check(..., strict=True)` raises. Its message is the report."""


@dataclass(frozen=True)
class Report:
    """What the checker found. diagnosis: one sentence; "" if all is right. details: shapes, errors, numbers."""

    exercise: str
    diagnosis: str = ""
    details: tuple[str, ...] = field(default=())
    named: bool = False  # whether it is a known mistake
    own_cache: bool = False  # whether the cache of a right forward function is not the one described
    has_raised: bool = False  # whether nothing was compared, since it raised
    ends: bool = True  # whether each call ended in its time
    is_ours: bool = False  # whether it is our function and not the learner's
    of_own_file: bool = False  # whether it is read in a terminal, not in a notebook
    begin: str = ""  # the exercise to begin with, if it is another one

    @property
    def passed(self) -> bool:
        """Whether the function is right."""
        return not self.diagnosis

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        if self.passed and self.is_ours:
            return f"{self.exercise}: right, but this is ours, as lessons.take gives it. {TO_YOURS}"
        if self.passed:
            return f"{self.exercise}: right. {' '.join(self.details)}"
        lines = [f"{self.exercise}: not yet. {self.diagnosis}", *(f"  {line}" for line in self.details)]
        name = self.begin or self.exercise
        hint = f"python -m minibert.lessons hint {name}" if self.of_own_file else f'lessons.hint("{name}")'
        return "\n".join([*lines, f"  a hint: {hint}"])

    __repr__ = __str__  # a notebook shows the last value of a cell


def find(name: str) -> Exercise:
    """The exercise of that name. Raises InputError that lists them."""
    if name not in EXERCISES:
        alike = did_you_mean(str(name), EXERCISES)
        raise InputError(f"there is no exercise {shown(name)}.{alike} There are {', '.join(EXERCISES)}")
    return EXERCISES[name]


def _blank(x):
    """As a stub is."""
    ...


def _blank_too(x): ...


_BLANK_CODES = {function.__code__.co_code for function in (_blank, _blank_too)}


def is_written(function: Callable | None) -> bool:
    """Whether there is more in a function than a stub has, which returns None at once."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_name == "<lambda>" or code.co_code not in _BLANK_CODES:
        return function is not None
    return any(constant not in (None, ..., function.__doc__) for constant in code.co_consts)  # such as return 0


def check(
    name: str, function: Callable, forward: Callable | None = None, strict: bool = False, seconds: float = SECONDS
) -> Report:
    """Try a learner's function on the inputs of an exercise.

    forward: for a backward function, the learner's own forward function, if its cache is not the one that the exercise
    describes. strict: raise WrongAnswer instead of returning a report that is not good. seconds: what a call may take.
    """
    exercise = find(name)
    has_own = forward is not None and exercise.forward in EXERCISES
    of_forward = check(exercise.forward, forward, seconds=seconds) if has_own and callable(function) else None
    if not callable(function):
        report = Report(name, f"this is no function, but {kind(function)}: give the function itself, without brackets")
    elif not is_written(function):
        report = Report(name, UNWRITTEN)
    elif has_own and not of_forward:
        said = f'the forward function is not right yet: lessons.check("{exercise.forward}", …)'
        report = Report(name, said, begin=exercise.forward)
    else:
        report = _judge(exercise, function, forward, seconds)
        if not report and has_own and of_forward.own_cache:
            report = _of_another_cache(exercise, function, forward, report, seconds)
        report = replace(report, is_ours=inspect.unwrap(function) is exercise.solution)
    if strict and not report:
        raise WrongAnswer(str(report))
    return report


def _of_another_cache(exercise: Exercise, function: Callable, forward: Callable, report: Report, seconds: float):
    """The same report on a backward function; or that it does not go with the cache of the learner's own forward
    function, if it fails on that alone."""
    usual = _judge(exercise, function, None, seconds)
    unpacks = "values to unpack" in report.diagnosis and "cache" in report.diagnosis.splitlines()[-1]
    if usual:
        said = f"right with the cache that the exercise describes, not with that of your {exercise.forward}"
    elif report.has_raised and (unpacks or not usual.has_raised):
        said = f"it does not fit the cache of your {exercise.forward}"
    else:
        return report
    mine, described = cases(exercise, forward)[0][0][-1], EXERCISES[exercise.forward].cache
    caches = f"yours is {returned(mine)}, the one described {names_told(described)}"
    found = report.diagnosis.replace(f" ({TAKE_Y})", "")  # of a cache that is a tuple it would be false
    return replace(report, diagnosis=f"{said}: {caches}", details=(found, *report.details), named=False)


def _judge(exercise: Exercise, function: Callable, forward: Callable | None, seconds: float) -> Report:
    if exercise.judge:
        return _judge_random(exercise, function, seconds)
    answers, found, wrong = [], [], None
    for arguments, expected in cases(exercise, forward):
        where = arguments_told(exercise, arguments, has_own_cache=forward is not None)
        given = copy.deepcopy(arguments)
        answer, error = _call(function, given, seconds)
        answers.append(answer)
        if error is not None and wrong is None:
            told, message = raised(error), known.by_error(exercise, arguments, error)
            details = (told, where) if message else (where,)
            ends = not isinstance(error, DoesNotEnd)
            return Report(exercise.name, message or told, details, named=bool(message), has_raised=True, ends=ends)
        failed = raised(error) if error is not None else _changed(exercise, given, arguments)
        if failed:
            if wrong is None:
                return Report(exercise.name, failed, (where,))
            later = f"and on a later input {failed.splitlines()[0]}"
            wrong = replace(wrong, details=(*wrong.details, later), ends=not isinstance(error, DoesNotEnd))
            break
        found.append(compare(answers[-1], expected, exercise))
        if found[-1].problem and wrong is None:
            wrong = Report(exercise.name, found[-1].problem, (*found[-1].details, where))
    if wrong is None:
        return _right(exercise, found)
    message, is_certain = known.by_numbers(exercise, answers[: len(found)])
    if message and not is_certain:
        return replace(wrong, details=(*wrong.details, f"one mistake that leaves nothing finite: {message}"))
    return replace(wrong, diagnosis=message, named=True) if message else wrong


def _call(function: Callable, arguments: tuple, seconds: float) -> tuple[object, BaseException | None]:
    """What a learner's function gives, and what it raises, whatever that is: one of both is None."""
    try:
        with np.errstate(all="ignore"), limited(seconds):  # the report shows what a learner overflows
            return function(*arguments), None
    except (Exception, SystemExit, DoesNotEnd) as error:
        return None, error


def _right(exercise: Exercise, found: list[Comparison]) -> Report:
    details = [f"{len(found)} inputs, largest relative error {max(one.error for one in found):.0e}."]
    if any(one.rounded for one in found):
        details.append("It is right up to float32: float64 shows smaller mistakes.")
    own_cache = any(one.own_cache for one in found)
    if own_cache:
        details.append(_on_own_cache(exercise))
        unseen = {name for one in found for name in one.unseen}
        details += [f"{name}: {why}." for name, why in exercise.unseen if unseen == {name}]
    return Report(exercise.name, details=tuple(details), own_cache=own_cache)


def _on_own_cache(exercise: Exercise) -> str:
    """That it is another one, and where it can be tried: by an exercise that runs forward for its inputs."""
    backward = EXERCISES.get(f"{exercise.name}_backward")
    tried = backward is not None and backward.cases is None and backward.lesson == exercise.lesson
    told = f"{exercise.outputs[0]} is right. The cache is not the one described"
    return told + (": check the backward pass with forward=…, yours." if tried else ", which does no harm here.")


def _changed(exercise: Exercise, given: tuple, arguments: tuple) -> str:
    """What to say of an argument that is no longer what it was; "" if none is."""
    for name, now, before in zip(exercise.solution.__code__.co_varnames, given, arguments, strict=False):
        if same(now, before, PUT_BACK):
            continue
        if name in dict(exercise.put_back):
            return dict(exercise.put_back)[name]
        of_cache = exercise.forward and name == "cache"
        what = "the cache, or a part of it," if of_cache else f"its argument {name}"
        return f"it changes {what} in place: the caller still needs it, so compute a new array instead"
    return ""


def _judge_random(exercise: Exercise, function: Callable, seconds: float) -> Report:
    """As _judge, of a function whose results need not be those of the solution: by their properties."""
    answers = []
    for arguments, expected in cases(exercise):
        answer, error = _call(function, copy.deepcopy(arguments), seconds)
        if error is not None:
            ends, where = not isinstance(error, DoesNotEnd), arguments_told(exercise, arguments)
            return Report(exercise.name, raised(error), (where,), ends=ends)
        answers.append(answer)
        if problem := wrong_form(answer, expected, exercise.outputs[0]):
            return Report(exercise.name, problem, (arguments_told(exercise, arguments),))
    told = exercise.judge([arguments for arguments, _ in cases(exercise)], answers)
    if not told:
        return Report(exercise.name, details=(f"{len(answers)} results have the properties that they must have.",))
    return Report(exercise.name, told[0], tuple(told[1:]), named=told[0] in [m.message for m in exercise.mistakes])
