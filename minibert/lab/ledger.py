"""The ledger: what every trial gave, one JSON object a line, only ever added to.

The first line says that the file is a ledger. Each further one is a record:

    id        names the trial; the same settings, data and backbone have the same id (see trial.py)
    status    "done" or "failed"
    trial     its settings
    result    what the run gave, if done;  error: why it failed, if not

What an experiment measured beside its trials has a record of its own: status "measured", what it is, the ids of the
trials that it stands on, and its rows.

One process writes at a time, and holds a lock while it does. A line is on the disk before the next trial is counted.
A crash can tear the last line only. It is cut off when the ledger is opened again, with a note; if only its line end is
missing, the record stays.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from minibert.errors import InputError, shown
from minibert.json_values import check_fields, parse_json
from minibert.storage import cannot_be_written
from minibert.storage.atomic import flush
from minibert.trial import Trial

HEADER = json.dumps({"format": "minibert-ledger", "version": 1})
LOCKED_BYTE = (1 << 31) - 2  # on Windows, where a locked byte cannot be read: after the end, and within 32 bits


def read_ledger(path) -> list[dict]:
    """The records, in the order they were written. A last line that is not whole (a crash tore it, or it is being
    written) is left out, with a note.

    Changes nothing, and may be called while a sweep writes. Raises InputError: no such file, not a ledger, or a damaged
    line, with its number.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    records, whole = _parse(path, data)
    if data[whole:].strip():
        _note_torn(path, len(records) + 2, "left out")
    return records


def _note_torn(path, line: int, done: str) -> None:
    print(f"note: {path}, line {line}: the last line is not whole and is {done}", file=sys.stderr)


def _parse(path, data: bytes) -> tuple[list[dict], int]:
    """The records, and the length of what is whole. 0: not even the header was written whole."""
    whole = data.rfind(b"\n") + 1
    header = HEADER.encode() + b"\n"
    if whole == 0 and header.startswith(data):
        return [], 0
    if not data.startswith(header):
        raise InputError(f"{path} is not a ledger of minibert, or one of another version; give another --ledger")
    lines = data[:whole].split(b"\n")[1:-1]
    records = [_record(path, number, line) for number, line in enumerate(lines, 2)]
    if _is_whole(data[whole:]):
        records.append(_record(path, len(lines) + 2, data[whole:]))
        whole = len(data)
    return records, whole


