"""to-hf of a task that was tuned without adapters: transformers' model of it computes the same scores.

Without PyTorch: the folder is read again, as a backbone with a pooler and a head, and our model of that is compared.
tests/parity lets transformers compute.
"""

import json

import numpy as np
import pytest
import safetensors.numpy
from small_models import LABELS, TEXTS, encode, make_model
from tiny import write_tiny_backbone

from minibert import AdapterConfig, Model, load_backbone
from minibert.gradcheck import away_from_identity
from minibert.storage import read_backbone, write_bank

OUTPUTS = {"classify": 3, "multilabel": 3, "regress": 1, "span": 2}


@pytest.fixture(scope="module")
def backbone_path(tmp_path_factory):
    path = write_tiny_backbone(tmp_path_factory.mktemp("b") / "b.h5")
    backbone = load_backbone(path)  # compiled here, as that prints lines
    make_model(backbone).loss_and_grads(encode(backbone, TEXTS), LABELS)
    return path


def make_bank(path, backbone_path, head="classify", **options):
    """A bank with the task "mine"; gives its model, whose numbers are random."""
    backbone = load_backbone(backbone_path)
    model = make_model(backbone, head=head, n_out=OUTPUTS[head], **options)
    away_from_identity(model, std=0.2)
    labels = ("no", "yes", "ä b") if head in ("classify", "multilabel") else ()
    write_bank(path, {"mine": model.to_record("mine", labels)})
    return model


def scores_of_folder(run, folder, head, n_out):
    """What transformers computes: the classifier on tanh of the pooler; for spans on every token."""
    assert run("to-hdf5", folder, "--out", folder / "again.h5").code == 0
    backbone, tensors = load_backbone(folder / "again.h5"), safetensors.numpy.load_file(folder / "model.safetensors")
    model = Model(backbone, head, n_out, "head", pooled=head != "span")
    (weight,) = (name for name in tensors if name in ("classifier.weight", "qa_outputs.weight"))
    bias = tensors[weight.replace("weight", "bias")]
    model.load_trained({"head/W": np.ascontiguousarray(tensors[weight].T), "head/b": bias})
    return model.forward(encode(backbone, TEXTS))


@pytest.mark.parametrize(
    ("head", "pooled"), [(h, p) for h in OUTPUTS for p in (False, True) if not (p and h == "span")]
)
@pytest.mark.parametrize("method", ["full", "top_k", "layernorm", "head"])
def test_the_scores_are_the_same(tmp_path, run, backbone_path, method, head, pooled):
    model = make_bank(tmp_path / "bank.h5", backbone_path, head, method=method, pooled=pooled)
    result = run("to-hf", backbone_path, "--bank", tmp_path / "bank.h5", "--out", tmp_path / "hf")
    assert result.code == 0, result.err
    assert ("note: this head reads [CLS] itself" in result.out) == (not pooled and head != "span")
    ours = model.forward(encode(model.backbone, TEXTS))
    theirs = scores_of_folder(run, tmp_path / "hf", head, OUTPUTS[head])
    assert np.ptp(ours) > 0.1  # there is something to compare
    if pooled or head == "span":
        np.testing.assert_array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-6 * np.abs(ours).max())


def test_the_tensors_are_the_trained_ones_bit_for_bit(tmp_path, run, backbone_path):
    model = make_bank(tmp_path / "bank.h5", backbone_path, method="full", pooled=True)
    assert run("to-hf", backbone_path, "--bank", tmp_path / "bank.h5", "--out", tmp_path / "hf").code == 0
    tensors = safetensors.numpy.load_file(tmp_path / "hf" / "model.safetensors")
    trained = model.trained()
    assert tensors["classifier.weight"].tobytes() == np.ascontiguousarray(trained["head/W"].T).tobytes()
    assert tensors["bert.pooler.dense.bias"].tobytes() == trained["pooler/b"].tobytes()
    assert all(name.startswith(("bert.", "classifier.")) for name in tensors)
    assert run("to-hdf5", tmp_path / "hf", "--out", tmp_path / "again.h5").code == 0
    again = load_backbone(tmp_path / "again.h5").parameters()
    expected = {name: array for name, array in trained.items() if not name.startswith("head/")}
    assert {n: a.tobytes() for n, a in again.items()} == {n: a.tobytes() for n, a in expected.items()}


@pytest.mark.parametrize("method", ["layernorm", "head"])
def test_a_pooler_of_the_tasks_own_is_the_folders(tmp_path, run, backbone_path, method):
    model = make_bank(tmp_path / "bank.h5", backbone_path, method=method, pooled=True, train_pooler=True)
    assert run("to-hf", backbone_path, "--bank", tmp_path / "bank.h5", "--out", tmp_path / "hf").code == 0
    theirs = scores_of_folder(run, tmp_path / "hf", "classify", 3)
    np.testing.assert_array_equal(model.forward(encode(model.backbone, TEXTS)), theirs)
    make_bank(tmp_path / "span.h5", backbone_path, "span", method=method, pooled=True, train_pooler=True)
    result = run("to-hf", backbone_path, "--bank", tmp_path / "span.h5", "--out", tmp_path / "span")
    assert result.code == 2 and "a pooler of its own; BertForQuestionAnswering has none" in result.err


