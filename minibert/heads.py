"""What reads the encoder's output: a linear layer on the first token, [CLS] (paper, section 3.1), and the losses.

classify   C scores, softmax cross-entropy
regress    one score, mean squared error
span       two scores for *every* token: does the answer start here, does it end here? Cross-entropy over the tokens
"""

from __future__ import annotations

import numpy as np

import kernels
from minibert.adapter import truncated_normal
from minibert.layers import Run, dropout_backward, dropout_forward, inside, linear_backward, linear_forward

HEAD_STD = 0.02  # BERT's own start for new weights


def head_init(hidden_size: int, n_out: int, seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    """Flat name -> start value: a truncated Gaussian of standard deviation 0.02, and zero biases."""
    return {
        "head/W": truncated_normal("head/W", (hidden_size, n_out), HEAD_STD, seed, dtype),
        "head/b": np.zeros(n_out, dtype),
    }


def head_forward(first, params, grads, run: Run):
    """Scores from the hidden state of each sequence's first token, or of every token.   (B, D) or (T, D) -> (same, C)

    With a "pooler" in params, BERT's tanh layer stands between the two, as in the authors' published code.
    """
    x, pooler_cache, pooled = first, None, None
    if "pooler" in params:
        x, pooler_cache = linear_forward(x, params["pooler"], inside(grads, "pooler"))
        x = pooled = np.tanh(x)
    x = dropout_forward(x.copy(), run.dropout)
    scores, head_cache = linear_forward(x, params["head"], inside(grads, "head"))  # (B, D) @ (D, C) -> (B, C)
    return scores, None if grads is None else (pooler_cache, pooled, head_cache)


def head_backward(dscores, params, cache, grads, run: Run):
    """The gradient of the hidden states that were read.   (B, C) -> (B, D), (T, 2) -> (T, D)"""
    pooler_cache, pooled, head_cache = cache
    dx = linear_backward(dscores, params["head"], head_cache, inside(grads, "head"))
    dx = dropout_backward(dx, run.dropout)
    if "pooler" in params:
        dx *= 1 - pooled**2  # the pooler's activation is tanh
        dx = linear_backward(dx, params["pooler"], pooler_cache, inside(grads, "pooler"))
    return dx


def squared_error(scores, targets):
    """Mean of (score - target)^2.   (B, 1), (B,) -> (loss, dscores (B, 1))"""
    difference = scores[:, 0].astype(np.float64) - targets
    dscores = (2 / len(targets) * difference).astype(scores.dtype)[:, None]
    return float(np.mean(difference**2)), dscores


def span_cross_entropy(logits, targets, offsets):
    """-log p[target], p = softmax of each column over the tokens of a sequence; mean over start and end, and sequences.

    (T, 2), targets (B, 2): places of the answer's first and last token in their sequence -> (loss, dlogits (T, 2))

    forward was loss = -1/2B sum(log p[target]), so now dlogits = (p - one_hot(target)) / 2B. Two columns are little
    work beside the encoder's hundreds: NumPy is enough.
    """
    first, lengths = offsets[:-1], np.diff(offsets)
    shifted = logits.astype(np.float64)
    shifted -= np.repeat(np.maximum.reduceat(shifted, first), lengths, axis=0)  # no exp overflows
    exps = np.exp(shifted)
    totals = np.add.reduceat(exps, first)  # (T, 2) -> (B, 2)
    rows, columns = first[:, None] + targets, [0, 1]
    loss = np.mean(np.log(totals) - shifted[rows, columns])
    dlogits = exps / np.repeat(totals, lengths, axis=0)
    dlogits[rows, columns] -= 1
    return float(loss), (dlogits / targets.size).astype(logits.dtype)


LOSSES = {"classify": kernels.softmax_cross_entropy, "regress": squared_error, "span": span_cross_entropy}


def softmax(scores):
    """Probabilities of the classes, each row summing to 1.   (B, C) -> (B, C)"""
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
