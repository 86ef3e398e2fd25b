"""Compile what a run needs before it begins: `ensure_compiled` fills the cache, `warm_up` loads from it, too.

A purpose is a set of operations; each is compiled by an example call (examples.py), in one of two processes.
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

from .cache import with_imports
from .compiling import CACHE_FOLDER, KERNELS, LISTENER
from .examples import (
    examples,
    examples_of_attention,
    examples_of_narrow_products,
    examples_of_products,
    examples_of_rows,
)

FORWARD = ("matmul", "matmul_gelu", "matmul_each", "gelu", "gelu_tanh", "layernorm", "embedding", "attention")
PURPOSES = {"predict": FORWARD, "train": None}  # None: all operations

_DONE: set[tuple[str, str]] = set()  # what this process need not look for again: names of dtypes, and purposes

# What two processes compile, about as many seconds each. No kernel is in both: Numba keeps one index for each, and does
# not lock it.
SHARES = {
    "products": lambda dtype: chain(examples_of_products(dtype), examples_of_narrow_products(dtype)),
    "others": lambda dtype: chain(examples_of_attention(dtype), examples_of_rows(dtype)),
}


def warm_up(dtype=np.float32, purpose: str = "train", between: Callable[[], None] = lambda: None) -> None:
    """Load the kernels of a purpose, "predict" or "train", compiled first where the cache does not have them.

    between() is called after each operation; what it raises ends the warm-up.
    """
    ensure_compiled(dtype, purpose, between)
    if kernels.COMPILED:
        for _ in run_examples(examples(np.dtype(dtype)), purpose):
            between()


def ensure_compiled(dtype=np.float32, purpose: str = "train", between: Callable[[], None] = lambda: None) -> None:
    """Fill the kernel cache for a purpose, if it is not filled yet, by two processes, and show progress.

    between() is called ten times a second; what it raises ends the two.

    A program only ever runs kernels that came from the cache, if its arrays are as everywhere here: in C order,
    writable. For where linking.py cannot help, Numba optimizes a parallel kernel once more when it writes it to the
    cache: the process that compiles it would compute with other last bits than every later one.
    """
    if not kernels.COMPILED or _is_complete(np.dtype(dtype).name, purpose):
        return
    name = np.dtype(dtype).name
    LISTENER.tell()
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
            compiler.kill()  # only one that still runs, after Ctrl-C; the cache's files are written whole
    codes = {compiler.wait() for compiler in compilers}
    _DONE.add((name, purpose))  # also if they failed, rather than to try it again at each step
    if -signal.SIGINT in codes:
        raise KeyboardInterrupt
    if codes == {0}:
        _mark(name, purpose).touch()
        print(f"compiled all kernels in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    else:
        print(f"warning: compiling all kernels ended with {codes}; they are compiled as they are used", file=sys.stderr)


def run_examples(calls, purpose: str) -> Iterator[str]:
    """Make the calls (name of an operation, its arguments) of a purpose; yield the name after each."""
    for name, arguments in calls:
        if PURPOSES[purpose] is None or name in PURPOSES[purpose]:
            getattr(kernels, name)(*arguments)
            yield name


def _is_complete(name: str, purpose: str) -> bool:
    """Whether the cache has all kernels of a purpose; remembered, as every training step asks for it."""
    if (name, purpose) not in _DONE and (_mark(name, purpose).exists() or _mark(name, "train").exists()):
        _DONE.add((name, purpose))
    return (name, purpose) in _DONE


def _mark(dtype_name: str, purpose: str) -> Path:
    """A file that says that a purpose's kernels are all in the cache, as they are written and compiled today."""
    door = with_imports(Path(kernels.__file__).resolve())  # other files may have kernels, too: ladder.py
    folders = {k._cache.cache_path for k in KERNELS if Path(k.py_func.__code__.co_filename).resolve() in door}
    return CACHE_FOLDER / f"{dtype_name}-{purpose}-{sha256(repr(sorted(folders)).encode()).hexdigest()[:12]}.complete"


def _n_cached() -> int:
    return len(list(CACHE_FOLDER.rglob("*.nbc")))


def _start_compiler(name: str, purpose: str, share: str) -> subprocess.Popen:
    environment = {"NUMBA_CACHE_DIR": str(CACHE_FOLDER.parent.parent)}
    if kernels.BACKEND == "blas":
        environment["MINIBERT_KERNELS"] = "numba"  # all kernels, even if this process needs fewer
    program = program_of_compiler("warm_up", f"compile_share({name!r}, {purpose!r}, {share!r})")
    return subprocess.Popen([sys.executable, "-c", program], env=os.environ | environment)


def program_of_compiler(module: str, call: str) -> str:
    """Python code that calls a function of a module of this folder."""
    # These kernels, whatever lies in the folder that the program was started in: `-m` would look there first.
    here, function = str(Path(kernels.__file__).parent.parent), call.partition("(")[0]
    program = f"import sys; sys.path[:] = [{here!r}, *filter(None, sys.path)]; "
    return program + f"from kernels.runtime.{module} import {function}; {call}"


def compile_share(name: str, purpose: str, share: str) -> None:
    """Compile one of the two shares of a purpose's kernels for the dtype called name into the cache, silently."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a compiler at once
    LISTENER.told = True
    use_little_garbage_collection()
    for _ in run_examples(SHARES[share](np.dtype(name)), purpose):
        pass


def use_little_garbage_collection() -> None:
    """The compiler makes millions of objects that stay; to look through them again and again takes an eighth of its
    time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
