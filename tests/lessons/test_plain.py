"""plain/ computes what the kernels, the layers and the optimizer compute."""

import numpy as np
import pytest
from tiny import CONFIG

import kernels
from minibert.config import AdapterConfig
from minibert.lessons import EXERCISES, plain
from minibert.losses import cross_entropy
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.params import FlatParams

RNG = np.random.default_rng(0)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_linear():
    x, W, b, dy = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3), RNG.normal(size=(5, 3))
    y, cache = plain.linear(x, W, b)
    close(y, kernels.matmul(x, W, b))
    dW, db = np.zeros_like(W), np.zeros_like(b)
    theirs = kernels.matmul_backward(dy, x, W, dW, db)
    for one, other in zip(plain.linear_backward(dy, cache), (theirs, dW, db), strict=True):
        close(one, other)


def test_embedding():
    ids, W, dy = np.array([3, 0, 3, 1], np.int32), RNG.normal(size=(5, 4)), RNG.normal(size=(4, 4))
    zeros, table = np.zeros(4, np.int32), np.zeros((1, 4))
    y, cache = plain.embedding(ids, W)
    close(y, kernels.embedding(ids, zeros, zeros, W, table, table))
    dW = np.zeros_like(W)
    kernels.embedding_backward(dy, ids, dW)
    close(plain.embedding_backward(dy, cache), dW)


def test_gelu():
    x, dy = RNG.normal(scale=2, size=(4, 6)), RNG.normal(size=(4, 6))
    y, cache = plain.gelu(x)
    theirs, act_grad = kernels.gelu(x.copy())
    close(y, theirs)
    close(plain.gelu_backward(dy, cache), dy * act_grad)


def test_layernorm():
    x, dy, gamma, beta = RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6)), RNG.normal(size=6), RNG.normal(size=6)
    y, cache = plain.layernorm(x, gamma, beta, 1e-3)
    theirs, normalized, inverse_std = kernels.layernorm(x.copy(), None, gamma, beta, 1e-3)
    close(y, theirs)
    dgamma, dbeta = np.zeros(6), np.zeros(6)
    dx = kernels.layernorm_backward(dy.copy(), normalized, inverse_std, gamma, dgamma, dbeta)
    for one, other in zip(plain.layernorm_backward(dy, cache), (dx, dgamma, dbeta), strict=True):
        close(one, other)


def test_attention():
    offsets = np.array([0, 3, 4, 9])
    q, k, v, dy = (RNG.normal(size=(9, 6)) for _ in range(4))
    y, cache = plain.attention(q, k, v, offsets, 2)
    theirs, lse = kernels.attention(q, k, v, offsets, offsets, 2)
    close(y, theirs)
    others = kernels.attention_backward(dy, q, k, v, lse, offsets, offsets)
    for one, other in zip(plain.attention_backward(dy, cache), others, strict=True):
        close(one, other)


def test_attention_lse():
    offsets = np.array([0, 3, 4, 9])
    q, k, v, dy = (RNG.normal(scale=3, size=(9, 6)) for _ in range(4))
    y, cache = plain.attention_lse(q, k, v, offsets, 3)
    theirs, lse = kernels.attention(q, k, v, offsets, offsets, 3)
    close(y, theirs)
    close(cache[4], lse)
    others = kernels.attention_backward(dy, q, k, v, lse, offsets, offsets)
    for one, other in zip(plain.attention_lse_backward(dy, cache), others, strict=True):
        close(one, other)


def test_cross_entropy():
    scores, labels = RNG.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    loss, cache = plain.cross_entropy(scores, labels)
    theirs, dscores = cross_entropy(scores, labels, None)
    close(loss, theirs)
    close(plain.cross_entropy_backward(cache), dscores)


def test_adapter():
    from minibert.adapter import adapter_backward, adapter_forward
    from minibert.params import flatten, unflatten

    p = {"down/W": (6, 4), "down/b": (4,), "up/W": (4, 6), "up/b": (6,)}
    p = {name: RNG.normal(size=shape) for name, shape in p.items()}
    x, dy, grads = (
        RNG.normal(size=(5, 6)),
        RNG.normal(size=(5, 6)),
        unflatten({k: np.zeros_like(a) for k, a in p.items()}),
    )
    y, cache = plain.adapter(x, p)
    theirs, their_cache = adapter_forward(x, unflatten(p), grads)
    close(y, theirs)
    dx, ours = plain.adapter_backward(dy, cache)
    close(dx, adapter_backward(dy, unflatten(p), their_cache, grads))
    for name, gradient in flatten(grads).items():
        close(ours[name], gradient)


