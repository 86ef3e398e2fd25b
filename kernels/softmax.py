"""Softmax cross-entropy: the classifier's loss and its gradient in one go."""

from __future__ import annotations

import math

import numpy as np

from .runtime.checks import check_rows
from .runtime.compiling import ordered_kernel, serial_kernel
from .runtime.pool import empty


def softmax_cross_entropy(logits, labels):
    """Mean over the rows of -log softmax(logits)[label].   (B, C), int64 (B,) -> (loss, dlogits (B, C))

    The gradient is (softmax(logits) - one_hot(labels)) / B. The loss is summed in float64. Raises ValueError if there
    are not as many labels as rows, IndexError if a label is no column.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"softmax_cross_entropy: {len(logits)} rows of logits and labels of shape {labels.shape}")
    check_rows("softmax_cross_entropy", "labels", labels, logits.shape[1])
    dlogits = empty(logits.shape, logits.dtype)
    return _softmax_cross_entropy(logits, labels, dlogits), dlogits


@serial_kernel
def _softmax_cross_entropy(logits, labels, dlogits):
    n_rows, n_classes = logits.shape
    loss = 0.0
    for b in range(n_rows):
        row_max = np.max(logits[b])  # subtracted, so that no exp overflows; NaN passes through np.max
        row_sum = 0.0
        for c in range(n_classes):
            row_sum += math.exp(logits[b, c] - row_max)
        for c in range(n_classes):
            dlogits[b, c] = math.exp(logits[b, c] - row_max) / row_sum / n_rows
        loss += _minus(math.log(row_sum), _minus(logits[b, labels[b]], row_max))
        dlogits[b, labels[b]] -= 1.0 / n_rows
    return loss / n_rows


@ordered_kernel
def _minus(a, b):
    """a - b, not to be reordered: log(sum) + max - logit would lose the first term beside large logits."""
    return a - b
