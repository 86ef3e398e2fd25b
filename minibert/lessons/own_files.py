"""The files that a learner writes in, outside of the notebooks: `python -m minibert.lessons start DIR`.

lesson_NN_name.py   a stub for each exercise of a lesson: signature and docstring as in plain/, the body left open
mine.py             which function is the answer to which exercise; a learner may put others in their place
conftest.py, test_mine.py   `pytest DIR -m layernorm` runs the checker on one exercise, `pytest DIR` on all
"""

from __future__ import annotations

import ast
from pathlib import Path

from minibert.errors import InputError, list_some
from minibert.lessons import plain
from minibert.lessons.edits import source_of
from minibert.lessons.exercise import Exercise
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.source import BLANK
from minibert.lessons.values import names_told

LESSONS = {
    1: "first_minute",
    2: "text_to_tensors",
    3: "attention",
    4: "backprop_and_its_check",
    5: "gelu_and_layernorm",
    6: "attention_backward",
    7: "a_real_bert",
    8: "the_adapter",
    9: "frozen_is_not_stopped",
    10: "optimizer_and_loop",
    11: "compare_and_ablate",
    12: "kernels",
    13: "many_tasks",
}

LINE = 100

FASTER = {"normal_cdf": "minibert.lessons.special"}  # of functions that are given: where they are quicker

MINE = '''"""Which function is the answer to which exercise. Yours may stand in other files: change the imports.

    python -m minibert.lessons status .      which are right
    pytest . -m layernorm                    one exercise: what is wrong
    python -m minibert.lessons assemble .    a real BERT, computed and trained by your functions
"""

'''

CONFTEST = '''"""Every exercise is a mark of pytest: pytest -m layernorm"""

from minibert.lessons import EXERCISES


def pytest_configure(config):
    for name, exercise in EXERCISES.items():
        config.addinivalue_line("markers", f"{name}: an exercise of lesson {exercise.lesson}")
'''

TESTS = '''"""The checker's report on each exercise: pytest -m layernorm, or -k layernorm with layernorm_backward."""

from pathlib import Path

import pytest

from minibert.errors import InputError
from minibert.lessons import EXERCISES, own


@pytest.fixture(scope="module")
def reports():
    """Each file is read once, and each function checked once."""
    try:
        return own.Reports(own.load(Path(__file__).parent))
    except InputError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.parametrize("name", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in EXERCISES])
def test(name, reports):
    report = reports.on(name)
    if not report:
        pytest.fail(str(report), pytrace=False)
'''


def module_of(lesson: int) -> str:
    """The name of a lesson's file, without .py."""
    return f"lesson_{lesson:02}_{LESSONS[lesson]}"


def files() -> dict[str, str]:
    """{name: text} of all that `start` writes."""
    lessons: dict[int, list[str]] = {}
    for name, exercise in EXERCISES.items():
        lessons.setdefault(exercise.lesson, []).append(name)
    written = {f"{module_of(lesson)}.py": _lesson_file(lesson, names) for lesson, names in sorted(lessons.items())}
    imports = [_import(module_of(lesson), names) for lesson, names in sorted(lessons.items())]
    names = [f"    {name!r},".replace("'", '"') for name in sorted(EXERCISES)]
    exported = "\n".join(["", "__all__ = [", *names, "]", ""])
    return {
        **written,
        "mine.py": MINE + "\n".join(imports) + "\n" + exported,
        "conftest.py": CONFTEST,
        "test_mine.py": TESTS,
    }


def stub(name: str) -> str:
    """The exercise's signature and docstring, what it must return, and an open body."""
    source = source_of(name)
    docstring = ast.parse(source).body[0].body[0]
    told = [f"    # {line}" for line in _returned(EXERCISES[name])]
    return "\n".join([*source.splitlines()[: docstring.end_lineno], *told, f"    {BLANK}"])


def _returned(exercise: Exercise) -> list[str]:
    """What the cache is that an exercise is given or makes, and what it returns: comments of its stub."""
    made_by = EXERCISES.get(exercise.forward, exercise)
    returned = ", ".join((*exercise.outputs, *(["cache"] if exercise.cache is not None else [])))
    return [*_cache_told(made_by), f"return {returned}"]


def _cache_told(exercise: Exercise) -> list[str]:
    """One line; of a long cache a line for each part."""
    cache = exercise.outputs[0] if exercise.cache == "cache" else exercise.cache  # the result itself
    if cache is None:
        return []
    told = f"cache: {names_told(cache)}"
    return [told] if len(told) <= LINE else ["cache, a tuple of", *(f"    {names_told(part)}" for part in cache)]


def start(folder: Path) -> list[Path]:
    """Write the files into a folder, which is made if it is not there. Returns their paths.

    Raises InputError, and writes nothing, if one of them is there; and if the folder cannot be written.
    """
    texts = {folder / name: text for name, text in files().items()}
    there = [path.name for path in texts if path.exists() or path.is_symlink()]
    if there:
        raise InputError(f"{folder} has {list_some(there)} already; nothing was written: give another folder")
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with open(path, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        from minibert.storage import cannot_be_written  # not before: lessons that need no h5py are begun here, too

        raise cannot_be_written(path, error) from None
    return list(texts)


def _lesson_file(lesson: int, names: list[str]) -> str:
    title = LESSONS[lesson].replace("_", " ")
    head = [f'"""Lesson {lesson}, {title}: {", ".join(names)}."""', "", "import math", "", "import numpy as np"]
    copied = _copied(names)
    imports = _imports(lesson, names, copied)
    given = [f"# Given: it calls functions of yours.\n{source_of(name).rstrip()}" for name in copied]
    parts = ["\n".join([*head, *([""] if imports else []), *imports]), *given, *map(stub, names)]
    return "\n\n\n".join(parts) + "\n"


def _used(name: str) -> set[str]:
    """The functions of plain/ that one of them calls."""
    tree = ast.parse(source_of(name))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and _is_function_of_plain(node.id)} - {
        name
    }


def _copied(names: list[str]) -> list[str]:
    """Functions that are no exercises, and call some: they must call the learner's own."""
    used = sorted({called for name in names for called in _used(name) - EXERCISES.keys()})
    return [name for name in used if _used(name) & EXERCISES.keys()]


def _imports(lesson: int, names: list[str], copied: list[str]) -> list[str]:
    """What the functions may call: of other lessons the learner's own; what is no exercise, of the program."""
    used = {called for name in [*names, *copied] for called in _used(name)} - set(copied)
    modules: dict[str, list[str]] = {}
    for name in sorted(used & EXERCISES.keys()):
        if EXERCISES[name].lesson != lesson:
            modules.setdefault(module_of(EXERCISES[name].lesson), []).append(name)
    for name in sorted(used - EXERCISES.keys()):
        modules.setdefault(FASTER.get(name, plain.__name__), []).append(name)
    return [_import(module, called) for module, called in sorted(modules.items())]


def _is_function_of_plain(name: str) -> bool:
    return name in plain.__all__


def _import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(sorted(names))}"
    if len(line) <= LINE:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in sorted(names)), ")"])
