"""Softmax and attention."""

import numpy as np

from minibert.lessons.exercise import Exercise


def _softmax(rng):
    """The third overflows where the largest element is not subtracted. The last two are exact in float32: rows that lie
    far apart, and all far below 0."""
    usual = [(rng.normal(scale=scale, size=shape),) for scale, shape in ((3, (4, 5)), (3, (6, 2)), (900, (3, 4)))]
    apart, low = rng.integers(-40, 40, size=(2, 2, 3)) / 16 + [[[900], [0]], [[-900], [-900]]]
    return [*usual, (apart,), (low,)]


def _attention(rng):
    """Sequences of different lengths, one of a single token; heads of several columns. Now more sequences than heads,
    now fewer, and so of every two sizes: one that is taken for another is seen."""

    def arguments(offsets, n_heads, d_head):
        q, k, v = (rng.normal(scale=1.5, size=(offsets[-1], n_heads * d_head)) for _ in range(3))
        return q, k, v, np.array(offsets), n_heads

    usual = [arguments([0, 3, 8], 2, 3), arguments([0, 1, 3, 4, 7], 3, 2), arguments([0, 6], 4, 2)]
    q, k, v = (rng.integers(-24, 24, size=(5, 4)) / 16 for _ in range(3))
    q[:, 0], k[:, 0] = 400, 4  # scores of about 800, exact in float32: their exp overflows
    return [*usual, (q, k, v, np.array([0, 2, 5]), 1)]


_ALL_LINES = """shifted = x - x.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    p = e / e.sum(axis=1, keepdims=True)"""

