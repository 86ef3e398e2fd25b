"""Softmax cross-entropy: the loss, its gradient, scores of any size."""

import math

import numpy as np
import pytest
from back_ends import each_dtype

import kernels


@each_dtype
def test_loss_and_gradient_of_friendly_logits(dtype):
    """The rows' probabilities are 1/4, 3/4 and 1/2, 1/2."""
    logits = np.array([[0, math.log(3)], [5, 5]], dtype)
    loss, dlogits = kernels.softmax_cross_entropy(logits, np.array([1, 0]))
    assert loss == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)
    np.testing.assert_allclose(dlogits, [[0.125, -0.125], [-0.25, 0.25]], rtol=1e-6)


@each_dtype
@pytest.mark.parametrize("shift", [-10_000, 0, 10_000])
def test_only_differences_of_logits_count(dtype, shift):
    """No exp overflows or vanishes."""
    logits = np.array([[1, 2, 3, 4]], dtype) + dtype(shift)
    loss, dlogits = kernels.softmax_cross_entropy(logits, np.array([3]))
    share = 1 / (1 + math.exp(-1) + math.exp(-2) + math.exp(-3))
    assert loss == pytest.approx(-math.log(share), rel=1e-6)
    assert dlogits[0, 3] == pytest.approx(share - 1, rel=1e-6) and abs(dlogits.sum()) < 1e-6


@each_dtype
def test_a_class_that_is_all_but_ruled_out_has_its_distance_as_loss(dtype):
    loss, dlogits = kernels.softmax_cross_entropy(np.array([[2000, 0]], dtype), np.array([1]))
    assert loss == pytest.approx(2000) and dlogits.tolist() == [[1, -1]]
