"""Texts of several tasks in one batch are scored as each task's own model scores them, in any mixture and order."""

import random

import numpy as np
import pytest
from adapter_forms import CONFIGS
from small_models import make_model
from tiny import CONFIG, WORDS

import kernels
from minibert.config import AdapterConfig
from minibert.errors import InputError
from minibert.evaluate import EVAL_BATCH, NonFiniteLoss
from minibert.mixed import PLAIN, MixedModel
from minibert.mixed import attention_forward as usual_attention_forward
from minibert.spans import Answer

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
SIZES = {"one unit": 1, "five": 5, "forty": 40}  # of adapters: fewer, and more, than hidden units
TASKS = {
    **{name: {"adapter": AdapterConfig(size)} for name, size in SIZES.items()},
    **{f"form {name}": {"adapter": config} for name, config in CONFIGS.items()},
    "three classes": {"n_out": 3},
    "regress": {"head": "regress", "n_out": 1},
    "pooled": {"pooled": True},
    "own pooler": {"pooled": True, "train_pooler": True},
    "head with its own pooler": {"method": "head", "pooled": True, "train_pooler": True},
    "frozen norms": {"train_layernorm": False},
    "span": {"head": "span", "n_out": 2},
    "layernorm": {"method": "layernorm"},
    "head": {"method": "head"},
    "full": {"method": "full"},
    "top": {"method": "top_k"},
}
PAIRS = ("span", "five")


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def mixed(request, backbone):
    """A model of all tasks, far from the identity, each with its own numbers; it keeps the models it was made from."""
    backbone, records, models = backbone.astype(request.param), {}, {}
    for seed, (name, options) in enumerate(TASKS.items()):
        model = make_model(backbone, **options)
        move(model, seed)
        n_classes = model.n_out if model.head == "classify" else 0
        training = {"pairs": name in PAIRS, "train": {"max_length": CONFIG.max_positions}}
        labels = tuple("abc"[:n_classes])
        records[name] = model.to_record(name, labels, training)
        model.load_trained(records[name].params)  # which are float32
        models[name] = model
    found = MixedModel(backbone, records)
    found.tolerance, found.expected = TOLERANCE[request.param], models
    return found


def move(model, seed):
    rng = np.random.default_rng(seed)
    for array in model.trained().values():
        array += 0.3 * rng.standard_normal(array.shape).astype(array.dtype)


def texts(n, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(n)]


def requests(tasks, seed=0):
    """Texts for the tasks in that order, and second texts where they are read."""
    return texts(len(tasks), seed), tasks, [texts(1, i)[0] if t in PAIRS else None for i, t in enumerate(tasks)]


def separately(mixed, text, task, pair):
    """The prediction of a task's own model for one text alone."""
    split = mixed.tokenize([text], [task], [pair])[task]
    if task == PLAIN:
        return mixed.backbone.forward(split.batch)[0]
    return split.answers(mixed.expected[task].predict(split.batch))[0]


def check(mixed, tasks, seed=0):
    """Every prediction of a mixture is that of its own task's model."""
    check_all(mixed, *requests(tasks, seed))


def check_all(mixed, *given):
    found = mixed.predict(*given)
    assert len(found) == len(given[0])
    for one, text, task, pair in zip(found, *given, strict=True):
        expected = separately(mixed, text, task, pair)
        if isinstance(expected, Answer):
            assert (one.text, one.start, one.end) == (expected.text, expected.start, expected.end)
            one, expected = one.score, expected.score
            if not np.isfinite(expected):  # an empty paragraph
                assert one == expected
                continue
        assert np.shape(one) == np.shape(expected), task
        np.testing.assert_allclose(one, expected, rtol=0, atol=mixed.tolerance * max(1, np.abs(expected).max()))


def test_all_tasks_in_one_batch_and_in_any_order(mixed):
    tasks = [*TASKS, PLAIN] * 3
    for seed in range(3):
        random.Random(seed).shuffle(tasks)
        check(mixed, tasks, seed)


@pytest.mark.parametrize("task", [*TASKS, PLAIN])
def test_each_task_beside_one_other(mixed, task):
    check(mixed, [task, "forty", task, "forty"])


@pytest.mark.parametrize("task", [*TASKS, PLAIN])
def test_one_task_alone(mixed, task):
    check(mixed, [task])
    check(mixed, [task] * 5)


def test_more_texts_than_one_pass_takes(mixed):
    check(mixed, random.Random(1).choices(["five", "forty", "head", PLAIN], k=2 * EVAL_BATCH + 7))


def test_no_text_at_all(mixed):
    assert mixed.predict([], []) == []


def test_tasks_without_sequences_among_others(mixed):
    names = ["five", "span", "full", PLAIN]
    split = mixed.tokenize(["good tea"], ["forty"])["forty"]
    none = split.batch.take([])
    found = mixed.predict_batches(dict.fromkeys(names, none) | {"forty": split.batch} | {"head": none})
    shapes = {"five": (0, 2), "span": (0, 2), "full": (0, 2), PLAIN: (0, CONFIG.hidden_size), "head": (0, 2)}
    assert {name: found[name].shape for name in shapes} == shapes
    expected = mixed.expected["forty"].predict(split.batch)
    np.testing.assert_allclose(found["forty"], expected, rtol=0, atol=mixed.tolerance)
    assert all(len(rows) == 0 for rows in mixed.predict_batches(dict.fromkeys(names, none)).values())


