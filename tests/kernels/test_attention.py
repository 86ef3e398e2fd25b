"""Attention over a packed batch, forward and backward."""

import numpy as np
import pytest
from back_ends import TOLERANCE, assert_agrees, each_back_end, each_dtype, skip_on

from kernels import reference
from kernels.runtime.examples import DROPOUT


@each_back_end
@each_dtype
@pytest.mark.parametrize("n_heads, d_head", [(1, 1), (3, 5), (2, 17), (2, 64)])
def test_attention_of_odd_shapes(back_end, dtype, n_heads, d_head):
    """One token, two, many; fewer queries than keys, as in a last layer, and more; with dropout and without."""
    rng, D = np.random.default_rng(0), n_heads * d_head
    for m, n in (((1,), (1,)), ((2, 1, 33), (2, 1, 33)), ((1, 1, 1), (40, 3, 17)), ((3, 20), (19, 2))):
        offsets_q, offsets_kv = (np.concatenate([[0], np.cumsum(lengths)]) for lengths in (m, n))
        q, dcontext = rng.standard_normal((2, sum(m), D)).astype(dtype)
        k, v = rng.standard_normal((2, sum(n), D)).astype(dtype)
        for dropout in (None, DROPOUT):
            assert_agrees(
                *(back_end, "attention", (q, k, v, offsets_q, offsets_kv, n_heads, dropout)),
                *(TOLERANCE[dtype], (m, n)),
            )
            lse = reference.attention(q, k, v, offsets_q, offsets_kv, n_heads, dropout)[1]
            assert_agrees(
                *(back_end, "attention_backward", (dcontext, q, k, v, lse, offsets_q, offsets_kv, dropout)),
                *(3 * TOLERANCE[dtype], (m, n)),
            )


@each_back_end
def test_features_that_heads_cannot_share_are_refused(back_end):
    skip_on(("numpy",), back_end, "NumPy refuses in its own words")
    x, offsets = np.ones((7, 5), np.float32), np.array([0, 7])
    with pytest.raises(ValueError, match="3 heads"):
        back_end.attention(x, x, x, offsets, offsets, 3)


@each_back_end
def test_attention_takes_what_is_not_in_c_order(back_end):
    rng = np.random.default_rng(0)
    q, k, v, dcontext = rng.standard_normal((4, 9, 64)).astype(np.float32)
    offsets = np.array([0, 4, 9])
    context, lse = back_end.attention(q, k, v, offsets, offsets, 2)
    grads = back_end.attention_backward(dcontext, q, k, v, lse, offsets, offsets)
    other = [np.asfortranarray(array) for array in (dcontext, q, k, v)]
    again, _ = back_end.attention(*other[1:], offsets, offsets, 2)
    np.testing.assert_allclose(again, context, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(back_end.attention_backward(*other, lse, offsets, offsets), grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@each_back_end
@pytest.mark.parametrize("shift", [-400, 400])
def test_attention_scores_far_from_zero(back_end, shift):
    """All scores of a row near -200 or 200: softmax only sees their differences, in backward too."""
    rng = np.random.default_rng(0)
    q, k, v, dcontext = (rng.standard_normal((3, 4)).astype(np.float32) for _ in range(4))
    q[:, 0], k[:, 0] = shift, 1 + 0.01 * k[:, 0]
    offsets = np.array([0, 3])
    context, lse = back_end.attention(q, k, v, offsets, offsets, 1)
    np.testing.assert_allclose(context, reference.attention(q, k, v, offsets, offsets, 1)[0], atol=1e-4)
    ours = back_end.attention_backward(dcontext, q, k, v, lse, offsets, offsets)
    for grad, theirs in zip(ours, reference.attention_backward(dcontext, q, k, v, lse, offsets, offsets), strict=True):
        np.testing.assert_allclose(grad, theirs, atol=1e-4 * np.abs(theirs).max())


@each_back_end
def test_attention_drops_the_same_weights_in_backward(back_end):
    """With v and dcontext of ones, context and dv are sums of the dropped weights: over rows and over columns of P."""
    T, dropout = 40, (0.3, DROPOUT[1])
    zeros, ones, offsets = np.zeros((T, 4), np.float32), np.ones((T, 4), np.float32), np.array([0, 15, T])
    context, lse = back_end.attention(zeros, zeros, ones, offsets, offsets, 2, dropout)
    _, _, dv = back_end.attention_backward(ones, zeros, zeros, ones, lse, offsets, offsets, dropout)
    for start, stop in ((0, 15), (15, T)):
        assert context[start:stop].std() > 0.05
        np.testing.assert_allclose(context[start:stop].sum(axis=0), dv[start:stop].sum(axis=0), rtol=1e-5, atol=1e-6)
    assert np.unique(context[:, ::2], axis=1).shape[1] == 2, "heads have masks of their own"
