"""The Python API: a backbone file in, scores and gradients out; what is trained, what is frozen, what is kept."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from tiny import CONFIG, WORDS, write_tiny_backbone

from kernels.runtime.pool import aligned_copy
from minibert import AdapterConfig, Model, load_backbone
from minibert.adapter import adapter_init, truncated_normal
from minibert.bert import context_of, encoder_backward, encoder_forward
from minibert.config import METHODS, PRESETS, InputError
from minibert.methods import parameter_table, trained_names
from minibert.model import Backbone, random_backbone
from minibert.optim import Adam
from minibert.params import flatten, unflatten
from minibert.storage.files import fingerprint, read_bank, write_bank
from minibert.text import pack

TEXTS = ["a good film, was it not?", "awful", "the tea was very fine", "dull book . dull film ! poor tea"]
LABELS = np.array([1, 0, 1, 0])


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.h5"))


def encode(backbone, texts, pairs=None):
    return backbone.encode(texts, pairs, max_length=CONFIG.max_positions)


def make_model(backbone, method="adapter", **options):
    options = {"adapter": AdapterConfig(size=4), "top_k": 1} | options
    return Model(backbone, method=method, **options)


# ------------------------------------------------------------------------------------------------------ the front door


def test_from_texts_to_scores_and_gradients(backbone):
    batch = encode(backbone, TEXTS)
    assert len(batch) == 4 and batch.n_tokens == batch.offsets[-1]
    assert backbone.forward(batch).shape == (batch.n_tokens, CONFIG.hidden_size)
    model = make_model(backbone)
    scores = model.forward(batch)
    assert scores.shape == (4, 2) and scores.dtype == np.float32
    loss, grads = model.loss_and_grads(batch, LABELS)
    log_softmax = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert loss == pytest.approx(-log_softmax[np.arange(4), LABELS].mean(), rel=1e-5)
    assert loss == model.loss(batch, LABELS)
    assert {n: g.shape for n, g in grads.items()} == {n: a.shape for n, a in model.trained().items()}
    np.testing.assert_allclose(model.predict(batch), np.exp(log_softmax), rtol=1e-5)


def test_a_regression_has_one_score_a_text(backbone):
    model, batch = make_model(backbone, head="regress", n_out=1), encode(backbone, TEXTS, pairs=TEXTS[::-1])
    assert model.predict(batch).shape == (4,)
    targets = np.array([0.0, 1.0, 2.5, 5.0])
    loss, _ = model.loss_and_grads(batch, targets)
    assert loss == pytest.approx(np.mean((model.predict(batch) - targets) ** 2), rel=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"head": "spam"}, "head must be one of"),
        ({"head": "span", "n_out": 3}, "span needs exactly 2"),
        ({"head": "span", "pooled": True}, "cannot be pooled"),
        ({"n_out": 1}, "classify needs 2 or more"),
        ({"head": "regress", "n_out": 2}, "regress needs exactly 1"),
        ({"method": "lora"}, "method must be one of"),
        ({"method": "top_k", "top_k": 3}, "from 1 to 2; got 3"),
    ],
)
def test_a_model_that_cannot_be_is_refused(backbone, options, message):
    with pytest.raises(InputError, match=message):
        Model(backbone, **options)


def test_input_that_does_not_fit_is_refused(backbone):
    model, batch = make_model(backbone), encode(backbone, TEXTS)
    for labels in ([0, 1], [0, 1, 2, 0], [0, 1, -1, 0], [0.0, 1.0, 0.0, 1.0]):
        with pytest.raises(InputError, match="labels must be"):
            model.loss_and_grads(batch, labels)
    with pytest.raises(InputError, match="no sequences"):
        model.loss_and_grads(encode(backbone, []), [])
    with pytest.raises(InputError, match="24 positions"):
        backbone.encode(TEXTS, max_length=25)
    with pytest.raises(InputError, match=r"write \[text\]"):
        encode(backbone, "one text")
    with pytest.raises(InputError, match="4 texts, 1 pairs"):
        encode(backbone, TEXTS, ["one"])


@pytest.mark.parametrize(
    "ids, segments, table", [([1, 999], [0, 0], "word"), ([1, -1], [0, 0], "word"), ([1, 2], [0, 2], "segment")]
)
def test_ids_beyond_a_table_are_refused(backbone, ids, segments, table):
    """Kernels do not check bounds, so this would read foreign memory."""
    with pytest.raises(InputError, match=f"{table} ids must be from 0 to"):
        backbone.forward(pack([ids], [segments]))
    with pytest.raises(InputError, match="position ids must be from 0 to 23"):
        backbone.forward(pack([[1] * 25], [[0] * 25]))


# -------------------------------------------------------------------------------------------------- what is trained

EXPECTED = {
    "adapter": lambda name: "/adapter/" in name or "/norm/" in name,
    "full": lambda name: True,
    "top_k": lambda name: name.startswith("encoder/layers/1/"),
    "layernorm": lambda name: "/norm/" in name,
    "head": lambda name: False,
}


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_there_for_what_is_trained_and_nothing_else(backbone, method):
    model = make_model(backbone, method)
    names = {name for name in model.parameters() if name.startswith("head/") or EXPECTED[method](name)}
    _, grads = model.loss_and_grads(encode(backbone, TEXTS), LABELS)
    assert set(grads) == set(model.trained()) == names
    assert all(np.abs(grad).max() > 0 for grad in grads.values())


@pytest.mark.parametrize("method", METHODS)
def test_the_frozen_stays_and_the_trained_moves(backbone, method):
    model, batch = make_model(backbone, method), encode(backbone, TEXTS)
    before = {name: array.copy() for name, array in model.parameters().items()}
    frozen = set(before) - set(model.trained())
    for name in frozen:
        array = model.parameters()[name]
        assert np.shares_memory(array, flatten(backbone.params)[name])
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    adam = Adam(model.trained(), weight_decay=0.01)
    for step in range(20):
        adam.step(model.loss_and_grads(batch, LABELS, dropout_step=step)[1], 1e-3)
    same = {name for name, array in model.parameters().items() if np.array_equal(array, before[name])}
    assert same == frozen
    assert fingerprint(flatten(backbone.params)) == backbone.fingerprint


def test_a_deep_copy_trains_and_leaves_the_original(backbone):
    model = make_model(backbone)
    copy, batch = deepcopy(model), encode(backbone, TEXTS)
    before = model.loss(batch, LABELS)
    adam = Adam(copy.trained())
    for _ in range(5):
        adam.step(copy.loss_and_grads(batch, LABELS)[1], 1e-2)
    assert copy.loss(batch, LABELS) < before - 0.01 and model.loss(batch, LABELS) == before
    assert copy.backbone is backbone


@pytest.mark.parametrize("method", METHODS)
def test_what_is_frozen_is_never_out_of_date(method):
    """After training the model computes what one does that has frozen nothing."""
    config = replace(CONFIG, hidden_size=96, n_heads=2, feed_forward_size=192)
    backbone = random_backbone(config, std=0.15)
    model = Model(backbone, method=method, adapter=AdapterConfig(size=64), top_k=1)
    batch = pack([[2, 5, 6, 3], [2, 7, 3]], [[0] * 4, [0] * 3])
    adam = Adam(model.trained())
    for _ in range(3):
        adam.step(model.loss_and_grads(batch, np.array([0, 1]))[1], 1e-2)
    tree = unflatten({name: a.copy() for name, a in model.parameters().items()})  # with nothing frozen
    fresh, _ = encoder_forward(batch, tree, None, context_of(batch, config, model.adapter))
    np.testing.assert_allclose(model.hidden(batch), fresh, rtol=1e-4, atol=1e-5)


def test_a_backbone_keeps_its_own_arrays():
    """Whatever lies on a cache line already, or is read-only."""
    arrays = {name: aligned_copy(a) for name, a in flatten(random_backbone(CONFIG).params).items()}
    backbone = Backbone(CONFIG, arrays, None, "")
    for name, array in backbone.parameters().items():
        assert not np.shares_memory(array, arrays[name]), name
    again = Backbone(CONFIG, backbone.parameters(), None, "")
    assert all(a.flags.writeable for a in again.arrays.values())


def test_training_learns_the_texts_by_heart(backbone):
    model, batch = make_model(backbone), encode(backbone, TEXTS)
    adam, before = Adam(model.trained()), model.loss(batch, LABELS)
    for step in range(60):
        adam.step(model.loss_and_grads(batch, LABELS, dropout_step=step)[1], 1e-2)
    assert model.loss(batch, LABELS) < 0.1 * before
    assert (model.predict(batch).argmax(axis=1) == LABELS).all()


@pytest.mark.parametrize(
    "preset, backbone_size, size, adapters, layernorms, head",
    [
        ("bert-base", 109_482_240, 8, 313_536, 38_400, 1_538),
        ("bert-base", 109_482_240, 64, 2_379_264, 38_400, 1_538),
        ("bert-base", 109_482_240, 256, 9_461_760, 38_400, 1_538),
        ("bert-large", 335_141_888, 8, 835_968, 100_352, 2_050),
        ("bert-large", 335_141_888, 64, 6_343_680, 100_352, 2_050),
        ("bert-large", 335_141_888, 256, 25_227_264, 100_352, 2_050),
    ],
)
def test_parameter_counts_of_the_paper(preset, backbone_size, size, adapters, layernorms, head):
    bert, config = PRESETS[preset], AdapterConfig(size)
    D, L, M = bert.hidden_size, bert.n_layers, size
    assert adapters == 2 * L * (2 * M * D + D + M) and layernorms == (2 * L + 1) * 2 * D and head == 2 * D + 2
    shapes = bert.shapes() | config.shapes(bert) | {"head/W": (D, 2), "head/b": (2,)}
    trained = {g: n for g, _, n in parameter_table(shapes, trained_names(shapes, "adapter", L)) if n}
    total = adapters + layernorms + head
    assert trained == {"adapters": adapters, "LayerNorms": layernorms, "head": head, "total": total}
    assert parameter_table(bert.shapes(), set())[-1] == ("total", backbone_size, 0)


# ----------------------------------------------------------------------------------------------------- the start


def test_adapters_start_near_the_identity(backbone):
    batch = encode(backbone, TEXTS)
    first = backbone.forward(batch)[batch.first_rows]
    distances = []
    for std in (1e-2, 1e-3):
        model = make_model(backbone, adapter=AdapterConfig(size=64, init_std=std))
        plain = first @ model.parameters()["head/W"]
        distances.append(np.abs(model.forward(batch) - plain).max() / np.abs(plain).max())
    assert 0 < distances[0] < 0.05
    assert distances[1] < 0.05 * distances[0]  # two weights deep, so a hundredth but for rounding


def test_adapter_weights_are_a_gaussian_cut_off_at_two_deviations():
    start = adapter_init(AdapterConfig(size=64), PRESETS["minilm-l6"], seed=0)
    weights = np.concatenate([a.reshape(-1) for name, a in start.items() if name.endswith("/W")])
    assert np.abs(weights).max() <= 2e-2
    assert weights.std() == pytest.approx(0.8796e-2, rel=0.01)  # of a Gaussian cut at two of its deviations of 1e-2
    assert abs(weights.mean()) < 1e-4
    assert all((a == 0).all() for name, a in start.items() if name.endswith("/b"))


def test_the_start_is_a_function_of_seed_and_name(backbone):
    np.testing.assert_array_equal(truncated_normal("a", (3, 4), 1, 0), truncated_normal("a", (3, 4), 1, 0))
    for name, seed in (("b", 0), ("a", 1)):
        assert not np.array_equal(truncated_normal("a", (3, 4), 1, 0), truncated_normal(name, (3, 4), 1, seed))
    small, large = (make_model(backbone, adapter=AdapterConfig(size)).parameters() for size in (4, 8))
    for name in small:
        assert np.array_equal(small[name], large[name]) == ("/adapter/" not in name or name.endswith("up/b"))


# ------------------------------------------------------------------------------------------------ what forward keeps


def forward_with_caches(model, batch):
    grads = unflatten({name: np.zeros_like(a) for name, a in model.trained().items()})
    context = context_of(batch, model.config, model.adapter)
    params = unflatten({name: array.copy() for name, array in model.parameters().items()})
    hidden, caches = encoder_forward(batch, params, grads, context)
    return hidden, caches, lambda: encoder_backward(np.ones_like(hidden), batch, params, caches, grads, context)


@pytest.mark.parametrize(
    "method, options, nothing_kept",
    [
        ("adapter", {}, [False, False, False]),
        ("adapter", {"train_layernorm": False}, [True, False, False]),
        ("top_k", {"top_k": 1}, [True, True, False]),
        ("top_k", {"top_k": 2}, [False, False, False]),
        ("full", {}, [False, False, False]),
        ("head", {}, [True, True, True]),
    ],
)
def test_nothing_is_kept_below_the_lowest_trained_layer(backbone, method, options, nothing_kept):
    """The caches are those of the embeddings and of the two layers."""
    _, caches, _ = forward_with_caches(make_model(backbone, method, **options), encode(backbone, TEXTS))
    assert [cache is None for cache in caches] == nothing_kept


def kept_numbers(cache):
    """Elements of all arrays in nested tuples, each array counted once."""
    if isinstance(cache, np.ndarray):
        return {id(cache): cache.size}
    return {k: n for part in cache or () for k, n in kept_numbers(part).items()}


def test_adapter_tuning_keeps_only_what_its_backward_needs(backbone):
    """A token and a layer: q, k, v and lse; twice what LayerNorm and the adapter need; the GELU's input."""
    batch, model = encode(backbone, TEXTS), make_model(backbone)
    _, caches, _ = forward_with_caches(model, batch)
    D, H, F, M = CONFIG.hidden_size, CONFIG.n_heads, CONFIG.feed_forward_size, 4
    expected = [D + 1] + [3 * D + H + 2 * (D + 1 + D + M + M) + F] * CONFIG.n_layers
    assert [sum(kept_numbers(cache).values()) for cache in caches] == [batch.n_tokens * n for n in expected]


