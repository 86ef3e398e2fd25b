"""A task as an ONNX file: ONNX Runtime's scores are ours, for every form of adapter, head and method."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
from adapter_forms import CONFIGS
from small_models import TEXTS, options_of
from tiny import CONFIG, VOCAB, environment

from minibert import AdapterConfig, InputError, Model, export_onnx
from minibert.backbone import Backbone, random_backbone
from minibert.config import HEADS
from minibert.storage import bert_tokenizer
from minibert.text import Tokenizer

onnx = pytest.importorskip("onnx")  # both are in the extra `test`
onnxruntime = pytest.importorskip("onnxruntime")

WITHIN = 1e-4  # the bar; what is seen is below 1e-5
PAIRS = ["poor book", "a tea ! a film ! a book", "was it not", "the"]


def trained(backbone, **options):
    """A model whose trained weights are far from their initialization: an adapter that is left out is seen."""
    model, rng = Model(backbone, **options), np.random.default_rng(0)
    for a in model.trained().values():
        a += rng.normal(0, 0.3, a.shape).astype(np.float32)
    return model


def export(model, path, **more):
    labels = tuple(f"label {i}" for i in range(model.n_out)) if HEADS[model.head] is None else ()
    export_onnx.export_onnx(model, model.to_record("mine", labels, **more), path)
    return path


def padded(batch):
    """A packed batch as everyone else feeds it."""
    lengths = np.diff(batch.offsets)
    shape = (len(lengths), lengths.max())
    inside = np.arange(shape[1]) < lengths[:, None]
    feed = {name: np.zeros(shape, np.int64) for name in export_onnx.INPUTS}
    for name, rows in (("input_ids", batch.ids), ("attention_mask", 1), ("token_type_ids", batch.segments)):
        feed[name][inside] = rows
    feed["input_ids"][~inside] = 7  # what stands there is masked, whatever it is
    return feed, inside


def scores(path, batch):
    """ONNX Runtime's, packed again."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed, inside = padded(batch)
    found = session.run(None, feed)
    return found[0] if len(found) == 1 else np.stack([column[inside] for column in found], axis=1)


@pytest.mark.parametrize("form", CONFIGS)
def test_every_form_of_adapter(backbone, tmp_path, form):
    model = trained(backbone, adapter=CONFIGS[form], n_out=3)
    batch = backbone.encode(TEXTS, max_length=24)
    ours = model.forward(batch)
    assert np.abs(ours - model.without_adapters(range(CONFIG.n_layers)).forward(batch)).max() > 100 * WITHIN
    assert np.abs(scores(export(model, tmp_path / "task.onnx"), batch) - ours).max() < WITHIN


@pytest.mark.parametrize(
    "options",
    [
        {"head": "regress", "n_out": 1},
        {"head": "span", "n_out": 2},
        {"head": "multilabel", "n_out": 3},
        {"pooled": True, "n_out": 3},
        {"pooled": True, "train_pooler": True, "n_out": 3},
        {"head": "span", "pooled": True, "train_pooler": True},
        {"train_layernorm": False},
        {"method": "full"},
        {"method": "full", "pooled": True},
        options_of("top_k") | {"method": "top_k"},
        {"method": "layernorm"},
        {"method": "head", "n_out": 5},
    ],
    ids=str,
)
def test_every_head_and_method_with_pairs(backbone, tmp_path, options):
    model, batch = trained(backbone, **options), backbone.encode(TEXTS, PAIRS, max_length=24)
    assert batch.segments.any()
    found, ours = scores(export(model, tmp_path / "task.onnx"), batch), model.forward(batch)
    assert found.shape == ours.shape and ours.std() > 100 * WITHIN
    assert np.abs(found - ours).max() < WITHIN


def test_gelu_by_tanh_and_another_eps(tmp_path):
    config = replace(CONFIG, activation="gelu_tanh", layernorm_eps=0.05, n_layers=3, n_heads=4)
    flat = random_backbone(config, std=0.3).parameters()
    backbone = Backbone(config, flat, Tokenizer(bert_tokenizer(VOCAB)), "0" * 64)
    model, batch = trained(backbone, adapter=AdapterConfig(4)), backbone.encode(TEXTS, max_length=24)
    usual = trained(Backbone(replace(config, activation="gelu"), flat, backbone.tokenizer, "0" * 64))
    assert np.abs(usual.forward(batch) - model.forward(batch)).max() > 10 * WITHIN
    assert np.abs(scores(export(model, tmp_path / "task.onnx"), batch) - model.forward(batch)).max() < WITHIN


