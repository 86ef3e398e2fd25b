"""Our three HDF5 formats: valid files, changes of their structure with and without new checksums, a plain reading."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from tokenizers import Tokenizer

from minibert.backbone import load_backbone
from minibert.config import AdapterConfig, BertConfig
from minibert.errors import InputError
from minibert.params import flatten
from minibert.storage import (
    TaskRecord,
    bert_tokenizer,
    hdf5,
    read_backbone,
    read_bank,
    read_state,
    write_backbone,
    write_bank,
    write_state,
)

from . import checkpoints
from .case import Case, Refuse, difference
from .mutations import NUMBERS, Raw, damage, dump, mutate_json, odd_text

CONFIG = BertConfig(vocab_size=12, hidden_size=4, n_layers=1, n_heads=2, feed_forward_size=6, max_positions=5)
VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "naïve", "##ing", "漢", "\u2028", "a")
UNCHANGED = 0.02  # share of the files that are left as they are
VERSION_1_OPTIONS = ("lowercase", "strip_accents", "chinese_chars")
OLDER = 0.2  # share of the files of version 1
FIXTURES = Path(__file__).parent.parent / "fixtures"


@dataclass(frozen=True)
class Kind:
    """A format: valid files, the program's reader, what it read as plain values, and the same by a plain reading.

    older: a file of version 1, whose settings are under no checksum: what it says after a change may be read.
    """

    images: list[bytes]
    older: bytes
    read: Callable
    describe: Callable
    plain: Callable


# --------------------------------------------------------------------------------------------------------- valid files


def _arrays(shapes: dict, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def _image(write: Callable, *args) -> bytes:
    with TemporaryDirectory() as folder:
        write(Path(folder, "x.h5"), *args)
        return Path(folder, "x.h5").read_bytes()


def write_small_backbone(path: Path, seed: int = 0) -> None:
    """A backbone of a few kilobytes."""
    vocab = VOCAB[: 8 + seed]
    tokenizer = bert_tokenizer(vocab, lowercase=seed == 0, strip_accents=(None, False)[seed])
    write_backbone(path, CONFIG, _arrays(CONFIG.shapes(), seed), tokenizer, f"random {seed}", "ab" * 32)


def _records(seed: int) -> dict[str, TaskRecord]:
    adapter, norm = AdapterConfig(size=2), {"embeddings/norm/gamma": (4,)}
    common = {"backbone_fingerprint": f"{seed}f" * 32, "backbone_config": CONFIG, "backbone_tokenizer": "cd" * 32}
    rows = {"train": np.arange(9, dtype=np.uint64) * 2**59, "dev": np.arange(2, dtype=np.uint64)}
    head = {"head/W": (4, 1), "head/b": (1,)}
    if seed == 0:
        shapes = adapter.shapes(CONFIG) | norm | {"head/W": (4, 2), "head/b": (2,)}
        settings = {"model_options": {"top_k": None}, "training": {"lr": 1e-3, "epochs": 5}, "dev": {"accuracy": 0.75}}
        settings |= {"rows": rows}
        first = {"head": "classify", "labels": ("no", "yes"), "method": "adapter", "adapter": adapter} | settings
        second = {"head": "regress", "labels": (), "method": "layernorm"}
        records = {"sst2": (first, shapes), "stsb": (second, norm | head)}
    else:
        labels = tuple(f"class {i:03}" for i in range(400))  # their attribute is more than 4 KB, and lies elsewhere
        many = {"head": "classify", "labels": labels, "method": "head", "training": {"notes": "x" * 6000}}
        records = {"many": (many, {"head/W": (4, 400), "head/b": (400,)})}
    return {
        name: TaskRecord(name=name, params=_arrays(shapes, seed + len(name)), **settings, **common)
        for name, (settings, shapes) in records.items()
    }


def _state(seed: int) -> tuple[dict, dict]:
    arrays = {"adam/m/head/W": np.ones((2, 3)) * seed, "head/W": np.ones((2, 3), np.float32), "step": np.array(7)}
    history = [{"epoch": i, "loss": 1 / (i + 1), "dev": None} for i in range((2, 150)[seed])]
    return arrays, {"epoch": 1, "history": history, "settings": {"lr": 1e-3, "labels": ["no", "yes"]}}


def _older(name: str) -> bytes:
    return (FIXTURES / f"older_{name}.h5").read_bytes()


def backbones():
    """The maker of mutated backbones."""
    images = [_image(write_small_backbone, seed) for seed in (0, 1)]
    return _maker(Kind(images, _older("backbone"), _read_and_load_backbone, _describe_backbone, _plain_backbone))


def banks():
    """The maker of mutated banks."""
    images = [_image(write_bank, _records(seed)) for seed in (0, 0, 1)]
    return _maker(Kind(images, _older("bank"), read_bank, _describe_bank, _plain_bank))


def states():
    """The maker of mutated training states."""
    images = [_image(write_state, *_state(seed)) for seed in (0, 0, 1)]
    return _maker(
        Kind(images, _older("state"), read_state, lambda value: {"arrays": value[0], "meta": value[1]}, _plain_state)
    )


# ------------------------------------------------------------------------------------------------------ what is read


def _read_and_load_backbone(path: Path):
    load_backbone(path)  # also makes the tokenizer
    return read_backbone(path)


def _describe_backbone(file) -> dict:
    found = {"config": asdict(file.config), "params": flatten(file.params)}
    return found | {name: getattr(file, name) for name in ("tokenizer", "source", "source_sha256", "fingerprint")}


def _plain_backbone(file: h5py.File) -> dict:
    config = _settings(BertConfig, _text(file, "config"))
    params = _plain_arrays(file["params"])
    _check_shapes(params, config)
    found = {name: _text(file, name) for name in ("source", "source_sha256", "fingerprint")}
    group = file["tokenizer"]
    found["tokenizer"] = _plain_tokenizer(group) if _version(file) >= 2 else _plain_vocabulary(group)
    if Tokenizer.from_str(found["tokenizer"]).get_vocab_size() > config["vocab_size"]:
        raise Refuse("a token without an embedding")
    return {"config": config, "params": params} | found


def _version(file: h5py.File) -> int:
    return int(file.attrs["version"])


def _plain_tokenizer(group: h5py.Group) -> str:
    text = _plain_dataset(group, "json", "uint8").tobytes().decode()
    try:
        Tokenizer.from_str(text)
    except BaseException as error:  # what Rust panics with is no Exception
        raise Refuse(f"the tokenizer is none: {error}") from None
    return text


def _plain_vocabulary(group: h5py.Group) -> str:
    """The tokenizer of a file of version 1."""
    vocab = [word.decode() for word in _plain_dataset(group, "vocab").tolist()]
    if len(set(vocab)) < len(vocab) or not {"[UNK]", "[CLS]", "[SEP]"} <= set(vocab):
        raise Refuse("the vocabulary lacks a word, or has one twice")
    lowercase, accents, chinese = (json.loads(_text(group, name)) for name in VERSION_1_OPTIONS)
    if not {type(lowercase), type(chinese)} == {bool} or not isinstance(accents, (bool, type(None))):
        raise Refuse("the casing is not true or false")
    parts = json.loads(checkpoints.bert_tokenizer(vocab, lowercase, accents, chinese).to_str())
    kept = {name: part for name, part in parts.items() if name not in ("truncation", "padding", "decoder")}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _describe_bank(tasks: dict) -> dict:
    return {name: _describe_task(record) for name, record in tasks.items()}


def _describe_task(record: TaskRecord) -> dict:
    names = ("head", "labels", "method", "params", "model_options", "training", "dev", "backbone_fingerprint")
    names += ("backbone_tokenizer", "rows")
    found = {name: getattr(record, name) for name in names}
    adapter = asdict(record.adapter) if record.adapter else None
    return found | {"config": asdict(record.backbone_config), "adapter": adapter}


def _plain_bank(file: h5py.File) -> dict:
    config = _settings(BertConfig, _text(file, "backbone_config"))
    shared = {"backbone_fingerprint": _text(file, "backbone_fingerprint"), "config": config}
    tasks = {name: _plain_child(file["tasks"], name) for name in file["tasks"]}
    return {name: _plain_task(group, config, _version(file)) | shared for name, group in tasks.items()}


def _plain_task(group: h5py.Group, config: dict, version: int) -> dict:
    adapter = _text(group, "adapter")
    found = {name: json.loads(_text(group, name)) for name in ("labels", "model_options", "training", "dev")}
    if not isinstance(found["labels"], list) or not all(isinstance(found[n], dict) for n in list(found)[1:]):
        raise Refuse("a setting is of another type")
    found |= {name: _text(group, name) for name in ("head", "method")}
    found |= {"adapter": _settings(AdapterConfig, adapter) if adapter else None}
    params = _plain_arrays(group["params"])
    if set(json.loads(_text(group, "names"))) != set(params):
        raise Refuse("the arrays are not those of the list")
    outputs = params["head/W"].shape[1]
    if outputs != json.loads(_text(group, "n_out")) or len(found["labels"]) not in (outputs, 0):
        raise Refuse("the outputs are not as many as the labels")
    if found["head"] not in ("classify", "regress", "span") or not all(isinstance(n, str) for n in found["labels"]):
        raise Refuse("the head or a label is unknown")
    _check_task_shapes(params, config, found["adapter"])
    found["backbone_tokenizer"] = _text(group, "backbone_tokenizer") if version >= 2 else ""
    found["rows"] = {name: _plain_dataset(group["rows"], name, "uint64") for name in group.get("rows", ())}
    if {name: len(rows) for name, rows in found["rows"].items()} != _stated_rows(group):
        raise Refuse("the rows are not as many as is said")
    return found | {"params": params}


def _stated_rows(group: h5py.Group) -> dict:
    return json.loads(_text(group, "rows")) if "rows" in group.attrs else {}


def _plain_state(file: h5py.File) -> dict:
    arrays, meta = _plain_arrays(file["arrays"], any_dtype=True), json.loads(_text(file, "meta"))
    index = json.loads(_text(file, "index"))
    if {name: [a.dtype.name, list(a.shape)] for name, a in arrays.items()} != index or not isinstance(meta, dict):
        raise Refuse("the arrays are not those of the index")
    return {"arrays": arrays, "meta": meta}


def _text(node, name: str) -> str:
    value = node.attrs[name]
    if not isinstance(value, (bytes, str)):
        raise Refuse(f"attribute {name} is no text")
    return value.decode() if isinstance(value, bytes) else str(value)


def _settings(cls, text: str) -> dict:
    """A config's fields. The limits that matter to what is read are checked here; the others by the config itself."""
    values, known = json.loads(text), {field.name: field for field in fields(cls)}
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise Refuse("a setting is unknown")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in values]
    if missing:
        raise Refuse(f"{missing[0]} is missing")
    return {name: values.get(name, field.default) for name, field in known.items()}


