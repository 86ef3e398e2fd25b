"""How a file is replaced: a reader, or whoever comes after a crash, finds the old file or the new one, never half."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from minibert.errors import InputError, one_line
from minibert.scratch import FULL, temporary_file

OPEN_ELSEWHERE = (5, 32)  # what Windows says of a file that cannot be replaced because a program has it open
PATIENCE = 5.0  # seconds, for a program that reads it
ADVICE = dict.fromkeys(FULL, "; free some space, or write to another place")
ADVICE |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "; is the folder writable?")
ADVICE |= dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EEXIST), "; is its folder there, and a folder?")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file to be written, which becomes `path` if the body succeeds.

    It is in the same folder (a rename is atomic only inside one file system), and is flushed to the disk before it is
    renamed. Raises OSError if that cannot be done; whatever is raised, `path` stays as it was.
    """
    target = Path(os.path.realpath(path))  # of a symbolic link, the file it points to is replaced, not the link
    with temporary_file(target) as (temporary, file):
        yield temporary
        flush(file)
        if os.name == "nt":
            file.close()  # Windows renames no open file; elsewhere it stays open, because that keeps it locked
        _replace(temporary, target, path)
        _flush_folder(target.parent)


def _replace(temporary: Path, target: Path, path: str | Path) -> None:
    """Rename, on Windows as soon as no other program has the target open: one that reads it soon has done. Raises
    InputError if that takes more than PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(temporary, target)
        except PermissionError as error:
            if getattr(error, "winerror", None) not in OPEN_ELSEWHERE:
                raise
            if time.monotonic() > end:
                raise InputError(f"{path}: cannot be replaced: another program has it open; close it there") from None
            time.sleep(0.1)


def flush(file: BinaryIO) -> None:
    """Write an open file to the disk itself. On macOS os.fsync stops at the disk's own memory."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
        return
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the new name to the disk, where the system can: Windows opens no folders, some network disks flush none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cannot_be_written(path: str | Path, error: Exception) -> InputError:
    """The error to raise where a file could not be written: why, and what can be done."""
    number = getattr(error, "errno", None)
    why = os.strerror(number) if number else one_line(error)
    return InputError(f"{path}: cannot be written ({why}){ADVICE.get(number, '')}")


def write_text(path: Path, text: str) -> None:
    """Replace a text file. Raises InputError if the place cannot be written."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise cannot_be_written(path, error) from error


def write_rows(path: Path, rows: list[dict], columns=None) -> None:
    """Write rows as CSV in the same way, NaN as an empty cell. columns: default those of the rows, in the order they
    first appear."""
    text = io.StringIO()
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    unknown = [{key for key, value in row.items() if isinstance(value, float) and math.isnan(value)} for row in rows]
    writer.writerows(row | dict.fromkeys(keys, "") for row, keys in zip(rows, unknown, strict=True))
    write_text(path, text.getvalue())
