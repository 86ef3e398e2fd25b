"""Other correct ways to write the exercises of catalogue/encoder.py. {exercise: functions}"""

import math
from itertools import pairwise

import numpy as np

from minibert.lessons import plain

FORMS: dict[str, list] = {}


def form(name):
    def add(function):
        FORMS.setdefault(name, []).append(function)
        return function

    return add


@form("adapter_parameters")
def multiplied_out(D, M, L, C):
    return 4 * L * M * D + 2 * L * (D + M) + 4 * L * D + 2 * D + (D + 1) * C


@form("adapter_parameters")
def by_shapes(D, M, L, C):
    shapes = [(D,), (D,), (D, C), (C,)]
    for _ in range(2 * L):
        shapes += [(D, M), (M,), (M, D), (D,), (D,), (D,)]
    return sum(math.prod(shape) for shape in shapes)


@form("adapter_parameters")
def as_a_float(D, M, L, C):
    return float(multiplied_out(D, M, L, C))


@form("embeddings")
def rows_indexed(ids, segments, positions, p):
    x = p["word/W"][ids] + p["segment/W"][segments] + p["position/W"][positions]
    n = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return n * p["norm/gamma"] + p["norm/beta"], None


@form("embeddings")
def by_one_hot(ids, segments, positions, p):
    tables = (("word/W", ids), ("segment/W", segments), ("position/W", positions))
    x = sum(np.eye(len(p[name]))[rows] @ p[name] for name, rows in tables)
    return plain.layernorm(x, p["norm/gamma"], p["norm/beta"])


@form("embeddings")
def token_by_token(ids, segments, positions, p):
    rows = [
        p["word/W"][i] + p["segment/W"][s] + p["position/W"][t] for i, s, t in np.stack([ids, segments, positions], 1)
    ]
    return plain.layernorm(np.array(rows), p["norm/gamma"], p["norm/beta"])[0], {"rows": rows}


def _linear(x, p, name):
    return x @ p[f"{name}/W"] + p[f"{name}/b"]


def _norm(x, p, name):
    return plain.layernorm(x, p[f"{name}/norm/gamma"], p[f"{name}/norm/beta"])[0]


@form("layer")
def in_six_lines(x, p, offsets, n_heads):
    q, k, v = (_linear(x, p, f"attention/{name}") for name in ("query", "key", "value"))
    a = plain.attention(q, k, v, offsets, n_heads)[0]
    x = _norm(x + _linear(a, p, "attention/output"), p, "attention")
    h = plain.gelu(_linear(x, p, "feed_forward/intermediate"))[0]
    return _norm(x + _linear(h, p, "feed_forward/output"), p, "feed_forward"), None


@form("layer")
def sequence_by_sequence(x, p, offsets, n_heads):
    parts = [x[a:b] for a, b in pairwise(offsets)]
    return np.concatenate([in_six_lines(part, p, [0, len(part)], n_heads)[0] for part in parts]), ()


@form("layer")
def projected_together(x, p, offsets, n_heads):
    names = ("query", "key", "value")
    W = np.concatenate([p[f"attention/{name}/W"] for name in names], axis=1)
    b = np.concatenate([p[f"attention/{name}/b"] for name in names])
    a = plain.attention(*np.split(x @ W + b, 3, axis=1), offsets, n_heads)[0]
    x = _norm(_linear(a, p, "attention/output") + x, p, "attention")
    u = _linear(x, p, "feed_forward/intermediate")
    return _norm(_linear(u * plain.normal_cdf(u), p, "feed_forward/output") + x, p, "feed_forward"), {"u": u}


@form("encoder")
def with_own_parts(ids, segments, positions, offsets, p, n_heads, n_layers):
    x, _ = rows_indexed(ids, segments, positions, plain.below(p, "embeddings"))
    states = {"embeddings": x}
    for i in range(n_layers):
        x = states[f"layer {i}"] = in_six_lines(x, plain.below(p, f"encoder/layers/{i}"), offsets, n_heads)[0]
    return x, states


@form("encoder")
def states_of_a_list(ids, segments, positions, offsets, p, n_heads, n_layers):
    states = [rows_indexed(ids, segments, positions, plain.below(p, "embeddings"))[0]]
    for i in range(n_layers):
        states.append(projected_together(states[-1], plain.below(p, f"encoder/layers/{i}"), offsets, n_heads)[0])
    names = ["embeddings", *(f"layer {i}" for i in range(n_layers))]
    return states[-1], dict(zip(names, states, strict=True))


@form("encoder")
def recursive(ids, segments, positions, offsets, p, n_heads, n_layers):
    if n_layers == 0:
        x, _ = by_one_hot(ids, segments, positions, plain.below(p, "embeddings"))
        return x, {"embeddings": x}
    x, states = recursive(ids, segments, positions, offsets, p, n_heads, n_layers - 1)
    y, _ = sequence_by_sequence(x, plain.below(p, f"encoder/layers/{n_layers - 1}"), offsets, n_heads)
    return y, states | {f"layer {n_layers - 1}": y}
