"""Adam, and the norm that clipping needs."""

import numpy as np
import pytest
from back_ends import each_dtype

import kernels


def test_what_could_not_be_changed_in_place_is_refused():
    arrays = [np.ones((3, 4), np.float32) for _ in range(4)]
    rest = (0.1, 0.9, 0.999, 1e-8, 0.0, 1)
    if kernels.BACKEND != "numpy":
        with pytest.raises(ValueError, match="C order"):
            kernels.adam(np.ones((4, 3), np.float32).T, *arrays[1:], *rest)
        with pytest.raises(ValueError, match="one shape"):
            kernels.adam(arrays[0], np.ones(5, np.float32), *arrays[2:], *rest)
        with pytest.raises(ValueError, match="C order"):
            kernels.squared_norm(np.ones((4, 3), np.float32).T, 1.0)


@each_dtype
def test_one_step_by_hand(dtype):
    """g = 2 at step 1: m = 0.2, v = 0.004; both corrected are g and g^2, so p moves by lr, after it has decayed."""
    p, g, m, v = (np.array([value], dtype) for value in (1, 2, 0, 0))
    kernels.adam(p, g, m, v, 0.1, 0.9, 0.999, 0.0, 0.5, 1)
    np.testing.assert_allclose([m[0], v[0], p[0]], [0.2, 0.004, 1 - 0.1 * 0.5 - 0.1], rtol=1e-6)
    assert g[0] == 2


@each_dtype
@pytest.mark.parametrize("largest, after", [(0.0, [3, 4]), (5.0, [3, 4]), (2.5, [1.5, 2])])
def test_the_norm_and_what_is_larger_than_allowed(dtype, largest, after):
    x = np.array([3, 4], dtype)
    assert kernels.squared_norm(x, largest) == 25
    np.testing.assert_allclose(x, after, rtol=1e-6)
