"""Values: what they are, whether two are the same, and how people are told of a wrong one.

A value is an array or a number, a text, or a tuple, list or dict of these.
"""

from __future__ import annotations

import math

import numpy as np

from minibert.errors import list_some

TOLERANCE = 2e-6  # of the largest element of the expected tensor: what is computed in float32 is no mistake
ROUNDED = 1e-8  # an answer in float64 has smaller errors
FLOOR = 1e-3  # and never of less than this: a gradient may be zero, and what is left of it rounding
MOST_OF_A_SET = 4  # that are shown


# ------------------------------------------------------------------------------------------------------------- kinds


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
    if isinstance(value, np.number):
        return _number(value)
    if isinstance(value, (bool, int, float, str, np.bool_)) or value is None:
        return repr(bool(value) if isinstance(value, np.bool_) else value)
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, set):
        return f"a set of {list_some(sorted(map(str, value)), MOST_OF_A_SET) or 'nothing'}"
    name = type(value).__name__
    return "a function" if callable(value) else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def returned(value) -> str:
    """What a function returned, so that a shape is not taken for a tuple."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value)
    return f"one array of shape {value.shape}" if isinstance(value, np.ndarray) else kind(value)


def _number(value) -> str:
    return f"the number {value:.4g}" if isinstance(value, (float, np.floating)) else f"the number {value}"


def are_numbers_in_a_row(found, wanted) -> bool:
    """Whether an array stands for a tuple of as many numbers."""
    row = isinstance(found, np.ndarray) and found.ndim == 1 and isinstance(wanted, (tuple, list))
    return row and len(found) == len(wanted) and all(are_numbers(part) and not np.ndim(part) for part in wanted)


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


def is_lost(value) -> bool:
    """Whether there are numbers in it, and none of them is finite."""
    if isinstance(value, (tuple, list, dict)):
        parts = value.values() if isinstance(value, dict) else value
        return bool(value) and all(map(is_lost, parts))
    return are_numbers(value) and np.size(value) > 0 and not np.isfinite(np.asarray(value, np.float64)).any()


def same(a, b, rounding: float = 0.0) -> bool:
    """Whether two values are equal, bit for bit; with rounding, a relative error, floats may differ by so much."""
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(same(*parts, rounding) for parts in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        others = dict(b.items())
        return a.keys() == others.keys() and all(same(part, others[key], rounding) for key, part in a.items())
    if callable(a) or isinstance(a, str) or isinstance(b, str):
        return callable(b) or (isinstance(a, str) and isinstance(b, str) and a == b)
    both_float = np.asarray(a).dtype.kind == np.asarray(b).dtype.kind == "f"
    if np.shape(a) != np.shape(b):
        return False
    if both_float:
        return bool(np.allclose(a, b, rtol=rounding, atol=rounding * FLOOR, equal_nan=True))
    return bool(np.array_equal(a, b))


def agree(found, wanted) -> bool:
    """Whether two values are equal up to rounding, and not finite in the same places."""
    if isinstance(wanted, (tuple, list)):
        found = list(found) if are_numbers_in_a_row(found, wanted) else found
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


def look(found, wanted) -> str:
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
    if abs(factor - 1) > 0.01 and factor and np.ptp(wanted) and error(found, factor * wanted) <= TOLERANCE:
        return f": it is {factor:.4g} times what is expected, in every element"
    rows = np.atleast_2d(np.abs(found - wanted)).max(axis=-1) > TOLERANCE * max(np.abs(wanted).max(), FLOOR)
    if 0 < rows.sum() < len(rows):
        return f": {rows.sum()} of {len(rows)} rows, the first is row {int(rows.argmax())}"
    return ""


def described(name: str, found, wanted) -> str:
    """The relative error of a tensor, and the element where it is largest."""
    if isinstance(wanted, (bool, str, list, tuple, dict)):
        return f"{in_quotes(name)}: expected {wanted!r}, got {found!r}"
    relative = f"relative error {error(found, wanted):.1e}"
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not wanted.any():
        relative = "expected all zero" if wanted.ndim else ""
    if not wanted.ndim:
        return ": ".join(filter(None, (in_quotes(name), relative, _both(wanted, found))))
    difference = np.abs(found - wanted)
    where = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), wanted.shape)
    place = ", ".join(str(int(i)) for i in where)
    numbers = _both(wanted[where], found[where])
    return f"{in_quotes(name)} {wanted.shape}: {relative}, largest at [{place}]: {numbers}"


def _both(wanted: float, found: float) -> str:
    """Two numbers with so many digits that they differ."""
    digits = next((n for n in (6, 9) if f"{wanted:.{n}g}" != f"{found:.{n}g}"), 17)
    return f"expected {wanted:.{digits}g}, got {found:.{digits}g}"


def in_quotes(name) -> str:
    """A name, in quotes if there is a space in it: "q, k, v" is one name."""
    return repr(name) if isinstance(name, str) and " " in name else str(name)


def names_told(names) -> str:
    """The names of what is returned, as a tuple is written."""
    return names if isinstance(names, str) else f"({', '.join(map(names_told, names))})"