@pytest.fixture
def rows(monkeypatch):
    """How many rows each layer of a mixed pass has computed."""
    found = []

    def attention_forward(x_q, x_kv, *rest):
        found.append(len(x_kv))
        return usual_attention_forward(x_q, x_kv, *rest)

    monkeypatch.setattr("minibert.mixed.attention_forward", attention_forward)
    return found


def test_frozen_weights_are_multiplied_once_for_all_tasks_that_share_them(mixed, rows):
    tasks = ["one unit", "forty", "head", "layernorm", PLAIN, "full", "top"]
    given = requests(tasks)
    splits = mixed.tokenize(*given)
    mixed.predict(*given)
    assert mixed.alone == {"full", "top"}
    shared = sum(split.batch.n_tokens for task, split in splits.items() if task not in mixed.alone)
    assert rows == [shared] * CONFIG.n_layers


def test_the_same_texts_are_read_once_for_all_heads_on_the_plain_backbone(mixed, rows):
    n = mixed.tokenize(["good tea", "bad"], [PLAIN, PLAIN])[PLAIN].batch.n_tokens
    mixed.predict(["good tea", "bad"] * 2, [PLAIN] * 2 + ["head"] * 2)
    mixed.predict(["good tea", "bad"] * 3, [PLAIN] * 2 + ["head"] * 2 + ["forty"] * 2)
    mixed.predict(["good tea", "bad", "bad", "good tea"], [PLAIN] * 2 + ["head"] * 2)  # in another order
    assert rows == [n] * 2 + [2 * n] * 2 + [2 * n] * 2
    texts = ["good tea", "bad"]
    check_all(mixed, texts * 3, [PLAIN] * 2 + ["head"] * 2 + ["forty"] * 2, [None] * 6)
    check_all(mixed, texts + texts[::-1], [PLAIN] * 2 + ["head"] * 2, [None] * 4)


def test_memory_for_models_of_one_backbone_is_shared(mixed):
    name = "encoder/layers/0/feed_forward/output/W"
    arrays = [mixed.models[task].parameters()[name] for task in ("five", "head", PLAIN)]
    assert all(np.shares_memory(array, mixed.backbone.parameters()[name]) for array in arrays)


def test_kernels_are_compiled_for_the_pass_and_passes_take_turns(mixed, monkeypatch):
    calls, inside = [], []
    monkeypatch.setattr(kernels, "ensure_compiled", lambda dtype, purpose: calls.append((dtype, purpose)))

    class Turn:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *_):
            inside.pop()

    def attention_forward(*arguments):
        calls.append(list(inside))
        return usual_attention_forward(*arguments)

    monkeypatch.setattr(kernels, "one_at_a_time", Turn)
    monkeypatch.setattr("minibert.mixed.attention_forward", attention_forward)
    mixed.predict(["good tea", "tea"], ["forty", "head"])
    assert calls == [(mixed.backbone.dtype, "predict"), [True], [True]]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((["a"], ["spam"]), "no task 'spam'; there are one unit, five"),
        ((["a", "b"], ["forty"]), "2 texts, 1 tasks, 2 pairs"),
        ((["a"], ["forty"], ["b", "c"]), "1 texts, 1 tasks, 2 pairs"),
        ((["a", "b"], ["forty", "forty"], [None, "b"]), "reads single texts, but 1 of 2 texts have a second one"),
        ((["a"], ["five"]), "reads pairs, but 0 of 1 texts have a second one"),
        ((["a", "b"], [PLAIN, PLAIN], [None, "b"]), "1 of 2 texts have a second one; all or none"),
    ],
)
def test_what_does_not_fit_is_refused(mixed, given, told):
    with pytest.raises(InputError, match=told):
        mixed.predict(*given)


def test_the_plain_backbone_reads_pairs_too(mixed):
    split = mixed.tokenize(["good"], [PLAIN], ["tea"])[PLAIN]
    (found,) = mixed.predict(["good"], [PLAIN], ["tea"])
    assert split.batch.segments.max() == 1
    np.testing.assert_allclose(found, mixed.backbone.forward(split.batch)[0], rtol=0, atol=10 * mixed.tolerance)


def test_a_task_of_the_bank_may_be_called_as_the_plain_backbone(backbone):
    model = make_model(backbone)
    move(model, 0)
    record = model.to_record(PLAIN, ("no", "yes"), {"train": {"max_length": CONFIG.max_positions}})
    (found,) = MixedModel(backbone, {PLAIN: record}).predict(["good tea"], [PLAIN])
    batch = backbone.encode(["good tea"], max_length=CONFIG.max_positions)
    np.testing.assert_allclose(found, model.predict(batch)[0], rtol=0, atol=1e-5)


def test_scores_that_are_no_numbers_are_an_error_that_names_the_task(backbone):
    training = {"train": {"max_length": CONFIG.max_positions}}
    records = {name: make_model(backbone).to_record(name, ("no", "yes"), training) for name in ("good", "bad")}
    mixed = MixedModel(backbone, records)
    mixed.models["bad"].trained()["head/b"][...] = np.nan
    assert len(mixed.predict(["tea"], ["good"])) == 1
    with pytest.raises(NonFiniteLoss, match="task bad gives scores that are NaN"):
        mixed.predict(["tea", "tea"], ["good", "bad"])
