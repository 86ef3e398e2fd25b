"""The checker: is a learner's function right, and if not, which mistake is it?

    >>> lessons.check("layernorm", my_layernorm)

It calls the function on the exercise's inputs and compares what it gives with the function of plain/, in float64. If
they differ, it tries every known mistake (catalogue/): one that gives the very same numbers is the one that was made.
A function that draws random numbers is judged by the properties of its results.
"""

from __future__ import annotations

import copy
import functools
import linecache
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minibert.errors import InputError, did_you_mean, shown
from minibert.lessons.comparison import Comparison, agree, compare, judged, kind, same, wrong_form
from minibert.lessons.edits import with_mistake
from minibert.lessons.exercise import Exercise
from minibert.lessons.exercises import EXERCISES, arguments_of
from minibert.lessons.time_limit import DoesNotEnd, limited

SEED = 0
SECONDS = 20.0  # for one call of a learner's function, which takes milliseconds


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

    @property
    def passed(self) -> bool:
        """Whether the function is right."""
        return not self.diagnosis

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        if self.passed:
            return f"{self.exercise}: right. {' '.join(self.details)}"
        lines = [f"{self.exercise}: not yet. {self.diagnosis}", *(f"  {line}" for line in self.details)]
        return "\n".join([*lines, f'  a hint: lessons.hint("{self.exercise}")'])

    __repr__ = __str__  # a notebook shows the last value of a cell


def find(name: str) -> Exercise:
    """The exercise of that name. Raises InputError that lists them."""
    if name not in EXERCISES:
        known = ", ".join(EXERCISES)
        alike = did_you_mean(str(name), EXERCISES)
        raise InputError(f"there is no exercise {shown(name)}; there are {known}.{alike}".removesuffix("."))
    return EXERCISES[name]


def check(
    name: str, function: Callable, forward: Callable | None = None, strict: bool = False, seconds: float = SECONDS
) -> Report:
    """Try a learner's function on the inputs of an exercise.

    forward: for a backward function, the learner's own forward function, if its cache is not the one that the exercise
    describes. strict: raise WrongAnswer instead of returning a report that is not good. seconds: what a call may take.
    """
    exercise = find(name)
    has_own = forward is not None and exercise.forward in EXERCISES
    if not callable(function):
        report = Report(name, f"this is no function, but {kind(function)}: give the function itself, without brackets")
    elif has_own and not check(exercise.forward, forward, seconds=seconds):
        report = Report(name, f'the forward function is not right yet: lessons.check("{exercise.forward}", …)')
    else:
        report = _judge(exercise, function, forward, seconds)
    if strict and not report:
        raise WrongAnswer(str(report))
    return report


def _judge(exercise: Exercise, function: Callable, forward: Callable | None, seconds: float) -> Report:
    if exercise.judge:
        return _judge_random(exercise, function, seconds)
    answers, found, wrong = [], [], None
    for arguments, expected in _cases(exercise, forward):
        where = _describe_arguments(exercise, arguments)
        given = copy.deepcopy(arguments)
        failed = ""
        try:
            with np.errstate(all="ignore"), limited(seconds):  # what a learner overflows is told by the report
                answers.append(function(*given))
        except (Exception, SystemExit, DoesNotEnd) as error:  # whatever a learner's function may raise
            known = _known_error(exercise, arguments, error) if wrong is None else ""
            if known:
                return Report(exercise.name, known, (raised(error), where), named=True)
            failed = raised(error)
        failed = failed or _changed(exercise, given, arguments)
        if failed:
            if wrong is None:
                return Report(exercise.name, failed, (where,))
            later = f"and on a later input {failed.splitlines()[0]}"
            wrong = replace(wrong, details=(*wrong.details, later))
            break
        found.append(compare(answers[-1], expected, exercise))
        if found[-1].problem and wrong is None:
            wrong = Report(exercise.name, found[-1].problem, (*found[-1].details, where))
    if wrong is None:
        return _right(exercise, found)
    known = _known_mistake(exercise, answers[: len(found)])
    return Report(exercise.name, known, wrong.details, named=True) if known else wrong


def _right(exercise: Exercise, found: list[Comparison]) -> Report:
    details = [f"{len(found)} inputs, largest relative error {max(one.error for one in found):.0e}."]
    if any(one.rounded for one in found):
        details.append("It is right up to float32: float64 shows smaller mistakes.")
    own_cache = any(one.own_cache for one in found)
    if own_cache:
        details.append(_on_own_cache(exercise))
    return Report(exercise.name, details=tuple(details), own_cache=own_cache)


def _changed(exercise: Exercise, given: tuple, arguments: tuple) -> str:
    """What to say of an argument that is no longer what it was; "" if none is."""
    for name, now, before in zip(exercise.solution.__code__.co_varnames, given, arguments, strict=False):
        if same(now, before):
            continue
        of_cache = exercise.forward and name == "cache"
        what = "the cache, or a part of it," if of_cache else f"its argument {name}"
        return f"it changes {what} in place: the caller still needs it, so compute a new array instead"
    return ""


