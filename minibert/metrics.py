"""Scores of predictions. Each takes (predictions (N,), labels (N,)) and returns a number, 1 being the best."""

from __future__ import annotations

import numpy as np


def accuracy(predictions, labels) -> float:
    """Share of the predictions that are right."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def f1(predictions, labels) -> float:
    """Harmonic mean of precision and recall for class 1; 0 if class 1 is neither there nor predicted."""
    predictions, labels = np.asarray(predictions) == 1, np.asarray(labels) == 1
    wrong = np.sum(predictions != labels)
    both = np.sum(predictions & labels)
    return float(2 * both / (2 * both + wrong)) if both + wrong else 0.0


def matthews(predictions, labels) -> float:
    """Matthews correlation for any number of classes (Gorodkin, 2004); 0 where it is undefined, as for a constant
    guess."""
    n = 1 + max(np.max(predictions), np.max(labels))
    confusion = np.zeros((n, n))
    np.add.at(confusion, (np.asarray(labels), np.asarray(predictions)), 1)
    total, right = confusion.sum(), np.trace(confusion)
    truth, guess = confusion.sum(axis=1), confusion.sum(axis=0)
    spread = np.sqrt((total**2 - truth @ truth) * (total**2 - guess @ guess))
    return float((right * total - truth @ guess) / spread) if spread > 0 else 0.0


def pearson(predictions, labels) -> float:
    """Linear correlation; 0 where it is undefined, as for a constant guess."""
    x, y = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # asked before the mean is taken off, which leaves a rounding error
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / spread, -1, 1)) if spread > 0 else 0.0  # rounding alone goes beyond 1


def spearman(predictions, labels) -> float:
    """Linear correlation of the ranks; equal values share the mean of their ranks."""
    return pearson(_ranks(predictions), _ranks(labels))


def _ranks(values) -> np.ndarray:
    _, group, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # the ranks of a group of equals end here
    return (last - (counts - 1) / 2)[group.reshape(-1)]


METRICS = {f.__name__: f for f in (accuracy, f1, matthews, pearson, spearman)}
