"""Scores whose exp overflows: who does not subtract the largest is told so, in whatever form it is written."""

import itertools

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def test_scores_of_a_thousand():
    """Written in other ways: the logarithm of a sum of exp, and the softmax of each row."""

    def log_of_sum(scores, labels):
        loss = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(labels)), labels]
        return loss.mean(), None

    def by_rows(scores, labels):
        p = np.array([np.exp(row) / np.exp(row).sum() for row in scores])
        return -np.log(p[np.arange(len(labels)), labels]).mean(), (p, labels)

    assert lessons.check("cross_entropy", lambda s, labels: log_of_sum(s - s.max(axis=1, keepdims=True), labels))
    for function in (log_of_sum, by_rows):
        report = lessons.check("cross_entropy", function)
        assert report.named and "overflow" in report.diagnosis, str(report)


def test_scores_of_attention_that_are_large():
    def attention(q, k, v, offsets, n_heads):
        y, d = np.zeros_like(q), q.shape[1] // n_heads
        for start, stop in itertools.pairwise(offsets):
            for head in (np.s_[start:stop, h : h + d] for h in range(0, q.shape[1], d)):
                e = np.exp(q[head] @ k[head].T / d**0.5)
                y[head] = e / e.sum(axis=1, keepdims=True) @ v[head]
        return y, None

    report = lessons.check("attention", attention)
    assert report.named and "as softmax does" in report.diagnosis, str(report)

    def backward(dy, cache):
        *arrays, offsets, n_heads, weights = cache
        q, k, v = map(np.float32, arrays)
        P = {place: np.float32(p) for place, p in weights.items()}
        return plain.attention_backward(np.float32(dy), (q, k, v, offsets, n_heads, P))

    in_float32 = lessons.check("attention_backward", backward)
    assert in_float32, str(in_float32)
