"""The checker: is a learner's function right, and if not, which mistake is it?

    >>> lessons.check("layernorm", my_layernorm)

It calls the function on the exercise's inputs and compares what it gives with the function of plain.py, in float64. If
they differ, it tries every known mistake (mistakes.py): one that gives the very same numbers is the one that was made.
"""

from __future__ import annotations

import copy
import functools
import linecache
import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minibert.errors import InputError, list_some
from minibert.lessons.exercises import EXERCISES, Exercise
from minibert.lessons.mistakes import MISTAKES, with_mistake

TOLERANCE = 1e-7  # of the largest element of the expected tensor
FLOOR = 1e-3  # and never of less than this: a gradient may be zero, and what is left of it rounding
SEED = 0
MOST_SHOWN = 4  # wrong tensors


class WrongAnswer(AssertionError):
    """What `check(..., strict=True)` raises. Its message is the report."""


@dataclass(frozen=True)
class Report:
    """What the checker found. diagnosis: one sentence; "" if all is right. details: shapes, errors, numbers."""

    exercise: str
    diagnosis: str = ""
    details: tuple[str, ...] = field(default=())
    named: bool = False  # whether it is a known mistake

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
        raise InputError(f"there is no exercise {name!r}; there are {', '.join(EXERCISES)}")
    return EXERCISES[name]


def check(name: str, function: Callable, forward: Callable | None = None, strict: bool = False) -> Report:
    """Try a learner's function on the inputs of an exercise.

    forward: for a backward function, the learner's own forward function, if its cache is not the one that the exercise
    describes. strict: raise WrongAnswer instead of returning a report that is not good.
    """
    exercise = find(name)
    if not callable(function):
        report = Report(name, f"this is no function, but {_kind(function)}: give the function itself, without brackets")
    else:
        report = _judge(exercise, function, forward)
    if strict and not report:
        raise WrongAnswer(str(report))
    return report


def _judge(exercise: Exercise, function: Callable, forward: Callable | None) -> Report:
    answers, worst, wrong = [], 0.0, None
    for arguments, expected in _cases(exercise, forward):
        given = copy.deepcopy(arguments)
        try:
            answer = function(*given)
        except Exception as error:  # whatever a learner's function may raise
            return Report(exercise.name, _raised(error), (_describe_arguments(exercise, arguments),))
        if not _same(given, arguments):
            return Report(exercise.name, "it changes its arguments in place: compute new arrays instead")
        answers.append(answer)
        found = compare(exercise, answer, expected)
        worst = max(worst, found.error)
        if found.problem and wrong is None:
            where = _describe_arguments(exercise, arguments)
            wrong = Report(exercise.name, found.problem, (*found.details, where))
    if wrong is None:
        return Report(exercise.name, details=(f"{len(answers)} inputs, largest relative error {worst:.0e}.",))
    known = _known_mistake(exercise, answers, forward)
    return Report(exercise.name, known, wrong.details, named=True) if known else wrong


def _cases(exercise: Exercise, forward: Callable | None = None) -> list[tuple[tuple, object]]:
    """The arguments of the exercise, and what its solution gives for them."""
    usual = _usual_cases(exercise)
    if forward is None or not exercise.forward:
        return usual
    own = exercise.arguments(np.random.default_rng(SEED), forward)
    return [(given, expected) for given, (_, expected) in zip(own, usual, strict=True)]


@functools.cache
def _usual_cases(exercise: Exercise) -> list[tuple[tuple, object]]:
    given = exercise.arguments(np.random.default_rng(SEED))
    return [(arguments, exercise.solution(*copy.deepcopy(arguments))) for arguments in given]


# ------------------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Comparison:
    """error: the largest of all tensors, relative. problem: "" if they agree."""

    error: float = 0.0
    problem: str = ""
    details: tuple[str, ...] = ()


def compare(exercise: Exercise, answer, expected) -> Comparison:
    """An answer with what the solution gives, tensor by tensor."""
    if problem := _wrong_form(exercise, answer, expected):
        return Comparison(math.inf, problem)
    found, wanted = (_tensors(value, exercise.outputs) for value in (answer, expected))
    errors = {name: _error(found[name], value) for name, value in wanted.items()}
    wrong = [name for name in wanted if not errors[name] <= TOLERANCE]
    if not wrong:
        return Comparison(max(errors.values()))
    first = next((name for step in exercise.order for name in wrong if name.split("[")[0] == step), wrong[0])
    right = [name for name in wanted if name not in wrong]
    shown = [first, *(name for name in wrong if name != first)][:MOST_SHOWN]
    details = [_describe_error(found[name], wanted[name], errors[name], name) for name in shown]
    if right:
        details.append(f"right: {list_some(right, MOST_SHOWN)}")
    problem = f"{first} is the first that is wrong" if len(wrong) > 1 else f"{first} is wrong"
    return Comparison(max(errors.values()), f"{problem}{_look(found[first], wanted[first])}", tuple(details))