def test_adapter_init():
    from minibert.adapter import adapter_init

    ours = plain.adapter_init(40, 30, np.random.default_rng(0))
    theirs = adapter_init(AdapterConfig(size=30), CONFIG, 0)
    for name, array in ours.items():
        like = theirs[f"encoder/layers/0/attention/adapter/{name}"]
        assert np.abs(array).max() <= 2e-2 and np.abs(like).max() <= 2e-2
        assert array.std() == pytest.approx(like.std(), rel=0.1)


def random_layer(adapters=True):
    """Parameters of a layer of CONFIG, away from the initialization, with the program's names below a layer."""
    prefix, shapes = "encoder/layers/0/", CONFIG.shapes() | (AdapterConfig(size=5).shapes(CONFIG) if adapters else {})
    shapes = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    return {name: RNG.normal(scale=0.3, size=shape) + name.endswith("gamma") for name, shape in shapes.items()}


@pytest.mark.parametrize("adapters", [False, True])
def test_layer(adapters):
    from minibert.bert import layer_backward, layer_forward
    from minibert.layers import Context
    from minibert.params import flatten, unflatten

    p, offsets = random_layer(adapters), np.array([0, 3, 4, 9])
    x, dy = RNG.normal(size=(9, CONFIG.hidden_size)), RNG.normal(size=(9, CONFIG.hidden_size))
    context = Context(CONFIG, offsets, offsets, AdapterConfig(size=5))
    grads = unflatten({name: np.zeros_like(a) for name, a in p.items() if "/adapter/" in name or "/norm/" in name})
    theirs, their_cache = layer_forward(x, x, unflatten(p), grads, context)
    y, cache = plain.layer(x, p, offsets, CONFIG.n_heads)
    close(y, theirs)
    dx, ours = plain.layer_backward(dy, cache)
    close(dx, layer_backward(dy.copy(), unflatten(p), their_cache, grads, context)[0])
    grads = flatten(grads)
    assert grads.keys() == ours.keys() and len(grads) == (12 if adapters else 4)
    for name, gradient in grads.items():
        close(ours[name], gradient)


def a_batch():
    """Two sequences of two segments each."""
    from minibert.text import pack

    return pack([[2, 7, 8, 3, 9, 3], [2, 5, 3, 6, 3]], [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1]])


def test_embeddings():
    from minibert.layers import Context, embeddings_forward
    from minibert.params import unflatten

    batch, group = a_batch(), "embeddings/"
    shapes = {n.removeprefix(group): s for n, s in CONFIG.shapes().items() if n.startswith(group)}
    p = {name: RNG.normal(size=shape) for name, shape in shapes.items()}
    context = Context(CONFIG, batch.offsets, batch.offsets)
    theirs, _ = embeddings_forward(batch, unflatten(p), None, context)
    close(plain.embeddings(batch.ids, batch.segments, batch.positions, p)[0], theirs)


@pytest.mark.parametrize("adapters", [False, True])
def test_encoder(adapters):
    from minibert.backbone import random_backbone
    from minibert.model import Model

    batch, backbone = a_batch(), random_backbone(CONFIG, std=0.3).astype(np.float64)
    if adapters:
        model = Model(backbone, adapter=AdapterConfig(size=5, init_std=0.5))
        p, theirs = model.parameters(), model.hidden(batch)
    else:
        p, theirs = backbone.parameters(), backbone.forward(batch)
    tokens = (batch.ids, batch.segments, batch.positions, batch.offsets)
    y, states = plain.encoder(*tokens, p, CONFIG.n_heads, CONFIG.n_layers)
    close(y, theirs)
    assert list(states) == ["embeddings", "layer 0", "layer 1"] and states["layer 1"] is y


@pytest.mark.parametrize(("size", "n_out"), [(5, 3), (64, 2)])
def test_adapter_parameters(size, n_out):
    from minibert.backbone import random_backbone
    from minibert.model import Model

    model = Model(random_backbone(CONFIG), "classify", n_out, adapter=AdapterConfig(size=size))
    ours = plain.adapter_parameters(CONFIG.hidden_size, size, CONFIG.n_layers, n_out)
    assert ours == sum(a.size for a in model.trained().values())


METHODS = {"adapter": 0, "full": 0, "top_k": 1, "layernorm": 0, "head": 0}


def tiny_models():
    """A model of each method, on all tokens."""
    from minibert.backbone import random_backbone
    from minibert.model import Model

    backbone = random_backbone(CONFIG)
    for method, top_k in METHODS.items():
        adapter = AdapterConfig(size=5) if method == "adapter" else None
        yield method, top_k, Model(backbone, "span", 2, method, adapter, top_k=top_k)