def _is_whole(line: bytes) -> bool:
    """Whether a last line without its line end is all there: no beginning of a JSON object is JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


@dataclass(frozen=True)
class _Record:
    """What every record has."""

    id: str
    status: str
    trial: dict
    work: float


@dataclass(frozen=True)
class _Measured:
    """What a record of status "measured" has."""

    id: str
    what: str
    trials: tuple[str, ...]
    rows: tuple[dict, ...]


@dataclass(frozen=True)
class _Result:
    """What the result of a trial that is done has, for those who read a ledger; the rest is for people."""

    task: str
    metric: str
    dev: dict
    data: str
    backbone: str
    trained_params: int
    total_params: int
    train_rows: int
    wall_seconds: float
    threads: int
    test: dict | None = None


def _record(path, number: int, line: bytes) -> dict:
    """The record of a line. Raises InputError that names the line if it is none, or lacks what is read of it."""
    where = f"{path}, line {number}"
    try:
        record = parse_json(line, where)
    except InputError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("id"), str) or "status" not in record:
        raise InputError(f"{where}: this is no record of a trial; the file was changed or damaged")
    if record["status"] == "measured":
        _check(_Measured, record, where)
        return record
    _check(_Record, record, where)
    if record["status"] == "done":
        result = record.get("result")
        _check(_Result, result, f"{where}, result")
        for split in ("dev", "test"):
            if not all(type(score) in (int, float) for score in (result.get(split) or {}).values()):
                raise InputError(f"{where}, result: the scores of {split} are not all numbers")
        for split in ("dev",) if result.get("test") is None else ("dev", "test"):
            if result["metric"] not in result[split]:
                raise InputError(f"{where}, result: {split} has no {shown(result['metric'])}")
        if not result["wall_seconds"] > 0:
            raise InputError(f"{where}, result: wall_seconds is not above 0")
    elif record["status"] != "failed" or not isinstance(record.get("error"), str):
        raise InputError(f'{where}: status is {shown(record["status"])}, expected "done", or "failed" and an error')
    try:
        trial = Trial.from_dict(record["trial"])
        check_fields(Trial, vars(trial), "the trial")
    except (InputError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: {error}") from None
    return record


def _check(cls: type, values, where: str) -> None:
    """Check the fields of a class; there may be others."""
    known = {field.name for field in fields(cls)}
    check_fields(cls, {k: v for k, v in values.items() if k in known} if isinstance(values, dict) else values, where)


def latest(records: list[dict]) -> dict[str, dict]:
    """{id: record} of the trials: the one that counts. A trial that failed may have been tried again; once done it
    stays done."""
    found: dict[str, dict] = {}
    for record in records:
        if record["status"] == "measured":
            continue
        if found.get(record["id"], {}).get("status") != "done":
            found[record["id"]] = record
    return found


def measured(records: list[dict], what: str, trials: list[str]) -> list[dict] | None:
    """The rows of a measurement on the trials of these ids; None if there is none."""
    for record in records:
        if record["status"] == "measured" and (record["what"], record["trials"]) == (what, trials):
            return record["rows"]
    return None


class Ledger:
    """An open ledger, for the one process that writes it: `with Ledger(path) as ledger`.

    Opening makes the file if it is not there, and repairs it. Raises InputError if another process has it open, if it
    is something else, or if it cannot be written; then the file stays as it was.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (open as long as the ledger is)
        except OSError as error:
            raise cannot_be_written(self.path, error) from None
        try:
            self._lock()
            self.records = self._repair()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        """The system's own lock: it ends with the process, however that ends, so none is ever left behind."""
        try:
            try:
                import fcntl
            except ImportError:
                import msvcrt

                self._file.seek(LOCKED_BYTE)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(
                f"{self.path}: another sweep is writing to this ledger; wait for its end, or give another --ledger"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be locked ({error.strerror}); give another --ledger") from None

    def _repair(self) -> list[dict]:
        """Read the records; cut off a torn last line, and end a whole one."""
        self._file.seek(0)
        data = self._file.read()
        records, whole = _parse(self.path, data)
        if whole < len(data):
            if data[whole:].strip() and whole > 0:
                _note_torn(self.path, len(records) + 2, "cut off")
            self._file.truncate(whole)
        if whole == 0:
            self._write(HEADER)
        elif not data[:whole].endswith(b"\n"):
            self._write("")
        return records

    def append(self, record: dict) -> None:
        """Add a record, and return once it is on the disk. Raises InputError if it cannot be written whole; then no
        part of it stays."""
        line = json.dumps(record, allow_nan=False)
        _record(self.path, len(self.records) + 2, line.encode())  # what could not be read again would bar the others
        self._follow()
        self._write(line)
        self.records.append(record)

    def _follow(self) -> None:
        """If the file was replaced while we write, as `git checkout` does, go on in the one that is there now, and put
        into it what it lacks: what we wrote has no name any more, and would be gone with this process."""
        try:
            if os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno())):
                return
        except FileNotFoundError:
            pass
        ours, replaced = self.records, self._file
        self._open()
        replaced.close()
        for record in ours:
            if record not in self.records:
                self.append(record)

    def _write(self, line: str) -> None:
        before = os.fstat(self._file.fileno()).st_size
        try:
            data = line.encode() + b"\n"
            while data:
                data = data[self._file.write(data) :]
            flush(self._file)
        except OSError as error:
            os.ftruncate(self._file.fileno(), before)
            raise cannot_be_written(self.path, error) from None

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_) -> None:
        self.close()
