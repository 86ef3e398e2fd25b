"""Small slips in lessons 2 to 6, in forms that learners wrote, and what they are called."""

import math

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain


def both(p):
    return p, p


def normalized(e, axis=None, keepdims=False):
    return both(e / e.sum(axis=axis, keepdims=keepdims))


def row(x, what):
    e = np.exp(x - what(x, axis=1, keepdims=True))
    return normalized(e, 1, True)


def gelu_backward(slope, density=lambda x: np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)):
    return lambda dy, x: slope(dy, x, plain.normal_cdf(x), density(x))


def with_density(density):
    return gelu_backward(lambda dy, x, cdf, phi: dy * (cdf + x * phi), density)


def changed_scores(change):
    def backward(cache):
        p, labels = cache
        dscores = p.copy()
        change(dscores, labels)
        return dscores / len(labels)

    return backward


def columns(dscores, labels):
    dscores[:, labels] -= 1


def whole_rows(dscores, labels):
    dscores[labels] -= 1


def one_hot_mean(scores, labels):
    p, _ = plain.softmax(scores)
    return -(np.eye(p.shape[1])[labels] * np.log(p)).mean(), (p, labels)


def rows_of_p(scores, labels):
    p, _ = plain.softmax(scores)
    return -np.log(p[labels]).mean(), (p, labels)


def returns_early(dy, cache):
    ids, shape = cache
    dW = np.zeros(shape)
    for t, i in enumerate(ids):
        dW[i] += dy[t]
        return dW


def difference(slope, early=False):
    def function(f, x, epsilon=1e-5):
        x = x.astype(float)
        gradient = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[i] += epsilon
            down[i] -= epsilon
            gradient[i] = slope(f(up), f(down), epsilon)
            if early:
                return gradient
        return gradient

    return function


def lengths_with_0(sequences):
    ids, positions, _ = plain.pack(sequences)
    return ids, positions, np.array([0] + [len(sequence) for sequence in sequences])


def attention_backward(part):
    """As of lesson 6, with the five lines in `part`, which returns whether to end early."""

    def backward(dy, cache):
        q, k, v, offsets, n_heads, weights = cache
        d_head = q.shape[1] // n_heads
        found = {name: np.zeros_like(q) for name in ("dq", "dk", "dv")}
        for b in range(len(offsets) - 1):
            rows = slice(offsets[b], offsets[b + 1])
            for h in range(n_heads):
                at = rows, slice(h * d_head, (h + 1) * d_head)
                if part(found, at, weights[b, h], dy, q, k, v, math.sqrt(d_head)):
                    return tuple(found.values())
        return tuple(found.values())

    return backward


def five_lines(dq=None, dk=None, softmax=None, dP=None, alone=(), early=False):
    def part(found, at, P, dy, q, k, v, scale):
        dp = dP(dy, v, at) if dP else dy[at] @ v[at].T
        dS = (softmax or plain.softmax_backward)(dp, P) / scale
        own = {"dv": P.T @ dy[at], "dq": (dq or (lambda s, q, k: s @ k))(dS, q[at], k[at])}
        own["dk"] = (dk or (lambda s, q, k: s.T @ q))(dS, q[at], k[at])
        for name, values in own.items():
            if name in alone:
                found[name] = values
            else:
                found[name][at] = values
        return early

    return attention_backward(part)


