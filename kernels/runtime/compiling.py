"""How kernels are compiled: Numba's options, the vector width, and what is printed meanwhile.

A kernel is a plain function with `@parallel_kernel` or `@serial_kernel` above it; its parts are functions with
`@kernel`. The first call with a new dtype compiles it, which takes a second or so; the machine code is then kept on
disk, and later runs load it.
"""

from __future__ import annotations

import os
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

# Fast-math flags that let LLVM vectorize sums. Never "nnan" or "ninf": NaN and infinity must pass through as in NumPy.
# Nor "arcp": LLVM then divides by the processor's estimate of a reciprocal (or of one by a root), which makes NaN of
# infinity, and has other last bits on another maker's processor.
FAST_MATH = {"contract", "reassoc", "nsz"}

KERNELS = []  # every kernel that is kept in the cache


def _use_full_vector_width() -> None:
    """Ask LLVM for 512-bit vectors where the processor has them; on its own it prefers 256.

    A user who sets NUMBA_CPU_NAME or NUMBA_CPU_FEATURES has chosen; then nothing is changed.
    """
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:
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


def vector_bits() -> int:
    """Width of the vectors that the kernels are compiled for, in bits; 0 if it is not known (not an x86 processor)."""
    enabled = numba.config.CPU_FEATURES or _features_of_host().flatten()
    if numba.config.CPU_NAME and not numba.config.CPU_FEATURES:
        return 0
    for feature, bits in (("+avx512f", 512), ("+avx2", 256), ("+sse2", 128)):
        if feature in enabled.split(","):
            return bits
    return 0


# OpenMP's threads wait for each other by spinning, and sleep after this many turns. With fewer they fall asleep between
# two kernels, and waking them takes longer than a small product; with more, if another program holds a core, they spin
# in vain, and small batches become many times slower. Read when the thread pool starts; a user's choice stays.
os.environ.setdefault("GOMP_SPINCOUNT", "15000")
_use_full_vector_width()


def _jit(function, fastmath=FAST_MATH, **options):
    # Without what Numba adds to every function, so that C could call it: a twentieth of the time to compile.
    return numba.njit(fastmath=fastmath, error_model="numpy", no_cfunc_wrapper=True, **options)(function)


class Part(CPUDispatcher):
    """A function that kernels contain. What Python needs to call it is not compiled, as only a few tests do."""

    def __call__(self, *arguments):
        """Called from Python it is compiled once more, as a function of its own."""
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
    """Compile a function for one thread, to be called by other kernels. They contain it, so the cache need not.

    It cannot make arrays, only use those that it is given, and parts of them. So Numba need not count who uses them
    (`_nrt`): the threads share the counters, and to count takes longer than to add two short rows.
    """
    return _part(function, _nrt=False)


def inlined_kernel(function):
    """The same, and wherever it is called its code becomes part of the caller's, which without this LLVM decides.

    For what is short or called often: to pass an array takes a store for each of its seven properties, and stores
    behind those of a tile of the matrix unit wait until it has summed.
    """
    return _part(function, _nrt=False, forceinline=True)


def allocating_kernel(function):
    """The same for a function that makes arrays, or returns parts of some. None should stand in an innermost loop."""
    return _part(function)


def ordered_kernel(function):
    """The same, but sums are added in the order that is written, so the loop over the summands cannot become vectors.

    For loops that go across many sums: each of them then has the same bits wherever it lies. A multiplication and an
    addition may still become one instruction.
    """
    return _part(function, fastmath={"contract"})


def _cached(function, **options):
    users_choice = numba.config.CACHE_DIR
    file = Path(function.__code__.co_filename).resolve()
    # Read by njit(cache=True) below; restored for other users of Numba.
    numba.config.CACHE_DIR = str(CACHE_FOLDER / f"{file.stem}-{version_of(file)}")
    try:
        compiled = _jit(function, cache=True, **options)
    finally:
        numba.config.CACHE_DIR = users_choice
    KERNELS.append(compiled)
    return compiled


def serial_kernel(function):
    """Compile a function for one thread, to be called from Python."""
    return _cached(function)


def parallel_kernel(function):
    """Compile a function whose `prange` loops are shared out over Numba's threads, to be called from Python.

    Each iteration of a prange must own what it writes, and must not depend on the number of threads: so the same input
    gives the same bits on any number of them. Nor may bits depend on where arrays lie: LLVM writes a vector loop and a
    plain one, and takes the plain one when two arrays lie close together. So a loop that sums stores nothing, but in
    the one array that it reads, and a loop that stores is so simple that both versions round alike
    (tests/engine/test_determinism.py places arrays close).
    """
    return _cached(function, parallel=True)


class CompilationListener(event.Listener):
    """Prepares the compilation of a kernel (linking.py), and prints once that kernels are being compiled: a first run
    must not look like one that hangs."""

    def __init__(self):
        self.told, self._linking = False, LateLinking()

    def on_start(self, ev):
        """A function missed the cache and is about to be compiled."""
        if self._is_ours(ev):
            self.tell()
            self._linking.start()

    def on_end(self, ev):
        """It is compiled, or could not be."""
        if self._is_ours(ev):
            self._linking.stop()

    def _is_ours(self, ev):
        return any(ev.data["dispatcher"] is ours for ours in KERNELS)

    def tell(self):
        """Print it now, if it was not printed before."""
        if not self.told:
            kept = f"once; kept in {CACHE_FOLDER}" if CACHE_IS_KEPT else "for this run only"
            print(f"compiling Numba kernels for this machine ({kept}) ...", file=sys.stderr)
            self.told = True


LISTENER = CompilationListener()
event.register("numba:compile", LISTENER)