def _tensors(value, names) -> dict[str, object]:
    """{name: tensor} of nested tuples and dicts."""
    if isinstance(value, dict) and isinstance(names, str):
        return {key if isinstance(key, str) else f"{names}{list(key)}": part for key, part in value.items()}
    if isinstance(names, str):
        return {names: value}
    if len(names) == 1:
        return _tensors(value, names[0])
    found: dict[str, object] = {}
    for part, name in zip(value, names, strict=True):
        found |= _tensors(part, name)
    return found


def _wrong_form(exercise: Exercise, answer, expected) -> str:
    """Whether something else is returned than numbers in that order."""
    if answer is None:
        return "it returns None: is there a return at the end?"
    if isinstance(expected, tuple):
        names = ", ".join(_name(name) for name in exercise.outputs)
        if not isinstance(answer, (tuple, list)):
            return f"it returns {_kind(answer)}; it must return {len(expected)} things: {names}"
        if len(answer) != len(expected):
            return f"it returns {len(answer)} things; expected {len(expected)}: {names}"
        parts = zip(answer, expected, exercise.outputs, strict=True)
    else:
        parts = [(answer, expected, exercise.outputs[0])]
    for found, wanted, name in parts:
        if problem := _wrong_part(found, wanted, _name(name)):
            return problem
    return ""


def _wrong_part(found, wanted, name: str) -> str:
    if isinstance(wanted, (tuple, list)) and not isinstance(wanted, np.ndarray):
        if not isinstance(found, (tuple, list)) or len(found) != len(wanted):
            return f"{name} is {_kind(found)}; expected {len(wanted)} things in a {type(wanted).__name__}"
        return next(
            filter(
                None, (_wrong_part(f, w, f"{name}[{i}]") for i, (f, w) in enumerate(zip(found, wanted, strict=True)))
            ),
            "",
        )
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{name} is {_kind(found)}; expected a dict with {list_some(map(str, wanted))}"
        missing = [key for key in wanted if key not in found]
        if missing and all(isinstance(key, str) for key in missing):
            return f"{name} has no {missing[0]}; it has {list_some(map(str, found)) or 'nothing'}"
        return "" if missing else next(filter(None, (_wrong_part(found[k], w, str(k)) for k, w in wanted.items())), "")
    if isinstance(wanted, str):
        return "" if isinstance(found, str) else f"{name} is {_kind(found)}; expected a text"
    if np.asarray(found).dtype.kind not in "iufb":
        return f"{name} is {_kind(found)}; expected numbers"
    if np.shape(found) != np.shape(wanted):
        hint = ": it is transposed" if np.shape(found) == np.shape(wanted)[::-1] else ""
        return f"{name} has the shape {np.shape(found)}; expected {np.shape(wanted)}{hint}"
    return ""


def _name(name) -> str:
    return name if isinstance(name, str) else "cache"


def _error(found, wanted) -> float:
    """The largest difference, relative to the largest element expected."""
    if isinstance(wanted, (str, list, tuple, dict)):
        return 0.0 if _same(found, wanted) else math.inf
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not wanted.size:
        return 0.0
    difference = np.abs(found - wanted).max()
    return float(difference / max(np.abs(wanted).max(), FLOOR)) if np.isfinite(difference) else math.inf


def _same(a, b) -> bool:
    """Whether nested tuples, lists and dicts hold the same numbers and texts."""
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if callable(a) or isinstance(a, str):
        return callable(b) or a == b
    return np.shape(a) == np.shape(b) and bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))


# ---------------------------------------------------------------------------------------------------- what to say


def _known_mistake(exercise: Exercise, answers: list, forward: Callable | None) -> str:
    """The message of the first known mistake that gives these very answers; "" if none does."""
    for mistake in MISTAKES.get(exercise.name, ()):
        edited = with_mistake(exercise.name, mistake)
        if all(_agree(exercise, edited, case, answer) for case, answer in zip(_cases(exercise), answers, strict=True)):
            return mistake.message
    return ""


def _agree(exercise: Exercise, edited: Callable, case: tuple, answer) -> bool:
    try:
        with np.errstate(all="ignore"):
            wrong = edited(*copy.deepcopy(case[0]))
            first = exercise.outputs[0]
            return _same_up_to_rounding(_main(exercise, answer), _main(exercise, wrong)) if first else False
    except Exception:  # an edit that cannot be computed on these inputs is not what the learner wrote
        return False