def test_a_backbone_without_a_pooler(tmp_path):
    config = replace(CONFIG, pooler=False)
    flat = random_backbone(config, std=0.3).parameters()
    backbone = Backbone(config, flat, Tokenizer(bert_tokenizer(VOCAB)), "0" * 64)
    model, batch = trained(backbone), backbone.encode(TEXTS, max_length=24)
    assert np.abs(scores(export(model, tmp_path / "task.onnx"), batch) - model.forward(batch)).max() < WITHIN


def test_batch_and_length_are_free(backbone, tmp_path):
    model = trained(backbone)
    path = export(model, tmp_path / "task.onnx")
    for texts in (TEXTS[:1], TEXTS[1:2], TEXTS * 5):
        batch = backbone.encode(texts, max_length=24)
        assert np.abs(scores(path, batch) - model.forward(batch)).max() < WITHIN
    session = onnxruntime.InferenceSession(str(path))
    assert [i.shape for i in session.get_inputs()] == [["batch", "sequence"]] * 3
    assert [i.name for i in session.get_inputs()] == list(export_onnx.INPUTS)
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("logits", ["batch", 2])]


def test_the_file_tells_all_that_is_needed_to_use_it(backbone, tmp_path):
    settings = {"train": {"max_length": 20}, "pairs": True}
    path = export(trained(backbone, n_out=3), tmp_path / "task.onnx", training=settings, dev={"accuracy": 0.5})
    told = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(told["labels"]) == ["label 0", "label 1", "label 2"] and told["max_length"] == "20"
    assert (told["task"], told["head"], json.loads(told["pairs"])) == ("mine", "classify", True)
    assert told["backbone_fingerprint"] == backbone.fingerprint and json.loads(told["dev"]) == {"accuracy": 0.5}
    tokens = tokenizers.Tokenizer.from_str(told["tokenizer.json"]).encode_batch(TEXTS)
    assert [i for t in tokens for i in t.ids] == backbone.encode(TEXTS, max_length=24).ids.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["task.onnx"]


def test_the_same_task_gives_the_same_bytes(backbone, tmp_path):
    one, other = (export(trained(backbone), tmp_path / name).read_bytes() for name in ("one.onnx", "other.onnx"))
    assert one == other


# -------------------------------------------------------------------------------------------------------- refusals


def refused(model, path, message):
    before = sorted(path.parent.iterdir())
    with pytest.raises(InputError, match=message):
        export(model, path)
    assert sorted(path.parent.iterdir()) == before


def test_what_the_graph_does_not_know_is_refused_by_name(backbone, tmp_path, monkeypatch):
    model, path = trained(backbone, adapter=CONFIGS["parallel"]), tmp_path / "task.onnx"
    known = tuple(name for name in export_onnx.KNOWN[AdapterConfig] if name != "parallel")
    with monkeypatch.context() as patch:  # as if the setting had been added after the graph was written
        patch.setitem(export_onnx.KNOWN, AdapterConfig, known)
        refused(model, path, "parallel=True")
        export(trained(backbone), tmp_path / "other.onnx")  # at its default it changes nothing
    model.options["leave_out"] = True
    refused(model, path, "leave_out")
    model = trained(backbone)
    model._flat["head/hidden/W"] = model._flat["head/W"]
    refused(model, path, "head/hidden/W.*no place")


def test_a_model_that_is_too_large_is_refused(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(export_onnx, "MOST_BYTES", 10_000)
    refused(trained(backbone), tmp_path / "task.onnx", "at most 10,000: use a smaller backbone")


def test_another_precision_is_refused(backbone, tmp_path):
    refused(Model(backbone.astype(np.float64)), tmp_path / "task.onnx", "float32, the model float64")


def test_no_file_is_replaced_without_force(backbone, tmp_path):
    path = tmp_path / "task.onnx"
    path.write_text("mine")
    refused(trained(backbone), path, "is there already")
    assert path.read_text() == "mine"
    model = trained(backbone)
    export_onnx.export_onnx(model, model.to_record("mine", ("a", "b")), path, force=True)
    assert onnx.load(path).graph.name == "minibert"


def test_a_folder_is_told(backbone, tmp_path):
    refused(trained(backbone), tmp_path, "is a folder; give the name of a file, such as ")


def test_a_place_that_is_not_there_is_told(backbone, tmp_path):
    model = trained(backbone)
    with pytest.raises(InputError, match="cannot be written"):
        export(model, tmp_path / "nowhere" / "task.onnx")


def test_without_onnx_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['onnx'] = None; from minibert.export_onnx import export_onnx;"
        f"export_onnx(None, None, {str(tmp_path / 'task.onnx')!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert run.returncode and "pip install onnx (it belongs to the extra onnx)" in run.stderr
