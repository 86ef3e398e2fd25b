"""A lock on a hidden file, held by one thread of one process: the system's own, which ends with whoever holds it."""

from __future__ import annotations

import errno
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from minibert.errors import InputError
from minibert.storage.atomic import cannot_be_written

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # some network disks


@contextmanager
def locked(file: Path, what: Path, seconds: float, busy: str) -> Iterator[None]:
    """For the body, keep all others from `what`, by a lock on the hidden file; this thread may enter it again.

    Where there are no locks, a note says so, and the program goes on. The file is removed at the end; that of a killed
    process by the next one. Raises InputError: nobody may write there; or, if it is not free after that many seconds,
    with the sentence `busy`, in which {} is who holds it.
    """
    lock = FileLock(os.path.realpath(file), is_singleton=True, fallback_to_soft=False)
    if lock.is_locked:
        yield
        return
    _take(lock, what, seconds, busy)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; there filelock does, once it is closed
            os.unlink(lock.lock_file)  # while it is held: who has just opened it finds it gone, and makes a new one
        lock.release()


def _take(lock: FileLock, what: Path, seconds: float, busy: str) -> None:
    try:
        lock.acquire(timeout=seconds)
        with suppress(OSError):  # Windows lets nobody write to a locked file
            Path(lock.lock_file).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    except Timeout:
        raise InputError(f"{what} {busy.format(_holder(Path(lock.lock_file)))}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise cannot_be_written(what, error) from error
        print(f"note: {what}: there are no file locks in its folder; let only one program use it", file=sys.stderr)


def _holder(file: Path) -> str:
    with suppress(OSError, ValueError):
        return file.read_text(encoding="utf-8")[:100].strip() or "its process is unknown"
    return "its process is unknown"
