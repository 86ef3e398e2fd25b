"""Checkpoints of others to our files and back: tiny random ones in temporary folders."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from checkpoint import CONFIG, THEIR_CONFIG, VOCAB, random_tensors

from minibert.params import flatten
from minibert.storage import bert_tokenizer, read_backbone, sha256_of
from weights_convert import huggingface
from weights_convert.names import name_map
from weights_convert.tensors import LAYOUTS


def save(folder, tensors):
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


# ------------------------------------------------------------------------------------------------------- conversion


def test_every_tensor_is_mapped_once_and_every_parameter_is_there():
    ours = [name for name, _ in name_map(CONFIG.n_layers).values()]
    assert sorted(ours) == sorted(CONFIG.shapes())


def test_the_two_names_of_a_tensor_mean_the_same():
    words = [
        ("encoder.layer.", "encoder.layers."),
        ("attention.self.", "attention."),
        ("attention.output.dense", "attention.output"),
        ("attention.output.LayerNorm", "attention.norm"),
        ("intermediate.dense", "feed_forward.intermediate"),
        ("word_embeddings", "word"),
        ("position_embeddings", "position"),
        ("token_type_embeddings", "segment"),
        ("pooler.dense", "pooler"),
        ("LayerNorm", "norm"),
        ("norm.weight", "norm.gamma"),
        ("norm.bias", "norm.beta"),
        (".weight", ".W"),
        (".bias", ".b"),
    ]
    for theirs, (ours, transposed) in name_map(CONFIG.n_layers).items():
        name = theirs
        for i in range(CONFIG.n_layers):  # what stands directly below a layer belongs to its feed-forward half
            name = name.replace(f"layer.{i}.output.dense", f"layer.{i}.feed_forward.output")
            name = name.replace(f"layer.{i}.output.LayerNorm", f"layer.{i}.feed_forward.LayerNorm")
        for old, new in words:
            name = name.replace(old, new)
        assert name.replace(".", "/") == ours
        # Most weights are square, so shapes cannot tell; every linear layer has (out, in) there and (in, out) here.
        assert transposed == (ours.endswith("/W") and not ours.startswith("embeddings/"))


def test_linear_weights_are_transposed_and_embeddings_are_not(folder, tmp_path, run):
    assert run("to-hdf5", folder, "--out", tmp_path / "b.h5").code == 0
    found, theirs = read_backbone(tmp_path / "b.h5"), random_tensors()
    assert found.config == CONFIG
    layer = found.params["encoder"]["layers"]["1"]
    np.testing.assert_array_equal(
        layer["feed_forward"]["intermediate"]["W"], theirs["encoder.layer.1.intermediate.dense.weight"].T
    )
    np.testing.assert_array_equal(layer["attention"]["key"]["W"], theirs["encoder.layer.1.attention.self.key.weight"].T)
    np.testing.assert_array_equal(
        layer["attention"]["norm"]["beta"], theirs["encoder.layer.1.attention.output.LayerNorm.bias"]
    )
    np.testing.assert_array_equal(found.params["embeddings"]["word"]["W"], theirs["embeddings.word_embeddings.weight"])
    assert found.tokenizer == bert_tokenizer(VOCAB, lowercase=False, strip_accents=False)
    assert found.source == "model" and found.source_sha256 == sha256_of(folder / "model.safetensors")


def test_round_trip_is_bit_for_bit(folder, tmp_path, run):
    first, back, second = tmp_path / "a.h5", tmp_path / "back", tmp_path / "b.h5"
    assert run("to-hdf5", folder, "--out", first).code == 0
    assert run("to-hf", first, "--out", back).code == 0
    again = safetensors.numpy.load_file(back / "model.safetensors")
    given = {name: array for name, array in random_tensors().items() if "position_ids" not in name}
    assert {name: array.tobytes() for name, array in again.items()} == {n: a.tobytes() for n, a in given.items()}
    assert (back / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()
    assert json.loads((back / "config.json").read_text()).items() >= THEIR_CONFIG.items()
    assert run("to-hdf5", back, "--out", second).code == 0
    one, two = read_backbone(first), read_backbone(second)
    assert one.fingerprint == two.fingerprint and one.config == two.config and one.tokenizer == two.tokenizer
    refused = run("to-hf", first, "--out", back)
    assert refused.code == 2 and "--force" in refused.err
    assert run("to-hf", first, "--out", back, "--force").code == 0


def test_the_table_accounts_for_every_tensor(folder, tmp_path, run):
    n = sum(int(np.prod(shape)) for shape in CONFIG.shapes().values())
    out = run("to-hdf5", folder, "--out", tmp_path / "b.h5").out
    rows = {line[:12].strip(): line[12:].split() for line in out.splitlines()}
    assert rows["mapped"] == ["39", "13", f"{n:,}"]
    assert (
        rows["embeddings"][:2] == ["5", "0"]
        and rows["encoder"][:2] == ["32", "12"]
        and rows["pooler"][:2] == ["2", "1"]
    )
    assert rows["left out"] == ["1", "0", "6", "embeddings.position_ids"]
    verbose = run("to-hdf5", folder, "--out", tmp_path / "c.h5", "--verbose").out
    assert all(name in verbose for name in random_tensors()) and verbose.count(" -> ") == 40


def test_prefix_old_spelling_and_heads_of_pre_training(folder, tmp_path, run):
    run("to-hdf5", folder, "--out", tmp_path / "a.h5")
    tensors = {}
    for name, array in random_tensors().items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[f"bert.{old}"] = array
    tensors["cls.predictions.bias"] = np.zeros(9, np.float32)
    tensors["cls.predictions.transform.LayerNorm.gamma"] = np.zeros(8, np.float32)
    save(folder, tensors)
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 0 and "cls.predictions.bias" in result.out
    assert read_backbone(tmp_path / "a.h5").fingerprint == read_backbone(tmp_path / "b.h5").fingerprint


def test_float16_becomes_float32_and_is_told(folder, tmp_path, run):
    save(folder, random_tensors(np.float16) | {"embeddings.position_ids": np.arange(6)[None]})
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 0 and "39 tensors were float16" in result.out
    flat = flatten(read_backbone(tmp_path / "b.h5").params)
    np.testing.assert_array_equal(flat["pooler/W"], random_tensors(np.float16)["pooler.dense.weight"].T)


def without(*names):
    return {name: array for name, array in random_tensors().items() if name not in names}


BAD_TENSORS = {
    "unknown": (
        random_tensors() | {"lm_head.weight": np.ones((2, 8), np.float32)},
        "'lm_head.weight' is unknown",
    ),
    "too deep": (
        random_tensors() | {"encoder.layer.2.output.dense.bias": np.ones(8, np.float32)},
        "'encoder.layer.2.output.dense.bias' is unknown; expected a BERT encoder of 2 layers",
    ),
    "missing": (
        without("encoder.layer.1.output.dense.bias"),
        "'encoder.layer.1.output.dense.bias' is missing; expected one for encoder/layers/1/feed_forward/output/b",
    ),
    "half a pooler": (without("pooler.dense.weight"), "'pooler.dense.weight' is missing; expected one for pooler/W"),
    "twice": (
        random_tensors() | {"bert.pooler.dense.bias": np.ones(8, np.float32)},
        "'bert.pooler.dense.bias' and 'pooler.dense.bias' both mean pooler/b",
    ),
    "shape": (
        random_tensors() | {"encoder.layer.0.intermediate.dense.weight": np.ones((8, 12), np.float32)},
        "'encoder.layer.0.intermediate.dense.weight' has shape (8, 12), expected (12, 8)",
    ),
    "dtype": (random_tensors() | {"pooler.dense.bias": np.ones(8)}, "dtype F64, expected F32 or F16 or BF16"),
    "not finite": (
        random_tensors() | {"pooler.dense.bias": np.full(8, np.inf, np.float32)},
        "model.safetensors: tensor 'pooler.dense.bias' holds inf at index (0,)",
    ),
    "a name that is no line": (
        random_tensors() | {"two\nlines\x1b[2J" + "x" * 3000: np.ones(8, np.float32)},
        r"model.safetensors: tensor 'two\nlines\x1b[2Jxxx",
    ),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_do_not_fit_stop_the_conversion(folder, tmp_path, run, case):
    tensors, words = BAD_TENSORS[case]
    save(folder, tensors)
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 2 and words in result.err and len(result.err) < 700
    assert not (tmp_path / "b.h5").exists()


def test_checkpoints_that_cannot_be_read(folder, tmp_path, run):
    weights, out = folder / "model.safetensors", tmp_path / "b.h5"
    for damage in (b"", b"no tensors here", struct.pack("<Q", 1 << 60), b"\x80\x02}q\x00."):
        weights.write_bytes(damage)
        assert "is not a safetensors file, or damaged" in run("to-hdf5", folder, "--out", out).err
    weights.unlink()
    assert (
        f"{folder}: has no weights; expected one of {', '.join(LAYOUTS)}, *.ckpt.index\n"
        in run("to-hdf5", folder, "--out", out).err
    )
    (folder / "tf_model.h5").write_bytes(b"x")
    assert "; tf_model.h5 cannot be read: save it from a BertModel" in run("to-hdf5", folder, "--out", out).err
    assert f"{weights}: no such file" in run("to-hdf5", weights, "--out", out).err
    assert "no such folder" in run("to-hdf5", tmp_path / "nowhere", "--out", out).err
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', expected bert"),
        ({"model_type": None}, "model_type is None, expected bert"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', expected gelu or gelu_new or gelu_pytorch_tanh"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is a decoder"),
        ({"num_attention_heads": 3}, "hidden_size (8) must be a multiple of n_heads (3)"),
        ({"hidden_size": "8"}, "hidden_size must be a whole number"),
        ({"intermediate_size": 13}, "has shape (12,), expected (13,) from config.json"),
        ({"vocab_size": 10}, "has shape (9, 8), expected (10, 8) from config.json"),
        ({"vocab_size": 4}, "the tokenizer has 8 tokens, the embedding rows for 4: there is none for '[MASK]', id 4"),
    ],
)
def test_configs_that_do_not_fit(folder, tmp_path, run, change, words):
    (folder / "config.json").write_text(json.dumps(THEIR_CONFIG | change))
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 2 and words in result.err


@pytest.mark.parametrize(("theirs", "ours"), [("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh")])
def test_the_two_formulas_of_gelu(folder, tmp_path, run, theirs, ours):
    (folder / "config.json").write_text(json.dumps(THEIR_CONFIG | {"hidden_act": theirs}))
    run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert read_backbone(tmp_path / "b.h5").config.activation == ours
    run("to-hf", tmp_path / "b.h5", "--out", tmp_path / "back")
    assert huggingface.read_config(tmp_path / "back" / "config.json").activation == ours


def test_files_that_are_wrong_are_named(folder, tmp_path, run):
    def error():
        return run("to-hdf5", folder, "--out", tmp_path / "b.h5").err

    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in [*VOCAB, "x", "y"]), encoding="utf-8")
    assert "has 10 tokens, the embedding rows for 9" in error()
    (folder / "vocab.txt").write_bytes(b"[UNK]\n\xff\n")
    assert "vocab.txt: cannot be read as UTF-8 text" in error()
    (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n")
    assert "[SEP] is missing" in error()
    (folder / "tokenizer_config.json").write_text("[]")
    assert "tokenizer_config.json is [], expected an object" in error()
    (folder / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json: no such file" in error()
    (folder / "vocab.txt").unlink()
    assert "vocab.txt: no such file, and no tokenizer.json" in error()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "config.json: vocab_size is missing" in error()
    (folder / "config.json").write_text("{")
    assert "config.json, line 1: not valid JSON" in error()
    (folder / "config.json").unlink()
    assert "config.json: no such file" in error()


def test_verify(folder, tmp_path, run):
    path = tmp_path / "b.h5"
    run("to-hdf5", folder, "--out", path)
    result = run("verify", path)
    found = read_backbone(path)
    n = sum(array.size for array in flatten(found.params).values())
    assert result.code == 0 and "OK" in result.out
    assert (
        found.fingerprint in result.out
        and f"{n:,}" in result.out
        and "WordPiece, 8 tokens, cased, accents kept" in result.out
    )
    assert found.tokenizer_fingerprint in result.out
    damaged = bytearray(path.read_bytes())
    damaged[path.read_bytes().index(flatten(found.params)["pooler/W"].tobytes())] ^= 1
    path.write_bytes(damaged)
    assert "the weights changed" in run("verify", path).err
    assert "no such file" in run("verify", tmp_path / "none.h5").err


def test_an_existing_file_is_not_overwritten(folder, tmp_path, run):
    path = tmp_path / "b.h5"
    path.write_text("mine")
    result = run("to-hdf5", folder, "--out", path)
    assert result.code == 2 and "--force" in result.err and path.read_text() == "mine"
    assert run("to-hdf5", folder, "--out", path, "--force").code == 0


def test_without_safetensors_the_extra_is_named(folder, tmp_path, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    assert "pip install safetensors" in run("to-hdf5", folder, "--out", tmp_path / "b.h5").err


def test_as_a_program(tmp_path):
    command = [sys.executable, "-m", "weights_convert", "verify", str(tmp_path / "none.h5")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
