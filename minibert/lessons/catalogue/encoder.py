"""A real BERT from its layers: embeddings, a layer, the encoder."""

import numpy as np

from minibert.lessons.exercise import Exercise

V, N_POSITIONS, N_SEGMENTS = 9, 12, 2
_TANH = "0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))"


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
    return [(*_tokens(rng, offsets), _embeddings_parameters(rng, D)) for offsets, D in (([0, 4, 7], 5), ([0, 3], 4))]


def _layer(rng):
    def arguments(offsets, n_heads, D, F):
        return rng.normal(size=(offsets[-1], D)), _layer_parameters(rng, D, F), np.array(offsets), n_heads

    return [arguments([0, 3, 7], 2, 6, 5), arguments([0, 4, 5], 3, 3, 4)]


def _encoder(rng):
    def arguments(offsets, n_heads, D, F, n_layers):
        p = {f"embeddings/{name}": a for name, a in _embeddings_parameters(rng, D).items()}
        for i in range(n_layers):
            p |= {f"encoder/layers/{i}/{name}": a for name, a in _layer_parameters(rng, D, F).items()}
        return *_tokens(rng, offsets), np.array(offsets), p, n_heads, n_layers

    return [arguments([0, 3, 8], 2, 6, 5, 3), arguments([0, 4], 1, 4, 7, 1)]


# ------------------------------------------------------------------------------------------------- edits that are long

_QUERY = 'q, query = linear(x, p["attention/query/W"], p["attention/query/b"])'
_PRE_LN = f"""n, _ = layernorm(x, p["attention/norm/gamma"], p["attention/norm/beta"])
    names = ("query", "key", "value")
    q, k, v = (linear(n, p[f"attention/{{name}}/W"], p[f"attention/{{name}}/b"])[0] for name in names)
    attended, _ = attention(q, k, v, offsets, n_heads)
    x = x + linear(attended, p["attention/output/W"], p["attention/output/b"])[0]
    n, _ = layernorm(x, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])
    h, _ = gelu(linear(n, p["feed_forward/intermediate/W"], p["feed_forward/intermediate/b"])[0])
    return x + linear(h, p["feed_forward/output/W"], p["feed_forward/output/b"])[0], ()
    {_QUERY}"""
_NORM_A = 'layernorm(x + a, p["attention/norm/gamma"], p["attention/norm/beta"])'
_NORM_F = 'layernorm(x + f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])'
_NORM_E = 'y, norm_cache = layernorm(x, p["norm/gamma"], p["norm/beta"])'

