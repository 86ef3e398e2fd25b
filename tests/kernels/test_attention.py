"""Attention over a packed batch, forward and backward."""

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.runtime.examples import DROPOUT


def test_attention_takes_what_is_not_in_c_order():
    rng = np.random.default_rng(0)
    q, k, v, dcontext = rng.standard_normal((4, 9, 64)).astype(np.float32)
    offsets = np.array([0, 4, 9])
    context, lse = kernels.attention(q, k, v, offsets, offsets, 2)
    grads = kernels.attention_backward(dcontext, q, k, v, lse, offsets, offsets)
    other = [np.asfortranarray(array) for array in (dcontext, q, k, v)]
    np.testing.assert_allclose(kernels.attention(*other[1:], offsets, offsets, 2)[0], context, rtol=1e-5)
    for ours, theirs in zip(kernels.attention_backward(*other, lse, offsets, offsets), grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [-400, 400])
def test_attention_scores_far_from_zero(shift):
    """All scores of a row near -200 or 200: softmax only sees their differences, in backward too."""
    rng = np.random.default_rng(0)
    q, k, v, dcontext = (rng.standard_normal((3, 4)).astype(np.float32) for _ in range(4))
    q[:, 0], k[:, 0] = shift, 1 + 0.01 * k[:, 0]
    offsets = np.array([0, 3])
    context, lse = kernels.attention(q, k, v, offsets, offsets, 1)
    np.testing.assert_allclose(context, reference.attention(q, k, v, offsets, offsets, 1)[0], atol=1e-4)
    ours = kernels.attention_backward(dcontext, q, k, v, lse, offsets, offsets)
    for grad, theirs in zip(ours, reference.attention_backward(dcontext, q, k, v, lse, offsets, offsets), strict=True):
        np.testing.assert_allclose(grad, theirs, atol=1e-4 * np.abs(theirs).max())


def test_attention_drops_the_same_weights_in_backward():
    """With v and dcontext of ones, context and dv are sums of the dropped weights: over rows and over columns of P."""
    T, dropout = 40, (0.3, DROPOUT[1])
    zeros, ones, offsets = np.zeros((T, 4), np.float32), np.ones((T, 4), np.float32), np.array([0, 15, T])
    context, lse = kernels.attention(zeros, zeros, ones, offsets, offsets, 2, dropout)
    _, _, dv = kernels.attention_backward(ones, zeros, zeros, ones, lse, offsets, offsets, dropout)
    for start, stop in ((0, 15), (15, T)):
        assert context[start:stop].std() > 0.05
        np.testing.assert_allclose(context[start:stop].sum(axis=0), dv[start:stop].sum(axis=0), rtol=1e-5)
    assert np.unique(context[:, ::2], axis=1).shape[1] == 2, "heads have masks of their own"
