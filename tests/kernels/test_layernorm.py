"""LayerNorm of rows that are hard to divide."""

import numpy as np
import pytest

import kernels
from kernels import reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_layernorm_divides_as_numpy_does(dtype):
    """A row whose squares are too large for the type, one without any spread, and one of zeros without eps."""
    x = np.ones((3, 40), dtype)
    x[0, ::2] = 1e20 if dtype == np.float32 else 1e200
    x[2] = 0
    gamma, beta = np.full(40, 2, dtype), np.full(40, 3, dtype)
    for eps in (0.0, 1e-12):
        arguments = None, gamma, beta, eps
        for ours, theirs in zip(
            kernels.layernorm(x.copy(), *arguments), reference.layernorm(x.copy(), *arguments), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=f"eps {eps}")
