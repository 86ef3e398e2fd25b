"""Whatever bit or byte of a file is changed, what is read is what was written, or the file is refused in one line.

Among what is written are long settings: HDF5 keeps attributes of more than 4 kB where it has no checksum for them.
"""

import json
import random
import tracemalloc

import h5py
import numpy as np
import pytest
from test_files import KINDS, make_record, refused, write_good_backbone
from test_files_bad import describe
from tiny import FIXTURES

from minibert.errors import InputError
from minibert.storage import hdf5, read_backbone, read_bank, read_state, write_bank, write_state

LABELS = tuple(f"a class with the number {i}, 類" for i in range(500))


def write_long_bank(path):
    params = make_record().params | {"head/W": np.ones((8, 500), np.float32), "head/b": np.ones(500, np.float32)}
    write_bank(path, {"sst2": make_record(), "long": make_record("long", labels=LABELS, params=params)})


def write_long_state(path):
    arrays = {"params/head/W": np.ones((8, 500), np.float32), "step": np.array(7)}
    history = [{"epoch": i, "loss": 1 / (i + 1)} for i in range(1000)]
    write_state(path, arrays, {"progress": {"history": history, "epoch": 1000}, "settings": {"labels": LABELS}})


FILES = {name: (write, read) for name, (write, read, *_) in KINDS.items()}
FILES |= {"500 classes": (write_long_bank, read_bank), "1000 epochs": (write_long_state, read_state)}


def flip(rng, content):
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def replace(rng, content):
    content[rng.randrange(len(content))] = rng.randrange(256)


def zero_a_stretch(rng, content):
    start, n = rng.randrange(len(content)), rng.randrange(1, 64)
    content[start : start + n] = bytes(len(content[start : start + n]))


def swap_two_stretches(rng, content):
    n = rng.randrange(1, 16)
    a, b = rng.randrange(len(content) - n), rng.randrange(len(content) - n)
    content[a : a + n], content[b : b + n] = content[b : b + n], content[a : a + n]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [flip, replace, zero_a_stretch, swap_two_stretches])
