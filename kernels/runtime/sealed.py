"""Numba's cache of a kernel, with files that are checked before they are believed.

Numba unpickles what it finds, and runs the machine code in it: a damaged file is a traceback, or a crash. Here each
file ends in a hash of its name and contents. One that is damaged, or another kernel's, counts as missing: the kernel is
compiled anew, and the file replaced. A cache that cannot be written, as on a full disk, is reported once, and does not
end the program. (It is no protection from people who can write to the folder: whoever can, can make a seal.)
"""

from __future__ import annotations

import errno
import glob
import os
import sys
import time
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from numba.core.caching import FunctionCache, IndexDataCacheFile

from .cache import CACHE_FOLDER

HOUR = 3600  # seconds; a temporary file that is older was left by a process that was killed
SEAL = sha256().digest_size  # bytes at the end of a file, which unpickling does not read
_failures: list[OSError] = []  # why kernels could not be kept
silent = False  # in a process whose parent reports it


def is_whole(path) -> bool:
    """Whether a file of the cache is there, and as it was written."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return content[-SEAL:] == _seal(path, content[:-SEAL])


def _seal(path, content: bytes) -> bytes:
    return sha256(Path(path).name.encode() + b"\0" + content).digest()


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file that `is_whole`, in one move. Raises OSError."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # another process may be about to rename it: then it is not old
            if time.time() - left.stat().st_mtime > HOUR:
                left.unlink()
    try:
        temporary.write_bytes(content + _seal(path, content))
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def seal_cache(kernel) -> None:
    """Make the cache of a kernel one of this file."""
    kernel._cache.__class__ = KernelCache
    kernel._cache._cache_file.__class__ = SealedFiles
    # Not the time at which the source was last changed: the name of the folder is a hash of what it says (cache.py).
    kernel._cache._cache_file._source_stamp = ""


def all_were_kept() -> bool:
    """Whether every kernel that this process has compiled is in the cache."""
    return not _failures


class SealedFiles(IndexDataCacheFile):
    """The index of a kernel, and a data file for each combination of argument types."""

    def _load_index(self):
        return super()._load_index() if is_whole(self._index_path) else {}

    def _load_data(self, name):
        if not is_whole(self._data_path(name)):
            raise FileNotFoundError(self._data_path(name))  # for Numba, the kernel is then not in the cache
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath):
        content = BytesIO()
        yield content
        write_sealed(filepath, content.getvalue())


class KernelCache(FunctionCache):
    """The cache of one kernel."""

    def save_overload(self, sig, data):
        """Keep what was compiled, if it can be kept."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            report_not_kept(error)


def report_not_kept(error: OSError) -> None:
    """Print once that kernels cannot be kept in the cache, and why."""
    if not _failures and not silent:
        advice = "Make room there, or set" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Set"
        print(
            f"warning: compiled kernels cannot be kept in {CACHE_FOLDER} ({error.strerror or error}); they are "
            f"compiled anew in every run. {advice} NUMBA_CACHE_DIR to another folder.",
            file=sys.stderr,
        )
    _failures.append(error)