def test_is_trained():
    for method, top_k, model in tiny_models():
        ours = {name for name in model.parameters() if plain.is_trained(name, method, CONFIG.n_layers, top_k)}
        assert ours == set(model.trained()), method


def test_cache_sizes():
    from minibert.bench.counts import measured_cache
    from minibert.text import pack

    batch, c = pack([[1, 5, 6, 7, 2], [1, 8, 2]], [[0] * 5, [0] * 3]), CONFIG
    lowest_layer = {"adapter": 0, "full": 0, "top_k": 1, "layernorm": 0, "head": c.n_layers}
    for method, _, model in tiny_models():
        n = c.hidden_size + 1 if lowest_layer[method] == 0 else 0  # the LayerNorm of the embeddings
        for layer in range(lowest_layer[method], c.n_layers):
            prefix = f"encoder/layers/{layer}/"
            trained = {name.removeprefix(prefix) for name in model.trained() if name.startswith(prefix)}
            n += sum(plain.cache_sizes(trained, c.hidden_size, c.feed_forward_size, c.n_heads, 5).values())
        assert measured_cache(model, batch) == 4 * n * batch.n_tokens, method


def test_optimizer():
    p = {"a/W": RNG.normal(size=(3, 2)), "a/b": RNG.normal(size=2)}
    ours, m, v = {n: a.copy() for n, a in p.items()}, dict.fromkeys(p, 0.0), dict.fromkeys(p, 0.0)
    p = FlatParams.copy_of(p)
    optimizer = Adam(p, 0.1)
    for step in range(1, 4):
        grads = FlatParams.copy_of({name: RNG.normal(size=a.shape) for name, a in p.items()})
        clipped = plain.clip(grads, 1.0)
        clip_by_global_norm(grads, 1.0)
        lr = plain.learning_rate(step, 10, 1e-2)
        assert lr == learning_rate(step, 10, 1e-2)
        optimizer.step(grads, lr)
        for name, decay in (("a/W", 0.1), ("a/b", 0.0)):
            close(clipped[name], grads[name])
            ours[name], m[name], v[name] = plain.adam_step(ours[name], clipped[name], m[name], v[name], step, lr, decay)
            close(ours[name], p[name])


def test_train_is_the_programs_loop():
    p, gradients, steps, peak, largest, decay, warmup = EXERCISES["train"].cases(np.random.default_rng(1))[1]
    ours = plain.train(p, gradients, steps, peak, largest, decay, warmup)
    theirs = FlatParams.copy_of(p)
    optimizer = Adam(theirs, decay)
    for step in range(steps):
        grads = FlatParams.copy_of(gradients(theirs, step))
        clip_by_global_norm(grads, largest)
        optimizer.step(grads, learning_rate(step, steps, peak, warmup))
    for name, array in theirs.items():
        close(ours[name], array)


def test_share_interval():
    """Those of Brown, Cai and DasGupta (2001): it holds the share, is inside 0 to 1, and shrinks with n."""
    assert plain.share_interval(np.ones(10, bool)) == pytest.approx((0.7225, 1.0), abs=1e-4)
    low, high = plain.share_interval(np.arange(100) < 60)
    assert (low, high) == pytest.approx((0.5020, 0.6906), abs=1e-4)


def test_paired_interval():
    """By the counts of examples that one of the two has right alone; and by SciPy's interval of a mean."""
    a, b = RNG.random(80) < 0.8, RNG.random(80) < 0.6
    low, high = plain.paired_interval(a, b)
    n, a_alone, b_alone = 80, (a & ~b).sum(), (b & ~a).sum()
    error = np.sqrt((a_alone + b_alone - (a_alone - b_alone) ** 2 / n) / n / (n - 1))
    close(((low + high) / 2, high - low), ((a_alone - b_alone) / n, 2 * 1.96 * error))
    stats = pytest.importorskip("scipy.stats")
    difference = a.astype(float) - b
    close((low, high), stats.norm.interval(2 * stats.norm.cdf(1.96) - 1, difference.mean(), stats.sem(difference)))


def test_paired_interval_covers_the_true_difference_in_95_percent():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        easy = rng.random(250)  # an example that is easy for one is easy for the other
        a, b = easy + 0.3 * rng.random(250) > 0.4, easy + 0.3 * rng.random(250) > 0.5
        low, high = plain.paired_interval(a, b)
        covered += low <= 0.1 <= high  # P(e + 0.3 u > 0.4) - P(e + 0.3 u > 0.5), e and u uniform, is 0.1
    assert 930 <= covered <= 965


