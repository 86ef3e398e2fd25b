"""Checkpoints of TensorFlow: read as they were written, and refused by name where they are damaged or of another kind.

The recorded one was written by TensorFlow itself; see the file beside it.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from bundles import block, entry, save_bundle, table, tensorflow_name, varint

from minibert.errors import InputError
from weights_convert.tensor_bundle import Bundle, their_name
from weights_convert.tensors import find_weights

TENSORS = {
    "bert/embeddings/word_embeddings": np.arange(12, dtype=np.float32).reshape(4, 3),
    "bert/encoder/layer_11/output/dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bert/encoder/layer_11/output/LayerNorm/gamma": np.ones(3, np.float32),
    "bert/encoder/layer_11/output/dense/kernel/adam_m": np.zeros((2, 3), np.float32),
    "global_step": np.array(7, np.int64),
}


@pytest.fixture
def index(tmp_path):
    save_bundle(tmp_path, TENSORS, a_block=2)
    return tmp_path / "bert_model.ckpt.index"


def test_names_shapes_and_numbers(index):
    bundle = Bundle(index)
    kernel = "bert.encoder.layer.11.output.dense.weight"
    assert bundle.stored == {
        "bert.embeddings.word_embeddings.weight": ("F32", (4, 3)),
        kernel: ("F32", (3, 2)),  # as Hugging Face has it
        "bert.encoder.layer.11.output.LayerNorm.gamma": ("F32", (3,)),
        "bert.encoder.layer.11.output.dense.kernel.adam_m": ("F32", (2, 3)),
        "global_step": ("I64", ()),
    }
    assert np.array_equal(bundle.read(kernel), TENSORS["bert/encoder/layer_11/output/dense/kernel"].T)
    table = "bert.embeddings.word_embeddings.weight"
    assert np.array_equal(bundle.read(table), TENSORS["bert/embeddings/word_embeddings"])
    assert bundle.read("global_step") == 7
    assert [path.name for path in bundle.files] == ["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"]


@pytest.mark.parametrize(
    "name",
    ["embeddings.position_embeddings.weight", "encoder.layer.10.attention.self.query.bias", "pooler.dense.weight"],
)
def test_names_there_and_back(name):
    assert their_name(tensorflow_name(name)) == f"bert.{name}"


def test_one_that_tensorflow_wrote():
    folder = Path(__file__).parent / "recorded"
    bundle = Bundle(folder / "tensorflow.ckpt.index")
    written = json.loads((folder / "tensorflow.json").read_text())["tensors"]
    assert bundle.stored.keys() == set(map(their_name, written))
    for name, (shape, first, total) in written.items():
        theirs = their_name(name)
        array = bundle.read(theirs)
        array = array.T if name.endswith("/kernel") else array
        assert list(array.shape) == shape
        assert array.reshape(-1)[0] == first and array.astype(np.float64).sum() == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("seed", range(100))
def test_a_changed_byte_is_found(tmp_path, seed):
    """Every byte counts, but for those of the block without entries and the rest of the footer."""
    save_bundle(tmp_path, TENSORS, a_block=3)
    rng, index = random.Random(seed), tmp_path / "bert_model.ckpt.index"
    file = rng.choice(sorted(tmp_path.iterdir()))
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    try:
        found = Bundle(index)
        arrays = {name: found.read(name) for name in found.stored}
    except InputError as error:
        assert str(error).startswith(str(tmp_path)) and "\n" not in str(error)
    else:
        for name, array in TENSORS.items():
            assert np.array_equal(arrays[their_name(name)], array.T if name.endswith("/kernel") else array)


@pytest.mark.parametrize("left", [0, 20, 47, 100])
def test_a_cut_index(index, left):
    index.write_bytes(index.read_bytes()[-left:] if left else b"")
    with pytest.raises(InputError, match=r"bert_model.ckpt.index: (has \d+ bytes|is damaged|is no index)"):
        Bundle(index)


X = np.zeros((2, 3), np.float32)
HEADER = (b"", varint(8) + varint(1))
WRONG = {
    "compressed": ({"compression": 1}, [], "is compressed"),
    "another dtype": (
        {},
        [(b"x", entry(X, 0).replace(b"\x08\x01", b"\x08\x07", 1))],
        "x has the dtype number 7",
    ),
    "too many bytes": ({}, [(b"x", entry(X, 0).replace(b"\x28\x18", b"\x28\x19", 1))], "tensor x has 25 bytes"),
    "a shape too large": ({}, [(b"x", entry(X, 0, shape=(1 << 62, 0)))], "tensor x has the shape"),
    "another shape": ({}, [(b"x", entry(X, 0, shape=(2, 2)))], "tensor x has 24 bytes"),
    "slices": ({}, [(b"x", entry(X, 0) + varint(7 << 3 | 2) + b"\0")], "is cut into slices"),
    "another file": ({}, [(b"x", entry(X, 0, shard=3))], "tensor x lies in file 3 of 1"),
    "beyond the end": ({}, [(b"x", entry(X, 1 << 40))], None),
    "a name with an escape": ({}, [(b"x\x1b", entry(X, 0))], "which is no name"),
    "twice": ({}, [(b"global_step", entry(X, 0))], "or twice"),
    "big-endian": ({}, [(b"", varint(8) + varint(1) + varint(16) + varint(1))], "big-endian"),
    "many files": ({}, [(b"", varint(8) + varint(1 << 40))], "files of numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_tensorflow_does_not_write(tmp_path, case):
    options, more, words = WRONG[case]
    save_bundle(tmp_path, TENSORS, more=more, **options)
    if words is None:
        bundle = Bundle(tmp_path / "bert_model.ckpt.index")
        with pytest.raises(InputError, match="tensor x lies beyond the end"):
            bundle.read("x")
        return
    with pytest.raises(InputError) as error:
        Bundle(tmp_path / "bert_model.ckpt.index")
    assert words in str(error.value)


def test_blocks_that_lie_about_their_lengths(tmp_path):
    """An entry longer than its block, and a block with more places than it has bytes."""
    index = tmp_path / "x.ckpt.index"
    long = varint(0) + varint(1) + varint(1 << 30) + b"x" + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    for content in (long, (1 << 30).to_bytes(4, "little")):
        data = table([HEADER])
        whole = block([HEADER])
        assert data.startswith(whole)
        index.write_bytes(table_of(content))
        with pytest.raises(InputError, match="is damaged"):
            Bundle(index)


def table_of(content: bytes) -> bytes:
    """A table whose only block is `content`."""
    import bundles

    usual, calls = bundles.block, []

    def first_is_ours(entries, every=4):
        calls.append(entries)
        return content if len(calls) == 1 else usual(entries, every)

    bundles.block = first_is_ours
    try:
        return table([HEADER])
    finally:
        bundles.block = usual


def test_which_checkpoint_of_a_folder(tmp_path):
    for step in (10, 20):
        save_bundle(tmp_path, TENSORS, name=f"model.ckpt-{step}")
    with pytest.raises(InputError, match=r"has 2 checkpoints \(model.ckpt-10.index, model.*; give the path"):
        find_weights(tmp_path)
    (tmp_path / "model.ckpt-10.index").unlink()
    assert find_weights(tmp_path).name == "model.ckpt-20.index"


def test_the_numbers_are_a_pointer(index):
    index.with_name("bert_model.ckpt.data-00000-of-00001").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"data-00000-of-00001: is a pointer of Git LFS"):
        Bundle(index)


def test_the_numbers_are_missing(index):
    index.with_name("bert_model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001: no such file; it holds the tensors"):
        Bundle(index)
