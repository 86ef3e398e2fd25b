"""The same numbers in every layout of a checkpoint give the same encoder, and shards lie where their index says."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from bundles import of_checkpoint, save_bundle
from checkpoint import THEIR_CONFIG, VOCAB, random_tensors
from torch_files import Parameter, save_legacy, save_zip, state_dict, tensor

from minibert.config import BertConfig
from minibert.storage import read_backbone, sha256_of
from weights_convert.names import name_map
from weights_convert.tensors import LAYOUTS

SINGLE, SHARDS, TORCH, TORCH_SHARDS = LAYOUTS
CASED = BertConfig(vocab_size=11, hidden_size=12, n_layers=12, n_heads=3, feed_forward_size=20, max_positions=10)
ODD = BertConfig(vocab_size=9, hidden_size=96, n_layers=2, n_heads=3, feed_forward_size=37, max_positions=6)


def tensors_of(config, seed=0):
    """A checkpoint in Hugging Face's names, of numbers that float16 and bfloat16 hold exactly."""
    rng, shapes = np.random.default_rng(seed), config.shapes()
    return {
        theirs: (rng.integers(-127, 128, shapes[ours][::-1] if transposed else shapes[ours]) / 64).astype(np.float32)
        for theirs, (ours, transposed) in name_map(config.n_layers).items()
    }


def write_folder(folder, config):
    """Everything but the weights."""
    folder.mkdir()
    theirs = THEIR_CONFIG | {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.feed_forward_size,
        "max_position_embeddings": config.max_positions,
    }
    (folder / "config.json").write_text(json.dumps(theirs))
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCAB), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return folder


# ------------------------------------------------------------------------------------------------------------- layouts


def as_bfloat16(tensors):
    """The file of safetensors, which NumPy's own writer cannot make."""
    header, parts, at = {}, [], 0
    for name, array in tensors.items():
        parts.append((array.view(np.uint32) >> 16).astype(np.uint16).tobytes())
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def save_shards(folder, tensors, suffix="safetensors", index=None):
    """Three shards and their index; `index` changes the index's map."""
    names, listed = sorted(tensors), {}
    for i in range(3):
        part, file = names[i::3], f"model-0000{i + 1}-of-00003.{suffix}"
        if suffix == "bin":
            save_zip(folder / file, state_dict({name: tensors[name] for name in part}))
        else:
            safetensors.numpy.save_file({name: tensors[name] for name in part}, folder / file)
        listed |= dict.fromkeys(part, file)
    name = TORCH_SHARDS if suffix == "bin" else SHARDS
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed | (index or {})}))


def with_heads(tensors, prefix="bert.", old=False):
    """As a model for pre-training saves them, in old files with TensorFlow's names of LayerNorm."""
    D = tensors["embeddings.LayerNorm.weight"].size
    found = {prefix + name: array for name, array in tensors.items()}
    found |= {"cls.predictions.bias": np.zeros(9, np.float32), "cls.predictions.transform.LayerNorm.weight": np.ones(D)}
    found["cls.seq_relationship.weight"] = np.ones((2, D), np.float32)
    if old:
        found = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): a for n, a in found.items()}
    return found


def without_pooler(tensors):
    return {name: array for name, array in tensors.items() if not name.startswith("pooler.")}


def bits(tensors):
    return {n: tensor((a.view(np.uint32) >> 16).astype(np.uint16), "BFloat16") for n, a in tensors.items()}


def parameters(tensors):
    return {name: tensor(array, of=Parameter) for name, array in tensors.items()}


def half(tensors):
    return {name: array.astype(np.float16) for name, array in tensors.items()}


def save_one(folder, tensors):
    safetensors.numpy.save_file(tensors, folder / SINGLE)


def save_release(folder, tensors):
    """As BERT was released: with the heads of pre-training, and a config of another name."""
    heads = {"cls/predictions/output_bias": np.zeros(9, np.float32), "global_step": np.array(3)}
    save_bundle(folder, of_checkpoint(tensors) | heads)
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "bert_config.json").write_text(json.dumps(config))
    (folder / "config.json").unlink()