def _plain_child(group: h5py.Group, name: str):
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise Refuse("a link")
    return group[name]


def _plain_dataset(group: h5py.Group, name: str, dtype: str | None = None) -> np.ndarray:
    dataset = _plain_child(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise Refuse("a group in the place of a data set")
    if not _is_plain(dataset):
        raise Refuse("a data set that is not one plain block")
    if dtype and dataset.dtype != dtype:
        raise Refuse("another dtype")
    return dataset[()]


def _plain_arrays(group: h5py.Group, any_dtype: bool = False, prefix: str = "", above: tuple = ()) -> dict:
    if group.id in above:
        raise Refuse("a group that holds itself")
    found = {}
    for name in group:
        node = _plain_child(group, name)
        if isinstance(node, h5py.Group):
            found |= _plain_arrays(node, any_dtype, f"{prefix}{name}/", (*above, group.id))
            continue
        array = np.asarray(_plain_dataset(group, name))
        allowed = ("<f4", "<f8", "<i8") if any_dtype else ("<f4",)
        if array.dtype.str not in allowed or not np.isfinite(array).all():
            raise Refuse("an array of another dtype, or not finite")
        found[prefix + name] = array
    return found


def _check_shapes(params: dict, config: dict) -> None:
    """Refuse a backbone whose arrays are not those of its config."""
    layers = config["n_layers"]
    if not isinstance(layers, int) or len(params) != 7 + 16 * layers:
        raise Refuse("the number of layers")
    V, D, F = config["vocab_size"], config["hidden_size"], config["feed_forward_size"]
    for name, array in params.items():
        if array.shape != _shape(name, V, D, F, config):
            raise Refuse(f"the shape of {name}")


def _shape(name: str, V: int, D: int, F: int, config: dict) -> tuple:
    special = {
        "embeddings/word/W": (V, D),
        "embeddings/position/W": (config["max_positions"], D),
        "embeddings/segment/W": (config["n_segments"], D),
    }
    if name in special:
        return special[name]
    if name.endswith("intermediate/W"):
        return (D, F)
    if name.endswith("intermediate/b"):
        return (F,)
    if name.endswith("feed_forward/output/W"):
        return (F, D)
    return (D, D) if name.endswith("/W") else (D,)


def _check_task_shapes(params: dict, config: dict, adapter: dict | None) -> None:
    D, C = config["hidden_size"], params["head/W"].shape[1]
    for name, array in params.items():
        if "/adapter/" in name:
            M = adapter["size"] if adapter else None
            known = {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
            expected = known.get("/".join(name.split("/")[-2:]), array.shape)
        elif name.startswith("head/"):
            expected = (D, C) if name == "head/W" else (C,)
        else:
            expected = _shape(name, config["vocab_size"], D, config["feed_forward_size"], config)
        if array.shape != expected:
            raise Refuse(f"the shape of {name}")


# ------------------------------------------------------------------------------------------------------- new checksums


def reseal(file: h5py.File) -> bool:
    """Make every checksum of a changed file right again, by the program's own functions. False: it cannot be sealed."""
    for node, name, value in _checksums(file):
        _put_text(node, name, value)
    if "seal" in file.attrs or _version(file) >= 2:
        try:
            _put_text(file, "seal", hdf5.seal_of(file, "x.h5"))
        except InputError:
            return False
    return True


def _checksums(file: h5py.File) -> list[tuple]:
    """Every checksum of arrays as it should be: (the node whose attribute it is, its name, its value)."""
    found = []
    if "fingerprint" in file.attrs:
        arrays = _raw_arrays(file["params" if "params" in file else "arrays"])
        found.append((file, "fingerprint", hdf5.fingerprint(arrays)))
    for group in file.get("tasks", {}).values():
        rows = _raw_arrays(group["rows"], "rows/") if "rows" in group else {}
        found.append((group, "fingerprint", hdf5.fingerprint(_raw_arrays(group["params"]) | rows)))
    words = file.get("tokenizer", {})
    if all(isinstance(node, h5py.Dataset) and _is_plain(node) for node in words.values()):
        if "json" in words:
            found.append((words, "sha256", hashlib.sha256(words["json"][()].tobytes()).hexdigest()))
        elif "vocab" in words:
            lines = b"".join(word + b"\n" for word in words["vocab"][()].tolist())
            found.append((words, "sha256", hashlib.sha256(lines).hexdigest()))
    return found


def _raw_arrays(group: h5py.Group, prefix: str = "") -> dict:
    found = {}
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            if isinstance(group[name], h5py.Group) and len(prefix) < 200:
                found |= _raw_arrays(group[name], f"{prefix}{name}/")
            elif isinstance(group[name], h5py.Dataset) and _is_plain(group[name]):
                found[prefix + name] = np.asarray(group[name][()])
    return found


def _is_plain(dataset: h5py.Dataset) -> bool:
    # The size is not dataset.nbytes, which counts modulo 2**64.
    size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    plain = dataset.chunks is None and dataset.external is None and not dataset.is_virtual
    return plain and dataset.id.get_storage_size() == size


def _put_text(node, name: str, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    node.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))


def open_image(image: bytes) -> h5py.File:
    """A file in memory that can be changed; `file.id.get_file_image()` after `flush` gives it back."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_image(image)
    return h5py.File(h5py.h5f.open(b"in memory", h5py.h5f.ACC_RDWR, fapl=access))


# -------------------------------------------------------------------------------------------------------- the mutations


def _maker(kind: Kind):
    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        older, path = rng.random() < OLDER, folder / "x.h5"
        image = kind.older if older else rng.choice(kind.images)
        mutate = mutate and rng.random() >= UNCHANGED
        new, what, expected = image, "unchanged", image
        chance = rng.random()
        if mutate and chance < 0.3:
            new, what = damage(rng, image, rng.choice(kind.images))
            if rng.random() < 0.7:
                new, what = with_block_checksums(new), what + ", checksums of the blocks made new"
            expected = new if older else image
        elif mutate:
            new, what, expected = _change_structure(rng, image, folder, older)
        path.write_bytes(new)
        return Case(
            [path],
            f"version {1 if older else hdf5.VERSION}, {what}",
            lambda: kind.read(path),
            lambda: [_expected(kind, expected)],
            lambda value, plain: difference(kind.describe(value), plain),
            may_refuse=mutate,
            located=False,
        )

    return make


def _expected(kind: Kind, image: bytes | str) -> dict:
    if isinstance(image, str):
        raise Refuse(image)
    try:
        with open_image(image) as file:
            if any(_text(node, name) != value for node, name, value in _checksums(file)):
                raise Refuse("a checksum is not right")
            return kind.plain(file)
    except Refuse:
        raise
    except Exception as error:
        raise Refuse(f"a plain reading fails: {type(error).__name__}") from error


def _change_structure(rng: Random, image: bytes, folder: Path, older: bool) -> tuple[bytes, str, bytes | str]:
    """The changed file, how it was changed, and what may be read of it: an image, or why it must be refused."""
    for _ in range(20):
        change = rng.choice(_CHANGES)
        try:
            with open_image(image) as file:
                nodes: list = []
                file.visititems(lambda name, node: nodes.append(node))  # noqa: B023 (done before the next)
                told = change(rng, file, nodes, folder)
                what = f"HDF5: {change.__name__.strip('_').replace('_', ' ')}: {told}"[:400]
                sealed = rng.random() < 0.75 and reseal(file)
                what += ", sealed" if sealed else ""
                file.flush()
                new = file.id.get_file_image()
        except Exception:  # the library refuses to write this one
            continue
        expected = new if sealed or older else image
        if rng.random() < 0.03:
            new, what, expected = rng.randbytes(512) + new, what + ", behind a user block", "a user block"
        elif rng.random() < 0.03:
            new, what = new + rng.randbytes(300), what + ", bytes after the end"
        return new, what, f"{change.__name__[1:]} of a kind that is not ours" if change in _FORBIDDEN else expected
    return image, "unchanged, as no change was possible", image


def _node_and_attribute(rng, file, nodes):
    holders = [node for node in (file, *nodes) if len(node.attrs)]
    node = rng.choice(holders)
    return node, rng.choice(sorted(node.attrs))


def _any_text(node, name: str) -> str:
    value = node.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _attribute_gone(rng, file, nodes, folder):
    node, name = _node_and_attribute(rng, file, nodes)
    del node.attrs[name]
    return f"{name} of {node.name}"


def _attribute_renamed(rng, file, nodes, folder):
    node, name = _node_and_attribute(rng, file, nodes)
    new = rng.choice((name.upper(), name + " ", "x" * 300, "é\n", *sorted(node.attrs)))
    node.attrs.rename(name, new)
    return f"{name} of {node.name} to {new!r}"


def _attribute_of_another_type(rng, file, nodes, folder):
    node, name = _node_and_attribute(rng, file, nodes)
    number, text = rng.choice(NUMBERS), np.array([_any_text(node, name)] * 2, object)
    values = (
        str(number), number if number < 2**63 else 1.0, float(number), True, np.float32("nan"), np.array([1, 2]),
        h5py.Empty("f"), h5py.Empty("S10"), np.bytes_(b"\xff\xfe"), np.bytes_(b""), 1j, [b"a", b"b"], node.ref,
        np.zeros((3, 3)), text, np.zeros(2, [("a", "i4"), ("b", "f8")]),
    )  # fmt: skip
    value = rng.choice(values)
    if value is node.ref:
        node.attrs.create(name, value, dtype=h5py.ref_dtype)
    else:
        node.attrs[name] = value
    return f"{name} of {node.name} is {value!r:.80}"


def _attribute_of_variable_length(rng, file, nodes, folder):
    node, name = _node_and_attribute(rng, file, nodes)
    node.attrs[name] = _any_text(node, name)
    return f"{name} of {node.name}"


def _attribute_with_another_text(rng, file, nodes, folder):
    node, name = _node_and_attribute(rng, file, nodes)
    old = _any_text(node, name)
    place = rng.randrange(len(old) + 1)
    new = rng.choice((odd_text(rng), old[:place] + odd_text(rng) + old[place:], old[:place], old[::-1], old + old))
    _put_text(node, name, new)
    return f"{name} of {node.name} is {new!r:.80}"


def _attribute_with_other_json(rng, file, nodes, folder):
    found = []
    for node in (file, *nodes):
        for name in node.attrs:
            if _any_text(node, name)[:1] in '[{"tfn' or name == "n_out":
                found.append((node, name))
    node, name = rng.choice(sorted(found, key=lambda pair: (pair[0].name, pair[1])))
    text, what = mutate_json(rng, json.loads(_any_text(node, name)))
    _put_text(node, name, text)
    return f"{name} of {node.name}, {what}: {text[:120]}"


_SETTINGS = ("config", "backbone_config", "n_out", "adapter", "index")


def _settings_that_are_absurd(rng, file, nodes, folder):
    """A number of a config, of the outputs, or a shape, is another one, and well formed."""
    found = [(node, name) for node in (file, *nodes) for name in _SETTINGS if node.attrs.get(name)]
    node, name = rng.choice(found)
    value = json.loads(node.attrs[name])
    number = rng.choice((*NUMBERS, 10**6, 10**8, 10**9, 3, 5, Raw("1e9")))
    if name == "n_out":
        value = number
    elif name == "index":
        key = rng.choice(sorted(value))
        value[key] = [value[key][0], rng.choice(([number], [number, number], [*value[key][1], number]))]
    else:
        key = rng.choice([key for key, old in value.items() if isinstance(old, int) and not isinstance(old, bool)])
        value[key] = number
    _put_text(node, name, dump(value))
    return f"{name} of {node.name}: {dump(value)[:200]}"


def _attribute_more(rng, file, nodes, folder):
    node = rng.choice([file, *nodes])
    name = rng.choice(("seal", "rows", "version", "config", "x", "é", "x" * 1000))
    _put_text(node, name, odd_text(rng) or "x")
    return f"{name[:20]} of {node.name}"


def _attribute_that_is_huge(rng, file, nodes, folder):
    node, name = _node_and_attribute(rng, file, nodes)
    _put_text(
        node, name, rng.choice(('"' + "x" * 60_000 + '"', "[" + "1," * 40_000 + "1]", " " * 200_000, "9" * 30_000))
    )
    return f"{name} of {node.name}"


def _dataset(rng, nodes):
    return rng.choice([node for node in nodes if isinstance(node, h5py.Dataset)])


def _replace(file, dataset, data=None, **options):
    name, attributes = dataset.name, dict(dataset.attrs)
    old = dataset[()] if data is None and "shape" not in options else None
    del file[name]
    new = file.create_dataset(name, data=data if data is not None else old, **options)
    for key, value in attributes.items():
        new.attrs.create(key, value, dtype=h5py.string_dtype("utf-8", len(value)) if isinstance(value, bytes) else None)
    return name


def _other_dtype(rng, file, nodes, folder):
    dataset = _dataset(rng, nodes)
    kinds = ("float64", "float16", ">f4", "int32", ">i8", "uint8", "S4", "bool", "complex64", "int64", "float32")
    dtype = rng.choice(kinds)
    data = dataset[()] if dataset.dtype.kind in "fiu" else np.ones(dataset.shape)
    return f"{_replace(file, dataset, data.astype(dtype))} as {dtype}"


def _other_shape(rng, file, nodes, folder):
    dataset = _dataset(rng, nodes)
    data = dataset[()]
    choices = [
        data.T,
        data.reshape(-1),
        data[None],
        np.concatenate([data.reshape(-1)] * 2),
        data[..., None],
        data.flat[0],
    ]
    choices += [data[:1], data[:0]] if data.ndim else []
    data = rng.choice(choices)
    return f"{_replace(file, dataset, np.ascontiguousarray(data) if np.ndim(data) else data)} as {np.shape(data)}"


def _huge_shape(rng, file, nodes, folder):
    dataset = _dataset(rng, nodes)
    shape = rng.choice(
        ((2**31, 4), (2**40,), (2**62,), (2**61,), (2**63,), (2**31, 2**31), (10**6, 10**3), (1,) * 32, (0, 2**40))
    )
    kind = dataset.dtype if rng.random() < 0.7 else h5py.string_dtype("utf-8", 2**20)
    return f"{_replace(file, dataset, shape=shape, dtype=kind)} as {shape}"


def _chunked(rng, file, nodes, folder):
    dataset = _dataset(rng, [node for node in nodes if getattr(node, "shape", ())])
    data = dataset[()]
    options = rng.choice(
        ({}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, {"maxshape": (None,) * data.ndim})
    )
    return f"{_replace(file, dataset, data, chunks=(1,) * data.ndim, **options)} {options}"


def _bomb(rng, file, nodes, folder):
    dataset = _dataset(rng, [node for node in nodes if getattr(node, "shape", ())])
    shape = (2**23, *dataset.shape[1:])
    options = {"chunks": (2**16, *dataset.shape[1:]), "compression": "gzip", "fillvalue": 1}
    return _replace(file, dataset, shape=shape, dtype=dataset.dtype, **options)


def _external(rng, file, nodes, folder):
    dataset = _dataset(rng, [node for node in nodes if getattr(node, "shape", ())])
    (folder / "other.bin").write_bytes(dataset[()].tobytes())
    places = [str(folder / "other.bin"), "other.bin", "/dev/zero", "/etc/passwd", "x.h5", "/no/such/file"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo")
        places.append(str(folder / "fifo"))
    place = rng.choice(places)
    options = {"shape": dataset.shape, "dtype": dataset.dtype}
    return f"{_replace(file, dataset, external=[(place, 0, dataset.nbytes)], **options)} in {place}"


def _virtual(rng, file, nodes, folder):
    dataset = _dataset(rng, [node for node in nodes if getattr(node, "shape", ())])
    layout, name = h5py.VirtualLayout(dataset.shape, dataset.dtype), dataset.name
    source, shape = rng.choice((".", "/dev/zero", "other.h5", str(folder / "x.h5"))), dataset.shape
    other = rng.choice([node.name for node in nodes if getattr(node, "shape", None) == shape])
    layout[...] = h5py.VirtualSource(source, other, shape=shape)
    del file[name]
    file.create_virtual_dataset(name, layout)
    return f"{name} from {other} of {source}"


def _link(rng, file, nodes, folder):
    node = rng.choice(nodes)
    name, links = node.name, (h5py.SoftLink, h5py.ExternalLink)
    target = rng.choice([name, "/", rng.choice(nodes).name, "/nowhere", "x" * 5000])
    link = rng.choice((links[0](target), links[1](rng.choice(("x.h5", "other.h5", "/dev/zero")), target)))
    if rng.random() < 0.3:  # the data is still there, and the link leads to it
        file.move(name, "/moved")
        link = h5py.SoftLink("/moved")
    else:
        del file[name]
    file[name] = link
    return f"{name} to {link!r:.80}"


def _hard_link(rng, file, nodes, folder):
    node, other = rng.choice(nodes), rng.choice([file, *nodes])
    name = rng.choice((node.name, node.name + "/again", node.name + "2"))
    if name in file:
        del file[name]
    file[name] = other
    return f"{name} is {other.name}"


def _other_values(rng, file, nodes, folder):
    dataset = _dataset(rng, nodes)
    data = np.array(dataset[()])
    flat = data.reshape(-1)
    place = rng.randrange(flat.size)
    if data.dtype.kind == "f":
        flat[place] = rng.choice((np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, 1e-45, 7.5))
    else:
        flat.view(np.uint8)[rng.randrange(flat.view(np.uint8).size)] ^= 1 << rng.randrange(8)
    dataset[...] = data
    return f"{dataset.name} at {place}"


def _other_words(rng, file, nodes, folder):
    group = file["tokenizer"]
    if "json" in group:
        text, what = mutate_json(rng, json.loads(group["json"][()].tobytes().decode()))
        _replace(file, group["json"], np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8))
        return what
    words = group["vocab"][()].tolist()
    i = rng.randrange(len(words))
    words[i] = rng.choice((odd_text(rng).encode()[:300], b"\xff", rng.choice(words), b"", b"two words"))
    words = rng.choice((words, words, words[:-1], [*words, b"more"] * 2, words[::-1]))
    del group["vocab"]
    group.create_dataset("vocab", data=words, dtype=h5py.string_dtype("utf-8", max(1, *map(len, words))))
    return repr(words)[:200]


def _member_gone(rng, file, nodes, folder):
    name = rng.choice(nodes).name
    del file[name]
    return name


def _member_renamed(rng, file, nodes, folder):
    name = rng.choice(nodes).name
    new = f"{name.rpartition('/')[0]}/{rng.choice(('x', 'W', '漢', 'a b', 'x' * 2000, chr(10), chr(27) + '[2J', '1'))}"
    file.move(name, new)
    return f"{name} to {new[:80]!r}"


def _member_more(rng, file, nodes, folder):
    groups = [file, *(node for node in nodes if isinstance(node, h5py.Group))]
    name = f"{rng.choice(groups).name.rstrip('/')}/{rng.choice(('x', 'rows', 'json', '漢', 'a' * 1000, chr(10)))}"
    if rng.random() < 0.5:
        file[name] = np.ones(3, np.float32)
    else:
        file.create_group(name)
    return name[:80]


def _deep_groups(rng, file, nodes, folder):
    groups = [node for node in nodes if isinstance(node, h5py.Group)]
    name = f"{rng.choice(groups).name}/{'/'.join('x' * rng.choice((40, 400)))}"
    file.create_group(name)
    return name[:60]


def _group_and_dataset_exchanged(rng, file, nodes, folder):
    node = rng.choice(nodes)
    name, attributes = node.name, dict(node.attrs)
    was_group = isinstance(node, h5py.Group)
    del file[name]
    new = file.create_dataset(name, data=np.ones(3, np.float32)) if was_group else file.create_group(name)
    for key, value in attributes.items():
        new.attrs[key] = value
    return name


def _two_exchanged(rng, file, nodes, folder):
    first = rng.choice(nodes)
    alike = [node for node in nodes if getattr(node, "shape", None) == getattr(first, "shape", None) and node != first]
    alike = [node for node in alike if not (node.name + "/").startswith(first.name + "/")]
    alike = [node.name for node in alike if not (first.name + "/").startswith(node.name + "/")]
    first, second = first.name, rng.choice(alike)
    file.move(first, "/between")
    file.move(second, first)
    file.move("/between", second)
    return f"{first} and {second}"


def _task_again(rng, file, nodes, folder):
    group, name = file["tasks"], rng.choice(sorted(file["tasks"]))
    new = rng.choice(("copy", "..", "a\nb", " ", "x" * 500, "é", "\u202e", "\x1b[2J"))
    file.copy(group[name], group, name=new)
    return f"{name} as {new[:20]!r}"


_FORBIDDEN = (_chunked, _bomb, _external, _virtual, _link)
_CHANGES = (
    _attribute_gone, _attribute_renamed, _attribute_of_another_type, _attribute_of_another_type,
    _attribute_of_variable_length, _attribute_with_another_text, _attribute_with_another_text,
    *[_attribute_with_other_json] * 6, *[_settings_that_are_absurd] * 3, _attribute_more, _attribute_that_is_huge,
    _other_dtype, _other_shape, _huge_shape, _hard_link, _other_values, _other_words, _member_gone, _member_renamed,
    _member_more, _deep_groups, _group_and_dataset_exchanged, _two_exchanged, _task_again, *_FORBIDDEN,
)  # fmt: skip


# --------------------------------------------------------------------------------------- checksums of HDF5's own blocks


def with_block_checksums(data: bytes) -> bytes:
    """The file with the checksums of its superblock and object headers made right: damage that HDF5 does not see."""
    found = bytearray(data)
    if found[8:9] in (b"\2", b"\3") and len(found) >= 48:
        found[44:48] = struct.pack("<I", _lookup3(bytes(found[:44])))
    place = found.find(b"OHDR")
    while place >= 0:
        _seal_header(found, place)
        place = found.find(b"OHDR", place + 4)
    return bytes(found)


def _seal_header(data: bytearray, place: int) -> None:
    flags = data[place + 5] if place + 5 < len(data) else 0
    start = place + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(data[start : start + width], "little")
    begin, end = start + width, start + width + size
    if end + 4 > len(data) or size > 100_000:
        return
    data[end : end + 4] = struct.pack("<I", _lookup3(bytes(data[place:end])))
    step = 6 if flags & 4 else 4  # of a message: type, size, flags, and the order of creation if it is kept
    while begin + step <= end:
        kind, length = data[begin], int.from_bytes(data[begin + 1 : begin + 3], "little")
        if kind == 0x10 and begin + step + 16 <= end:
            at, size = struct.unpack_from("<QQ", data, begin + step)
            if 8 <= size <= 100_000 and at + size <= len(data):
                data[at + size - 4 : at + size] = struct.pack("<I", _lookup3(bytes(data[at : at + size - 4])))
        begin += step + length


def _lookup3(data: bytes) -> int:
    """Bob Jenkins's lookup3 hash (2006), little-endian, initial value 0: the checksum of HDF5's metadata."""
    mask = 0xFFFFFFFF

    def rot(x: int, k: int) -> int:
        return ((x << k) | (x >> (32 - k))) & mask

    a = b = c = (0xDEADBEEF + len(data)) & mask
    if not data:
        return c
    padded = data + bytes(-len(data) % 12)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    for i in range(0, len(words) - 3, 3):
        a, b, c = (a + words[i]) & mask, (b + words[i + 1]) & mask, (c + words[i + 2]) & mask
        a = ((a - c) & mask) ^ rot(c, 4)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ rot(a, 6)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ rot(b, 8)
        b = (b + a) & mask
        a = ((a - c) & mask) ^ rot(c, 16)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ rot(a, 19)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ rot(b, 4)
        b = (b + a) & mask
    a, b, c = (a + words[-3]) & mask, (b + words[-2]) & mask, (c + words[-1]) & mask
    c = ((c ^ b) - rot(b, 14)) & mask
    a = ((a ^ c) - rot(c, 11)) & mask
    b = ((b ^ a) - rot(a, 25)) & mask
    c = ((c ^ b) - rot(b, 16)) & mask
    a = ((a ^ c) - rot(c, 4)) & mask
    b = ((b ^ a) - rot(a, 14)) & mask
    return ((c ^ b) - rot(b, 24)) & mask
