"""Compile what a run needs before it begins: `ensure_compiled` fills the cache, and `warm_up` also loads from it.

A purpose is a set of operations. Each operation is compiled by an example call (examples.py), in one of two processes.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

import kernels

from . import sealed
from .cache import with_imports
from .compiling import CACHE_FOLDER, KERNELS, LISTENER
from .examples import (
    examples,
    examples_of_attention,
    examples_of_narrow_products,
    examples_of_products,
    examples_of_rows,
)
from .sealed import SEAL, all_were_kept, is_whole, report_not_kept, write_sealed

FORWARD = ("matmul", "matmul_gelu", "matmul_each", "gelu", "gelu_tanh", "layernorm", "embedding", "attention")
PURPOSES = {"predict": FORWARD, "train": None}  # None: all operations

_DONE: set[tuple[str, str]] = set()  # (name of a dtype, purpose): complete, or not to be tried again

# What each of two processes compiles, in about as many seconds. No kernel is in both shares: Numba keeps an index file
# for each kernel, and does not lock it.
SHARES = {
    "products": lambda dtype: chain(examples_of_products(dtype), examples_of_narrow_products(dtype)),
    "others": lambda dtype: chain(examples_of_attention(dtype), examples_of_rows(dtype)),
}
NOT_KEPT = 3  # exit code of such a process if it could not write to the cache
ENDED_BY_CTRL_C = {-signal.SIGINT, 0xC000013A}  # exit codes: of POSIX systems, and of Windows


def warm_up(dtype=np.float32, purpose: str = "train", between: Callable[[], None] = lambda: None) -> None:
    """Load the kernels of a purpose, "predict" or "train", compiled first where the cache does not have them.

    between() is called after each operation; what it raises ends the warm-up.
    """
    ensure_compiled(dtype, purpose, between)
    if KERNELS:
        for _ in run_examples(examples(np.dtype(dtype)), purpose):
            between()


def ensure_compiled(dtype=np.float32, purpose: str = "train", between: Callable[[], None] = lambda: None) -> None:
    """Fill the kernel cache for a purpose, unless it is filled already, by two processes, and show progress.

    between() is called ten times a second; what it raises ends the two processes. With NUMBA_DISABLE_JIT there are no
    kernels to compile.

    So a program only runs kernels that were loaded from the cache, as long as its arrays are in C order and writable,
    as everywhere here. The reason: where linking.py cannot be used, Numba optimizes a parallel kernel once more when it
    writes it to the cache, and the process that compiles it would compute other last bits than every later one.
    """
    if not KERNELS or _is_complete(np.dtype(dtype).name, purpose):
        return
    name = np.dtype(dtype).name
    LISTENER.announce()
    start, before, compilers = time.perf_counter(), _n_cached(), []
    try:
        for share in SHARES:
            compilers.append(_start_compiler(name, purpose, share))
        with tqdm(unit=" kernels", leave=False, disable=None if sys.stderr.isatty() else True) as bar:
            while any(compiler.poll() is None for compiler in compilers):
                time.sleep(0.1)
                between()
                bar.update(_n_cached() - before - bar.n)
    finally:
        for compiler in compilers:
            compiler.kill()  # one still runs after Ctrl-C only; files of the cache are written atomically
    codes = {compiler.wait() for compiler in compilers}
    _DONE.add((name, purpose))  # also if they failed: do not try again at each step
    if codes & ENDED_BY_CTRL_C:
        raise KeyboardInterrupt
    if codes == {0}:
        _write_mark(name, purpose)
        print(f"compiled all kernels in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    elif NOT_KEPT not in codes:  # which has been reported
        print(f"warning: compiling all kernels ended with {codes}; they are compiled as they are used", file=sys.stderr)


def run_examples(calls, purpose: str) -> Iterator[str]:
    """Make those calls (name of an operation, its arguments) that belong to a purpose; yield the name after each."""
    for name, arguments in calls:
        if PURPOSES[purpose] is None or name in PURPOSES[purpose]:
            getattr(kernels, name)(*arguments)
            yield name


def _is_complete(name: str, purpose: str) -> bool:
    """Whether the cache has all kernels of a purpose; remembered, since every training step checks it."""
    if (name, purpose) not in _DONE and any(_has_all_files(_mark(name, p)) for p in dict.fromkeys((purpose, "train"))):
        _DONE.add((name, purpose))
    return (name, purpose) in _DONE


def _has_all_files(mark: Path) -> bool:
    """Whether every file that a mark lists is there and whole. If not, the mark is removed, and that is reported."""
    if not mark.exists():
        return False
    if is_whole(mark):
        files = mark.read_bytes()[:-SEAL].decode().splitlines()
        missing = [file for file in files if not is_whole(CACHE_FOLDER / file)]
    else:
        missing = [mark.name]
    if not missing:
        return True
    print(f"note: {len(missing)} files in {CACHE_FOLDER} are damaged or gone: compiled anew", file=sys.stderr)
    mark.unlink(missing_ok=True)
    return False


def _kernel_folders() -> set[str]:
    """Where the cache keeps the kernels behind the door, in their present version."""
    door = with_imports(Path(kernels.__file__).resolve())  # other files may have kernels, too: ladder.py
    return {k._cache.cache_path for k in KERNELS if Path(k.py_func.__code__.co_filename).resolve() in door}


def _mark(dtype_name: str, purpose: str) -> Path:
    """The file that exists if all kernels of a purpose, in their present version, are in the cache. It lists them."""
    folders = sorted(Path(folder).parts[-2:] for folder in _kernel_folders())  # not where the cache itself lies
    version = sha256(repr(folders).encode()).hexdigest()[:12]
    return CACHE_FOLDER / f"{dtype_name}-{purpose}-{version}.complete"


def _write_mark(dtype_name: str, purpose: str) -> None:
    """List what is in the cache now: it may be more than this purpose needs."""
    files = [file for folder in _kernel_folders() for kind in ("*.nbi", "*.nbc") for file in Path(folder).glob(kind)]
    names = sorted(file.relative_to(CACHE_FOLDER).as_posix() for file in files if is_whole(file))
    try:
        write_sealed(_mark(dtype_name, purpose), "\n".join(names).encode())
    except OSError as error:
        report_not_kept(error)


def _n_cached() -> int:
    return len(list(CACHE_FOLDER.rglob("*.nbc")))


def _start_compiler(name: str, purpose: str, share: str) -> subprocess.Popen:
    environment = {"NUMBA_CACHE_DIR": str(CACHE_FOLDER.parent.parent)}
    if kernels.BACKEND == "blas":
        environment["MINIBERT_KERNELS"] = "numba"  # compile all kernels, even if this process needs fewer
    command = command_of_compiler("warm_up", f"compile_share({name!r}, {purpose!r}, {share!r})")
    return subprocess.Popen(command, env=os.environ | environment)


def command_of_compiler(module: str, call: str) -> list[str]:
    """The command that calls a function of a module of this folder, in a Python like this one."""
    # Import this package, not one in the folder in which the program was started: `-m` would look there first.
    here, function = str(Path(kernels.__file__).parent.parent), call.partition("(")[0]
    program = f"import sys; sys.path[:] = [{here!r}, *filter(None, sys.path)]; "
    program += f"from kernels.runtime.{module} import {function}; {call}"
    return [sys.executable, *["-O"] * sys.flags.optimize, "-c", program]


def compile_share(name: str, purpose: str, share: str) -> None:
    """Compile one of the two shares of a purpose's kernels into the cache, silently; name is that of the dtype."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a compiler immediately
    LISTENER.announced = sealed.silent = True
    use_little_garbage_collection()
    for _ in run_examples(SHARES[share](np.dtype(name)), purpose):
        if not all_were_kept():
            sys.exit(NOT_KEPT)


def use_little_garbage_collection() -> None:
    """Collect rarely: the compiler creates millions of objects that stay alive, and to scan them again and again takes
    an eighth of its time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
