"""An answer beside the solution's: do they agree, and if not, where does it begin to be wrong?

A value is an array or a number, a text, or a tuple, list or dict of these. A forward function returns (y, cache). What
it is judged by is y; its cache serves to find the first step that is wrong, and may hold something else. The states of
an encoder are no cache: they are judged.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from minibert.errors import list_some
from minibert.lessons.exercise import Exercise

TOLERANCE = 2e-6  # of the largest element of the expected tensor: what is computed in float32 is no mistake
ROUNDED = 1e-8  # an answer in float64 has smaller errors
FLOOR = 1e-3  # and never of less than this: a gradient may be zero, and what is left of it rounding
MOST_SHOWN = 4  # tensors


@dataclass(frozen=True)
class Comparison:
    """error: the largest of all tensors, relative. problem: a sentence, "" if all is right. details: tensor by tensor.
    own_cache: whether the cache of a right answer is not the one described. rounded: whether a right answer is right
    up to float32 only."""

    error: float = 0.0
    problem: str = ""
    details: tuple[str, ...] = ()
    own_cache: bool = False
    rounded: bool = False


def compare(answer, expected, exercise: Exercise) -> Comparison:
    """An answer with what the exercise's solution gives."""
    if exercise.cache is not None:
        return _compare_with_cache(answer, expected, exercise)
    names = exercise.outputs if isinstance(expected, tuple) else exercise.outputs[0]
    if problem := wrong_form(answer, expected, names):
        return Comparison(math.inf, problem)
    if exercise.exact and (extra := [key for key in answer if key not in expected]):
        return Comparison(math.inf, f"{names} has {_quoted(extra[0])}, which must not be there")
    return _compare_tensors(_tensors(answer, names), _tensors(expected, names), exercise.order)


def judged(value, exercise: Exercise):
    """The part of what a function returns that it is judged by: without the cache."""
    return value[0] if exercise.cache is not None and isinstance(value, (tuple, list)) else value


def _compare_with_cache(answer, expected, exercise: Exercise) -> Comparison:
    y, names = exercise.outputs[0], exercise.cache
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        forgotten = ": is there a return at the end?" if answer is None else ""
        told = f"it returns {_returned(answer)}; it must return two things: {y}, cache{forgotten}"
        return Comparison(math.inf, told)
    if problem := wrong_form(answer[0], expected[0], y):
        return Comparison(math.inf, problem)
    found, wanted = {y: answer[0]}, {y: expected[0]}
    is_as_described = not wrong_form(answer[1], expected[1], names)
    if is_as_described:
        found, wanted = _tensors(answer[1], names) | found, _tensors(expected[1], names) | wanted
    result = _compare_tensors(found, wanted, exercise.order)
    if error(answer[0], expected[0]) <= TOLERANCE and (result.problem or not is_as_described):
        found, wanted = {y: answer[0]}, {y: expected[0]}
        return dataclasses.replace(_compare_tensors(found, wanted, exercise.order), own_cache=True)
    return result


def _compare_tensors(found: dict, wanted: dict, order: tuple[str, ...]) -> Comparison:
    errors = {name: error(found[name], value) for name, value in wanted.items()}
    wrong = [name for name in wanted if not errors[name] <= TOLERANCE]
    if not wrong:
        rounded = any(errors[name] > ROUNDED and not is_float32(value) for name, value in wanted.items())
        return Comparison(max(errors.values()), rounded=rounded)
    first = next((name for step in order for name in wrong if name.split("[")[0] == step), wrong[0])
    shown = [first, *(name for name in wrong if name != first)][:MOST_SHOWN]
    details = [_describe(name, found[name], wanted[name]) for name in shown]
    right = [name for name in wanted if name not in wrong]
    if right:
        details.append(f"right: {_listed(right)}")
    which = "is the first that is wrong" if len(wrong) > 1 else "is wrong"
    return Comparison(
        max(errors.values()), f"{_quoted(first)} {which}{_look(found[first], wanted[first])}", tuple(details)
    )


