"""Functions of plain.py with a mistake in them: one line edited, all else as it is."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path

from minibert.lessons import plain
from minibert.lessons.exercise import Mistake


@functools.cache
def _sources() -> dict[str, str]:
    """{function: its source} of plain.py and its parts, plain_*.py."""
    files = sorted(Path(plain.__file__).parent.glob("plain*.py"))
    parts = [part for file in files for part in file.read_text(encoding="utf-8").split("\ndef ")[1:]]
    return {part.split("(", 1)[0]: "def " + part for part in parts}


def source_of(function: str) -> str:
    """The text of a function of plain.py."""
    return _sources()[function]


@functools.cache
def with_mistake(exercise: str, mistake: Mistake) -> Callable:
    """The function of an exercise, of a plain.py in which that one mistake is made. Raises ValueError if the line is
    not there."""
    source = source_of(mistake.function)
    if mistake.line not in source:
        raise ValueError(f"{mistake.function} has no line {mistake.line!r}")
    return function_with(exercise, mistake.function, source.replace(mistake.line, mistake.instead))


def function_with(exercise: str, function: str, source: str) -> Callable:
    """The function of an exercise, of a plain.py in which `function` has another source."""
    names = dict(vars(plain))
    for name, value in vars(plain).items():  # all functions see each other's edited forms
        if isinstance(value, types.FunctionType) and value.__module__.startswith(plain.__name__):
            names[name] = types.FunctionType(value.__code__, names, name, value.__defaults__)
    exec(compile(source, f"<{function}, edited>", "exec"), names)
    return names[exercise]
