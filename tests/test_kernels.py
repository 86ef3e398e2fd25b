"""Every Numba kernel against the NumPy reference, in float32 and float64."""

import copy
import inspect

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.examples import examples

FAST = {"relu", "tanh", "swish"}
TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
NAMES = sorted(name for name, f in inspect.getmembers(reference, inspect.isfunction) if hasattr(kernels, name))
SHAPES = [
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12, "n_heads": 2},
    {"lengths": (1,), "size": 4, "n_out": 5, "n_heads": 1},
    {"lengths": (40, 17, 70), "size": 60, "n_out": 101, "n_heads": 3},
]


def call(module, name, arguments):
    """All results of a call: what it returns, then what it changed."""
    arguments = copy.deepcopy(arguments)
    result = getattr(module, name)(*arguments)
    results = list(result) if isinstance(result, tuple) else [] if result is None else [result]
    return results + [a for a in arguments if isinstance(a, np.ndarray)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s["lengths"])))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_agree_with_the_reference(dtype, shape):
    seen = set()
    for name, arguments in examples(dtype, **shape):
        seen.add(name)
        for ours, theirs in zip(call(kernels, name, arguments), call(reference, name, arguments), strict=True):
            assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name
            scale = max(1.0, np.abs(theirs).max())
            assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE[dtype] * scale, name
    assert seen == set(NAMES) - {"random_bits"}, "every operation of the reference must be compared"
