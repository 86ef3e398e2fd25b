"""Adam, and the norm that clipping needs."""

import numpy as np
import pytest

import kernels


def test_adam_says_what_it_cannot_change():
    arrays = [np.ones((3, 4), np.float32) for _ in range(4)]
    rest = (0.1, 0.9, 0.999, 1e-8, 0.0, 1)
    if kernels.BACKEND != "numpy":
        with pytest.raises(ValueError, match="C order"):
            kernels.adam(np.ones((4, 3), np.float32).T, *arrays[1:], *rest)
        with pytest.raises(ValueError, match="one shape"):
            kernels.adam(arrays[0], np.ones(5, np.float32), *arrays[2:], *rest)
        with pytest.raises(ValueError, match="C order"):
            kernels.squared_norm(np.ones((4, 3), np.float32).T, 1.0)
