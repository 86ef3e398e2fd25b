"""Attention backward without a stored P."""

import numpy as np

from minibert.lessons import plain
from minibert.lessons.catalogue.attention_backward import AFTER_P
from minibert.lessons.exercise import Exercise


def _attention_lse_backward(rng):
    """Sequences of different lengths; the scores of the last one are so large that exp of them overflows."""

    def arguments(offsets, n_heads, d_head, scale):
        q, k, v, dy = (rng.normal(size=(offsets[-1], n_heads * d_head)) for _ in range(4))
        _, cache = plain.attention_lse(scale * q, scale * k, v, np.array(offsets), n_heads)
        return dy, cache

    return [arguments([0, 3, 8], 2, 3, 1.2), arguments([0, 1, 3, 4, 7], 3, 2, 1.5), arguments([0, 4], 2, 5, 30.0)]


_P = "P = np.exp(scores - lse[rows, h, None])"
_INNER = "inner = (dy[rows, head] * y[rows, head]).sum(axis=1, keepdims=True)"
_DS = "dS = P * (dP - inner) / math.sqrt(d_head)"

EXERCISES = (
    Exercise(
        "attention_lse_backward",
        6,
        outputs=("dq", "dk", "dv"),
        cases=_attention_lse_backward,
        hints=(
            "Which row of lse, and which column, belong to the scores of token i and head h?",
            "P is exp(scores) divided by its row sums. lse is their logarithm, so it is subtracted inside exp.",
            "P = np.exp(scores - lse[rows, h, None]); inner = (dy y).sum(axis=1, keepdims=True) over the "
            "columns of this head.",
        ),
        order=("dv", "dq", "dk"),
        mistakes=(
            (_P, "P = np.exp(scores)", "lse is lost: the rows of P must sum to 1"),
            (
                _P,
                "P = np.exp(scores) / lse[rows, h, None]",
                "the scores are divided by lse after exp. lse is a logarithm: subtract it before exp",
            ),
            (_P, "P = np.exp(scores - lse[rows, h])", "lse is subtracted column by column; it belongs to the row"),
            (_P, "P = np.exp(scores - lse[rows, 0, None])", "the lse of head 0 is used for every head"),
            (_P, "P = np.exp(scores - lse[b, h])", "lse is taken of row b; every token of the sequence has its own"),
            (_P, "P = scores - lse[rows, h, None]", "exp is missing: scores - lse is the logarithm of P"),
            (
                "scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)",
                "scores = q[rows, head] @ k[rows, head].T",
                "the scale is lost where the scores are computed again: forward divided them by sqrt(d_head)",
            ),
            (_DS, "dS = P * (dP - inner)", "the scale is lost in dS: forward divided the scores by sqrt(d_head)"),
            (" / math.sqrt(d_head)", "", "the scale is lost, in the scores and in dS"),
            (_DS, "dS = P * dP / math.sqrt(d_head)", "the row sum is lost: dS = P (dP - row sum of dy y)"),
            (_DS, "dS = P * (1 - P) * dP / math.sqrt(d_head)", "P (1 - P) is the diagonal alone: the row sum is lost"),
            (
                _DS,
                "dS = (dP - inner) / math.sqrt(d_head)",
                "the factor P is missing in dS",
            ),
            (
                _INNER,
                "inner = (dy[rows] * y[rows]).sum(axis=1, keepdims=True)",
                "the row sum of dy y runs over the columns of all heads; each head has its own",
            ),
            (
                _INNER,
                "inner = (dy[rows, head] * v[rows, head]).sum(axis=1, keepdims=True)",
                "the row sum is of dy v; it is of dy y, the output of forward",
            ),
            (
                _INNER,
                "inner = dP.sum(axis=1, keepdims=True)",
                "the row sum is of dP; it is of dP P, which is that of dy y",
            ),
            (
                _INNER,
                "inner = (dy[rows, head] * y[rows, head]).sum()",
                "dy y is summed over all tokens; each has its own sum",
            ),
            (
                _INNER,
                _INNER.replace(", keepdims=True", ""),
                "the row sum of dy y is subtracted column by column: it lacks keepdims=True",
            ),
            (
                _DS,
                "dS = P * (dP - inner) / d_head",
                "dS is divided by sqrt(d_head) twice; forward divided the scores once",
            ),
            (_INNER, _INNER.replace("sum", "mean"), "dy y is averaged over the columns; it must be a sum"),
            *AFTER_P,
        ),
    ),
)
