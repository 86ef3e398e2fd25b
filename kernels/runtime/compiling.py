"""How kernels are compiled: Numba's options, the vector width, and the message that is printed meanwhile.

A kernel is a plain function under `@parallel_kernel` or `@serial_kernel`; the functions it calls are under `@kernel`.
The first call with a new dtype compiles it, which takes a second or so. The machine code is then kept on disk, and
later runs load it.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba
from numba.core import event
from numba.core.registry import CPUDispatcher

from .cache import CACHE_FOLDER, CACHE_IS_KEPT, version_of
from .linking import LateLinking
from .sealed import report_not_kept, seal_cache
from .settings import threading_layer
from .turns import one_at_a_time

# Fast-math flags that let LLVM vectorize sums. Never "nnan" or "ninf": NaN and infinity must pass through as in NumPy.
# Nor "arcp": LLVM then divides by means of the processor's estimate of a reciprocal (or reciprocal square root), which
# turns infinity into NaN, and whose last bits differ between makers of processors.
FAST_MATH = {"contract", "reassoc", "nsz"}

X86, ARM = ("x86_64", "amd64", "i386", "i686"), ("aarch64", "arm64")

KERNELS = []  # every kernel that is kept in the cache


def _use_full_vector_width() -> None:
    """Make LLVM use 512-bit vectors where the processor has them; by default it prefers 256.

    Nothing is changed if the user has set NUMBA_CPU_NAME or NUMBA_CPU_FEATURES.
    """
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES is not None:
        return
    features = _features_of_host()
    if features.get("avx512f"):
        features["prefer-256-bit"] = False
        numba.config.CPU_NAME = llvmlite.binding.get_host_cpu_name()
        numba.config.CPU_FEATURES = features.flatten()


def _features_of_host():
    try:
        return llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know them on every platform
        return llvmlite.binding.FeatureMap()


def _features() -> list[str]:
    """Those that Numba compiles for: the user's, or this machine's."""
    chosen = numba.config.CPU_FEATURES
    return (_features_of_host().flatten() if chosen is None else chosen).split(",")


def vector_bits() -> int:
    """Width of the vectors that the kernels are compiled for, in bits; 0 if unknown. NEON of ARM has 128."""
    if platform.machine().lower() in ARM:
        return 128
    widths = {"+avx512f": 512, "+avx2": 256, "+avx": 256, "+sse2": 128}
    return max((bits for feature, bits in widths.items() if feature in _features()), default=0)


def has_fma() -> bool:
    """Whether the processor multiplies and adds in one instruction: all but x86 ones of before 2013 do."""
    return platform.machine().lower() not in X86 or "+fma" in _features()


# OpenMP's threads wait for each other by spinning, and sleep after this many turns. With fewer turns they fall asleep
# between two kernels, and waking them takes longer than a small product. With more, if another program occupies a core,
# they spin in vain, and small batches become many times slower. OpenMP reads it when its thread pool starts.
os.environ.setdefault("GOMP_SPINCOUNT", "15000")
_use_full_vector_width()
THREADING_LAYER = threading_layer()  # after that: OpenMP may read its variables when it is loaded


def _jit(function, fastmath=FAST_MATH, **options):
    # no_cfunc_wrapper: without the wrapper that makes a function callable from C, 5 % less time to compile.
    return numba.njit(fastmath=fastmath, error_model="numpy", no_cfunc_wrapper=True, **options)(function)


class Part(CPUDispatcher):
    """A function that is compiled into kernels, without the wrapper for calls from Python, which only tests need."""

    def __call__(self, *arguments):
        """Called from Python, it is compiled once more, as a function of its own."""
        return _standing_alone(self)(*arguments)


@cache
def _standing_alone(part: Part):
    options = {name: value for name, value in part.targetoptions.items() if name in ("_nrt", "fastmath", "forceinline")}
    return _jit(part.py_func, **options)


def _part(function, **options):
    part = _jit(function, no_cpython_wrapper=True, **options)
    if not numba.config.DISABLE_JIT:  # else it is the function itself, for a debugger
        part.__class__ = Part
    return part


def kernel(function):
    """Compile a function for one thread, to be called by other kernels. Their cached code includes it.

    It cannot create arrays, only use its arguments and slices of them. So Numba need not count references to arrays
    (`_nrt`): all threads share the counters, and counting takes longer than adding two short rows.
    """
    return _part(function, _nrt=False)


def inlined_kernel(function):
    """Like `kernel`, and always inlined into the caller, which LLVM otherwise decides.

    For functions that are short or called often. Passing an array takes a store for each of its seven fields, and a
    store that follows those of an AMX tile waits until the tile has been computed.
    """
    return _part(function, _nrt=False, forceinline=True)


def allocating_kernel(function):
    """Like `kernel`, for a function that creates arrays or returns slices. Not to be called in an innermost loop."""
    return _part(function)


def ordered_kernel(function):
    """Like `kernel`, but sums are added in the order in which they are written, so LLVM cannot vectorize over them.

    For loops that vectorize across many sums: each of these then has the same bits wherever it is in memory. A
    multiplication and an addition may still become one instruction.
    """
    return _part(function, fastmath={"contract"})


def _cached(function, **options):
    if numba.config.DISABLE_JIT:  # the function itself, for a debugger
        return _jit(function, **options)
    file = Path(function.__code__.co_filename).resolve()
    folder = CACHE_FOLDER / f"{file.stem}-{version_of(file)}"
    # Read by njit(cache=True) below; restored for other users of Numba.
    ours = {"CACHE_DIR": str(folder), "CACHE_LOCATOR_CLASSES": ""}
    theirs = {name: getattr(numba.config, name, "") for name in ours}
    try:
        vars(numba.config).update(ours)
        compiled = _jit(function, cache=True, **options)
    finally:
        vars(numba.config).update(theirs)
    seal_cache(compiled)
    if folder not in Path(compiled._cache.cache_path).parents:  # it could not be made, and Numba took another one
        compiled._cache.disable()
        report_not_kept(OSError(f"{folder.name} cannot be made"))
    KERNELS.append(compiled)
    return compiled


def serial_kernel(function):
    """Compile a function for one thread, to be called from Python."""
    return _cached(function)


def parallel_kernel(function):
    """Compile a function whose `prange` loops are shared among Numba's threads, to be called from Python.

    Each iteration of a prange must own what it writes, and must not depend on the number of threads, so that the same
    input gives the same bits on any number of them. Nor may bits depend on where arrays lie: LLVM generates a
    vectorized loop and a scalar one, and the scalar one runs if two arrays may overlap. So a loop that sums stores at
    most into the one array that it reads, and a loop that stores is so simple that both versions round alike
    (tests/engine/test_determinism.py lays arrays close together).
    """
    compiled = _cached(function, parallel=True)
    if THREADING_LAYER == "workqueue" and not numba.config.DISABLE_JIT:
        compiled.__class__ = TakesTurns
    return compiled


class TakesTurns(CPUDispatcher):
    """A parallel kernel on Numba's workqueue, which ends the process if two Python threads call it at once."""

    def __call__(self, *arguments):
        """Wait for the others' kernels."""
        with one_at_a_time():
            return super().__call__(*arguments)