def test_ablate_is_that_of_the_model():
    from minibert.gradcheck import tiny_model

    model = tiny_model("adapter", "classify")
    left = plain.ablate(model.parameters(), 0, 0)
    assert list(left) == list(model.without_adapters([0]).parameters())
    assert all(np.shares_memory(array, model.parameters()[name]) for name, array in left.items())


@pytest.mark.parametrize("name", ["linear", "gelu", "layernorm", "softmax"])
def test_backward_is_the_central_difference(name):
    """An oracle of its own, beside the kernels."""
    function = getattr(plain, name)
    x, *others = EXERCISES[name].cases(np.random.default_rng(1))[0]
    y, cache = function(x, *others)
    dy = RNG.normal(size=y.shape)
    result = getattr(plain, f"{name}_backward")(dy, cache)
    dx = result[0] if isinstance(result, tuple) else result
    numeric = plain.central_difference(lambda x: (function(x, *others)[0] * dy).sum(), x)
    np.testing.assert_allclose(dx, numeric, rtol=1e-5, atol=1e-7 * max(1, np.abs(numeric).max()))


def test_wordpiece_is_the_tokenizers_librarys():
    from tokenizers.models import WordPiece

    pieces = ["un", "##aff", "##able", "film", "##s", "a", "##a", "##b"]
    vocab = {piece: i for i, piece in enumerate(["[UNK]", *pieces])}
    theirs = WordPiece(vocab, unk_token="[UNK]")
    for word in ("unaffable", "films", "aab", "filmx", "unable", "b"):
        assert plain.wordpiece(word, vocab) == [token.value for token in theirs.tokenize(word)]


def test_pack_is_that_of_the_program():
    from minibert.text import pack

    sequences = [[5, 6, 7], [1], [9, 9]]
    batch = pack(sequences, [[0] * len(s) for s in sequences])
    for ours, theirs in zip(plain.pack(sequences), (batch.ids, batch.positions, batch.offsets), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("tile", [(32, 64, 16), (7, 11, 5), (100, 100, 100), (1, 1, 1)])
def test_tiled_matmul_is_every_rung_of_the_ladder(tile):
    from kernels.ladder import RUNGS

    x, W = RNG.integers(-9, 10, size=(37, 29)), RNG.integers(-9, 10, size=(29, 41))
    x, W = x.astype(np.float32), W.astype(np.float32)  # sums that are exact in any order
    y = plain.tiled_matmul(x, W, tile)
    assert y.dtype == np.float32
    for function in (*RUNGS, kernels.matmul):
        np.testing.assert_array_equal(y, function(x, W))


def test_intensity_and_roof_are_those_of_bench():
    from minibert.bench.counts import bytes_moved, operations
    from minibert.bench.timing import Machine

    x, W = np.zeros((50, 30), np.float32), np.zeros((30, 20), np.float32)
    moved = bytes_moved((x, W), (kernels.matmul(x, W),))
    assert plain.intensity(50, 30, 20) == operations("matmul", (x, W)) / moved
    assert 4 * plain.fetched(50, 30, 20, (50, 20, 1)) == moved  # in one tile each array goes once
    for ops_per_byte in (0.5, 4.0, 300.0):
        assert plain.roof(ops_per_byte, 400.0, 30.0) == Machine(400.0, 30.0).roof(ops_per_byte)


def test_mixed_adapter_is_each_tasks_adapter():
    from minibert.adapter import adapter_backward, adapter_forward
    from minibert.params import flatten, unflatten

    shapes = {"down/W": (6, 4), "down/b": (4,), "up/W": (4, 6), "up/b": (6,)}
    adapters = {task: {name: RNG.normal(size=shape) for name, shape in shapes.items()} for task in "ab"}
    grads = {task: unflatten({name: np.zeros(shape) for name, shape in shapes.items()}) for task in "ab"}
    x, dy, offsets, tasks = RNG.normal(size=(9, 6)), RNG.normal(size=(9, 6)), np.array([0, 2, 6, 9]), ["b", "a", "b"]
    y = plain.mixed_adapter(x, offsets, tasks, adapters)
    dx, gradients = plain.mixed_gradients(dy, x, offsets, tasks, adapters)
    for b, task in enumerate(tasks):
        rows, p = slice(offsets[b], offsets[b + 1]), unflatten(adapters[task])
        theirs, cache = adapter_forward(x[rows], p, grads[task])
        close(y[rows], theirs)
        close(dx[rows], adapter_backward(dy[rows], p, cache, grads[task]))
    for key, gradient in flatten(grads).items():
        close(gradients[key], gradient)
