"""Products of a matrix with at most eight rows or columns."""

import numpy as np
import pytest

import kernels

pytestmark = pytest.mark.skipif(
    kernels.BACKEND in ("numpy", "plain"), reason=f"MINIBERT_KERNELS={kernels.BACKEND} does without the engine"
)


@pytest.mark.parametrize("few", range(1, 9))
def test_narrow_factors_of_every_width(few):
    """What fills a factor up to eight rows adds nothing."""
    rng = np.random.default_rng(few)
    x, W = (rng.standard_normal(s).astype(np.float32) for s in ((9, few), (few, 64)))
    for a, b in ((x, W), (rng.standard_normal((9, 64)).astype(np.float32), np.ascontiguousarray(W.T))):
        assert np.abs(kernels.matmul(a, b) - a @ b).max() <= 1e-5
        assert np.abs(kernels.matmul_dx(a, np.ascontiguousarray(b.T)) - a @ b).max() <= 1e-5