WRITERS = {
    "safetensors": save_one,
    "float16": lambda folder, tensors: save_one(folder, half(tensors)),
    "bfloat16": lambda folder, tensors: (folder / SINGLE).write_bytes(as_bfloat16(tensors)),
    "sharded": save_shards,
    "sharded bin": lambda folder, tensors: save_shards(folder, tensors, "bin"),
    "bin zip": lambda folder, tensors: save_zip(folder / TORCH, state_dict(tensors)),
    "bin legacy": lambda folder, tensors: save_legacy(folder / TORCH, state_dict(tensors)),
    "bin of parameters": lambda folder, tensors: save_zip(folder / TORCH, parameters(tensors)),
    "bin float16": lambda folder, tensors: save_legacy(folder / TORCH, state_dict(half(tensors))),
    "bin bfloat16": lambda folder, tensors: save_zip(folder / TORCH, state_dict(bits(tensors))),
    "pre-training": lambda folder, tensors: save_one(folder, with_heads(tensors)),
    "pre-training, old names": lambda folder, tensors: save_zip(
        folder / TORCH, state_dict(with_heads(tensors, old=True))
    ),
    "masked words": lambda folder, tensors: save_one(folder, with_heads(without_pooler(tensors))),
    "a classifier": lambda folder, tensors: save_one(
        folder, {f"bert.{n}": a for n, a in tensors.items()} | {"classifier.weight": np.ones((2, 3), np.float32)}
    ),
    "TensorFlow": lambda folder, tensors: save_release(folder, tensors),
    "without pooler": lambda folder, tensors: save_one(folder, without_pooler(tensors)),
}
NO_POOLER = ("masked words", "without pooler")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """{config: the fingerprints (whole, encoder) of the plain layout}."""
    from weights_convert.cli import to_hdf5

    found = {}
    for config in (CASED, ODD):
        folder = write_folder(tmp_path_factory.mktemp("plain") / "m", config)
        save_one(folder, tensors_of(config))
        to_hdf5(folder, folder / "b.h5")
        backbone = read_backbone(folder / "b.h5")
        found[config] = backbone.fingerprint, backbone.encoder_fingerprint
    assert len({fingerprint for pair in found.values() for fingerprint in pair}) == 4
    return found


@pytest.mark.parametrize("config", [CASED, ODD], ids=["12 layers, cased", "D = 96, H = 3, F = 37"])
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_of_the_same_numbers_gives_the_same_encoder(tmp_path, run, expected, layout, config):
    folder = write_folder(tmp_path / "m", config)
    WRITERS[layout](folder, tensors_of(config))
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 0, result.err
    found, (whole, encoder) = read_backbone(tmp_path / "b.h5"), expected[config]
    assert found.encoder_fingerprint == encoder and encoder[:12] in result.out
    assert (found.fingerprint == whole) == (layout not in NO_POOLER)
    assert found.config.pooler == (layout not in NO_POOLER)
    assert ("note: there is no pooler in this checkpoint; --pooled-head needs one" in result.out) == (
        layout in NO_POOLER
    )
    verified = run("verify", tmp_path / "b.h5").out
    assert encoder in verified and ("pooler          none" in verified) == (layout in NO_POOLER)


def test_other_numbers_give_another_fingerprint(tmp_path, run, expected):
    folder = write_folder(tmp_path / "m", ODD)
    save_one(folder, tensors_of(ODD, seed=1))
    run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert read_backbone(tmp_path / "b.h5").encoder_fingerprint not in expected[ODD]


def test_what_is_left_out_is_listed(tmp_path, run):
    folder = write_folder(tmp_path / "m", ODD)
    heads = {"classifier.bias": np.ones(2, np.float32), "qa_outputs.weight": np.ones((2, 96), np.float32)}
    save_one(folder, with_heads(tensors_of(ODD)) | heads)
    (line,) = [
        s for s in run("to-hdf5", folder, "--out", tmp_path / "b.h5").out.splitlines() if s.startswith("left out")
    ]
    assert line.split()[2] == "5" and {*line.replace(",", "").split()} >= {
        "classifier.bias", "cls.predictions.bias", "cls.predictions.transform.LayerNorm.weight",
        "cls.seq_relationship.weight", "qa_outputs.weight",
    }  # fmt: skip


@pytest.mark.parametrize(("layout", "word"), [("float16", "float16"), ("bin bfloat16", "bfloat16")])
def test_what_was_converted_is_told(tmp_path, run, layout, word):
    folder = write_folder(tmp_path / "m", ODD)
    WRITERS[layout](folder, tensors_of(ODD))
    out = run("to-hdf5", folder, "--out", tmp_path / "b.h5").out
    assert f"39 tensors were {word} and are now float32 (exactly: every {word} is a float32)" in out


def test_of_several_layouts_one_is_read_and_the_others_are_told(tmp_path, run):
    folder = write_folder(tmp_path / "m", ODD)
    save_zip(folder / TORCH, state_dict(tensors_of(ODD, seed=1)))
    save_one(folder, tensors_of(ODD))
    out = run("to-hdf5", folder, "--out", tmp_path / "a.h5").out
    assert "note: model.safetensors was read, and pytorch_model.bin was not" in out
    out = run("to-hdf5", folder / TORCH, "--out", tmp_path / "b.h5").out
    assert "note: pytorch_model.bin was read, and model.safetensors was not" in out
    one, two = read_backbone(tmp_path / "a.h5"), read_backbone(tmp_path / "b.h5")
    assert one.fingerprint != two.fingerprint and one.source == two.source == "m"
    assert two.source_sha256 == sha256_of(folder / TORCH)


