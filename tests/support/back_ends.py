"""What tests of kernels share: the back ends at hand in this process, and their results beside the reference's.

MINIBERT_KERNELS chooses one back end a process. The plain kernels are the exception: the default imports them, too, so
they are tested beside it.
"""

import inspect
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.engine import amx
from kernels.runtime.examples import examples
from minibert.bench.check import results

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
HELPERS = {"random_bits", "pairwise"}  # of the reference, which the NumPy door lets through
OPERATIONS = {name for name, _ in inspect.getmembers(reference, inspect.isfunction) if not name.startswith("_")}
OPERATIONS -= HELPERS
ON_AMX = {n for n in OPERATIONS if n.startswith("matmul") and kernels.BACKEND == "numba" and amx.ALLOWED}


def _plain():
    """The door as MINIBERT_KERNELS=plain would open it. (`kernels.matmul` is the function: the door hides the file.)"""
    files = [vars(sys.modules[f"kernels.{file}"]) for file in ("matmul", "attention")] + [vars(kernels)]
    return SimpleNamespace(**{name: next(f[name] for f in files if name in f) for name in OPERATIONS})


BACK_ENDS = {"plain": _plain()} if kernels.COMPILED and kernels.BACKEND != "plain" else {}
BACK_ENDS[kernels.BACKEND] = kernels

each_back_end = pytest.mark.parametrize("back_end", BACK_ENDS.values(), ids=BACK_ENDS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def skip_on(names, back_end, why):
    """Skip a test of what the back ends of these names do not promise."""
    if back_end is kernels and kernels.BACKEND in names:
        pytest.skip(f"MINIBERT_KERNELS={kernels.BACKEND}: {why}")


def examples_of(back_end, dtype, **shape):
    """Example calls of the functions that a back end does not share with the door; of the door itself, all."""
    for name, arguments in examples(dtype, **shape):
        if back_end is kernels or getattr(back_end, name) is not getattr(kernels, name):
            yield name, arguments


def assert_agrees(back_end, name, arguments, tolerance, said=""):
    """All that a call returns and changes is as by the reference, to a tolerance of the largest number, or of 1."""
    ours, theirs = results(back_end, name, arguments), results(reference, name, arguments)
    for one, other in zip(ours, theirs, strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype, (name, said)
        if np.size(other):
            scale = max(1.0, np.abs(other).max())
            assert np.abs(np.asarray(one) - other).max() <= tolerance * scale, (name, said)


def assert_products_agree(back_end, dtype, shapes):
    """All products of x (T, n_in) and W (n_in, n_out), for each (T, n_in, n_out)."""
    rng = np.random.default_rng(0)
    for T, n_in, n_out in shapes:
        sizes = (T, n_in), (n_in, n_out), n_out, (T, n_out), (T, n_in)
        x, W, b, dy, dx = (rng.standard_normal(size).astype(dtype) for size in sizes)
        for name, arguments in (
            ("matmul", (x, W, b)),
            ("matmul", (x, W, b, dy)),
            ("matmul_dx", (dy, W)),
            ("matmul_dx", (dy, W, dx)),
            ("matmul_dw", (x, dy, W)),
            ("matmul_backward", (dy, x, W, W.copy(), b, dx, x)),
            ("bias_db", (dy, b)),
        ):
            assert_agrees(back_end, name, arguments, 10 * TOLERANCE[dtype], (T, n_in, n_out))


SMALL = list(itertools.product(range(1, 14), (1, 7, 16), range(1, 10)))  # rows and columns that fill nothing whole
PANELS = list(itertools.product((1, 5, 37, 400), (1, 63, 66, 200, 400), (64, 65, 383, 384, 450)))
LONG = [(20, 800, 70), (50, 1600, 8), (800, 33, 40), (1600, 70, 20), (600, 31, 33)]