_IN_EMBEDDINGS = (
    ("embeddings", _NORM_E, "y, norm_cache = x, ()", "the LayerNorm of the embeddings is missing"),
    (
        "embeddings",
        "x = word + position + segment",
        "x = word + position",
        "the segments are forgotten: every token has a row of that table added, be it row 0",
    ),
    (
        "embeddings",
        "embedding(segments, ",
        "embedding(0 * segments, ",
        "every token has segment 0; in a pair of texts those of the second have segment 1",
    ),
    (
        "embeddings",
        "x = word + position + segment",
        "x = word + segment",
        "the positions are forgotten: without them a sentence is a bag of words",
    ),
    (
        "embeddings",
        "embedding(positions, ",
        "embedding(np.arange(len(ids)), ",
        "positions run on through the batch; they begin again at 0 in each sequence",
    ),
    ("layernorm", "eps=1e-12", "eps=1e-5", "eps is 1e-5, as in many programs; BERT has 1e-12"),
)
_IN_LAYER = (
    (
        "layer",
        _QUERY,
        _PRE_LN,
        "this is pre-LN: LayerNorm before each block, as in GPT-2. BERT has it after the residual sum",
    ),
    ("gelu", "y = x * normal_cdf(x)", f"y = x * {_TANH}", "GELU is the tanh approximation; BERT has the exact form"),
    (
        "linear",
        "y = x @ W + b",
        "y = x @ (W.T if W.shape[0] == W.shape[1] else W) + b",
        "the square weights are transposed: weights are (in, out) here, so y = x W + b",
    ),
    ("layer", _NORM_A, _NORM_A.replace("x + a", "a"), "the residual of the attention block is missing: x + a"),
    ("layer", _NORM_F, _NORM_F.replace("x + f", "f"), "the residual of the feed-forward block is missing: x + f"),
    (
        "layer",
        _NORM_F,
        _NORM_F.replace("x + f", "query[0] + f"),
        "the feed-forward block's residual is the input of the layer; it is the input of that block",
    ),
    (
        "layer",
        'linear(x, p["feed_forward/intermediate/W"]',
        'linear(query[0], p["feed_forward/intermediate/W"]',
        "the feed-forward block reads the input of the layer; it reads what the first LayerNorm gives",
    ),
    (
        "layer",
        "h, activation = gelu(u)",
        "h, activation = np.maximum(u, 0), u",
        "the nonlinearity of the feed-forward block is ReLU; BERT has GELU",
    ),
    (
        "layer",
        "h, activation = gelu(u)",
        "h, activation = u, u",
        "the nonlinearity of the feed-forward block is missing: gelu between the two products",
    ),
    (
        "layer",
        "attention(q, k, v, offsets, n_heads)",
        "attention(q, k, v, [0, len(x)], n_heads)",
        "the sequences of the batch see each other: attention needs the offsets",
    ),
    (
        "layer",
        "attention(q, k, v, offsets, n_heads)",
        "attention(q, k, v, offsets, 1)",
        "attention has one head of D; there are n_heads of D / n_heads",
    ),
    (
        "layer",
        'a, out_a = linear(attended, p["attention/output/W"], p["attention/output/b"])',
        "a, out_a = attended, ()",
        "the output projection of attention is missing",
    ),
)
_OF_LAYER = (
    ("layer", _NORM_A, "(x + a, ())", "the LayerNorm after attention is missing"),
    ("layer", _NORM_F, "(x + f, ())", "the LayerNorm after the feed-forward block is missing"),
    (
        "layer",
        _NORM_F,
        _NORM_F.replace("feed_forward/norm", "attention/norm"),
        "both LayerNorms have the parameters of the first: the second is feed_forward/norm",
    ),
    (
        "layer",
        'attention/value/W"], p["attention/value/b',
        'attention/key/W"], p["attention/key/b',
        "the values are projected by the weights of the keys",
    ),
    ("layernorm", "eps=1e-12", "eps=1e-5", "eps is 1e-5, as in many programs; BERT has 1e-12"),
)
_IN_ENCODER = (
    (
        "encoder",
        'below(p, f"encoder/layers/{i}")',
        'below(p, "encoder/layers/0")',
        "every layer has the parameters of layer 0",
    ),
    ("encoder", "for i in range(n_layers):", "for i in range(n_layers - 1):", "the last layer is left out"),
    (
        "encoder",
        "for i in range(n_layers):",
        "for i in reversed(range(n_layers)):",
        "the layers stand in the wrong order: layer 0 reads the embeddings",
    ),
    (
        "encoder",
        "x, _ = layer(x, ",
        'x, _ = layer(states["embeddings"], ',
        "every layer reads the embeddings; a layer reads what the one before it gives",
    ),
)

_STEPS = (("x", "W_q"), ("x", "W_k"), ("x", "W_v"), ("q", "k", "v", "offsets", "n_heads", "P"), ("attended", "W_o"))
_STEPS += ("adapter_a", ("n_a", "inverse_std_a", "gamma_a"), ("x_a", "W_1"), "u", ("h", "W_2"))
_STEPS += ("adapter_f", ("n_f", "inverse_std_f", "gamma_f"))

EXERCISES = (
    Exercise(
        "embeddings",
        7,
        outputs=(
            "y",
            (("ids", "V"), ("positions", "512"), ("segments", "2"), ("n", "inverse_std", "gamma")),
        ),
        cases=_embeddings,
        hints=(
            "How many tables are there in p, and what is the index of each?",
            "x = a row of each table, added. Then LayerNorm, with eps 1e-12.",
            'word, _ = embedding(ids, p["word/W"]), and the same of positions and segments',
        ),
        order=("inverse_std", "n", "y"),
        mistakes=_IN_EMBEDDINGS,
    ),
    Exercise(
        "layer",
        7,
        outputs=("y", _STEPS),
        cases=_layer,
        hints=(
            "Two blocks. After each: add the block's input, then LayerNorm. Which x does the second block add?",
            "Attention block: linear for q, k and v, attention, linear (output). Feed-forward: linear, gelu, linear.",
            "x = layernorm(x + a, …) with attention/norm; y = layernorm(x + f, …) with feed_forward/norm",
        ),
        order=("q", "k", "v", "P", "attended", "n_a", "x_a", "u", "h", "n_f", "y"),
        mistakes=_IN_LAYER + _OF_LAYER,
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
        order=("embeddings", "layer 0", "layer 1", "layer 2"),
        mistakes=_IN_ENCODER + _IN_EMBEDDINGS + _IN_LAYER,
    ),
)
