"""The operations behind the door: their names, and each of them beside the NumPy reference."""

import copy
import inspect

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.engine import amx
from kernels.runtime.examples import examples
from minibert.bench.check import results

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}

PRODUCTS = {name for name in dir(reference) if name.startswith("matmul")}

ON_THE_MATRIX_UNIT = PRODUCTS if kernels.COMPILED and amx.ALLOWED else set()

NAMES = sorted(name for name, _ in inspect.getmembers(kernels, inspect.isfunction))

SHAPES = [
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12, "n_heads": 2},
    {"lengths": (1,), "size": 4, "n_out": 5, "n_heads": 1},
    {"lengths": (40, 17, 70), "size": 60, "n_out": 101, "n_heads": 3},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s["lengths"])))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_agree_with_the_reference(dtype, shape):
    seen = set()
    for name, arguments in examples(dtype, **shape):
        seen.add(name)
        for ours, theirs in zip(results(kernels, name, arguments), results(reference, name, arguments), strict=True):
            assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name
            scale = max(1.0, np.abs(theirs).max())
            assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE[dtype] * scale, name
    assert seen == set(NAMES) - {"freeze", "freeze_each", "lay_out"}, "every operation must be compared"


def test_names_and_signatures_are_those_of_the_reference():
    theirs = {name for name, _ in inspect.getmembers(reference, inspect.isfunction) if not name.startswith("_")}
    assert theirs - {"random_bits", "pairwise"} == set(NAMES) - {"lay_out"}
    for name in sorted(theirs - {"random_bits", "pairwise"}):
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (kernels, reference))
        assert list(ours.values()) == list(theirs.values()), name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity_pass_through_as_in_the_reference(dtype, value):
    """One bad number in the middle of each array in turn: the same places of every result must be NaN or infinite.

    The matrix unit makes NaN of what has met an infinity.
    """
    for name, arguments in examples(dtype):
        for i in [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray) and a.dtype == dtype]:
            if name.endswith("_each") and i in (1, 2):  # what computes was prepared of these before
                continue
            spoilt = copy.deepcopy(arguments)
            spoilt[i].reshape(-1)[spoilt[i].size // 2] = value
            all_ours = results(kernels, name, spoilt)
            if name == "matmul_gelu" and i < 2 and name in ON_THE_MATRIX_UNIT and dtype == np.float32:
                spoilt[i].reshape(-1)[spoilt[i].size // 2] = np.nan  # this is what GELU has met, then
                all_ours[2 + i].reshape(-1)[spoilt[i].size // 2] = np.nan
            for ours, theirs in zip(all_ours, results(reference, name, spoilt), strict=True):
                ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
                bad = ~np.isfinite(ours) | ~np.isfinite(theirs)
                if name in ON_THE_MATRIX_UNIT and dtype == np.float32:
                    ours[np.isinf(ours)] = theirs[np.isinf(theirs)] = np.nan
                np.testing.assert_array_equal(ours[bad], theirs[bad], err_msg=f"{name}, argument {i}")
