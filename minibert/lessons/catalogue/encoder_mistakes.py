"""Known mistakes in the embeddings, a layer and the encoder."""

_TANH = "0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))"
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
_MIXED = f"""names = ("query", "key", "value")
    q, k, v = (linear(x, p[f"attention/{{name}}/W"], p[f"attention/{{name}}/b"])[0] for name in names)
    a, _ = linear(attention(q, k, v, offsets, n_heads)[0], p["attention/output/W"], p["attention/output/b"])
    x = x + layernorm(a, p["attention/norm/gamma"], p["attention/norm/beta"])[0]
    h, _ = gelu(linear(x, p["feed_forward/intermediate/W"], p["feed_forward/intermediate/b"])[0])
    f, _ = linear(h, p["feed_forward/output/W"], p["feed_forward/output/b"])
    return x + layernorm(f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])[0], ()
    {_QUERY}"""
_NORM_A = 'layernorm(x + a, p["attention/norm/gamma"], p["attention/norm/beta"])'
_NORM_F = 'layernorm(x + f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])'
_WORD = 'word, word_cache = embedding(ids, p["word/W"])'
_POSITION = 'position, position_cache = embedding(positions, p["position/W"])'
_SEGMENT = 'segment, segment_cache = embedding(segments, p["segment/W"])'
_NORM_E = 'y, norm_cache = layernorm(x, p["norm/gamma"], p["norm/beta"])'

IN_EMBEDDINGS = (
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
    (
        "embeddings",
        f"{_WORD}\n    {_POSITION}",
        f"{_WORD}\n    {_POSITION}".replace("ids,", "-,").replace("positions,", "ids,").replace("-,", "positions,"),
        "ids and positions are exchanged: ids are rows of word/W, positions of position/W",
    ),
    (
        "embeddings",
        f"{_POSITION}\n    {_SEGMENT}",
        f"{_POSITION.replace('positions,', 'segments,')}\n    {_SEGMENT.replace('segments,', 'positions,')}",
        "segments and positions are exchanged: segments are rows of segment/W, positions of position/W",
    ),
)
IN_LAYER = (
    (
        "layer",
        _QUERY,
        _PRE_LN,
        "this is pre-LN: LayerNorm before each block, as in GPT-2. BERT has it after the residual sum",
    ),
    (
        "layer",
        _QUERY,
        _MIXED,
        "LayerNorm is taken of the block's result alone, and x added after it; BERT has LayerNorm(x + a)",
    ),
    ("layer", "layernorm(x + ", "layernorm(", "both residuals are missing: x + a and x + f"),
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
OF_LAYER = (
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
_CALL = 'x, _ = layer(x, below(p, f"encoder/layers/{i}"), offsets, n_heads)'
_STATE = 'states[f"layer {i}"] = x'
IN_ENCODER = (
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
    (
        "encoder",
        f"{_CALL}\n        {_STATE}",
        f"{_STATE}\n        {_CALL}",
        "each state is the input of its layer; it must be what the layer gives",
    ),
    (
        "encoder",
        'f"layer {i}"',
        'f"layer {i + 1}"',
        "the states of the layers are counted from 1; the first is layer 0",
    ),
    ("encoder", '{"embeddings": x}', "{}", 'the first state is missing: states["embeddings"]'),
)
