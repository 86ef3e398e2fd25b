"""The whole encoder: embeddings, then one layer after the other."""

from __future__ import annotations

from minibert.lessons.plain.activations import layernorm
from minibert.lessons.plain.block import below, layer
from minibert.lessons.plain.gradients import embedding


def embeddings(ids, segments, positions, p):
    """The sum of three rows for each token, of its word piece, position and segment; then LayerNorm.

    (T,) x 3 -> (T, D). p: {"word/W": (V, D), "position/W": (512, D), "segment/W": (2, D), "norm/gamma", "norm/beta"}
    """
    word, word_cache = embedding(ids, p["word/W"])
    position, position_cache = embedding(positions, p["position/W"])
    segment, segment_cache = embedding(segments, p["segment/W"])
    x = word + position + segment
    y, norm_cache = layernorm(x, p["norm/gamma"], p["norm/beta"])
    return y, (word_cache, position_cache, segment_cache, norm_cache)


def encoder(ids, segments, positions, offsets, p, n_heads, n_layers):
    """Hidden states y (T, D) of the last layer, and those on the way: {"embeddings": (T, D), "layer 0": (T, D), ...}

    p: all parameters, by the program's flat names.
    """
    x, _ = embeddings(ids, segments, positions, below(p, "embeddings"))
    states = {"embeddings": x}
    for i in range(n_layers):
        x, _ = layer(x, below(p, f"encoder/layers/{i}"), offsets, n_heads)
        states[f"layer {i}"] = x
    return x, states
