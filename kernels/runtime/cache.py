"""Where machine code is kept between runs, and when it is out of date.

A kernel is compiled again if its file changes, or a file that this one imports, and only then: after an edit of adam.py
only Adam is compiled.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba

ROOT = Path(__file__).resolve().parent.parent  # kernels/


# Settings of Numba, by the names of their variables without NUMBA_, that machine code depends on.
COMPILER_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DISABLE_INTEL_SVML")
COMPILER_SETTINGS += ("BOUNDSCHECK", "DEBUGINFO_DEFAULT")


@lru_cache(maxsize=1)
def _target() -> str:
    """What machine code depends on beside its source: the folder of the kernels (Numba's cache depends on it), the
    versions of compiler, Python and processor, and their settings; python -O changes the code that Numba compiles."""
    processor = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(), numba.config.CPU_FEATURES
    versions = numba.__version__, llvmlite.__version__, sys.version_info[:3]
    settings = [str(getattr(numba.config, name, None)) for name in COMPILER_SETTINGS]
    more = sys.flags.optimize, *settings, os.environ.get("MINIBERT_KERNELS") == "fma"
    return repr((str(ROOT), *versions, *processor, *more))


@cache
def _imports(file: Path) -> frozenset[Path]:
    """The files of kernels/ that one of them imports directly, by `from .name import ...`, as all of them do."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            folder = file.parents[node.level - 1].joinpath(*filter(None, (node.module or "").split(".")))
            found |= {folder.with_suffix(".py")} | {folder / f"{name.name}.py" for name in node.names}
    return frozenset(file for file in found if file.is_file())


def with_imports(file: Path) -> set[Path]:
    """The file and all files of kernels/ that it imports, directly or indirectly."""
    files, more = set(), {file}
    while more:
        files |= more
        more = set().union(*map(_imports, more)) - files
    return files


@cache
def version_of(file: Path) -> str:
    """A hash of a file of kernels/, of all files that it imports, directly or indirectly, and of the target.

    Numba itself checks only the file in which a function is defined, not the files of the functions it calls. A kernel
    that is defined elsewhere may import any of ours.
    """
    files = with_imports(file) if ROOT in file.parents else {file, *ROOT.rglob("*.py")}
    digest = hashlib.sha256(_target().encode())
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _why_not(folder: Path) -> str:
    """Why compiled kernels cannot be kept in a folder, which is made if need be; empty if they can."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"any")
    except OSError as error:
        return error.strerror or str(error)
    # Cached machine code is trusted when it is loaded.
    everyone_writes = os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH
    return "every user can write there" if everyone_writes else ""


def _choose_cache_folder() -> tuple[Path, bool]:
    """NUMBA_CACHE_DIR or else the user's cache folder; if that is not writable, or writable for everyone, a
    folder for this run only.

    Returns the folder, and whether it is kept for later runs.
    """
    requested = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    name = Path("minibert") / "kernels"
    folder = Path(requested or home) / name
    why_not = _why_not(folder)
    if not why_not:
        return folder, True
    temporary = Path(tempfile.mkdtemp(prefix="minibert-kernels-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    print(
        f"warning: cannot write compiled kernels to {folder} ({why_not}); they are compiled anew in every run. "
        "Set NUMBA_CACHE_DIR to a folder that can be written.",
        file=sys.stderr,
    )
    (temporary / name).mkdir(parents=True)
    return temporary / name, False


CACHE_FOLDER, CACHE_IS_KEPT = _choose_cache_folder()
