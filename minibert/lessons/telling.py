"""What is said of a call: what it was tried on, and what it raised."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from pathlib import Path

from minibert.errors import list_some
from minibert.lessons.comparison import TAKE_Y
from minibert.lessons.exercise import Exercise
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.time_limit import DoesNotEnd
from minibert.lessons.values import kind

WIDEST = 100  # letters of an input that is shown as it is
MOST_NAMES = 8  # of a dict
BY_NAME = re.compile("tuple indices must be .*, not str")
UNPACK = "a tuple, such as the cache, has no names: unpack it, as in x, W = cache"
PRODUCT = re.compile(
    r"matmul: Input operand 1 has a mismatch.*\(size (?P<rows>\d+) is different from (?P<columns>\d+)\)"
)
DOT = re.compile(r"shapes .* not aligned: (?P<columns>\d+) \(dim \d\) != (?P<rows>\d+) \(dim 0\)")
UNFITTING = (
    "in A @ B the rows of B ({rows}) must be as many as the columns of A ({columns}): is one to be transposed (.T)?"
)
BROADCAST = re.compile(r"from shape \(2,([\d,]+)\) into shape \(([\d,]+)\)")


def arguments_told(exercise: Exercise, arguments: tuple, has_own_cache: bool = False) -> str:
    """What a function was tried on, argument by argument. has_own_cache: a cache is that of the learner's own forward
    function, whose parts may be others."""
    names = exercise.solution.__code__.co_varnames
    forward = EXERCISES.get(exercise.forward)
    parts = {"cache": forward.cache} if forward and not has_own_cache else {}
    return "tried on " + ", ".join(f"{n} {_short(a, parts.get(n))}" for n, a in zip(names, arguments, strict=False))


def _short(value, parts=None) -> str:
    """Few numbers and texts as they are, such as the sizes of a tile; the names of a dict; of a tuple its parts, by
    their names if these are known, and if there are no tuples in it; else what it is."""
    if isinstance(value, tuple) and isinstance(parts, tuple) and len(value) == len(parts):
        told = [f"{name} {kind(part)}" for name, part in zip(parts, value, strict=True) if isinstance(name, str)]
        if len(told) == len(parts) <= MOST_NAMES:
            return f"({', '.join(told)})"
    if isinstance(value, dict) and value and all(isinstance(name, str) for name in value):
        return f"with {list_some(value, MOST_NAMES)}"
    return repr(value) if _is_plain(value) and len(repr(value)) <= WIDEST else kind(value)


def _is_plain(value) -> bool:
    """Whether it is a list of numbers and texts, or of such lists."""
    return isinstance(value, (tuple, list)) and all(isinstance(v, (int, str)) or _is_plain(v) for v in value)


def raised(error: BaseException) -> str:
    """What a learner's function raised, or that it did not end, and in which line. The first step of the traceback is
    that of who called it."""
    ends = not isinstance(error, DoesNotEnd)
    told = f"{type(error).__name__}: {error}" if ends else f"{error}: look at the condition of its loop"
    if BY_NAME.match(str(error)):
        told += f" ({UNPACK})"
    elif _of_a_pair(str(error)):
        told += f" ({TAKE_Y})"
    elif product := PRODUCT.match(str(error)) or DOT.match(str(error)):
        told = f"{type(error).__name__}: {UNFITTING.format(**product.groupdict())}"
    step = own_step(error)
    if step is None:
        return f"it cannot be called: {told}" if ends else told
    line = (step.line or linecache.getline(step.filename, step.lineno or 0)).strip()
    where = "" if step.name.startswith("<") else f" of {step.name}"  # a lambda, a comprehension
    return f"{'it raises ' if ends else ''}{told}\n  in line {step.lineno}{where}: {line}"


def _of_a_pair(message: str) -> bool:
    """Whether an error says that a (y, cache) was taken for y: a tuple, or two arrays that were put into one."""
    put = BROADCAST.search(message)
    pair = put is not None and put[1].strip(",") == put[2].strip(",")
    return pair or "tuple" in message or ("inhomogeneous" in message and "detected shape was (2,)" in message)


def own_step(error: BaseException) -> traceback.FrameSummary | None:
    """The learner's own step of the traceback: the last one that is not of a library, nor of this program."""
    steps = [step for step in traceback.extract_tb(error.__traceback__)[1:] if not _is_of_a_library(step.filename)]
    return steps[-1] if steps else None


def _is_of_a_library(path: str) -> bool:
    places = Path(__file__).parents[1], sysconfig.get_path("stdlib")
    return "site-packages" in path or path.startswith("<frozen ") or any(map(Path(path).is_relative_to, places))
