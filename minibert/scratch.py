"""Temporary files and folders, and how those are removed that a killed program left.

A temporary name tells the machine that made it, and the file is locked until it is done with. Whoever needs such a file
at the same place next removes those of this machine that nobody has locked; of other machines, whose locks may not be
seen here (another boot, a network disk), and where there are no such locks (Windows), those unchanged for a day.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says of a full disk, a quota, a limit
DAY = 24 * 3600  # seconds
LOCK = ".lock"  # in a temporary folder: the file that is locked


@contextmanager
def temporary_file(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `target`, which it is to replace: its path, and it open for reading and writing.

    At the end it is closed and removed, if it is still there under that name. Raises OSError.
    """
    remove_abandoned(target.parent, f".{target.name}.", ".tmp")
    path, file = _create(lambda token: target.with_name(f".{target.name}.{token}.tmp"))
    try:
        yield path, file
    finally:
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            path.unlink()


@contextmanager
def temporary_folder(prefix: str, parent: str | Path | None = None) -> Iterator[Path]:
    """A new folder in `parent` (None: where the system wants temporary files), removed with all in it at the end.

    Raises OSError if it cannot be made.
    """
    parent = Path(tempfile.gettempdir() if parent is None else parent)
    remove_abandoned(parent, prefix, "")
    lock, file = _create(lambda token: parent / f"{prefix}{token}" / LOCK)
    try:
        yield lock.parent
    finally:
        file.close()
        shutil.rmtree(lock.parent, ignore_errors=True)  # on Windows those stay that a dead process still has open


def _create(name) -> tuple[Path, BinaryIO]:
    """Make name(token), a file that is not there yet, and lock it. Gives its path, and it open."""
    while True:
        path = name(_machine() + secrets.token_hex(4))
        if path.name == LOCK:
            path.parent.mkdir(0o700)
        try:
            file = open(path, "x+b")  # noqa: SIM115 (open as long as it is needed)
        except OSError:
            if path.name != LOCK:
                raise
            if path.parent.exists():
                path.parent.rmdir()
                raise
            continue
        if _lock(file) is not False and path.exists():  # else one who removes what is abandoned was faster
            return path, file
        file.close()


def remove_abandoned(folder: Path, prefix: str, suffix: str) -> None:
    """Remove the temporary files and folders, called prefix, token, suffix, whose program is gone."""
    named = re.compile(re.escape(prefix) + "(?:[0-9a-f]{8}|[0-9a-f]{16})" + re.escape(suffix))
    try:
        found = [entry for entry in os.scandir(folder) if named.fullmatch(entry.name)]
    except OSError:
        return  # the place is not there or not ours to read
    for entry in found:
        here = entry.name.startswith(prefix + _machine())
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                _remove_folder(Path(entry.path), here)
            elif entry.is_file(follow_symlinks=False):
                _remove_file(Path(entry.path), here)


def _remove_file(path: Path, here: bool) -> bool:
    """Remove a file that its writer abandoned. Raises OSError, on Windows also if a program has it open."""
    with open(path, "r+b") as file:
        locked = _lock(file)
        old = time.time() - path.stat().st_mtime > DAY
        if locked is False or not (old or (here and locked)):
            return False
        if fcntl is not None:
            path.unlink()  # still locked, so that nobody takes it for abandoned twice
    if fcntl is None:
        path.unlink()
    return True


def _remove_folder(folder: Path, here: bool) -> None:
    """Remove a folder that was abandoned. Without a lock it is being made or removed, and in the first case empty."""
    names, old = os.listdir(folder), time.time() - folder.stat().st_mtime > DAY
    if not names and (here or old):
        folder.rmdir()
    elif names and (here or old) and (LOCK not in names or _remove_file(folder / LOCK, here)):
        shutil.rmtree(folder, ignore_errors=True)


def _lock(file: BinaryIO) -> bool | None:
    """Lock an open file until it is closed. False: another program has it locked; None: there are no locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@cache
def _machine() -> str:
    """8 letters for the running system: within one kernel, containers included, locks are seen by all."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = f"{platform.node()} {uuid.getnode()}"
    return hashlib.sha256(name.encode()).hexdigest()[:8]