def config_of(tmp_path, run, backbone_path, head, **options):
    make_bank(tmp_path / "bank.h5", backbone_path, head, **options)
    assert run("to-hf", backbone_path, "--bank", tmp_path / "bank.h5", "--out", tmp_path / "hf", "--force").code == 0
    return json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))


def test_config_names_model_labels_and_problem(tmp_path, run, backbone_path):
    config = config_of(tmp_path, run, backbone_path, "classify", method="full", pooled=True)
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "no", "1": "yes", "2": "ä b"}
    assert config["label2id"] == {"no": 0, "yes": 1, "ä b": 2}
    assert config["problem_type"] == "single_label_classification"
    config = config_of(tmp_path, run, backbone_path, "multilabel", method="head")
    assert config["problem_type"] == "multi_label_classification" and len(config["id2label"]) == 3
    config = config_of(tmp_path, run, backbone_path, "regress", method="head")
    assert config["problem_type"] == "regression" and config["id2label"] == {"0": "score"}
    config = config_of(tmp_path, run, backbone_path, "span", method="head")
    assert config["architectures"] == ["BertForQuestionAnswering"] and "problem_type" not in config


def test_what_cannot_be_written_is_refused_and_nothing_is_there(tmp_path, run, backbone_path):
    def error(*more):
        result = run("to-hf", backbone_path, "--out", tmp_path / "hf", *more)
        assert result.code == 2 and not (tmp_path / "hf").exists()
        return result.err

    make_bank(tmp_path / "a.h5", backbone_path, method="adapter", adapter=AdapterConfig(3))
    message = error("--bank", tmp_path / "a.h5")
    assert "task 'mine' was tuned with adapters" in message and "bank export RUN --to adapterhub" in message
    other = write_tiny_backbone(tmp_path / "other.h5", seed=1)
    make_bank(tmp_path / "b.h5", other, method="head")
    assert "was trained on the backbone" in error("--bank", tmp_path / "b.h5")
    assert "give --bank, too" in error("--name", "mine")
    assert "has no task 'yours'; it has mine" in error("--bank", tmp_path / "b.h5", "--name", "yours")
    assert "no such file" in error("--bank", tmp_path / "none.h5")


def test_numbers_that_no_such_pooler_can_hold(tmp_path, run, backbone_path):
    model = make_model(load_backbone(backbone_path), method="layernorm", n_out=3)
    model.trained()["encoder/layers/1/feed_forward/norm/gamma"][3] = 1e33
    write_bank(tmp_path / "bank.h5", {"mine": model.to_record("mine", ("a", "b", "c"))})
    result = run("to-hf", backbone_path, "--bank", tmp_path / "bank.h5", "--out", tmp_path / "hf")
    assert result.code == 2 and "too large for a pooler that changes nothing; train --pooled-head" in result.err


def test_without_a_pooler_only_a_pooled_head_is_an_error(tmp_path, run, backbone_path):
    whole = read_backbone(backbone_path)
    run("to-hf", backbone_path, "--out", tmp_path / "hf")
    tensors = safetensors.numpy.load_file(tmp_path / "hf" / "model.safetensors")
    kept = {name: array for name, array in tensors.items() if "pooler" not in name}
    safetensors.numpy.save_file(kept, tmp_path / "hf" / "model.safetensors")
    assert run("to-hdf5", tmp_path / "hf", "--out", tmp_path / "b.h5").code == 0
    backbone = load_backbone(tmp_path / "b.h5")
    assert not backbone.config.pooler
    assert read_backbone(tmp_path / "b.h5").encoder_fingerprint == whole.encoder_fingerprint
    with pytest.raises(ValueError, match="this backbone has no pooler, which a pooled head reads"):
        Model(backbone, pooled=True)
    batch = encode(backbone, TEXTS)
    for method in ("adapter", "full", "top_k", "layernorm", "head"):
        model, same = make_model(backbone, method), make_model(load_backbone(backbone_path), method)
        loss, grads = model.loss_and_grads(batch, LABELS)
        assert loss == same.loss_and_grads(batch, LABELS)[0]
        assert set(grads) == set(model.trained()) == set(same.trained())
    write_bank(tmp_path / "bank.h5", {"mine": make_model(backbone, "full").to_record("mine", ("a", "b"))})
    assert run("to-hf", tmp_path / "b.h5", "--bank", tmp_path / "bank.h5", "--out", tmp_path / "c").code == 0
