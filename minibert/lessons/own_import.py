"""A learner's own files (own_files.py) are imported: from their folder alone, anew each time, and nothing is left."""

from __future__ import annotations

import dis
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minibert.errors import InputError, one_line
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.telling import own_step
from minibert.lessons.time_limit import SECONDS, DoesNotEnd, limited

MODULE = "mine"


def load(folder: Path) -> dict[str, Callable]:
    """{exercise: the learner's function}, of the folder's mine.py; those that it does not have are left out.

    Raises InputError if there is no mine.py, or if it cannot be imported or does not end: then it names the learner's
    line.
    """
    folder = Path(folder).resolve()
    if not (folder / f"{MODULE}.py").is_file():
        raise InputError(f"{folder} has no {MODULE}.py; python -m minibert.lessons start DIR writes one")
    with _alone(folder):
        try:
            with limited(SECONDS):
                module = importlib.import_module(MODULE)
        except (Exception, SystemExit, DoesNotEnd) as error:  # whatever a learner's file may raise
            raise InputError(_why_not(folder, error)) from None
    found = {name: getattr(module, name, None) for name in EXERCISES}
    return {name: _in_folder(folder, function) for name, function in found.items() if function is not None}


def _in_folder(folder: Path, function: Callable) -> Callable:
    """The function, called so that an import in its body finds the learner's own files."""
    if not _imports(getattr(function, "__code__", None)):
        return function

    @functools.wraps(function)
    def called(*arguments, **options):
        with _alone(folder):
            return function(*arguments, **options)

    return called


def _imports(code) -> bool:
    return code is not None and any(step.opname == "IMPORT_NAME" for step in dis.get_instructions(code))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """For the body: modules of this folder are imported first, anew, and leave nothing."""
    importlib.invalidate_caches()
    before, writes = sys.modules.copy(), sys.dont_write_bytecode
    for name in [path.stem for path in folder.glob("*.py")]:
        if name not in ("conftest", "test_mine"):
            sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # a file that is saved twice in a second would be read from the cache
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes
        for name in [name for name, module in sys.modules.items() if _is_in(folder, module)]:
            if sys.modules[name] is not before.get(name):
                del sys.modules[name]
        sys.modules.update(before)


def _is_in(folder: Path, module) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and folder in Path(file).parents


def _why_not(folder: Path, error: BaseException) -> str:
    """An error of an import: file, line and what it says, in a line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    step = own_step(error)
    where = f"{step.filename}, line {step.lineno}" if step else f"{folder / MODULE}.py"
    if isinstance(error, DoesNotEnd):
        return f"{where}: {error}: look at the condition of the loop"
    return f"{where}: {type(error).__name__}: {one_line(error)}"
