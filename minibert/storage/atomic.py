"""How a file is replaced: a reader, or whoever comes after a crash, finds the old file or the new one, never half."""

from __future__ import annotations

import csv
import io
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minibert.config import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file to be written, which becomes `path` if the body succeeds.

    It is in the same folder (a rename is atomic only inside one file system), and is flushed to the disk before it is
    renamed. Raises OSError if that cannot be done; whatever is raised, `path` stays as it was.
    """
    target = Path(os.path.realpath(path))  # of a symbolic link, the file it points to is replaced, not the link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _flush_folder(target.parent)
    finally:
        with suppress(OSError):  # of a folder that cannot be written, the first error is the one that matters
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the new name to the disk, where the system can: Windows opens no folders, some network disks flush none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace a text file. Raises InputError if the place cannot be written."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


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
