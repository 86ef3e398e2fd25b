"""Dropout: its share, and masks that depend on the key alone."""

import math

import numpy as np
import pytest

import kernels
from kernels.runtime.examples import DROPOUT


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_its_mask(rate):
    x = np.ones((300, 400), np.float32)
    key = DROPOUT[1]
    y = kernels.dropout(x, (rate, key))
    kept = y != 0
    standard_error = math.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept.mean() - (1 - rate)) <= 4 * standard_error
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    np.testing.assert_array_equal(kernels.dropout(x, (rate, key)), y)  # backward is the same call with dy
    for other in ((key[0] + np.uint32(1), key[1]), (key[0], key[1] + np.uint32(1)), key[::-1]):
        both = kept & (kernels.dropout(x, (rate, other)) != 0)
        assert abs(both.mean() - (1 - rate) ** 2) <= 4 * standard_error, "masks of two keys must be independent"
