"""A mutated file, and how one reading of it is judged."""

from __future__ import annotations

import math
import os
import re
import sys
import traceback
import tracemalloc
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minibert.errors import InputError

OUTCOMES = ("right", "clear", "unclear", "wrong", "crash", "hang", "memory")  # the last three end a worker
GOOD = ("right", "clear")
LONGEST_MESSAGE = 2000  # characters
TIMES_THE_FILE = 3
ALLOWANCE = 12 << 20  # bytes: what any reading takes, whatever the size of the file


class Refuse(Exception):
    """What an oracle raises of a file that must be refused. line, column: what the error must then tell."""

    def __init__(self, why: str, line: bool = False, column: bool = False):
        super().__init__(why)
        self.line, self.column = line, column


@dataclass
class Case:
    """One mutated file (or folder), at paths. what: the mutation, in words.

    read() calls the program's reader. expected() reads the same file by other means: it returns the readings that are
    right, one or more, or raises Refuse. same(value, expected) says what differs, "" if nothing does.
    may_refuse is False for a file that was not mutated.
    """

    paths: list[Path]
    what: str
    read: Callable[[], object]
    expected: Callable[[], list]
    same: Callable[[object, object], str]
    may_refuse: bool = True
    located: bool = True  # whether expected() also tells where an error must say that it is
    bytes: int = field(default=0)

    def __post_init__(self):
        files = [file for path in self.paths for file in ([path] if path.is_file() else path.rglob("*"))]
        self.bytes = sum(file.stat().st_size for file in files if file.is_file())


@dataclass(frozen=True)
class Result:
    """outcome: one of OUTCOMES. kind: short, the same for failures of one kind. detail: the whole story."""

    outcome: str
    kind: str = ""
    detail: str = ""


def judge(case: Case) -> Result:
    """Read the file and judge what comes of it."""
    memory, value, error = Memory(), None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = case.read()
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # what Rust panics with is no Exception
        error = raised
    taken = memory.taken()
    result = _judge_value(case, value) if error is None else _judge_error(case, error)
    if taken > TIMES_THE_FILE * case.bytes + ALLOWANCE:
        story = f"{taken:,} bytes for {case.bytes:,}; {result.outcome}: {result.detail}"
        return Result("memory", f"more than {TIMES_THE_FILE} times the file", story)
    return result


def _judge_value(case: Case, value) -> Result:
    try:
        readings = case.expected()
    except Refuse as refusal:
        return Result("wrong", f"accepted: {refusal}", f"{refusal}; read: {_short(value)}")
    with _deep():
        differences = [case.same(value, reading) for reading in readings]
    if "" in differences:
        odd = next((note for note in getattr(value, "notes", ()) if _is_odd(note)), None)
        return Result("right") if odd is None else Result("unclear", "a note is no short line", _short(odd, 600))
    where = re.sub(r"\d+", "N", re.split(r": (?:found|the keys|expected) ", differences[0])[0])
    return Result("wrong", where[:80] or "the whole", differences[0][:2000])


def _judge_error(case: Case, error: BaseException) -> Result:
    seen, cause = set(), error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, MemoryError):
            return Result("memory", "more was asked for than there is", _trace(error))
        cause = cause.__cause__ or cause.__context__
    if not isinstance(error, InputError):
        return Result("unclear", f"{type(error).__name__} in {_place(error)}", _trace(error))
    problem = _unclear(case, str(error))
    if problem:
        return Result("unclear", f"{problem}, from {_place(error)}", f"{problem}: {_short(str(error), 600)}")
    if not case.may_refuse:
        return Result("wrong", "a good file was refused", str(error))
    return Result("clear", detail=str(error))


def _unclear(case: Case, message: str) -> str:
    """What is wrong with an error's message."""
    if not any(str(path) in message for path in case.paths):
        return "does not name the file"
    if odd := _is_odd(message):
        return odd
    try:
        if case.located:
            case.expected()
    except Refuse as refusal:
        if refusal.line and not re.search(r"\bline \d|\bquestion\b|\barticle \d", message):
            return f"does not say where ({refusal})"
        if refusal.column and not re.search(r"\bcolumn|\bline \d", message):
            return f"does not name the column ({refusal})"
    return ""


def _is_odd(message: str) -> str:
    """Why a message is not one line, short and printable."""
    if len(message.splitlines()) != 1:
        return "is not one line"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in message):
        return "holds control characters"
    return "is too long" if len(message) > LONGEST_MESSAGE else ""


@contextmanager
def _deep():
    """Let a comparison go as deep as a value is nested."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class Memory:
    """The most memory that the process takes from now on: of the whole process on Linux, elsewhere of Python's own."""

    def __init__(self):
        self.before = _resident(reset=True)
        if self.before is None:
            tracemalloc.start()

    def taken(self) -> int:
        """Bytes at the peak, above what there was at the beginning."""
        if self.before is not None:
            return _resident() - self.before
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak


def _resident(reset: bool = False) -> int | None:
    """The peak of the memory of this process, in bytes; None where the system does not tell."""
    try:
        if reset:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        with open("/proc/self/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) << 10
    except (OSError, TypeError):
        return None


def difference(found, expected, where: str = "") -> str:
    """Where two values of plain Python types and arrays differ first; "" if they are the same. NaN is itself."""
    if isinstance(expected, np.ndarray) or isinstance(found, np.ndarray):
        if not (isinstance(found, np.ndarray) and isinstance(expected, np.ndarray)):
            return f"{where}: found {_short(found, 200)}, expected {_short(expected, 200)}"
        alike = found.dtype == expected.dtype and found.shape == expected.shape
        return "" if alike and found.tobytes() == expected.tobytes() else f"{where}: another array"
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(found) != list(expected) and set(map(str, found)) != set(map(str, expected)):
            return f"{where}: the keys are {_short(list(found), 300)}, expected {_short(list(expected), 300)}"
        return next(filter(None, (difference(found[k], expected[k], f"{where}/{k}") for k in expected)), "")
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(found) != len(expected):
            return f"{where}: {len(found)} elements, expected {len(expected)}"
        pairs = enumerate(zip(found, expected, strict=True))
        return next(filter(None, (difference(f, e, f"{where}/{i}") for i, (f, e) in pairs)), "")
    nan = all(isinstance(value, float) and math.isnan(value) for value in (found, expected))
    same_type = isinstance(found, bool) == isinstance(expected, bool)
    if nan or (same_type and found == expected):
        return ""
    return f"{where}: found {_short(found, 200)}, expected {_short(expected, 200)}"


def _short(value, most: int = 300) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else text[:most] + "…"


def _trace(error: BaseException) -> str:
    return _short("".join(traceback.format_exception(error, limit=-4)), 3000)


def _place(error: BaseException) -> str:
    """The file and function of the program that raised, or called what raised."""
    here = os.sep + "adversarial" + os.sep
    frames = [f for f in traceback.extract_tb(error.__traceback__) if here not in f.filename]
    ours = [f for f in frames if "minibert" in Path(f.filename).parts or "weights_convert" in Path(f.filename).parts]
    if not ours:
        return "no function of the program"
    return f"{Path(ours[-1].filename).parent.name}/{Path(ours[-1].filename).name} {ours[-1].name}"
