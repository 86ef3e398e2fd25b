"""The Python API: a backbone file in, scores and gradients out; tasks in a bank and back."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from small_models import LABELS, TEXTS, encode, make_model
from tiny import CONFIG, ROOT, environment

import kernels
from kernels.runtime.pool import aligned_copy
from minibert import AdapterConfig, Model
from minibert import model as model_file
from minibert.backbone import Backbone, random_backbone
from minibert.config import METHODS
from minibert.errors import InputError
from minibert.optim import Adam
from minibert.params import flatten
from minibert.storage import read_bank, write_bank
from minibert.text import pack


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
        ({"method": "top_k", "top_k": "two"}, "from 1 to 2; got two"),
        ({"method": "full", "adapter": AdapterConfig(8)}, "need --method adapter, not full"),
        ({"method": "full", "train_layernorm": False}, "train_layernorm is given"),
        ({"method": "full", "top_k": 7}, "--top-k needs --method top_k, not full"),
        ({"top_k": 1}, "top_k is given"),
        ({"train_pooler": True}, "--train-pooler needs --pooled-head"),
        ({"method": "full", "pooled": True, "train_pooler": True}, "leave out train_pooler"),
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


def test_a_deep_copy_trains_and_leaves_the_original(backbone):
    model = make_model(backbone)
    copy, batch = deepcopy(model), encode(backbone, TEXTS)
    before = model.loss(batch, LABELS)
    adam = Adam(copy.trained())
    for _ in range(5):
        adam.step(copy.loss_and_grads(batch, LABELS)[1], 1e-2)
    assert copy.loss(batch, LABELS) < before - 0.01 and model.loss(batch, LABELS) == before
    assert copy.backbone is backbone
    name = "encoder/layers/0/feed_forward/output/W"
    assert np.shares_memory(copy.parameters()[name], backbone.parameters()[name])


def test_a_backbone_keeps_its_own_arrays():
    """Whatever lies on a cache line already, or is read-only."""
    arrays = {name: aligned_copy(a) for name, a in flatten(random_backbone(CONFIG).params).items()}
    backbone = Backbone(CONFIG, arrays, None, "")
    for name, array in backbone.parameters().items():
        assert not np.shares_memory(array, arrays[name]), name
    again = Backbone(CONFIG, backbone.parameters(), None, "")
    assert all(a.flags.writeable for a in again._arrays.values())  # kernels are compiled for such


def test_nobody_can_write_into_a_backbone(backbone):
    """What the kernels keep of a frozen weight would not follow."""
    public = {name: value for name, value in vars(backbone).items() if not name.startswith("_")}
    arrays = {
        f"{name}/{n}": a for name, value in public.items() if isinstance(value, dict) for n, a in flatten(value).items()
    }
    assert {f"params/{name}" for name in CONFIG.shapes()} <= set(arrays)
    model = make_model(backbone)
    arrays |= backbone.parameters() | {n: a for n, a in model.parameters().items() if n not in model.trained()}
    for name, array in arrays.items():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert array.any() or name.endswith("/b"), name


def test_kernels_are_compiled_for_what_is_computed_first(backbone, monkeypatch):
    """To compile for prediction when a backbone is opened would compile the rest in a second round."""
    calls, batch = [], encode(backbone, TEXTS)
    monkeypatch.setattr(
        kernels, "ensure_compiled", lambda dtype, purpose: calls.append((np.dtype(dtype).name, purpose))
    )
    model = make_model(random_backbone(CONFIG, dtype=np.float64))
    assert calls == []
    for compute, purpose in (
        (lambda: model.loss_and_grads(batch, LABELS), "train"),
        (lambda: model.loss(batch, LABELS), "predict"),
        (lambda: model.predict(batch), "predict"),
        (lambda: model.hidden(batch), "predict"),
        (lambda: model.backbone.forward(batch), "predict"),
    ):
        compute()
        assert calls == [("float64", purpose)]
        calls.clear()


def test_training_learns_the_texts_by_heart(backbone):
    model, batch = make_model(backbone), encode(backbone, TEXTS)
    adam, before = Adam(model.trained()), model.loss(batch, LABELS)
    for step in range(60):
        adam.step(model.loss_and_grads(batch, LABELS, dropout_step=step)[1], 1e-2)
    assert model.loss(batch, LABELS) < 0.1 * before
    assert (model.predict(batch).argmax(axis=1) == LABELS).all()


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


@pytest.mark.parametrize("head, n_out", [("classify", 3), ("span", 2)])
def test_a_pooler_of_the_tasks_own_comes_back_from_a_bank(backbone, head, n_out, tmp_path):
    """It starts from the backbone's, and is no longer the same after a step; the backbone's stays."""
    model, batch = make_model(backbone, head=head, n_out=n_out, pooled=True, train_pooler=True), encode(backbone, TEXTS)
    np.testing.assert_array_equal(model.trained()["pooler/W"], backbone.params["pooler"]["W"])
    before = model.forward(batch)
    model.trained()["pooler/W"][...] += 0.1
    assert not np.allclose(model.forward(batch), before)
    write_bank(tmp_path / "bank.h5", {"tea": model.to_record("tea", ["a", "b", "c"] if n_out == 3 else ())})
    again = Model.from_record(backbone, read_bank(tmp_path / "bank.h5")["tea"])
    assert again.options["train_pooler"]
    np.testing.assert_array_equal(again.forward(batch), model.forward(batch))
    assert not np.array_equal(backbone.params["pooler"]["W"], model.trained()["pooler/W"])


def test_a_pooler_of_the_tasks_own_where_the_backbone_has_none(tmp_path):
    backbone = random_backbone(replace(CONFIG, pooler=False), seed=1, std=0.2)
    model, batch = (
        Model(backbone, adapter=AdapterConfig(4), pooled=True, train_pooler=True),
        pack([[1, 2, 3], [4, 5]], [[0, 0, 0], [0, 0]]),
    )
    std = model.trained()["pooler/W"].std()
    assert 0.01 < std < 0.03 and not model.trained()["pooler/b"].any()
    write_bank(tmp_path / "bank.h5", {"tea": model.to_record("tea", ["a", "b"])})
    again = Model.from_record(backbone, read_bank(tmp_path / "bank.h5")["tea"])
    np.testing.assert_array_equal(again.forward(batch), model.forward(batch))


def test_a_record_of_another_backbone_is_refused(backbone):
    record = make_model(backbone).to_record("tea", ["bad", "good"])
    with pytest.raises(InputError, match="was trained on the backbone"):
        Model.from_record(random_backbone(CONFIG, seed=1), record)


def test_a_model_goes_on_with_its_own_dropout(backbone):
    """Else further training of a task from a bank would draw the masks of another seed."""
    model, batch = make_model(backbone, seed=5), encode(backbone, TEXTS)
    record = model.to_record("tea", ["bad", "good"], {"train": {"seed": 5}})
    again = Model.from_record(backbone, record)
    assert again.loss(batch, LABELS, dropout_step=3) == model.loss(batch, LABELS, dropout_step=3)
    for training in ({}, {"train": 5}, {"train": {"seed": None}}):
        assert Model.from_record(backbone, replace(record, training=training)).seed == 0


@pytest.mark.parametrize("options", [{"gate": True}, {"pooled": 3}, {"top_k": "two"}, {"seed": 1}], ids=str)
def test_options_of_a_later_version_are_refused(backbone, options):
    record = replace(make_model(backbone).to_record("tea", ["bad", "good"]), model_options=options)
    with pytest.raises(InputError, match=f"the option {next(iter(options))}=.* which this version does not know"):
        Model.from_record(backbone, record)


def test_other_mistakes_are_not_taken_for_options_of_a_later_version(backbone, monkeypatch):
    def broken(*_):
        raise TypeError("a mistake in the program")

    record = make_model(backbone).to_record("tea", ["bad", "good"])
    monkeypatch.setattr(model_file, "head_init", broken)
    with pytest.raises(TypeError, match="a mistake in the program"):
        Model.from_record(backbone, record)


def test_options_that_an_earlier_version_kept_without_need_are_left_out(backbone):
    """Model(method="full", top_k=7) used to be accepted."""
    record = make_model(backbone, "full").to_record("tea", ["bad", "good"])
    record = replace(record, model_options={"top_k": 7, "train_layernorm": False}, adapter=AdapterConfig(8))
    assert Model.from_record(backbone, record).options == {"top_k": 0, "pooled": False, "train_layernorm": True}


@pytest.mark.parametrize("value", [np.ones(2), np.ones((1, 32, 2)), 1.0], ids=["broadcast", "more axes", "a number"])
def test_parameters_of_another_shape_are_refused(backbone, value):
    model = make_model(backbone)
    before = {name: array.copy() for name, array in model.trained().items()}
    with pytest.raises(InputError, match=r"head/W must have the shape \(32, 2\), got"):
        model.load_trained({name: array + 1 for name, array in before.items()} | {"head/W": value})
    assert all(np.array_equal(array, before[name]) for name, array in model.trained().items())


def test_parameters_that_are_not_the_models_are_refused(backbone):
    trained = dict(make_model(backbone).trained())
    del trained["head/b"]
    with pytest.raises(InputError, match="head/b"):
        make_model(backbone).load_trained(trained)


FRAMES = """
import traceback, kernels
from minibert.gradcheck import tiny_batch, tiny_model

model = tiny_model("adapter", "classify")
right = kernels.matmul_gelu

def watched(*arguments):
    names = [(frame.name, frame.filename.rpartition("minibert/")[2]) for frame in traceback.extract_stack()]
    if ("adapter_forward", "adapter.py") in names:
        print(*(f"{file}:{name}" for name, file in names[[n for n, _ in names].index("loss_and_grads") :]))
        raise SystemExit
    return right(*arguments)

kernels.matmul_gelu = watched
model.loss_and_grads(*tiny_batch(model.config, "classify"))
"""


def test_few_frames_lie_between_the_model_and_the_adapters_first_product():
    """Who steps through the program is soon where the paper is; each file is one of the README's reading order."""
    command = [sys.executable, "-c", FRAMES]
    done = subprocess.run(
        command, env=environment(MINIBERT_KERNELS="numpy"), capture_output=True, text=True, check=True
    )
    *frames, _ = done.stdout.split()
    assert frames[0] == "model.py:loss_and_grads" and frames[-1] == "adapter.py:adapter_forward"
    assert len(frames) + 1 <= 6, frames
    order = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(frame.split(":")[0] in order for frame in frames)