def _main(exercise: Exercise, value):
    """What a forward function is for, without its cache; of a backward function all."""
    has_cache = len(exercise.outputs) == 2 and isinstance(value, tuple) and exercise.outputs[0] in ("y", "p", "loss")
    return value[0] if has_cache else value


def _same_up_to_rounding(found, wanted) -> bool:
    if isinstance(wanted, (tuple, list)) and not isinstance(wanted, np.ndarray):
        return (
            isinstance(found, (tuple, list))
            and len(found) == len(wanted)
            and all(map(_same_up_to_rounding, found, wanted))
        )
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(_same_up_to_rounding(found[k], wanted[k]) for k in wanted)
        )
    if isinstance(wanted, str):
        return found == wanted
    if np.shape(found) != np.shape(wanted):
        return False
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    same_holes = np.array_equal(np.isfinite(found), np.isfinite(wanted))
    finite = np.isfinite(wanted)
    return same_holes and (not finite.any() or _error(found[finite], wanted[finite]) <= TOLERANCE)


def _look(found, wanted) -> str:
    """What strikes the eye of a wrong tensor."""
    if not isinstance(wanted, np.ndarray) and not np.isscalar(wanted):
        return ""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not np.isfinite(found).all():
        return ": it has elements that are NaN or infinite"
    if not found.any():
        return ": it is all zero"
    if found.ndim == 2 and found.shape[0] == found.shape[1] and _error(found.T, wanted) <= TOLERANCE:
        return ": it is transposed"
    factor = float((found * wanted).sum() / max((wanted * wanted).sum(), 1e-300))
    if factor and _error(found, factor * wanted) <= TOLERANCE:
        return f": it is {factor:.4g} times what is expected, in every element"
    rows = np.atleast_2d(np.abs(found - wanted)).max(axis=-1) > TOLERANCE * max(np.abs(wanted).max(), FLOOR)
    if 0 < rows.sum() < len(rows):
        return f": {rows.sum()} of {len(rows)} rows, the first is row {int(rows.argmax())}"
    return ""


def _describe_error(found, wanted, error: float, name: str) -> str:
    if isinstance(wanted, (str, list, tuple, dict)):
        return f"{name}: expected {wanted!r}, got {found!r}"
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not wanted.ndim:
        return f"{name}: relative error {error:.1e}: expected {wanted:.6g}, got {found:.6g}"
    difference = np.abs(found - wanted)
    where = np.unravel_index(np.nanargmax(np.where(np.isnan(difference), np.inf, difference)), wanted.shape)
    place = ", ".join(map(str, map(int, where)))
    return (
        f"{name} {wanted.shape}: relative error {error:.1e}, largest at [{place}]: expected {wanted[where]:.6g}, "
        f"got {found[where]:.6g}"
    )


def _describe_arguments(exercise: Exercise, arguments: tuple) -> str:
    names = exercise.solution.__code__.co_varnames
    return "tried on " + ", ".join(f"{n} {_kind(a)}" for n, a in zip(names, arguments, strict=False))


def _kind(value) -> str:
    """A value for people: its shape, or what it is."""
    if isinstance(value, np.ndarray):
        return f"{value.shape}" if value.dtype.kind == "f" else f"{value.shape} of {value.dtype}"
    if isinstance(value, (bool, int, float, str)) or value is None:
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "a function" if callable(value) else f"a {type(value).__name__}"


def _raised(error: Exception) -> str:
    """The error, and the learner's own line: the last one that is not of a library."""
    steps = [step for step in traceback.extract_tb(error.__traceback__)[1:] if "site-packages" not in step.filename]
    kind = f"{type(error).__name__}: {error}"
    if not steps:
        return f"it cannot be called: {kind}"
    line = (steps[-1].line or linecache.getline(steps[-1].filename, steps[-1].lineno or 0)).strip()
    return f"it raises {kind}\n  in line {steps[-1].lineno}: {line}"


# ------------------------------------------------------------------------------------------------------ hint, take

_SHOWN: dict[str, int] = {}


def hint(name: str) -> str:
    """The next hint of an exercise: a question, then where to look, then nearly the line."""
    hints = find(name).hints
    n = _SHOWN.get(name, 0)
    _SHOWN[name] = n + 1
    return f"{name}, hint {min(n, len(hints) - 1) + 1} of {len(hints)}: {hints[min(n, len(hints) - 1)]}"


def take(name: str, function: Callable, forward: Callable | None = None) -> Callable:
    """The learner's function if it is right, else that of plain.py, so that the lesson goes on; prints which."""
    if check(name, function, forward):
        print(f"{name}: yours")
        return function
    print(f'{name}: ours, until yours is right (lessons.check("{name}", …))')
    return find(name).solution
