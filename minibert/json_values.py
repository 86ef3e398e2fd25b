"""JSON that is not trusted: parsed, and its objects checked against the fields of a dataclass."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from minibert.errors import InputError, need, shown


def parse_json(text: str | bytes, where: str, line: int = 1, **options):
    """The value of a JSON text, which begins on that line of `where`. options: of json.loads. Raises InputError: not
    JSON, nested too deep for Python, or an object with the same key twice (the last would win without a word)."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, **options)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except RecursionError:
        raise InputError(f"{where}: its lists or objects lie too deep in one another") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}, line {line + error.lineno - 1}: not valid JSON: {error.msg}") from None
    except ValueError as error:  # bytes that are no text, a number of thousands of digits
        raise InputError(f"{where}: not valid JSON: {error}") from None


def _unique_keys(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise InputError(f"{shown(twice)} is there twice in one object")
    return found


def check_fields(cls: type, values, where: str, complete: bool = False) -> dict:
    """`values`, such as a file gives them, if they are fields of a dataclass: lists may stand for tuples, and whole
    numbers for float. complete: those with a default must be there, too.

    Raises InputError, which begins with `where`, if one is missing, unknown, or of another type.
    """
    need(isinstance(values, dict), f"{where}: expected an object, got {shown(values)}")
    known = {field.name: field for field in fields(cls)}
    for name in values:
        need(name in known, f"{where}: {shown(name)} is unknown")
    for name, kind in get_type_hints(cls).items():
        if name not in values:
            default = known[name].default is not MISSING or known[name].default_factory is not MISSING
            need(default and not complete, f"{where}: {name!r} is missing")
        else:
            need(_is_of(values[name], kind), f"{where}: {name} is {shown(values[name])}, expected {_named(kind)}")
    return values


def _is_of(value, kind) -> bool:
    if get_origin(kind) is UnionType:
        return any(_is_of(value, one) for one in get_args(kind))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    if get_origin(kind) is tuple:  # of the same type all through: tuple[X, ...]
        return isinstance(value, (tuple, list)) and all(_is_of(one, get_args(kind)[0]) for one in value)
    return isinstance(value, get_origin(kind) or kind)


def _named(kind) -> str:
    """The type, in the words of JSON."""
    words = {dict: "an object", str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    words |= {NoneType: "null", tuple: "a list", list: "a list"}
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    return " or ".join(words.get(get_origin(one) or one, getattr(one, "__name__", str(one))) for one in kinds)
