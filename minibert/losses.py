"""The losses of the heads, each with its gradient with respect to the scores, and what makes probabilities of scores.

All have the same arguments; only span_cross_entropy needs to know where sequences begin and end. Without weights the
loss l is the mean of the sequences' losses; with weights (B,) it is sum(w_b l_b) / sum(w_b), and so the gradient of row
b is that of the mean times B w_b / sum(w). A batch whose weights are all 0 has the loss 0.
"""

from __future__ import annotations

import numpy as np

import kernels


def cross_entropy(scores, labels, offsets, weights=None):
    """Mean of -log softmax(scores)[label].   (B, C), (B,) -> (loss, dscores (B, C))"""
    loss, dscores = kernels.softmax_cross_entropy(scores, labels)
    if weights is None:
        return loss, dscores
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)  # no exp overflows
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return _weighted(losses, dscores, weights)


def squared_error(scores, targets, offsets, weights=None):
    """Mean of (score - target)^2.   (B, 1), (B,) -> (loss, dscores (B, 1))"""
    difference = scores[:, 0].astype(np.float64) - targets
    dscores = (2 / len(targets) * difference).astype(scores.dtype)[:, None]
    if weights is None:
        return float(np.mean(difference**2)), dscores
    return _weighted(difference**2, dscores, weights)


def span_cross_entropy(logits, targets, offsets, weights=None):
    """-log p[target], p = softmax of each column over the tokens of a sequence; mean over start and end, and sequences.

    (T, 2), targets (B, 2): positions of the answer's first and last token in its sequence -> (loss, dlogits (T, 2))

    forward was loss = -sum(log p[target]) / (2 B), so now dlogits = (p - one_hot(target)) / (2 B). Two columns are
    little work beside the encoder's hundreds: NumPy is enough.
    """
    first, lengths = offsets[:-1], np.diff(offsets)
    shifted = logits.astype(np.float64)
    shifted -= np.repeat(np.maximum.reduceat(shifted, first), lengths, axis=0)  # no exp overflows
    exps = np.exp(shifted)
    totals = np.add.reduceat(exps, first)  # (T, 2) -> (B, 2)
    rows, columns = first[:, None] + targets, [0, 1]
    losses = np.log(totals) - shifted[rows, columns]  # (B, 2)
    dlogits = exps / np.repeat(totals, lengths, axis=0)
    dlogits[rows, columns] -= 1
    dlogits = (dlogits / targets.size).astype(logits.dtype)
    if weights is None:
        return float(np.mean(losses)), dlogits
    return _weighted(losses.mean(axis=1), dlogits, weights, lengths)


def binary_cross_entropy(scores, labels, offsets, weights=None):
    """-(label log p + (1 - label) log(1 - p)) with p = sigmoid(score), mean over labels and sequences.

    (B, C), (B, C) of 0 and 1 -> (loss, dscores (B, C))

    forward was loss = sum(log(1 + e^s) - label s) / (B C), so now dscores = (p - label) / (B C).
    """
    s = scores.astype(np.float64)
    losses = np.logaddexp(0, s) - labels * s  # no exp overflows
    dscores = ((sigmoid(s) - labels) / labels.size).astype(scores.dtype)
    if weights is None:
        return float(np.mean(losses)), dscores
    return _weighted(losses.mean(axis=1), dscores, weights)


def _weighted(losses, dscores, weights, lengths=1):
    """The weighted mean of losses (B,), and its gradient from dscores, that of the plain mean. lengths: how many rows
    of dscores each sequence has."""
    total = weights.sum()
    shares = weights / total if total > 0 else np.zeros(len(weights))
    factors = np.repeat(len(weights) * shares, lengths)[:, None]
    return float(shares @ losses), (dscores * factors).astype(dscores.dtype)


def softmax(scores):
    """Probabilities of the classes, each row summing to 1.   (B, C) -> (B, C)"""
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(scores):
    """Probability of each label by itself.   (B, C) -> (B, C)"""
    return np.exp(-np.logaddexp(0, -scores.astype(np.float64)))
