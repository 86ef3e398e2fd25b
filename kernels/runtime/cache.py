"""Where machine code is kept between runs, and when it is out of date.

A kernel is compiled again when the file it stands in changes, or one that this file imports, and only then: who edits
adam.py waits for Adam alone.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba

ROOT = Path(__file__).resolve().parent.parent  # kernels/


@lru_cache(maxsize=1)
def _target() -> str:
    """Where the kernels lie (Numba's cache belongs to a place), the compiler, Python, the processor compiled for."""
    processor = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(), numba.config.CPU_FEATURES
    versions = numba.__version__, llvmlite.__version__, sys.version_info[:3]
    return repr((str(ROOT), *versions, *processor, os.environ.get("MINIBERT_KERNELS") == "fma"))


@cache
def _imports(file: Path) -> frozenset[Path]:
    """The files of kernels/ that a file of it imports: by `from .name import ...`, as all of them do."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            folder = file.parents[node.level - 1].joinpath(*filter(None, (node.module or "").split(".")))
            found |= {folder.with_suffix(".py")} | {folder / f"{name.name}.py" for name in node.names}
    return frozenset(file for file in found if file.is_file())


def with_imports(file: Path) -> set[Path]:
    """The file and all files of kernels/ that it imports, directly or not."""
    files, more = set(), {file}
    while more:
        files |= more
        more = set().union(*map(_imports, more)) - files
    return files


@cache
def version_of(file: Path) -> str:
    """Changes with any line of a file of kernels/, of those that it imports, directly or not, and with the target.

    Numba itself looks only at the file that a function stands in, and not at those it calls. A kernel that is written
    elsewhere may import any of ours.
    """
    files = with_imports(file) if ROOT in file.parents else {file, *ROOT.rglob("*.py")}
    digest = hashlib.sha256(_target().encode())
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _choose_cache_folder() -> tuple[Path, bool]:
    """NUMBA_CACHE_DIR or else the user's cache folder; if that cannot be written, a folder for this run only.

    Returns the folder, and whether later runs will find it.
    """
    asked = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    name = Path("minibert") / "kernels"
    folder = Path(asked or home) / name
    if _writable(folder):
        return folder, True
    # Not a folder that others can write to, too: cached machine code is trusted when it is loaded.
    temporary = Path(tempfile.mkdtemp(prefix="minibert-kernels-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    print(
        f"warning: cannot write compiled kernels to {folder}; they are compiled anew in every run. "
        "Set NUMBA_CACHE_DIR to a folder that can be written.",
        file=sys.stderr,
    )
    (temporary / name).mkdir(parents=True)
    return temporary / name, False


CACHE_FOLDER, CACHE_IS_KEPT = _choose_cache_folder()
