"""Activations are their formulas."""

import math

import numpy as np

import kernels


def test_activations_are_their_formulas():
    x = np.linspace(-9, 9, 101)
    np.testing.assert_array_equal(kernels.relu(x.copy())[0], np.where(x > 0, x, 0))
    np.testing.assert_allclose(kernels.tanh(x.copy())[0], np.sinh(x) / np.cosh(x), rtol=1e-12)
    np.testing.assert_allclose(kernels.swish(x.copy())[0], x / (1 + np.exp(-x)), rtol=1e-12)


def test_gelu_in_float32_over_the_whole_line():
    small = np.logspace(-46, 1, 20_001)  # from beneath the smallest denormal number
    x = np.concatenate([np.linspace(-30, 30, 300_001), small, -small, [0.0, -0.0, 3e38, -3e38]]).astype(np.float32)
    exact = x.astype(np.float64)
    cdf = 0.5 * np.frompyfunc(math.erfc, 1, 1)(-exact / math.sqrt(2)).astype(np.float64)
    act_grad = cdf + exact * np.exp(-0.5 * exact**2) / math.sqrt(2 * math.pi)
    allowed = 2e-7 * np.maximum(1, np.abs(exact))
    y, our_act_grad = kernels.gelu(x)
    assert (np.abs(y - exact * cdf) <= allowed).all()
    assert (np.abs(our_act_grad - act_grad) <= allowed).all()
    around_zero = np.array([-1e-40, -0.0, 0.0, 1e-40], np.float32)
    assert (kernels.gelu(around_zero)[1] == 0.5).all()
