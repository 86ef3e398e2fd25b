"""The intervals of a share and of a difference, and parameters without some of their adapters."""

from __future__ import annotations

import math

import numpy as np


def share_interval(right, z=1.96):
    """(low, high) of a share, such as an accuracy (Wilson, 1927): 95 % if z is 1.96.

    right (n,) bool. Unlike p ± z standard errors it stays between 0 and 1, and has a width if all are right.
    """
    right = np.asarray(right, float)
    n, p = len(right), right.mean()
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def paired_interval(right_a, right_b, z=1.96):
    """(low, high) of the accuracy of a minus that of b, both scored on the same n examples: 95 % if z is 1.96.

    right_a, right_b (n,) bool: whether each answer is right. Normal approximation of the mean of the n differences,
    whose standard deviation is taken with n - 1.
    """
    difference = np.asarray(right_a, float) - np.asarray(right_b, float)
    n = len(difference)
    mean = difference.mean()
    variance = ((difference - mean) ** 2).sum() / (n - 1)
    error = math.sqrt(variance / n)
    return mean - z * error, mean + z * error


def ablate(params, first, last):
    """{name: array} without both adapters of the layers from first to last, last included (paper, section 3.6).

    All else stays: the arrays that are left are those of params, and params itself is not changed.
    """
    layers = range(first, last + 1)
    halves = ("attention", "feed_forward")
    removed = tuple(f"encoder/layers/{i}/{half}/adapter/" for i in layers for half in halves)
    return {name: array for name, array in params.items() if not name.startswith(removed)}
