"""Softmax cross-entropy: the classifier's loss and its gradient in one go."""

from __future__ import annotations

import math

import numpy as np

from .runtime.compiling import serial_kernel
from .runtime.pool import empty


def softmax_cross_entropy(logits, labels):
    """Mean over the rows of -log softmax(logits)[label].   (B, C), int64 (B,) -> (loss, dlogits (B, C))

    The gradient is (softmax(logits) - one_hot(labels)) / B. The loss is summed in float64.
    """
    dlogits = empty(logits.shape, logits.dtype)
    return _softmax_cross_entropy(logits, labels, dlogits), dlogits


@serial_kernel
def _softmax_cross_entropy(logits, labels, dlogits):
    n_rows, n_classes = logits.shape
    loss = 0.0
    for b in range(n_rows):
        largest = np.max(logits[b])  # subtracted, so that no exp overflows; NaN passes through np.max
        total = 0.0
        for c in range(n_classes):
            total += math.exp(logits[b, c] - largest)
        for c in range(n_classes):
            dlogits[b, c] = math.exp(logits[b, c] - largest) / total / n_rows
        loss += math.log(total) - (logits[b, labels[b]] - largest)
        dlogits[b, labels[b]] -= 1.0 / n_rows
    return loss / n_rows