def _judge_random(exercise: Exercise, function: Callable, seconds: float) -> Report:
    """As _judge, of a function whose results need not be those of the solution: by their properties."""
    answers = []
    for arguments, expected in _cases(exercise):
        try:
            with limited(seconds):
                answers.append(function(*copy.deepcopy(arguments)))
        except (Exception, SystemExit, DoesNotEnd) as error:  # whatever a learner's function may raise
            return Report(exercise.name, raised(error), (_describe_arguments(exercise, arguments),))
        if problem := wrong_form(answers[-1], expected, exercise.outputs[0]):
            return Report(exercise.name, problem, (_describe_arguments(exercise, arguments),))
    told = exercise.judge([arguments for arguments, _ in _cases(exercise)], answers)
    if not told:
        return Report(exercise.name, details=(f"{len(answers)} results have the properties that they must have.",))
    return Report(exercise.name, told[0], tuple(told[1:]), named=told[0] in [m.message for m in exercise.mistakes])


def _cases(exercise: Exercise, forward: Callable | None = None) -> list[tuple[tuple, object]]:
    """The arguments of the exercise, and what its solution gives for them."""
    usual = _usual_cases(exercise)
    if forward is None or not exercise.forward:
        return usual
    own = arguments_of(exercise, np.random.default_rng(SEED), forward)
    return [(given, expected) for given, (_, expected) in zip(own, usual, strict=True)]


@functools.cache
def _usual_cases(exercise: Exercise) -> list[tuple[tuple, object]]:
    given = arguments_of(exercise, np.random.default_rng(SEED))
    return [(arguments, exercise.solution(*copy.deepcopy(arguments))) for arguments in given]


# ---------------------------------------------------------------------------------------------------- what to say


def _known_mistake(exercise: Exercise, answers: list) -> str:
    """The message of the first known mistake that gives these very answers; "" if none does."""
    for mistake in exercise.mistakes:
        edited = with_mistake(exercise.name, mistake)
        pairs = zip(_cases(exercise), answers, strict=False)  # it may have failed on one, and not gone on
        if all(_agree(exercise, edited, case, answer) for case, answer in pairs):
            return mistake.message
    return ""


def _known_error(exercise: Exercise, arguments: tuple, error: BaseException) -> str:
    """The message of the first known mistake that raises the very same error; "" if none does."""
    for mistake in exercise.mistakes:
        try:
            with_mistake(exercise.name, mistake)(*copy.deepcopy(arguments))
        except Exception as other:  # whatever an edit may raise
            if type(other) is type(error) and str(other) == str(error):
                return mistake.message
    return ""


def _on_own_cache(exercise: Exercise) -> str:
    """That it is another one, and where it can be tried: by an exercise that runs forward for its inputs."""
    backward = EXERCISES.get(f"{exercise.name}_backward")
    tried = backward is not None and backward.cases is None
    told = f"{exercise.outputs[0]} is right. The cache is not the one described"
    return told + (": check the backward pass with forward=…, yours" if tried else ", which does no harm")


def _agree(exercise: Exercise, edited: Callable, case: tuple, answer) -> bool:
    try:
        with np.errstate(all="ignore"):
            wrong = edited(*copy.deepcopy(case[0]))
        return agree(judged(answer, exercise), judged(wrong, exercise))
    except Exception:  # an edit that cannot be computed on these inputs is not what the learner wrote
        return False


def _describe_arguments(exercise: Exercise, arguments: tuple) -> str:
    names = exercise.solution.__code__.co_varnames
    return "tried on " + ", ".join(f"{n} {_short(a)}" for n, a in zip(names, arguments, strict=False))


def _short(value) -> str:
    """A few numbers or texts as they are, such as the sizes of a tile; of anything else what it is."""
    few = isinstance(value, (tuple, list)) and len(value) <= 4 and all(isinstance(v, (int, str)) for v in value)
    return repr(value) if few else kind(value)


def raised(error: BaseException) -> str:
    """What a learner's function raised, or that it did not end, and in which line. The first step of the traceback is
    that of who called it."""
    ends = not isinstance(error, DoesNotEnd)
    kind = f"{type(error).__name__}: {error}" if ends else f"{error}: look at the condition of its loop"
    if "tuple" in str(error):
        kind += " (a forward function, such as embedding or linear, returns (y, cache): take y)"
    step = own_step(error)
    if step is None:
        return f"it cannot be called: {kind}" if ends else kind
    line = (step.line or linecache.getline(step.filename, step.lineno or 0)).strip()
    return f"{'it raises ' if ends else ''}{kind}\n  in line {step.lineno}: {line}"


def own_step(error: BaseException) -> traceback.FrameSummary | None:
    """The learner's own step of the traceback: the last one that is not of a library, nor of this program."""
    steps = [step for step in traceback.extract_tb(error.__traceback__)[1:] if not _is_of_a_library(step.filename)]
    return steps[-1] if steps else None


def _is_of_a_library(path: str) -> bool:
    places = Path(__file__).parents[1], sysconfig.get_path("stdlib")
    return "site-packages" in path or path.startswith("<frozen ") or any(map(Path(path).is_relative_to, places))


# ------------------------------------------------------------------------------------------------------ hint, take

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
    if check(name, function, forward):
        print(f"{name}: yours")
        return function
    print(f'{name}: ours, until yours is right (lessons.check("{name}", …))')
    exercise = find(name)
    if exercise.forward and forward is not None and check(exercise.forward, forward).own_cache:
        print(f"  ours needs the cache that is described; {exercise.forward} has another one")
    return exercise.solution