def _tensors(value, names) -> dict[str, object]:
    """{name: array, number or text} of what `wrong_form` has nothing to say about."""
    if isinstance(names, tuple):
        found: dict[str, object] = {}
        for part, name in zip(value, names, strict=True):
            found |= _tensors(part, name)
        return found
    if isinstance(value, dict):
        return {key if isinstance(key, str) else f"{names}{list(key)}": part for key, part in value.items()}
    return {names: value}


# ------------------------------------------------------------------------------------------------------------- form


def wrong_form(found, wanted, names) -> str:
    """What is wrong with the kind, number or shapes of what is returned; "" if nothing is."""
    if found is None:
        return f"{_called(names)} is None: is there a return at the end?"
    if isinstance(names, tuple):
        found = list(found) if _are_numbers_in_a_row(found, wanted) else found
        if not isinstance(found, (tuple, list)) or len(found) != len(names):
            return f"it returns {_returned(found)}; expected {len(names)} things: {', '.join(map(_called, names))}"
        parts = zip(found, wanted, names, strict=True)
        return next(filter(None, (wrong_form(*part) for part in parts)), "")
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{names} is {kind(found)}; expected a dict with {_listed(wanted)}"
        missing = [key for key in wanted if key not in found]
        if missing:
            return f"{names} has no {_quoted(missing[0])}; it has {_listed(found) or 'nothing'}"
        return next(filter(None, (wrong_form(found[key], part, _quoted(key)) for key, part in wanted.items())), "")
    if isinstance(wanted, (str, tuple, list)):
        fits = isinstance(found, str) if isinstance(wanted, str) else isinstance(found, (tuple, list))
        return "" if fits else f"{names} is {kind(found)}; expected {kind(wanted)}"
    if not are_numbers(found):
        return f"{names} is {kind(found)}; expected numbers"
    if np.shape(found) != np.shape(wanted):
        transposed = ": it is transposed" if np.shape(found) == np.shape(wanted)[::-1] else ""
        return f"{names} has the shape {np.shape(found)}; expected {np.shape(wanted)}{transposed}"
    if is_index(wanted) and np.asarray(found).dtype.kind == "f":
        return f"{names} is of {np.asarray(found).dtype}; {names} are used as indices: dtype=int"
    if is_float32(wanted) and not is_float32(found):
        return f"{names} is {np.asarray(found).dtype}; expected float32, the type of the arguments"
    return ""


def _called(names) -> str:
    return names if isinstance(names, str) else "what it returns"


def _returned(value) -> str:
    """What a function returned, so that a shape is not taken for a tuple."""
    return f"one array of shape {value.shape}" if isinstance(value, np.ndarray) else kind(value)


def _are_numbers_in_a_row(found, wanted) -> bool:
    """Whether an array stands for a tuple of as many numbers."""
    row = isinstance(found, np.ndarray) and found.ndim == 1 and isinstance(wanted, (tuple, list))
    return row and len(found) == len(wanted) and all(are_numbers(part) and not np.ndim(part) for part in wanted)


def _quoted(name) -> str:
    """A name, in quotes if there is a space in it: "q, k, v" is one name."""
    return repr(name) if isinstance(name, str) and " " in name else str(name)


def _listed(names) -> str:
    return list_some(map(_quoted, names), MOST_SHOWN)


def are_numbers(value) -> bool:
    """Whether NumPy makes an array of numbers of it."""
    try:
        return np.asarray(value).dtype.kind in "iufb"
    except ValueError:  # rows of different lengths
        return False