def test_a_changed_file_is_read_right_or_refused(tmp_path, name, change):
    write, read = FILES[name]
    path, rng = tmp_path / "x.h5", random.Random(name + change.__name__)
    write(path)
    good, whole, found_out = describe(read(path)), path.read_bytes(), 0
    for _ in range(40):
        content = bytearray(whole)
        change(rng, content)
        path.write_bytes(content)
        try:
            found = read(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            found_out += 1
        else:
            assert describe(found) == good
    assert found_out > 8  # most of a file is looked at; some of it is room that nothing uses


@pytest.mark.parametrize(
    ("write", "read", "text"),
    [(write_long_bank, read_bank, b"a class with the number 321"), (write_long_state, read_state, b'"loss": 0.0625')],
)
def test_a_bit_in_a_long_attribute(tmp_path, write, read, text):
    path = tmp_path / "x.h5"
    write(path)
    content = bytearray(path.read_bytes())
    place = content.index(text) + len(text) - 1
    content[place] ^= 1  # a digit becomes another digit
    path.write_bytes(content)
    message = refused(read, path)
    assert "an attribute changed since the file was written" in message or "checksum" in message


def test_the_seal_covers_every_attribute_and_every_name(tmp_path):
    """Also where the rest of the file fits: values that another program put there."""
    path = tmp_path / "x.h5"

    def rename(file):
        file.move("tasks/sst2", "tasks/mrpc")

    def remove(file):
        del file["tasks/sst2"]

    def put(where, name, text):
        return lambda file: file[where].attrs.create(name, np.bytes_(text))

    changes = [rename, remove, put("tasks/sst2", "dev", '{"accuracy": 1.0}'), put("/", "more", "x")]
    changes += [put("tasks/sst2/params", "more", "x"), put("tasks/sst2/params/head/W", "more", "x")]
    changes += [put("tasks/sst2", "labels", '["positive", "negative"]'), lambda file: file.attrs.modify("version", 2)]
    for i, change in enumerate(changes):
        write_long_bank(path)
        with h5py.File(path, "r+") as file:
            change(file)
        if i == len(changes) - 1:
            assert set(read_bank(path)) == {"sst2", "long"}  # what does not change the value is not a change
        else:
            assert "an attribute changed since the file was written" in refused(read_bank, path)


# ---------------------------------------------------------------------------------------- what a file only promises


def reseal(path, change):
    """Change a file as its own program could, so that the seal holds."""
    with h5py.File(path, "r+") as file:
        change(file)
        hdf5.write_text(file, "seal", hdf5.seal_of(file, path))


def rewrite(node, name, **changes):
    def change(file):
        values = json.loads(hdf5.read_text(file[node], name, "x"))
        hdf5.write_json(file[node], name, values | changes)

    return change


@pytest.mark.parametrize(
    ("kind", "node", "name", "changes", "words"),
    [
        ("a backbone", "/", "config", {"n_layers": 2**31}, "n_layers must be a whole number from 1 to 1024"),
        ("a backbone", "/", "config", {"n_layers": 1024}, "/params should hold arrays of"),
        ("a backbone", "/", "config", {"vocab_size": 2**24}, "/params should hold arrays of"),
        ("a task bank", "/", "backbone_config", {"n_layers": 2**31}, "n_layers must be a whole number from 1 to 1024"),
        ("a task bank", "tasks/sst2", "adapter", {"size": 65536}, "/tasks/sst2/params should hold arrays of"),
        ("a task bank", "tasks/sst2", "adapter", {"layers": [2**31]}, "adapter layers: each must be a whole number"),
        ("a training state", "/", "index", {"step": ["int64", [2**60]]}, "/arrays should hold arrays of"),
        ("a training state", "/", "index", {"step": ["int64", [-1]]}, "the index says"),
        ("a training state", "/", "index", {"step": ["int64", [True]]}, "the index says"),
        ("a training state", "/", "index", {"step": ["int64", "12"]}, "the index says"),
    ],
)
def test_what_a_small_file_promises_is_not_believed(tmp_path, kind, node, name, changes, words):
    write, read, *_ = KINDS[kind]
    path = tmp_path / "x.h5"
    write(path)
    reseal(path, rewrite(node, name, **changes))
    tracemalloc.start()
    assert words in refused(read, path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def store(name, **options):
    """A change that stores a data set in another way."""

    def change(file):
        data = file[name][()]
        del file[name]
        file.create_dataset(name, data.shape, data.dtype, **options)

    return change


@pytest.mark.parametrize("options", [{"external": [("/dev/zero", 0, 4096)]}, {"chunks": True}], ids=str)
@pytest.mark.parametrize("kind", [*KINDS, "the vocabulary"])
def test_a_data_set_that_is_not_a_plain_block_is_not_read(tmp_path, kind, options):
    if kind == "the vocabulary":
        (tmp_path / "x.h5").write_bytes((FIXTURES / "older_backbone.h5").read_bytes())
        read, name = read_backbone, "tokenizer/vocab"
    else:
        write, read, name, _ = KINDS[kind]
        write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        store(name, **options)(file)
    assert f"/{name} is not stored as one plain block" in refused(read, tmp_path / "x.h5")


def test_a_very_long_text_is_neither_written_nor_read(tmp_path):
    with (
        pytest.raises(InputError, match="source has 16,777,217 bytes"),
        hdf5.write_file(tmp_path / "x.h5", "y") as file,
    ):
        hdf5.write_text(file, "source", "a" * (hdf5.LONGEST_TEXT + 1))
    assert list(tmp_path.iterdir()) == []
    write_good_backbone(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file.attrs.create("source", np.bytes_(b"a" * (hdf5.LONGEST_TEXT + 1)))
    assert "is not one text of up to 16,777,216 bytes" in refused(KINDS["a backbone"][1], tmp_path / "x.h5")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, '{"epoch": 1, "epoch": 2}', "1" * 5000], ids=len)
def test_json_that_python_cannot_hold(tmp_path, text):
    path = tmp_path / "x.h5"
    KINDS["a training state"][0](path)
    reseal(path, lambda file: hdf5.write_text(file, "meta", text))
    assert "attribute 'meta' of /" in refused(read_state, path)


def test_groups_in_one_another_without_end(tmp_path):
    path = tmp_path / "x.h5"
    write_good_backbone(path)
    with h5py.File(path, "r+") as file:
        file.create_group("params/" + "a/" * 500)
    assert "has more than 32 groups in one another" in refused(KINDS["a backbone"][1], path)
