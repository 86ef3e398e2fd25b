"""A real BERT from its layers: embeddings, a layer, the encoder."""

import numpy as np

from minibert.lessons.catalogue.encoder_mistakes import IN_EMBEDDINGS, IN_ENCODER, IN_LAYER, OF_LAYER
from minibert.lessons.exercise import Exercise

V, N_POSITIONS, N_SEGMENTS = 9, 12, 2


def _layer_parameters(rng, D, F):
    linear = {f"attention/{name}": (D, D) for name in ("query", "key", "value", "output")}
    linear |= {"feed_forward/intermediate": (D, F), "feed_forward/output": (F, D)}
    p = {}
    for name, (n_in, n_out) in linear.items():
        p |= {f"{name}/W": rng.normal(scale=0.6, size=(n_in, n_out)), f"{name}/b": rng.normal(scale=0.5, size=n_out)}
    return p | _norm(rng, "attention/norm", D) | _norm(rng, "feed_forward/norm", D)


def _norm(rng, name, D):
    return {f"{name}/gamma": rng.normal(1, 0.3, size=D), f"{name}/beta": rng.normal(scale=0.5, size=D)}


def _embeddings_parameters(rng, D):
    tables = {"word/W": (V, D), "position/W": (N_POSITIONS, D), "segment/W": (N_SEGMENTS, D)}
    return {name: rng.normal(scale=0.7, size=shape) for name, shape in tables.items()} | _norm(rng, "norm", D)


def _tokens(rng, offsets):
    """ids, segments, positions (T,) of sequences of two segments each."""
    lengths = np.diff(offsets)
    positions = np.concatenate([np.arange(n) for n in lengths])
    segments = np.concatenate([np.arange(n) >= (n + 1) // 2 for n in lengths]).astype(int)
    return rng.integers(0, V, offsets[-1]), segments, positions


def _embeddings(rng):
    return [(*_tokens(rng, offsets), _embeddings_parameters(rng, D)) for offsets, D in (([0, 4, 10], 5), ([0, 3], 4))]


def _layer(rng):
    def arguments(offsets, n_heads, D, F):
        return rng.normal(size=(offsets[-1], D)), _layer_parameters(rng, D, F), np.array(offsets), n_heads

    return [arguments([0, 3, 7], 3, 6, 5), arguments([0, 2, 3, 5], 2, 6, 7)]


def _encoder(rng):
    def arguments(offsets, n_heads, D, F, n_layers):
        p = {f"embeddings/{name}": a for name, a in _embeddings_parameters(rng, D).items()}
        for i in range(n_layers):
            p |= {f"encoder/layers/{i}/{name}": a for name, a in _layer_parameters(rng, D, F).items()}
        return *_tokens(rng, offsets), np.array(offsets), p, n_heads, n_layers

    return [arguments([0, 8], 2, 6, 5, 3), arguments([0, 2, 3, 5], 2, 6, 7, 1)]


def _norm_names(norm):
    return f"n of {norm}", f"inverse_std of {norm}", f"{norm}/gamma"


_X_A = "x after attention/norm"
_STEPS = (*(("x", f"attention/{name}/W") for name in ("query", "key", "value")),)
_STEPS += (("q", "k", "v", "offsets", "n_heads", "P"), ("attended", "attention/output/W"))
_STEPS += ("attention/adapter", _norm_names("attention/norm"), (_X_A, "feed_forward/intermediate/W"), "u")
_STEPS += (("h", "feed_forward/output/W"), "feed_forward/adapter", _norm_names("feed_forward/norm"))

_TABLES = (("ids", "word"), ("positions", "position"), ("segments", "segment"))

EXERCISES = (
    Exercise(
        "embeddings",
        7,
        outputs=("y",),
        cache=(*((name, f"shape of {table}/W") for name, table in _TABLES), ("n", "inverse_std", "norm/gamma")),
        cases=_embeddings,
        hints=(
            "How many tables are there in p, and what is the index of each?",
            "x = a row of each table, added. Then LayerNorm, with eps 1e-12.",
            'word, _ = embedding(ids, p["word/W"]), and the same of positions and segments',
        ),
        order=("inverse_std", "n", "y"),
        mistakes=IN_EMBEDDINGS,
    ),
    Exercise(
        "layer",
        7,
        outputs=("y",),
        cache=_STEPS,
        cases=_layer,
        hints=(
            "Two blocks. After each: add the block's input, then LayerNorm. Which x does the second block add?",
            "Attention block: linear for q, k and v, attention, linear (output). Feed-forward: linear, gelu, linear.",
            "x = layernorm(x + a, …) with attention/norm; y = layernorm(x + f, …) with feed_forward/norm",
        ),
        order=("q", "k", "v", "P", "attended", "n of attention/norm", _X_A, "u", "h", "n of feed_forward/norm", "y"),
        unseen=(
            (
                "k",
                "it differs from the one described, and y cannot show it. Is the bias of the keys right? It adds the "
                "same number to a whole row of scores, and the softmax cancels that",
            ),
        ),
        mistakes=IN_LAYER + OF_LAYER,
    ),
    Exercise(
        "encoder",
        7,
        outputs=("y", "states"),
        cases=_encoder,
        hints=(
            "The embeddings, then the layers from 0 to n_layers - 1. What does each layer read?",
            'below(p, "embeddings") and below(p, f"encoder/layers/{i}") are the parameters of the parts.',
            'x, _ = layer(x, below(p, …), offsets, n_heads) in a loop, and states[f"layer {i}"] = x',
        ),
        order=("embeddings", "layer 0", "layer 1", "layer 2", "y"),
        mistakes=IN_ENCODER + IN_EMBEDDINGS + IN_LAYER,
    ),
)