class Forked(CPUDispatcher):
    """A parallel kernel in a process whose parent had run kernels on GNU OpenMP, which ends such a process."""

    def __call__(self, *arguments):
        """Raise RuntimeError."""
        raise RuntimeError(
            "kernels cannot run in this process: it is a fork of one in which they had run, and the threads of GNU "
            "OpenMP do not survive that. Start processes with multiprocessing.get_context('spawn'); or use the model "
            "in the children alone, and not in the parent before; or set NUMBA_THREADING_LAYER=workqueue"
        )


def _in_forked_child():
    """Numba's threads have started if it tells their layer; the other two layers start them anew after a fork."""
    try:
        is_lost = numba.threading_layer() == "omp" and sys.platform == "linux"
    except ValueError:
        return
    for compiled in KERNELS if is_lost else ():
        if compiled.targetoptions.get("parallel"):
            compiled.__class__ = Forked


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)


class CompilationListener(event.Listener):
    """Prepares the compilation of a kernel (linking.py), and prints once that kernels are being compiled, so that a
    first run does not look as if it hangs."""

    def __init__(self):
        self.announced, self._linking = False, LateLinking()

    def on_start(self, ev):
        """A function is not in the cache and is about to be compiled."""
        if self._is_ours(ev):
            self.announce()
            self._linking.start()

    def on_end(self, ev):
        """Its compilation has ended, or failed."""
        if self._is_ours(ev):
            self._linking.stop()

    def _is_ours(self, ev):
        return any(ev.data["dispatcher"] is ours for ours in KERNELS)

    def announce(self):
        """Print the message now, unless it was printed before."""
        if not self.announced:
            kept = f"once; kept in {CACHE_FOLDER}" if CACHE_IS_KEPT else "for this run only"
            print(f"compiling Numba kernels for this machine ({kept}) ...", file=sys.stderr)
            self.announced = True


LISTENER = CompilationListener()
event.register("numba:compile", LISTENER)
