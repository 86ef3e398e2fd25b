"""Files that are damaged, of another kind, or wrong in one place: refused in one line that names the place."""

import dataclasses
import hashlib
import json
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_files import (
    KINDS,
    VOCAB,
    refused,
    write_good_backbone,
    write_good_bank,
    write_good_state,
    write_older_backbone,
)

from minibert.errors import InputError
from minibert.storage import bert_tokenizer, hdf5, read_backbone, read_bank, read_state

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_files_that_are_no_hdf5_file(tmp_path, kind):
    _, read, _, _ = KINDS[kind]
    path = tmp_path / "x.h5"
    missing = refused(read, path)
    assert "no such file" in missing and kind in missing
    if kind == "a backbone":
        assert "python -m weights_convert fetch minilm-l6 --out FILE" in missing
    path.write_bytes(b"")
    assert "is empty" in refused(read, path)
    path.write_text("these are no weights\n")
    assert "is not an HDF5 file (begins with b'these ar'" in refused(read, path)
    path.write_bytes(hdf5.SIGNATURE + b"\x03" * 100)
    assert "damaged" in refused(read, path)
    assert "is not a file" in refused(read, tmp_path)


@every_kind
@pytest.mark.parametrize("other", KINDS)
def test_another_kind_of_file_is_named(tmp_path, kind, other):
    path = tmp_path / "x.h5"
    KINDS[other][0](path)
    if kind != other:
        assert f"is {other}, expected {kind}" in refused(KINDS[kind][1], path)
    with h5py.File(path, "r+") as file:
        del file.attrs["format"]
    assert "not one of minibert's" in refused(KINDS[kind][1], path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = np.bytes_("keras")
    assert "is of format 'keras'" in refused(KINDS[kind][1], path)


def edit(path, change):
    """Change a file as a program would that knows of the seal, so that what the seal does not catch is tested."""
    with h5py.File(path, "r+") as file:
        change(file)
        with suppress(InputError):
            if "seal" in file.attrs:
                hdf5.write_text(file, "seal", hdf5.seal_of(file, path))


def put(name, data):
    """A change that puts another dataset in the place of one."""

    def change(file):
        del file[name]
        file[name] = data

    return change


@every_kind
@pytest.mark.parametrize("case", range(16))
def test_the_first_thing_that_is_wrong_is_named(tmp_path, kind, case):
    write, read, name, attribute = KINDS[kind]
    path = tmp_path / "x.h5"
    write(path)
    with h5py.File(path) as file:
        good = file[name][()]
    group = name.rpartition("/")[0]
    bad = good.copy()
    bad[1, 0] = np.nan
    flipped = good.copy()
    flipped.view(np.uint8)[0, 0] ^= 1

    def compress(file):
        del file[name]
        file.create_dataset(name, data=good, compression="gzip")

    def soft_link(file):
        del file[name]
        file[name] = h5py.SoftLink("/elsewhere")

    def group_instead(file):
        del file[name]
        file.create_group(name)

    change, words = [
        (lambda file: file.attrs.modify("version", 3), "has format version 3, this minibert reads up to 2"),
        (lambda file: file.attrs.create("version", np.bytes_("one")), "format version is 'one'"),
        (lambda file: file.attrs.create("version", "one"), "'version' of / is neither plain text nor a whole number"),
        (lambda file: file.attrs.__delitem__("version"), "format version is None"),
        (lambda file: file.attrs.__delitem__(attribute), f"attribute '{attribute}' of / is missing"),
        (lambda file: file.attrs.create(attribute, 3), "expected text"),
        (lambda file: file.__delitem__(name), f"/{name} is missing"),
        (lambda file: file.create_dataset(f"{group}/more", data=good), f"/{group}/more is unexpected"),
        (put(name, good.T[:, :1]), f"/{name} has shape"),
        (put(name, good.astype(np.float16)), f"/{name} has dtype float16"),
        (put(name, bad), f"/{name} holds nan at index (1, 0)"),
        (put(name, flipped), "changed since the file was written"),
        (compress, f"/{name} is not stored as one plain block"),
        (soft_link, f"/{name} is a link"),
        (group_instead, f"/{name} is a group, expected a dataset"),
        (put(group, good), f"/{group} is a dataset, expected a group"),
    ][case]
    edit(path, change)
    assert words in refused(read, path)


def test_a_group_that_holds_itself_is_no_endless_walk(tmp_path):
    write_good_backbone(tmp_path / "x.h5")
    edit(tmp_path / "x.h5", lambda file: file["params/encoder"].__setitem__("again", file["params"]))
    assert "is the same as another group or data set, under a second name" in refused(read_backbone, tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("writer", "reader", "node", "attribute", "value", "words"),
    [
        (write_good_backbone, read_backbone, "/", "config", "{", "not valid JSON"),
        (write_good_backbone, read_backbone, "/", "config", "[]", "must be a JSON object"),
        (write_good_backbone, read_backbone, "/", "config", json.dumps({"depth": 3}), "no setting named depth"),
        (write_good_backbone, read_backbone, "/", "fingerprint", "0" * 64, "the weights changed"),
        (write_good_backbone, read_backbone, "/", "stored_as", "float64", "stored as 'float64', expected float16"),
        (write_good_backbone, read_backbone, "/", "stored_as", "float16", "has dtype float32, expected float16"),
        (write_good_backbone, read_backbone, "tokenizer", "sha256", "0" * 64, "the tokenizer changed"),
        (write_older_backbone, read_backbone, "tokenizer", "lowercase", "1", "expected JSON for bool"),
        (write_older_backbone, read_backbone, "tokenizer", "sha256", "0" * 64, "the vocabulary changed"),
        (write_good_bank, read_bank, "/", "backbone_config", "{}", "is incomplete"),
        (write_good_bank, read_bank, "tasks/sst2", "head", "other", "head is 'other'"),
        (write_good_bank, read_bank, "tasks/sst2", "adapter", '{"size": 0}', "adapter size must be"),
        (write_good_bank, read_bank, "tasks/sst2", "names", '["x"]', "lists 'x'"),
        (write_good_bank, read_bank, "tasks/sst2", "names", "[[1]]", "lists [1]"),
        (write_good_bank, read_bank, "tasks/sst2", "n_out", "3", "/params/head/W has shape (8, 2), expected (8, 3)"),
        (write_good_bank, read_bank, "tasks/sst2", "labels", '["one"]', "1 labels"),
        (write_good_bank, read_bank, "tasks/sst2", "dev", "[", "not valid JSON"),
        (write_good_state, read_state, "/", "meta", "[1]", "expected JSON for dict"),
        (write_good_state, read_state, "/", "index", '{"x": 1}', "the index says 1"),
        (write_good_state, read_state, "/", "index", '{"x": ["object", []]}', "the index says"),
        (write_good_state, read_state, "/", "index", '{"a//b": ["int64", []]}', "/arrays/adam is unexpected"),
        (write_good_state, read_state, "/", "meta", b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_settings_that_are_wrong(tmp_path, writer, reader, node, attribute, value, words):
    writer(tmp_path / "x.h5")
    data = value if isinstance(value, bytes) else value.encode()
    edit(tmp_path / "x.h5", lambda file: file[node].attrs.create(attribute, np.bytes_(data)))
    assert words in refused(reader, tmp_path / "x.h5")


ODD_NAME = "two\nlines\x1b[2J" + "x" * 3000


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *((kind, lambda file: file.create_group(ODD_NAME)) for kind in KINDS),
        *((kind, lambda file: file.attrs.create(ODD_NAME, 1.5)) for kind in KINDS),
        ("a task bank", lambda file: file.move("tasks/sst2", f"tasks/{ODD_NAME}")),
        ("a backbone", lambda file: hdf5.write_json(file, "config", {ODD_NAME: 1})),
        ("a backbone", lambda file: hdf5.write_json(file["tokenizer"], "sha256", ODD_NAME)),
        ("a training state", lambda file: hdf5.write_json(file, "index", {ODD_NAME: 1})),
        ("a training state", lambda file: hdf5.write_json(file, "index", {ODD_NAME: ["float32", [1]]})),
        ("a training state", lambda file: hdf5.write_text(file, "meta", json.dumps(ODD_NAME))),
    ],
)
def test_names_and_texts_of_a_file_are_shown_on_one_short_line(tmp_path, kind, change):
    write, read, _, _ = KINDS[kind]
    write(tmp_path / "x.h5")
    edit(tmp_path / "x.h5", change)
    message = refused(read, tmp_path / "x.h5")
    assert len(message) < 600 and message.isprintable()


@every_kind
def test_a_seal_is_believed_in_a_file_that_says_it_is_older(tmp_path, kind):
    """One bit less in the version must not open a file to other changes."""
    write, read, _, _ = KINDS[kind]
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file.attrs.modify("version", 1)
    assert "an attribute changed since the file was written" in refused(read, tmp_path / "x.h5")


def tokenizer_of(data, **storage):
    """A change that puts other bytes in the place of the tokenizer, with their own SHA-256."""

    def change(file):
        group = file["tokenizer"]
        del group["json"]
        group.create_dataset("json", data=data, **storage)
        hdf5.write_text(group, "sha256", hashlib.sha256(np.asarray(data).tobytes()).hexdigest())

    return change


def octets(text):
    return np.frombuffer(text if isinstance(text, bytes) else text.encode(), np.uint8)


JSON = bert_tokenizer(VOCAB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (tokenizer_of(octets(JSON).astype(np.int32)), "/tokenizer/json is int32"),
        (tokenizer_of(octets(JSON)[None]), "/tokenizer/json is uint8 (1, "),
        (tokenizer_of(octets(JSON), chunks=(10,)), "/tokenizer/json is not stored as one plain block"),
        (tokenizer_of(octets(JSON), external=[("elsewhere", 0, 10_000)]), "/tokenizer/json is not stored as one plain"),
        (tokenizer_of(octets(b"\xff{}")), "/tokenizer/json is not UTF-8 text"),
        (tokenizer_of(octets("{")), "tokenizer: its JSON, line 1: not valid JSON"),
        (tokenizer_of(octets(JSON + " ")), "tokenizer: is not in its canonical form"),
        (tokenizer_of(octets(bert_tokenizer((*VOCAB, "b", "c", "d")))), "13 tokens, the embedding rows for 12"),
        (lambda file: file["tokenizer"].create_dataset("vocab", data=octets("a")), "/tokenizer/vocab is unexpected"),
    ],
)
def test_tokenizers_that_are_not_as_they_are_written(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    write_good_backbone(tmp_path / "x.h5")
    edit(tmp_path / "x.h5", change)
    assert words in refused(read_backbone, tmp_path / "x.h5")


@pytest.mark.slow
@every_kind
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_right_or_refused(tmp_path_factory, kind, data):
    write, read, _, _ = KINDS[kind]
    path = tmp_path_factory.mktemp("damaged") / "x.h5"
    write(path)
    good, whole = describe(read(path)), bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[place:]
    path.write_bytes(whole)
    try:
        found = read(path)
    except InputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert describe(found) == good


def describe(value):
    """Anything a reader returns, as something that can be compared."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: describe(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [describe(part) for part in value] if isinstance(value, tuple) else value
