"""An answer beside the solution's: do they agree, and if not, where does it begin to be wrong?

A forward function returns (y, cache). What it is judged by is y; its cache serves to find the first step that is wrong,
and may hold something else. The states of an encoder are no cache: they are judged.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from minibert.errors import list_some
from minibert.lessons.exercise import Exercise
from minibert.lessons.values import (
    ROUNDED,
    TOLERANCE,
    are_numbers,
    are_numbers_in_a_row,
    described,
    error,
    in_quotes,
    is_float32,
    is_index,
    kind,
    look,
    returned,
)

MOST_TENSORS = 4  # or names, that are shown
TAKE_Y = "a forward function, such as embedding or linear, returns (y, cache): take y"


@dataclass(frozen=True)
class Comparison:
    """error: the largest of all tensors, relative. problem: a sentence, "" if all is right. details: tensor by tensor.
    own_cache: whether the cache of a right answer is not the one described; unseen: which parts of one that looks like
    it are not. rounded: whether a right answer is right up to float32 only."""

    error: float = 0.0
    problem: str = ""
    details: tuple[str, ...] = ()
    own_cache: bool = False
    unseen: tuple[str, ...] = ()
    rounded: bool = False


def compare(answer, expected, exercise: Exercise) -> Comparison:
    """An answer with what the exercise's solution gives."""
    result = _compared(answer, expected, exercise)
    if result.problem and _is_right_in_another_order(answer, expected, exercise):
        names = exercise.outputs if exercise.cache is None else (*exercise.outputs, "cache")
        in_order = ", ".join(map(_called, names))
        return Comparison(math.inf, f"the results are right, in another order: expected {in_order}")
    return result


def _is_right_in_another_order(answer, expected, exercise: Exercise) -> bool:
    both = isinstance(answer, (tuple, list)) and isinstance(expected, tuple)
    if not both or not len(answer) == len(expected) <= MOST_TENSORS:
        return False
    found = (_compared(order, expected, exercise) for order in itertools.permutations(answer))
    return any(not one.problem and not one.own_cache for one in found)


def _compared(answer, expected, exercise: Exercise) -> Comparison:
    if exercise.cache is not None:
        return _compare_with_cache(answer, expected, exercise)
    names = exercise.outputs if isinstance(expected, tuple) else exercise.outputs[0]
    if problem := wrong_form(answer, expected, names):
        return Comparison(math.inf, problem)
    if exercise.exact and (extra := [key for key in answer if key not in expected]):
        return Comparison(math.inf, f"{names} has {in_quotes(extra[0])}, which must not be there")
    return _compare_tensors(_tensors(answer, names), _tensors(expected, names), exercise.order)


def judged(value, exercise: Exercise):
    """The part of what a function returns that it is judged by: without the cache."""
    return value[0] if exercise.cache is not None and isinstance(value, (tuple, list)) else value


def _compare_with_cache(answer, expected, exercise: Exercise) -> Comparison:
    y, names = exercise.outputs[0], exercise.cache
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        forgotten = ": is there a return at the end?" if answer is None else ""
        told = f"it returns {returned(answer)}; it must return two things: {y}, cache{forgotten}"
        return Comparison(math.inf, told)
    if problem := wrong_form(answer[0], expected[0], y):
        return Comparison(math.inf, problem)
    found, wanted = {y: answer[0]}, {y: expected[0]}
    is_as_described = not wrong_form(answer[1], expected[1], names)
    if is_as_described:
        found, wanted = _tensors(answer[1], names) | found, _tensors(expected[1], names) | wanted
    result = _compare_tensors(found, wanted, exercise.order)
    if error(answer[0], expected[0]) <= TOLERANCE and (result.problem or not is_as_described):
        unseen = tuple(name for name in wanted if not error(found[name], wanted[name]) <= TOLERANCE)
        found, wanted = {y: answer[0]}, {y: expected[0]}
        return dataclasses.replace(_compare_tensors(found, wanted, exercise.order), own_cache=True, unseen=unseen)
    return result


def _compare_tensors(found: dict, wanted: dict, order: tuple[str, ...]) -> Comparison:
    errors = {name: error(found[name], value) for name, value in wanted.items()}
    wrong = [name for name in wanted if not errors[name] <= TOLERANCE]
    if not wrong:
        rounded = any(errors[name] > ROUNDED and not is_float32(value) for name, value in wanted.items())
        return Comparison(max(errors.values()), rounded=rounded)
    first = next((name for step in order for name in wrong if name.split("[")[0] == step), wrong[0])
    shown = [first, *(name for name in wrong if name != first)][:MOST_TENSORS]
    details = [described(name, found[name], wanted[name]) for name in shown]
    right = [name for name in wanted if name not in wrong]
    if right:
        details.append(f"right: {_listed(right)}")
    which = "is the first that is wrong" if len(wrong) > 1 else "is wrong"
    return Comparison(
        max(errors.values()), f"{in_quotes(first)} {which}{look(found[first], wanted[first])}", tuple(details)
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
        found = list(found) if are_numbers_in_a_row(found, wanted) else found
        if not isinstance(found, (tuple, list)) or len(found) != len(names):
            return f"it returns {returned(found)}; expected {len(names)} things: {', '.join(map(_called, names))}"
        parts = zip(found, wanted, names, strict=True)
        return next(filter(None, (wrong_form(*part) for part in parts)), "")
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{names} is {kind(found)}; expected a dict with {_listed(wanted)}"
        missing = [key for key in wanted if key not in found]
        if missing:
            return f"{names} has no {in_quotes(missing[0])}; it has {_listed(found) or 'nothing'}"
        return next(filter(None, (wrong_form(found[key], part, in_quotes(key)) for key, part in wanted.items())), "")
    if isinstance(wanted, (str, tuple, list)):
        fits = isinstance(found, str) if isinstance(wanted, str) else isinstance(found, (tuple, list))
        return "" if fits else f"{names} is {kind(found)}; expected {kind(wanted)}"
    if not are_numbers(found):
        return f"{names} is {kind(found)}; expected numbers"
    if np.shape(found) != np.shape(wanted):
        return f"{names} has the shape {np.shape(found)}; expected {np.shape(wanted)}{_look_of_shape(found, wanted)}"
    if is_index(wanted) and np.asarray(found).dtype.kind == "f":
        return f"{names} is of {np.asarray(found).dtype}; {names} are used as indices: dtype=int"
    if is_float32(wanted) and not is_float32(found):
        return f"{names} is {np.asarray(found).dtype}; expected float32, the type of the arguments"
    return ""


def _look_of_shape(found, wanted) -> str:
    if np.shape(found) == np.shape(wanted)[::-1]:
        return ": it is transposed"
    if np.shape(found) == (2, *np.shape(wanted)) and error(found[0], wanted) <= TOLERANCE:
        return f" (its first half is right; {TAKE_Y})"
    return ""


def _called(names) -> str:
    return names if isinstance(names, str) else "what it returns"


def _listed(names) -> str:
    return list_some(map(in_quotes, names), MOST_TENSORS)