EXERCISES = (
    Exercise(
        "softmax",
        3,
        outputs=("p",),
        cache="cache",
        cases=_softmax,
        hints=(
            "What is exp(900)? What may be subtracted from all scores of a row without changing the result?",
            "Each row is normalized by itself: axis=1, and keepdims=True lets the division broadcast.",
            "e = np.exp(x - x.max(axis=1, keepdims=True)); p = e / e.sum(axis=1, keepdims=True)",
        ),
        order=("p", "cache"),
        mistakes=(
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x",
                "exp overflows for large scores: subtract the largest element of the row first",
            ),
            (
                "p = e / e.sum(axis=1, keepdims=True)",
                "p = e / e.sum(axis=0, keepdims=True)",
                "the columns sum to 1; each row must: sum over axis 1",
            ),
            (
                "p = e / e.sum(axis=1, keepdims=True)",
                "p = np.exp(x - x.max(axis=0)) / np.exp(x - x.max(axis=0)).sum(axis=0)",
                "the softmax is over the columns (axis 0); it must be over each row, axis 1",
            ),
            (
                "p = e / e.sum(axis=1, keepdims=True)",
                "p = e / e.sum()",
                "all elements together sum to 1; each row must",
            ),
            ("p = e / e.sum(axis=1, keepdims=True)", "p = e", "the rows are not divided by their sums"),
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x - x.max()",
                "the largest of all rows is subtracted: those of another row may all become 0. Take the row's own",
            ),
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x - x.max(axis=1)",
                "keepdims=True is missing: what is taken over axis 1 must stay a column, (T, 1)",
            ),
            (
                _ALL_LINES,
                "p = np.exp(x) / np.exp(x).sum()",
                "sum() is over all elements; each row must sum to 1. And exp overflows: subtract the row's largest",
            ),
            (
                _ALL_LINES,
                "p = np.exp(x - x.max()) / np.exp(x - x.max()).sum()",
                "max() and sum() are over all elements; each row has its own: axis=1, keepdims=True",
            ),
            (
                _ALL_LINES,
                "p = np.exp(x) / np.exp(x).sum(axis=0)",
                "the columns sum to 1, not the rows; and exp overflows: subtract the row's largest first",
            ),
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x - x.max(axis=0, keepdims=True)",
                "the largest of each column is subtracted; it must be that of the row, or the weights change",
            ),
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x - x.mean(axis=1, keepdims=True)",
                "the mean of the row is subtracted: exp of its largest may still overflow. Take the largest",
            ),
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x - x.min(axis=1, keepdims=True)",
                "the smallest of the row is subtracted: exp overflows all the sooner. Take the largest",
            ),
            (
                "shifted = x - x.max(axis=1, keepdims=True)",
                "shifted = x - np.abs(x).max(axis=1, keepdims=True)",
                "the largest absolute value is subtracted: scores that are all far below 0 become 0. Take the largest",
            ),
        ),
    ),
    Exercise(
        "attention",
        3,
        outputs=("y",),
        cache=("q", "k", "v", "offsets", "n_heads", "weights"),
        cases=_attention,
        hints=(
            "Which rows may a token look at? Which columns belong to one head?",
            "For each sequence b and head h: rows offsets[b]:offsets[b+1], columns h d_head:(h+1) d_head.",
            "scores = q[rows, head] @ k[rows, head].T / sqrt(d_head); weights by rows of softmax; y = weights @ v.",
        ),
        order=("weights", "y"),
        mistakes=(
            (" / math.sqrt(d_head)", "", "the scores are not divided by sqrt(d_head)"),
            (
                "math.sqrt(d_head)",
                "math.sqrt(q.shape[1])",
                "the scores are divided by sqrt(D); it must be sqrt(d_head), the size of one head",
            ),
            ("math.sqrt(d_head)", "d_head", "the scores are divided by d_head; it must be its square root"),
            (
                "rows = slice(offsets[b], offsets[b + 1])",
                "rows = slice(0, offsets[-1])",
                "tokens attend to the other sequences of the batch: a sequence's rows alone belong to it",
            ),
            (
                "scores = q[rows, head] @ k[rows, head].T",
                "scores = k[rows, head] @ q[rows, head].T",
                "queries and keys are exchanged: row i of the scores is what token i asks",
            ),
            (
                "P, _ = softmax(scores)",
                "P = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)",
                "exp overflows for large scores: subtract the largest score of the row first, as softmax does",
            ),
            (
                "P, _ = softmax(scores)",
                "P = softmax(scores.T)[0].T",
                "the softmax is over the queries (columns); it must be over the keys, row by row",
            ),
            (
                "head = slice(h * d_head, (h + 1) * d_head)",
                "head = slice(h, None, n_heads)",
                "the columns of a head are taken with a stride; head h has d_head columns next to each other",
            ),
            (
                "head = slice(h * d_head, (h + 1) * d_head)",
                "head = slice(0, None)",
                "all heads look at all columns; each has d_head columns of its own",
            ),
            (
                "y[rows, head] = P @ v[rows, head]",
                "y[rows, head] = P @ k[rows, head]",
                "the weights are applied to k, not to v",
            ),
            (
                "y[rows, head] = P @ v[rows, head]",
                "y[rows, head] = P.T @ v[rows, head]",
                "the weights are transposed: row i of P holds the weights of token i, so y = P @ v",
            ),
            (
                "P, _ = softmax(scores)",
                "P = scores",
                "the scores are used as weights: the softmax of their rows is missing",
            ),
            (
                "P, _ = softmax(scores)",
                "P = softmax(scores * math.sqrt(d_head))[0] / math.sqrt(d_head)",
                "the weights are divided by sqrt(d_head); the scores must be, before the softmax",
            ),
            (
                "d_head = q.shape[1] // n_heads",
                "d_head, n_heads = q.shape[1], 1",
                "all columns are one head: split them into n_heads, each with d_head = D / n_heads columns",
            ),
            (
                "y[rows, head] = P @ v[rows, head]",
                "y = P @ v[rows, head]",
                "y is one head's part: write it into y[rows, head]",
            ),
            (
                "weights[b, h] = P",
                "weights[b, h] = P; return y, (q, k, v, offsets, n_heads, weights)",
                "only one head of the first sequence has a result: is the return inside the loop?",
            ),
            (
                "for b in range(len(offsets) - 1):",
                "for b in range(len(offsets) - 2):",
                "the last sequence is left out: there are len(offsets) - 1 sequences",
            ),
        ),
    ),
)
