"""The ladder from three loops to the fast product: every rung computes the same, whatever its blocks leave over."""

import numpy as np
import pytest
from back_ends import each_dtype

import kernels

if not kernels.COMPILED:
    pytest.skip("the rungs are Numba kernels", allow_module_level=True)

from kernels.ladder import RUNGS


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.__name__)
@each_dtype
def test_every_rung_computes_the_product(rung, dtype):
    rng = np.random.default_rng(0)
    for T, n_in, n_out in ((1, 1, 1), (2, 7, 3), (8, 4, 16), (9, 5, 17), (37, 67, 259), (65, 130, 33), (0, 5, 4)):
        x, W = (rng.standard_normal(shape).astype(dtype) for shape in ((T, n_in), (n_in, n_out)))
        y, tolerance = rung(x, W), 20 * np.finfo(dtype).eps * n_in
        assert y.dtype == dtype
        np.testing.assert_allclose(y, x @ W, rtol=0, atol=tolerance, err_msg=f"{T}, {n_in}, {n_out}")


def test_every_rung_tells_its_one_idea():
    assert [int(rung.__name__.split("_")[1]) for rung in RUNGS] == list(range(len(RUNGS)))
    assert all(len(rung.__doc__) > 60 for rung in RUNGS)
