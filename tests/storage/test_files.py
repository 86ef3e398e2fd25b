"""The HDF5 files: what is written is read back bit for bit, and whatever is wrong is told in one line, by name."""

import dataclasses
import hashlib

import h5py
import numpy as np
import pytest

from minibert.config import AdapterConfig, BertConfig
from minibert.errors import InputError
from minibert.params import flatten, unflatten
from minibert.storage import (
    TaskRecord,
    add_task,
    bert_tokenizer,
    check_backbone,
    fingerprint,
    hdf5,
    read_backbone,
    read_bank,
    read_state,
    write_backbone,
    write_bank,
    write_state,
)

CONFIG = BertConfig(vocab_size=12, hidden_size=8, n_layers=2, n_heads=2, feed_forward_size=16, max_positions=10)
VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "naïve", "##ing", "漢", "\u2028", "a")
ADAPTER = AdapterConfig(size=3)


def random_params(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


PARAMS = random_params(CONFIG.shapes())


def make_record(name="sst2", **changes):
    shapes = ADAPTER.shapes(CONFIG) | {"embeddings/norm/gamma": (8,), "head/W": (8, 2), "head/b": (2,)}
    values = {
        "name": name,
        "head": "classify",
        "labels": ("negative", "positive"),
        "method": "adapter",
        "params": random_params(shapes, seed=len(name)),
        "backbone_fingerprint": fingerprint(PARAMS),
        "backbone_config": CONFIG,
        "backbone_tokenizer": "d" * 64,
        "adapter": ADAPTER,
        "model_options": {"pooled_head": False, "top_k": None},
        "training": {"lr": 1e-3, "epochs": 5},
        "dev": {"accuracy": 0.75},
    }
    return TaskRecord(**values | changes)


def write_good_backbone(path):
    write_backbone(path, CONFIG, unflatten(PARAMS), bert_tokenizer(VOCAB, strip_accents=False), "a test", "ab" * 32)


def write_older_backbone(path):
    """The same backbone in a file of version 1, which has the vocabulary and the casing."""
    write_good_backbone(path)
    words = [word.encode() for word in VOCAB]
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1
        del file.attrs["seal"], file["tokenizer"]
        group = file.create_group("tokenizer")
        group.create_dataset("vocab", data=words, dtype=h5py.string_dtype("utf-8", max(map(len, words))))
        hdf5.write_text(group, "sha256", hashlib.sha256("".join(f"{word}\n" for word in VOCAB).encode()).hexdigest())
        for name, value in {"lowercase": True, "strip_accents": False, "chinese_chars": True}.items():
            hdf5.write_json(group, name, value)


def write_good_state(path):
    arrays = {"adam/m/head/W": np.ones((2, 3)), "head/W": np.ones((2, 3), np.float32), "step": np.array(7)}
    write_state(path, arrays, {"epoch": 1, "history": [0.5]})


def write_good_bank(path):
    write_bank(path, {"sst2": make_record()})


KINDS = {  # name: (writer, reader, a dataset of it, an attribute every file of the kind has)
    "a backbone": (write_good_backbone, read_backbone, "params/pooler/W", "config"),
    "a task bank": (write_good_bank, read_bank, "tasks/sst2/params/head/W", "backbone_fingerprint"),
    "a training state": (write_good_state, read_state, "arrays/adam/m/head/W", "meta"),
}


def same_bits(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype and left[name].shape == right[name].shape, name
        assert left[name].tobytes() == right[name].tobytes(), name


def refused(read, path):
    """The message with which a reader refuses the file: one line that begins with its name."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


# ------------------------------------------------------------------------------------------------------ round trips


def test_backbone_is_read_back_bit_for_bit(tmp_path):
    path = tmp_path / "new" / "folder" / "b.h5"
    write_good_backbone(path)
    found = read_backbone(path)
    same_bits(flatten(found.params), PARAMS)
    assert all(array.flags.c_contiguous for array in flatten(found.params).values())
    assert found.config == CONFIG and found.tokenizer == bert_tokenizer(VOCAB, strip_accents=False)
    assert (found.source, found.source_sha256, found.fingerprint) == ("a test", "ab" * 32, fingerprint(PARAMS))


def test_a_backbone_in_half_precision(tmp_path):
    """It is read as float32, rounded; what float16 cannot hold is refused."""
    arguments = bert_tokenizer(VOCAB, strip_accents=False), "a test", "ab" * 32
    write_backbone(tmp_path / "half.h5", CONFIG, PARAMS, *arguments, half=True)
    write_good_backbone(tmp_path / "whole.h5")
    rounded = {name: array.astype(np.float16).astype(np.float32) for name, array in PARAMS.items()}
    found = read_backbone(tmp_path / "half.h5")
    same_bits(flatten(found.params), rounded)
    assert found.fingerprint == fingerprint(rounded)
    with h5py.File(tmp_path / "half.h5") as file:
        assert file["params/pooler/W"].dtype == np.float16
    large = PARAMS | {"pooler/b": np.full(8, 1e5, np.float32)}
    with pytest.raises(InputError, match="too large for float16"):
        write_backbone(tmp_path / "large.h5", CONFIG, large, *arguments, half=True)


def test_a_file_of_version_1_has_the_same_tokenizer(tmp_path):
    write_older_backbone(tmp_path / "old.h5")
    write_good_backbone(tmp_path / "new.h5")
    old, new = read_backbone(tmp_path / "old.h5"), read_backbone(tmp_path / "new.h5")
    assert old.tokenizer == new.tokenizer and old.tokenizer_fingerprint == new.tokenizer_fingerprint
    assert new.tokenizer_fingerprint == hashlib.sha256(new.tokenizer.encode()).hexdigest()


def test_the_file_is_the_tree(tmp_path):
    write_good_backbone(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        names = []
        file["params"].visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    assert sorted(names) == sorted(CONFIG.shapes())


def test_fingerprint_depends_on_names_shapes_and_bits_not_on_order_or_layout():
    flat = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.zeros(2, np.float32)}
    same = [dict(reversed(flat.items())), unflatten(flat), {n: np.asfortranarray(a) for n, a in flat.items()}]
    same.append({name: array.astype(">f4") for name, array in flat.items()})
    assert {fingerprint(other) for other in same} == {fingerprint(flat)}
    negative_zero = flat | {"c": np.array([0.0, -0.0], np.float32)}
    other = [negative_zero, flat | {"c": np.zeros((1, 2), np.float32)}, {"a/b": flat["a/b"], "d": flat["c"]}]
    other.append({name: array.astype(np.float64) for name, array in flat.items()})
    assert len({fingerprint(params) for params in [flat, *other]}) == 5


def test_bank_is_read_back_and_other_tasks_stay_as_they_are(tmp_path):
    path = tmp_path / "bank.h5"
    first, second = make_record("sst2"), make_record("mrpc", training={}, dev={})
    regress = {"head/W": np.ones((8, 1), np.float32), "head/b": np.zeros(1, np.float32)}
    third = make_record("stsb", head="regress", labels=(), params=regress, adapter=None, method="head")
    for record in (first, second, third):
        add_task(path, record)
    found = read_bank(path)
    assert set(found) == {"sst2", "mrpc", "stsb"}
    for record in (first, second, third):
        same_bits(found[record.name].params, record.params)
        for field in dataclasses.fields(TaskRecord):
            if field.name != "params":
                assert getattr(found[record.name], field.name) == getattr(record, field.name)
    assert found["stsb"].n_out == 1 and found["sst2"].n_out == 2


def test_a_task_is_replaced_only_on_request(tmp_path):
    path = tmp_path / "bank.h5"
    add_task(path, make_record(dev={"accuracy": 0.1}))
    with pytest.raises(InputError, match=r"has a task 'sst2' already"):
        add_task(path, make_record())
    add_task(path, make_record(), replace=True)
    assert read_bank(path)["sst2"].dev == {"accuracy": 0.75}


def test_a_bank_belongs_to_one_backbone(tmp_path):
    path, other = tmp_path / "bank.h5", "c" * 64
    add_task(path, make_record())
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        add_task(path, make_record("mrpc", backbone_fingerprint=other))
    told = str(caught.value)
    assert fingerprint(PARAMS)[:12] in told and other[:12] in told and told.endswith("give the task another bank file")
    assert path.read_bytes() == before
    record = read_bank(path)["sst2"]
    check_backbone(record, fingerprint(PARAMS), CONFIG, path)
    with pytest.raises(InputError, match="trained on the backbone"):
        check_backbone(record, other, CONFIG, path)


def test_a_bank_belongs_to_one_tokenizer(tmp_path):
    path, lowercase, cased = tmp_path / "bank.h5", bert_tokenizer(VOCAB), bert_tokenizer(VOCAB, lowercase=False)
    fingerprints = {text: hashlib.sha256(text.encode()).hexdigest() for text in (lowercase, cased)}
    record = make_record(backbone_tokenizer=fingerprints[lowercase])
    add_task(path, record)
    check_backbone(read_bank(path)["sst2"], fingerprint(PARAMS), CONFIG, path, lowercase)
    with pytest.raises(InputError) as caught:
        check_backbone(record, fingerprint(PARAMS), CONFIG, path, cased)
    there, here = fingerprints[lowercase][:12], fingerprints[cased][:12]
    told = f"(lowercase there, cased here; fingerprints {there} there, {here} here); the weights are the same"
    assert "task 'sst2' was trained with another tokenizer" in str(caught.value) and told in str(caught.value)
    with pytest.raises(InputError, match=r"another tokenizer than this backbone file has \(fingerprints"):
        check_backbone(record, fingerprint(PARAMS), CONFIG, path, bert_tokenizer((*VOCAB, "b")))
    before = path.read_bytes()
    with pytest.raises(InputError, match="'sst2' and 'mrpc' were trained with different tokenizers"):
        add_task(path, make_record("mrpc", backbone_tokenizer=fingerprints[cased]))
    assert path.read_bytes() == before


def test_a_tokenizer_that_is_not_known_is_not_compared(tmp_path):
    path = tmp_path / "bank.h5"
    add_task(path, make_record("old", backbone_tokenizer=""), make_record("new"))
    found = read_bank(path)
    assert (found["old"].backbone_tokenizer, found["new"].backbone_tokenizer) == ("", "d" * 64)
    check_backbone(found["old"], fingerprint(PARAMS), CONFIG, path, bert_tokenizer(VOCAB))
    with pytest.raises(InputError, match="another tokenizer"):
        check_backbone(found["new"], fingerprint(PARAMS), CONFIG, path, bert_tokenizer(VOCAB))


def test_a_task_takes_little_more_than_its_parameters(tmp_path):
    minilm, adapter = BertConfig(30522, 384, 6, 12, 1536), AdapterConfig(64)
    norms = {name: shape for name, shape in minilm.shapes().items() if "/norm/" in name}
    shapes = adapter.shapes(minilm) | norms | {"head/W": (384, 2), "head/b": (2,)}
    record = make_record("t", params=random_params(shapes), adapter=adapter, backbone_config=minilm)
    add_task(tmp_path / "bank.h5", record)
    predicted = 4 * (12 * (2 * 384 * 64 + 384 + 64) + 13 * 2 * 384 + 384 * 2 + 2)
    assert sum(array.nbytes for array in record.params.values()) == predicted  # 2.4 MB
    assert predicted < (tmp_path / "bank.h5").stat().st_size < 1.1 * predicted


ROWS = {"train": np.array([3, 2**63 + 1, 5], np.uint64), "dev": np.array([2**64 - 1], np.uint64)}


def test_the_rows_of_the_training_are_read_back_and_covered_by_the_fingerprint(tmp_path):
    path = tmp_path / "bank.h5"
    write_bank(path, {"sst2": make_record(rows=ROWS), "old": make_record("old")})
    records = read_bank(path)
    same_bits(records["sst2"].rows, ROWS)
    assert records["old"].rows == {}
    add_task(path, make_record("more", rows={name: hashes[:0] for name, hashes in ROWS.items()}))
    same_bits(read_bank(path)["sst2"].rows, ROWS)
    assert read_bank(path)["more"].rows["train"].shape == (0,)
    with h5py.File(path, "r+") as file:
        file["tasks/sst2/rows/train"][1] += np.uint64(1)
    with pytest.raises(InputError, match="task 'sst2' changed since"):
        read_bank(path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"train": ROWS["train"]}, "has rows of train, expected those of train and dev"),
        ({"train": ROWS["train"], "dev": ROWS["dev"], "test": ROWS["dev"]}, "has rows of train, dev, test"),
        ({"train": ROWS["train"], "dev": np.array([1])}, "rows of dev must be an array of uint64"),
        ({"train": ROWS["train"], "dev": ROWS["dev"][:, None]}, "rows of dev must be .* one dimension"),
        ({"train": ROWS["train"], "dev": [1, 2]}, "rows of dev must be an array of uint64"),
    ],
)
def test_rows_that_are_none_are_refused(rows, words):
    with pytest.raises(InputError, match=words):
        make_record(rows=rows)


@pytest.mark.parametrize(
    "sizes",
    ['{"train": 3}', '{"train": 3, "dev": 2}', '{"train": -3, "dev": 1}', '{"train": 3, "dev": true}', "[3, 1]"],
)
def test_numbers_of_rows_that_are_wrong_are_refused(tmp_path, sizes):
    path = tmp_path / "bank.h5"
    write_bank(path, {"sst2": make_record(rows=ROWS)})
    with h5py.File(path, "r+") as file:
        hdf5.write_text(file["tasks/sst2"], "rows", sizes)
    with pytest.raises(InputError, match=r"bank\.h5"):
        read_bank(path)


def test_state_is_read_back(tmp_path):
    arrays = {
        "adam/m/head/W": np.random.default_rng(0).standard_normal((3, 4)),
        "params/head/W": np.ones((3, 4), np.float32)[:, ::2],  # not contiguous
        "step": np.array(12),
        "nothing": np.zeros((0, 5), np.float32),
    }
    meta = {"epoch": 3, "rng": [1, 2**62], "history": [{"loss": 0.25}] * 5000, "best": None}
    write_state(tmp_path / "s.h5", arrays, meta)
    found, found_meta = read_state(tmp_path / "s.h5")
    same_bits(found, arrays)
    assert found_meta == meta


# --------------------------------------------------------------------------------------- what a writer does not write


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "b.h5"
    write_good_backbone(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), hdf5.write_file(path, "minibert-backbone") as file:
        file.create_dataset("half", data=np.ones(1000))
        raise KeyboardInterrupt
    with pytest.raises(InputError, match="cannot be written"), hdf5.write_file(path, "minibert-backbone"):
        raise OSError("No space left on device")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.h5"]


def test_a_reader_at_work_keeps_the_old_file(tmp_path):
    path = tmp_path / "s.h5"
    write_good_state(path)
    before = path.read_bytes()
    with open(path, "rb") as reader:
        write_state(path, {"step": np.array(8)}, {})
        assert reader.read() == before  # replaced as a whole, not written over
    assert read_state(path)[0]["step"] == 8


def test_places_that_cannot_be_written_are_told(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "below.h5"):
        message = refused(lambda p: write_state(p, {}, {}), path)
        assert "folder" in message
    link, real = tmp_path / "link.h5", tmp_path / "real.h5"
    link.symlink_to(real)
    write_good_state(link)
    assert link.is_symlink() and read_state(real)[1] == read_state(link)[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pooler/W": None}, "array pooler/W is missing"),
        ({"more/W": np.ones(2, np.float32)}, "array more/W is unexpected"),
        ({"pooler/b": np.ones((8, 1), np.float32)}, r"pooler/b is float32 \(8, 1\), expected float32 \(8,\)"),
        ({"pooler/b": np.ones(8)}, "pooler/b is float64"),
        ({"pooler/b": [1.0] * 8}, "pooler/b is list"),
        ({"pooler/b": np.full(8, np.nan, np.float32)}, r"pooler/b holds nan at index \(0,\)"),
    ],
)
def test_a_backbone_that_does_not_fit_its_config_is_not_written(tmp_path, change, words):
    params = {name: array for name, array in (PARAMS | change).items() if array is not None}
    with pytest.raises(InputError, match=words):
        write_backbone(tmp_path / "b.h5", CONFIG, params, bert_tokenizer(VOCAB), "", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "cannot be named ''"),
        ({"name": "a/b"}, "cannot be named 'a/b'"),
        ({"name": ".."}, "cannot be named"),
        ({"head": "other"}, "head is 'other'"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"labels": ("one",)}, "1 labels for a head with 2 outputs"),
        ({"labels": (0, 1)}, "expected names"),
        ({"params": {}}, "head/W is missing"),
        ({"params": {"head/W": np.ones((8, 2), np.float32)}}, "head/b is missing"),
        ({"adapter": None}, "down/W is unexpected"),
        ({"adapter": AdapterConfig(size=4)}, r"expected float32 \(8, 4\)"),
    ],
)
def test_a_record_checks_itself(changes, words):
    with pytest.raises(InputError, match=words):
        make_record(**changes)


def test_settings_that_json_cannot_hold_are_told(tmp_path):
    with pytest.raises(InputError, match="training cannot be saved"):
        write_bank(tmp_path / "b.h5", {"sst2": make_record(training={"lr": np.ones(2)})})
    with pytest.raises(InputError, match="meta cannot be saved"):
        write_state(tmp_path / "s.h5", {}, {"x": {1, 2}})
    with pytest.raises(InputError, match="no task"):
        write_bank(tmp_path / "b.h5", {})
    with pytest.raises(InputError, match="filed as 'other'"):
        write_bank(tmp_path / "b.h5", {"other": make_record()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "../a", "a/./b", "line\nend"])
def test_bad_array_names_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot be named"):
        write_state(tmp_path / "s.h5", {name: np.ones(1)}, {})


def test_state_arrays_must_be_plain_numbers(tmp_path):
    for array, words in [
        (np.array([None]), "object"),
        (np.ones(2, np.int8), "int8"),
        (np.array([np.inf]), "holds inf"),
    ]:
        with pytest.raises(InputError, match=words):
            write_state(tmp_path / "s.h5", {"x": array}, {})
    with pytest.raises(InputError, match="'a/b' cannot be stored"):
        write_state(tmp_path / "s.h5", {"a": np.ones(1), "a/b": np.ones(1)}, {})
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_must_fit_the_embedding(tmp_path):
    with pytest.raises(InputError, match="has 14 tokens, the embedding rows for 12: there is none for 'd', id 12"):
        write_backbone(tmp_path / "b.h5", CONFIG, PARAMS, bert_tokenizer((*VOCAB, *"bcde")), "", "")