def is_index(value) -> bool:
    """Whether it is an array of integers, such as ids and offsets. Where a solution gives one, an answer must, too."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "iu"


def is_float32(value) -> bool:
    """Whether it is an array of float32. Where a solution gives one, an answer must be one, too."""
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def kind(value) -> str:
    """A value for people: its shape, or what it is."""
    if isinstance(value, np.ndarray):
        return f"{value.shape}" if value.dtype.kind == "f" else f"{value.shape} of {value.dtype}"
    if isinstance(value, (bool, int, float, str)) or value is None:
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, set):
        return f"a set of {list_some(sorted(map(str, value)), MOST_SHOWN) or 'nothing'}"
    return "a function" if callable(value) else f"a {type(value).__name__}"


# ---------------------------------------------------------------------------------------------------------- numbers


def error(found, wanted, floor: float = FLOOR) -> float:
    """The largest difference, relative to the largest element expected, or to the floor; of texts 0 or infinity."""
    if isinstance(wanted, (str, list, tuple, dict)):
        return 0.0 if same(found, wanted) else math.inf
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not wanted.size:
        return 0.0
    difference = np.abs(found - wanted).max()
    return float(difference / max(np.abs(wanted).max(), floor)) if np.isfinite(difference) else math.inf


def same(a, b) -> bool:
    """Whether two values are equal, bit for bit."""
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        others = dict(b.items())
        return a.keys() == others.keys() and all(same(part, others[key]) for key, part in a.items())
    if callable(a) or isinstance(a, str) or isinstance(b, str):
        return callable(b) or (isinstance(a, str) and isinstance(b, str) and a == b)
    both_float = np.asarray(a).dtype.kind == np.asarray(b).dtype.kind == "f"
    return np.shape(a) == np.shape(b) and bool(np.array_equal(a, b, equal_nan=both_float))


def agree(found, wanted) -> bool:
    """Whether two values are equal up to rounding, and not finite in the same places."""
    if isinstance(wanted, (tuple, list)):
        found = list(found) if _are_numbers_in_a_row(found, wanted) else found
        return isinstance(found, (tuple, list)) and len(found) == len(wanted) and all(map(agree, found, wanted))
    if isinstance(wanted, dict):
        same_keys = isinstance(found, dict) and found.keys() == wanted.keys()
        return same_keys and all(agree(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, str):
        return found == wanted
    if not are_numbers(found) or np.shape(found) != np.shape(wanted):
        return False
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    finite = np.isfinite(wanted)
    return np.array_equal(np.isfinite(found), finite) and error(found[finite], wanted[finite]) <= TOLERANCE


# -------------------------------------------------------------------------------------------------------- for people


def _look(found, wanted) -> str:
    """What strikes the eye of a wrong tensor."""
    if not are_numbers(wanted) or isinstance(wanted, (list, tuple)):
        return ""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not np.isfinite(found).all():
        return ": it has elements that are NaN or infinite"
    if found.ndim and not found.any():
        return ": it is all zero"
    if found.ndim == 2 and found.shape[0] == found.shape[1] and error(found.T, wanted) <= TOLERANCE:
        return ": it is transposed"
    factor = float((found * wanted).sum() / max((wanted * wanted).sum(), 1e-300))
    if factor and np.ptp(wanted) and error(found, factor * wanted) <= TOLERANCE:
        return f": it is {factor:.4g} times what is expected, in every element"
    rows = np.atleast_2d(np.abs(found - wanted)).max(axis=-1) > TOLERANCE * max(np.abs(wanted).max(), FLOOR)
    if 0 < rows.sum() < len(rows):
        return f": {rows.sum()} of {len(rows)} rows, the first is row {int(rows.argmax())}"
    return ""


def _describe(name: str, found, wanted) -> str:
    """The relative error of a tensor, and the element where it is largest."""
    if isinstance(wanted, (bool, str, list, tuple, dict)):
        return f"{_quoted(name)}: expected {wanted!r}, got {found!r}"
    relative = f"relative error {error(found, wanted):.1e}"
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not wanted.any():
        relative = "expected all zero" if wanted.ndim else ""
    if not wanted.ndim:
        return ": ".join(filter(None, (_quoted(name), relative, _both(wanted, found))))
    difference = np.abs(found - wanted)
    where = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), wanted.shape)
    place = ", ".join(str(int(i)) for i in where)
    numbers = _both(wanted[where], found[where])
    return f"{_quoted(name)} {wanted.shape}: {relative}, largest at [{place}]: {numbers}"


def _both(wanted: float, found: float) -> str:
    """Two numbers with so many digits that they differ."""
    digits = next((n for n in (6, 9) if f"{wanted:.{n}g}" != f"{found:.{n}g}"), 17)
    return f"expected {wanted:.{digits}g}, got {found:.{digits}g}"
