"""Functions of plain/ with a mistake in them: one line edited, all else as it is."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable

from minibert.lessons import plain
from minibert.lessons.exercise import Mistake


@functools.cache
def source_of(function: str) -> str:
    """The text of a function of plain/."""
    return inspect.getsource(getattr(plain, function))


def copies() -> dict:
    """The names of all functions of plain/ with copies of them, which call each other by these names."""
    names: dict = {}
    for function in map(vars(plain).get, plain.__all__):
        names |= {name: value for name, value in function.__globals__.items() if not name.startswith("__")}
    names |= {"__name__": plain.__name__, "__builtins__": __builtins__}
    for name in plain.__all__:
        function = getattr(plain, name)
        names[name] = types.FunctionType(function.__code__, names, name, function.__defaults__)
    return names


@functools.cache
def with_mistake(exercise: str, mistake: Mistake) -> Callable:
    """The function of an exercise, of plain/, where that one mistake is made. Raises ValueError if the line is
    not there."""
    source = source_of(mistake.function)
    if mistake.line not in source:
        raise ValueError(f"{mistake.function} has no line {mistake.line!r}")
    return function_with(exercise, mistake.function, source.replace(mistake.line, mistake.instead))


def function_with(exercise: str, function: str, source: str) -> Callable:
    """The function of an exercise, of plain/, where `function` has another source."""
    names = copies()
    exec(compile(source, f"<{function}, edited>", "exec"), names)
    return names[exercise]
