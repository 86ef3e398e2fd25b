"""Machine code of other versions of the kernels, which the cache keeps although nobody may need it any more."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from .cache import CACHE_FOLDER, ROOT, version_of

UNUSED_FOR = 24 * 3600  # seconds since a folder was written; another version may be at work in one that is newer
_OURS = re.compile(r"\w+-[0-9a-f]{12}", re.ASCII)  # as compiling.py calls them
_FILES = re.compile(r".+\.(nbi|nbc)(\.\d+\.tmp)?")


def old_folders(kernels) -> list[tuple[Path, int]]:
    """Folders of the cache, with their bytes, that this version of the kernels, on this machine and with these
    settings, does not use, and that were written at least a day ago. kernels: those of this process.

    A folder is ours if its name is, and all that it holds are files of Numba.
    """
    used = {f"{file.stem}-{version_of(file)}" for file in ROOT.rglob("*.py")}
    used |= {part for kernel in kernels for part in Path(kernel._cache.cache_path).parts}
    found = []
    for folder in sorted(CACHE_FOLDER.iterdir()):
        if folder.name in used or not _OURS.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        inside = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        written = max((path.lstat().st_mtime for path in (folder, *inside)), default=0)
        if all(map(_is_of_numba, inside)) and time.time() - written > UNUSED_FOR:
            found.append((folder, sum(path.stat().st_size for path in inside)))
    return found


def _is_of_numba(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and _FILES.fullmatch(path.name) is not None


def remove(folders: list[tuple[Path, int]]) -> int:
    """Remove folders of `old_folders`. Returns the bytes of those that are gone: some may not be ours to remove, or, on
    Windows, be open in another program."""
    for folder, _ in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return sum(size for folder, size in folders if not folder.exists())