SLIPS = {
    "sum() is over all elements; each row must sum": ("softmax", lambda x: normalized(np.exp(x))),
    "max() and sum() are over all elements": ("softmax", lambda x: normalized(np.exp(x - x.max()))),
    "all elements together sum to 1": ("softmax", lambda x: normalized(np.exp(x - x.max(1, keepdims=True)))),
    "the mean of the row is subtracted": ("softmax", lambda x: row(x, np.mean)),
    "the smallest of the row is subtracted": ("softmax", lambda x: row(x, np.min)),
    "keepdims=True is missing: what is taken": (
        "softmax",
        lambda x: normalized(np.exp(x - x.max(1, keepdims=True)), 1),
    ),
    "the largest of each column": ("softmax", lambda x: normalized(np.exp(x - x.max(0)), 1, True)),
    "keepdims=True is missing: the sum": ("softmax_backward", lambda dp, p: p * (dp - (dp * p).sum(1))),
    "the sum is of dp over all rows": ("softmax_backward", lambda dp, p: dp * p - dp.sum() * p),
    "the sum is added": ("softmax_backward", lambda dp, p: p * (dp + (dp * p).sum(1)[:, None])),
    "the sign is wrong: p (dp - sum)": ("softmax_backward", lambda dp, p: p * (dp * p).sum(1)[:, None] - p * dp),
    "keepdims=True is missing: mean and variance": (
        "layernorm",
        lambda x, gamma, beta, eps: (gamma * (x - x.mean(1)[:, None]) / np.sqrt(x.var(1) + eps) + beta, None),
    ),
    "keepdims=True is missing: the means": (
        "layernorm_backward",
        lambda dy, cache: (cache[1] * (dy * cache[2] - (dy * cache[2]).mean(1)), dy.sum(0), dy.sum(0)),
    ),
    "a bracket is missing: dy multiplies both": (
        "gelu_backward",
        gelu_backward(lambda dy, x, cdf, phi: dy * cdf + x * phi),
    ),
    "a bracket is missing: / sqrt(2) * pi": (
        "gelu_backward",
        with_density(lambda x: np.exp(-(x**2) / 2) / math.sqrt(2) * math.pi),
    ),
    "phi is divided by 2 pi": ("gelu_backward", with_density(lambda x: np.exp(-(x**2) / 2) / (2 * math.pi))),
    "the exponent of phi has the wrong sign": (
        "gelu_backward",
        with_density(lambda x: np.exp(x**2 / 2) / math.sqrt(2 * math.pi)),
    ),
    "[:, labels] takes whole columns": ("cross_entropy_backward", changed_scores(columns)),
    "[labels] takes whole rows": ("cross_entropy_backward", changed_scores(whole_rows)),
    "divided by B C, as by mean()": ("cross_entropy", one_hot_mean),
    "p[labels] takes whole rows": ("cross_entropy", rows_of_p),
    "only the first token adds to dW": ("embedding_backward", returns_early),
    "a bracket is missing: the difference": (
        "central_difference",
        difference(lambda up, down, epsilon: up - down / (2 * epsilon)),
    ),
    "only the first element is differentiated": (
        "central_difference",
        difference(lambda up, down, epsilon: (up - down) / (2 * epsilon), early=True),
    ),
    "these are the lengths, with a 0": ("pack", lengths_with_0),
    "dv is one head's part": ("attention_backward", five_lines(alone=["dv"])),
    "dq is one head's part": ("attention_backward", five_lines(alone=["dq"])),
    "dk is one head's part": ("attention_backward", five_lines(alone=["dk"])),
    "these are one head's parts": ("attention_backward", five_lines(alone=["dq", "dk", "dv"])),
    "dq needs dS as it is": ("attention_backward", five_lines(dq=lambda s, q, k: s.T @ k)),
    "q and k are exchanged": ("attention_backward", five_lines(lambda s, q, k: s @ q, lambda s, q, k: s.T @ k)),
    "dq and dk are exchanged": ("attention_backward", five_lines(lambda s, q, k: s.T @ q, lambda s, q, k: s @ k)),
    "the arguments of softmax_backward": (
        "attention_backward",
        five_lines(softmax=lambda dp, p: plain.softmax_backward(p, dp)),
    ),
    "head is left out in dP": ("attention_backward", five_lines(dP=lambda dy, v, at: dy[at[0]] @ v[at[0]].T)),
    "only one head of the first sequence has": ("attention_backward", five_lines(early=True)),
}


@pytest.mark.parametrize("message", SLIPS)
def test_a_slip_is_named(message):
    name, function = SLIPS[message]
    report = lessons.check(name, function)
    assert report.named and report.diagnosis.startswith(message), str(report)


def test_the_form_of_these_slips_is_right_without_them():
    assert lessons.check("attention_backward", five_lines())
    assert lessons.check("central_difference", difference(lambda up, down, epsilon: (up - down) / (2 * epsilon)))
    assert lessons.check("gelu_backward", with_density(lambda x: np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)))


def test_p_is_told_before_a_cache_that_is_p():
    report = lessons.check("softmax", lambda x: both(plain.softmax(x)[0] ** 2))
    assert report.diagnosis.startswith("p is the first that is wrong")