# -------------------------------------------------------------------------------------------------------------- shards

FIRST = "model-00001-of-00003.safetensors"
NAME = "embeddings.LayerNorm.bias"  # the first of all names: in the first shard
INDICES = {
    "a path": ({NAME: "../secret.safetensors"}, "in '../secret.safetensors', expected the name of a .safetensors file"),
    "an absolute path": ({NAME: "/etc/passwd.safetensors"}, "expected the name of a .safetensors file beside it"),
    "a path of Windows": ({NAME: "..\\x.safetensors"}, "expected the name of a .safetensors file beside it"),
    "a drive": ({NAME: "C:x.safetensors"}, "expected the name of a .safetensors file beside it"),
    "another kind of file": ({NAME: "x.bin"}, "expected the name of a .safetensors file beside it"),
    "no text": ({NAME: 3}, "lies in 3, expected"),
    "a control character": ({NAME: "a\0.safetensors"}, "expected the name"),
    "a shard that is not there": ({NAME: "x.safetensors"}, "x.safetensors: no such file, but model.safetensors."),
    "another shard": (
        {NAME: "model-00002-of-00003.safetensors"},
        f"tensor {NAME} is in it, but model.safetensors.index.json does not say so",
    ),
    "a tensor that is not there": ({"pooler.more": FIRST}, "tensor pooler.more is not in it, but"),
}  # fmt: skip


@pytest.mark.parametrize("case", INDICES)
def test_indices_that_do_not_fit(tmp_path, run, case):
    change, words = INDICES[case]
    folder = write_folder(tmp_path / "m", ODD)
    safetensors.numpy.save_file({NAME: np.ones(96, np.float32)}, tmp_path / "secret.safetensors")
    save_shards(folder, tensors_of(ODD), index=change)
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 2 and words in result.err and not (tmp_path / "b.h5").exists()


def test_indices_that_are_none(tmp_path, run):
    folder = write_folder(tmp_path / "m", ODD)
    for text, words in (
        ("{}", "weight_map is None"),
        ('{"weight_map": []}', "weight_map is []"),
        ("[]", "expected an"),
    ):
        (folder / SHARDS).write_text(text)
        assert words in run("to-hdf5", folder, "--out", tmp_path / "b.h5").err
    (folder / SHARDS).write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    assert "'a' is there twice" in run("to-hdf5", folder, "--out", tmp_path / "b.h5").err


def test_damaged_shards_are_named(tmp_path, run):
    folder = write_folder(tmp_path / "m", ODD)
    save_shards(folder, tensors_of(ODD))
    (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:-1])
    assert f"{folder / FIRST}: is not a safetensors file, or damaged" in run(
        "to-hdf5", folder, "--out", tmp_path / "b.h5"
    ).err  # fmt: skip


def test_the_checksum_of_shards_is_that_of_all_end_to_end(tmp_path, run):
    folder = write_folder(tmp_path / "m", ODD)
    save_shards(folder, tensors_of(ODD))
    run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    whole = tmp_path / "whole"
    whole.write_bytes(b"".join((folder / f"model-0000{i}-of-00003.safetensors").read_bytes() for i in (1, 2, 3)))
    assert read_backbone(tmp_path / "b.h5").source_sha256 == sha256_of(whole)


# ------------------------------------------------------------------------------------------------------ without pooler


def test_a_backbone_without_a_pooler_goes_back_bit_for_bit(tmp_path, run):
    folder = write_folder(tmp_path / "m", ODD)
    save_one(folder, without_pooler(tensors_of(ODD)))
    run("to-hdf5", folder, "--out", tmp_path / "a.h5")
    result = run("to-hf", tmp_path / "a.h5", "--out", tmp_path / "back")
    assert "add_pooling_layer=False" in result.out and "wrote" in result.out
    again = safetensors.numpy.load_file(tmp_path / "back" / SINGLE)
    given = without_pooler(tensors_of(ODD))
    assert {n: a.tobytes() for n, a in again.items()} == {n: a.tobytes() for n, a in given.items()}
    run("to-hdf5", tmp_path / "back", "--out", tmp_path / "b.h5")
    assert read_backbone(tmp_path / "a.h5").fingerprint == read_backbone(tmp_path / "b.h5").fingerprint


def test_a_bin_with_a_call_in_it_stops_the_conversion(folder, tmp_path, run):
    (folder / SINGLE).unlink()
    save_zip(folder / TORCH, state_dict(random_tensors()) | {"more": print})
    result = run("to-hdf5", folder, "--out", tmp_path / "b.h5")
    assert result.code == 2 and f"{folder / TORCH}: its pickle asks for __builtin__.print" in result.err
