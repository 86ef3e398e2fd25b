"""Checkpoints with what is not followed: what would be read wrong is refused, and what is not read is named."""

import json

import pytest
from checkpoint import THEIR_CONFIG, write_checkpoint
from tiny import write_tiny_backbone
from whole_tokenizer import BERT, GENERIC, UNCASED, VOCAB, tokenizer_folder, whole

from minibert.backbone import load_backbone
from minibert.errors import InputError
from weights_convert.cli import to_hdf5
from weights_convert.huggingface import read_checkpoint, read_config
from weights_convert.tensors import find_weights
from weights_convert.tokenizer import read_tokenizer

LEFT = "note: {} cuts long texts at their beginning; minibert cuts them at their end"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n"
PAGE = b'\n<!DOCTYPE HTML>\n<html class="">\n<head></head></html>\n'


def truncation(direction):
    return whole(
        truncation={"direction": direction, "max_length": 8, "strategy": "LongestFirst", "stride": 0},
    )


@pytest.mark.parametrize(
    ("direction", "said", "told"),
    [
        ("Left", {}, "tokenizer.json"),
        ("Left", {"truncation_side": "left"}, "tokenizer_config.json"),
        ("Left", {"truncation_side": "right"}, None),  # the setting goes before the file's own
        ("Right", {"truncation_side": "left"}, "tokenizer_config.json"),
        ("Right", {}, None),
    ],
)
@pytest.mark.parametrize("kind", [UNCASED, GENERIC], ids=["BertTokenizer", "tokenizer.json alone"])
def test_texts_that_were_cut_at_their_beginning_are_told(tmp_path, direction, said, told, kind):
    _, notes = read_tokenizer(tokenizer_folder(tmp_path, casing={**kind, **said}, whole=truncation(direction)))
    assert [note for note in notes if "beginning" in note] == ([LEFT.format(told)] if told else [])
    assert any("cuts texts to 8 tokens" in note for note in notes)


@pytest.mark.parametrize(
    ("config", "special", "agree"),
    [
        (["<E1>"], ["<E2>"], False),
        (["<E1>"], ["<E1>", "<E2>"], False),
        (["<E1>", "<E2>"], ["<E2>", "<E1>"], False),  # they get other ids
        ([{"content": "<E1>", "lstrip": True}], ["<E1>"], False),
        ([], ["<E2>"], False),
        (["<E1>"], [], True),
        (["<E1>"], ["<E1>"], True),
        (["<E1>"], None, True),
        (None, ["<E1>"], True),
    ],
)
def test_two_lists_of_special_tokens_agree(tmp_path, config, special, agree):
    key = "additional_special_tokens"
    files = {"casing": BERT | ({} if config is None else {key: config})}
    files["special"] = {} if special is None else {key: special}
    folder = tokenizer_folder(tmp_path, **files)
    if agree:
        assert "<E1>" in read_tokenizer(folder)[0]
    else:
        with pytest.raises(
            InputError, match=r"tokenizer_config.json: the further special tokens are .* special_tokens_map"
        ):
            read_tokenizer(folder)


@pytest.mark.parametrize("end", [" ", "\t", "\u00a0", "\u3000"])
def test_white_space_at_the_end_of_a_word_is_refused(tmp_path, end):
    vocab = [*VOCAB, f"tea{end}"]
    with pytest.raises(InputError, match=rf"vocab.txt: line {len(vocab)} is 'tea.*', with white space at its end"):
        read_tokenizer(tokenizer_folder(tmp_path, vocab, casing=BERT))
    read_tokenizer(tokenizer_folder(tmp_path, [*VOCAB, f"{end}tea", end], casing=BERT))


@pytest.mark.parametrize(
    ("setting", "value", "harmless"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}, None),
        ("compression_config", {"format": "pack-quantized"}, None),
        ("pruned_heads", {"0": [1]}, {}),
    ],
)
def test_settings_that_change_the_weights_are_refused(tmp_path, setting, value, harmless):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(THEIR_CONFIG | {setting: value}))
    with pytest.raises(InputError, match=f"config.json: {setting} is "):
        read_config(path)
    path.write_text(json.dumps(THEIR_CONFIG | {setting: harmless}))
    assert read_config(path).n_heads == 2


@pytest.mark.parametrize("content", [POINTER, PAGE, b"\xef\xbb\xbf" + PAGE])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json"])
def test_what_was_not_really_downloaded_is_told(tmp_path, name, content):
    folder = write_checkpoint(tmp_path / "folder")
    (folder / name).write_bytes(content)
    what = "a pointer of Git LFS, not the file itself; " if content == POINTER else "a web page, not the file itself; "
    with pytest.raises(InputError, match=f"{name}: is {what}"):
        read_checkpoint(folder / "model.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors.index.json", "bert_model.ckpt.index"])
def test_so_it_is_of_other_layouts(tmp_path, name):
    folder = write_checkpoint(tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(POINTER)
    with pytest.raises(InputError, match=f"{name}: is a pointer of Git LFS"):
        read_checkpoint(find_weights(folder))


def test_so_it_is_of_a_backbone_file(tmp_path):
    (tmp_path / "tiny.h5").write_bytes(POINTER)
    with pytest.raises(InputError, match=r"tiny.h5: is a pointer of Git LFS"):
        load_backbone(tmp_path / "tiny.h5")
    load_backbone(write_tiny_backbone(tmp_path / "tiny.h5"))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("pytorch_model-00001-of-00002.bin", "shards are read by their index"),
        ("model-00002-of-00002.safetensors", "shards are read by their index"),
        ("tf_model.h5", "save it from a BertModel"),
        ("flax_model.msgpack", "save it from a BertModel"),
        ("model.onnx", "save it from a BertModel"),
        ("model.fp16.safetensors", "to read a variant such as model.fp16.safetensors, call it model.safetensors"),
        ("bert_model.ckpt", "save it from a BertModel"),
        ("adapter_model.safetensors", "adapters alone"),
    ],
)
def test_weights_that_are_not_read_are_named(tmp_path, name, advice):
    folder = write_checkpoint(tmp_path / "folder")
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / name).write_bytes(b"x")
    notes = read_checkpoint(folder / "model.safetensors").notes
    assert any(f"{name} was not read" in note for note in notes) is name.startswith("adapter_")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=f"has no weights; .*; {name} cannot be read: .*{advice}"):
        find_weights(folder)
    with pytest.raises(InputError, match=f"{name}: weights are read from files called model.safetensors, "):
        to_hdf5(folder / name, tmp_path / "out.h5")