@pytest.mark.parametrize("method", METHODS)
def test_backward_twice_is_an_error(backbone, method):
    _, caches, backward = forward_with_caches(make_model(backbone, method), encode(backbone, TEXTS))
    backward()
    assert caches == []
    with pytest.raises(RuntimeError, match="used by a backward pass"):
        backward()


# ------------------------------------------------------------------------------------------------------------- texts


def test_scores_do_not_depend_on_companions_or_order(backbone):
    model = make_model(backbone, adapter=AdapterConfig(4, init_std=0.3))
    texts = [*TEXTS, "", "good " * 30, "tea"]
    together = model.forward(backbone.encode(texts, max_length=24))
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = model.forward(backbone.encode([texts[i] for i in order], max_length=24))
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    alone = np.concatenate([model.forward(backbone.encode([text], max_length=24)) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert together.std(axis=0).min() > 1e-3


def test_strange_texts_are_encoded_and_scored(backbone):
    texts = [
        "",
        " \t\n",
        "a" * 10_000,
        "good " * 10_000,
        "🙂👩‍👩‍👧 fine",
        "\x00\x01\x1b[0m\x7f",
        "\ud83d",
        "\udc00 a \ud800",
    ]
    texts += ["नमस्ते שלום 漢字", "\u202egood\u202c", "e\u0301" * 50, "\ufffd", "[CLS] [SEP] [PAD]", "\U0010ffff"]
    batch = backbone.encode(texts, max_length=16)
    lengths = np.diff(batch.offsets)
    assert lengths.min() == 2 and lengths.max() == 16
    assert np.isfinite(make_model(backbone).forward(batch)).all()
    pairs = backbone.encode(texts, texts[::-1], max_length=16)
    assert np.isfinite(make_model(backbone).forward(pairs)).all()


def test_half_a_character_is_dropped_and_two_halves_are_joined(backbone):
    with_halves = encode(backbone, ["good\ud83d film", "\udc00awful", "\ud83d\ude42"])
    without = encode(backbone, ["good film", "awful", "🙂"])
    np.testing.assert_array_equal(with_halves.ids, without.ids)
    np.testing.assert_array_equal(with_halves.offsets, without.offsets)


def test_truncation_is_counted(backbone):
    batch = backbone.encode(["good " * n for n in (5, 6, 7, 50)], max_length=8)
    assert np.diff(batch.offsets).tolist() == [7, 8, 8, 8]
    assert batch.truncated == 2
    assert encode(backbone, TEXTS).truncated == 0


@pytest.mark.parametrize("lengths, kept", [((9, 2), (5, 2)), ((2, 9), (2, 5)), ((1, 1), (1, 1)), ((20, 5), (4, 3))])
def test_of_a_pair_the_longer_text_is_cut(backbone, lengths, kept):
    first, second = (" ".join(WORDS[:n]) for n in lengths)
    batch = backbone.encode([first], [second], max_length=10)
    kept_of_first, kept_of_second = kept
    words = ["[CLS]", *WORDS[:kept_of_first], "[SEP]", *WORDS[:kept_of_second], "[SEP]"]
    assert backbone.tokenizer.words(batch) == [words]
    assert batch.segments.tolist() == [0] * (kept_of_first + 2) + [1] * (kept_of_second + 1)
    assert batch.positions.tolist() == list(range(len(words)))


def test_a_sequence_without_tokens_is_refused():
    with pytest.raises(InputError, match="sequence 1 has no tokens"):
        pack([[1, 2], [], [3]], [[0, 0], [], [0]])


def test_take_picks_sequences_in_any_order(backbone):
    batch, each = encode(backbone, TEXTS), [encode(backbone, [text]) for text in TEXTS]
    taken = batch.take([2, 0, 2])
    np.testing.assert_array_equal(taken.ids, np.concatenate([each[i].ids for i in (2, 0, 2)]))
    np.testing.assert_array_equal(taken.positions, np.concatenate([each[i].positions for i in (2, 0, 2)]))
    assert len(batch.take([])) == 0


# --------------------------------------------------------------------------------------------------------------- NaN


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_in_any_parameter_reaches_the_scores(backbone):
    """Fast mathematics must not hide it: training stops at a loss that is not finite only if it is seen."""
    model, batch = make_model(backbone, "full", pooled=True), encode(backbone, TEXTS, TEXTS)
    for name, array in model.trained().items():
        kept = array.copy()
        array.reshape(-1)[:: 2 if array.ndim == 1 else 1] = np.nan
        assert np.isnan(model.forward(batch)).any(), name
        assert np.isnan(model.loss(batch, LABELS)), name
        array[...] = kept
    assert np.isfinite(model.forward(batch)).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_in_the_backbone_reaches_the_scores(backbone):
    for name in ("encoder/layers/0/attention/query/W", "encoder/layers/1/feed_forward/output/W"):
        arrays = {n: a.copy() for n, a in flatten(backbone.params).items()}
        arrays[name][3, 2] = np.nan
        broken = Backbone(CONFIG, arrays, backbone.tokenizer, "broken")
        assert np.isnan(make_model(broken).forward(encode(backbone, TEXTS))).any(), name


# ----------------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("method", METHODS)
def test_a_task_comes_back_from_a_bank_with_the_same_scores(backbone, method, tmp_path):
    model, batch = make_model(backbone, method, seed=5, pooled=method == "full"), encode(backbone, TEXTS)
    adam = Adam(model.trained())
    for step in range(3):
        adam.step(model.loss_and_grads(batch, LABELS, dropout_step=step)[1], 1e-2)
    write_bank(tmp_path / "bank.h5", {"tea": model.to_record("tea", ["bad", "good"], {"lr": 1e-2}, {"accuracy": 1.0})})
    record = read_bank(tmp_path / "bank.h5")["tea"]
    assert (record.labels, record.training, record.dev) == (("bad", "good"), {"lr": 1e-2}, {"accuracy": 1.0})
    again = Model.from_record(backbone, record)
    np.testing.assert_array_equal(again.forward(batch), model.forward(batch))
    assert set(record.params) == set(model.trained())


def test_a_record_of_another_backbone_is_refused(backbone):
    record = make_model(backbone).to_record("tea", ["bad", "good"])
    with pytest.raises(InputError, match="was trained on the backbone"):
        Model.from_record(random_backbone(CONFIG, seed=1), record)


def test_parameters_that_are_not_the_models_are_refused(backbone):
    trained = dict(make_model(backbone).trained())
    del trained["head/b"]
    with pytest.raises(InputError, match="head/b"):
        make_model(backbone).load_trained(trained)
