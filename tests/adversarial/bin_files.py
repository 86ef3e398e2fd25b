"""Hugging Face folders with a mutated pytorch_model.bin, in the zip and in the legacy layout, or with mutated shards.

Mutations know what a pickle is made of: operations are taken out, doubled, exchanged, and put in (among them calls of
whatever a stranger might want), sizes, strides, keys and names are changed. The oracle is Python's own unpickler, which
finds five names that do nothing; whatever imports or starts something while our reader reads is told, too.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import sys
import zipfile
from codecs import lookup
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import safetensors.numpy

from weights_convert.torch_pickle import STORAGES

from . import checkpoints
from .case import Case, Refuse
from .json_files import UNCHANGED
from .mutations import NUMBERS, damage, mutate_json

sys.path.append(str(Path(__file__).parents[1] / "support"))
from torch_files import Parameter, add_nested, pickled, state_dict, tensor, with_zip64

BIN, SHARDS = "pytorch_model.bin", "model.safetensors.index.json"
CALLS = (
    b"cos\nsystem\nX\x09\0\0\0touch bad\x85R", b"c__builtin__\neval\nX\x01\0\0\0001\x85R",
    b"(X\x01\0\0\0aios\nsystem\n", b"csubprocess\nPopen\n)R", b"X\x02\0\0\0osX\x06\0\0\0system\x93)R",
    b"ctorch\nload\n)R", b"ccollections\nOrderedDict\n)\x81", b"cbuiltins\n__import__\nX\x04\0\0\0wave\x85R",
    b"c__main__\nx\n", b"\x82\x01", b"\x95\x01\0\0\0\0\0\0\0", b"P3\n", b"ccollections\nOrderedDict\n]R",
    b"ctorch._utils\n_rebuild_tensor_v2\n)R", b"}Q", b"\x80\x05", b"G@\x08\0\0\0\0\0\0", b"L5L\n",
)  # fmt: skip
FORBIDDEN = (
    "import",
    "exec",
    "compile",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
)
lookup("cp437")  # zipfile imports it for the first name of a member
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if _seen is not None and event in FORBIDDEN:
        _seen.append(f"{event} {arguments[0]!r}"[:80])


def _watched(read):
    """The reading, in which nothing may be imported, compiled or started."""

    def again():
        global _seen
        _seen = []
        try:
            return read()
        finally:
            seen, _seen = _seen, None
            if seen:
                raise AssertionError(f"the reader did: {', '.join(seen)}")

    return again


def _variants() -> list[dict]:
    """State dicts of the same model, as PyTorch may hold them."""
    plain = checkpoints._tensors(0)
    bits = {n: tensor((a.view(np.uint32) >> 16).astype(np.uint16), "BFloat16") for n, a in plain.items() if a.ndim < 3}
    bits["embeddings.position_ids"] = tensor(plain["embeddings.position_ids"])
    heads = {f"bert.{name}": array for name, array in plain.items()} | {
        "cls.predictions.bias": np.zeros(14, np.float32)
    }
    return [
        state_dict(plain),
        state_dict(checkpoints._tensors(1, np.float16)),
        state_dict(bits),
        {name: tensor(array, of=Parameter) for name, array in plain.items()},
        state_dict(heads),
        state_dict({name: array for name, array in plain.items() if "pooler" not in name}),
    ]


def bins():
    """The maker of folders with a mutated pytorch_model.bin."""
    sys.addaudithook(_watch)
    variants, values = _variants(), {}
    for i, value in enumerate(variants):
        for legacy in (False, True):
            values[i, legacy] = pickled(value, legacy)

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, what = mutate and rng.random() >= UNCHANGED, "unchanged"
        i, legacy = rng.randrange(len(variants)), rng.random() < 0.5
        content, storages = values[i, legacy]
        source = folder / "checkpoint"
        source.mkdir()
        checkpoints._write(source, rng, b"", BIN)
        change = rng.choice(("operations", "operations", "operations", "container", "bytes")) if mutate else ""
        if change == "operations":
            content, what = _change_pickle(rng, content)
        data = _file(rng, content, storages, legacy, change == "container")
        if change == "bytes":
            data, what = damage(rng, data, _file(rng, *values[0, legacy], legacy, False))
        (source / BIN).write_bytes(data)
        name = "legacy" if legacy else "zip"
        case = checkpoints._case(folder, f"{name}: {'container' if change == 'container' else what}", mutate)
        case.read = _watched(case.read)
        return case

    return make


def _change_pickle(rng: Random, content: bytes) -> tuple[bytes, str]:
    """One to three changes of the operations of a pickle."""
    starts = [position for _, _, position in pickletools.genops(content)] + [len(content)]
    operations, what = [content[a:b] for a, b in pairwise(starts)], []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        i, j = rng.randrange(len(operations)), rng.randrange(len(operations))
        change = rng.choice(
            ("without", "twice", "exchange", "another", "call", "number", "number", "text", "text", "name")
        )
        what.append(f"{change} at {i}")
        if change == "without":
            del operations[i]
        elif change == "twice":
            operations.insert(i, operations[i])
        elif change == "exchange":
            operations[i], operations[j] = operations[j], operations[i]
        elif change == "another":
            operations[i] = operations[j]
        elif change == "call":
            operations.insert(i, rng.choice(CALLS))
        else:
            _change_argument(rng, operations, change)
    return b"".join(operations), f"pickle: {', '.join(what)}"


def _change_argument(rng: Random, operations: list[bytes], change: str) -> None:
    """Another number, text or name in the place of one that is there."""
    kinds = {"number": b"KMJ", "text": b"X", "name": b"c"}[change]
    places = [i for i, operation in enumerate(operations) if operation[:1] and operation[:1] in kinds]
    if not places:
        return
    i = rng.choice(places)
    if change == "number":
        value = rng.choice((*NUMBERS, 2, 3, 4, 14, 16, 24))
        small, middle = b"K" + bytes([value % 256]), b"J" + struct.pack("<I", value % 2**32)
        operations[i] = rng.choice((small, middle, b"\x8a\x08" + struct.pack("<Q", value % 2**64)))
    elif change == "text":
        old = operations[i][5:].decode(errors="replace")
        names = (*checkpoints._other_names(old), "storage", "module", "0", "1", "cuda:0", "../x", "", old[::-1])
        new = rng.choice(names).encode()
        operations[i] = b"X" + struct.pack("<I", len(new)) + new
    else:
        names = [*STORAGES, "torch._utils _rebuild_tensor_v2", "collections OrderedDict", "os system", "torch Tensor"]
        operations[i] = b"c" + rng.choice(names).replace(" ", "\n").encode() + b"\n"


def _file(rng: Random, content: bytes, storages: dict, legacy: bool, change: bool) -> bytes:
    """The pickle and its storages in a layout, of which one thing is changed or nothing."""
    blocks = {key: numbers.tobytes() for key, numbers in storages.items()}
    key = rng.choice(sorted(blocks))
    what = rng.choice(("none", "shorter", "longer", "without", "order", "machine", "nested", "zip64")) if change else ""
    if what in ("shorter", "longer"):
        blocks[key] = blocks[key][:-1] if what == "shorter" else blocks[key] + b"\0"
    elif what == "without":
        del blocks[key]
    return (_legacy if legacy else _zip)(rng, content, storages, blocks, what)


def _legacy(rng: Random, content: bytes, storages: dict, blocks: dict, what: str) -> bytes:
    machine = {"protocol_version": 1001, "little_endian": what != "machine", "type_sizes": {"int": 4}}
    keys = list(storages)
    if what == "order":
        rng.shuffle(keys)
    magic = rng.choice((0x1950A86A20F9469CFC6C, 1, "x")) if what == "none" else 0x1950A86A20F9469CFC6C
    parts = [pickle.dumps(part, 2) for part in (magic, 1001, machine)] + [content, pickle.dumps(keys, 2)]
    for key in storages:
        count = storages[key].size if what != "none" else rng.choice(NUMBERS)
        parts.append(struct.pack("<Q", count % 2**64) + blocks.get(key, b""))
    return b"".join(parts)


def _zip(rng: Random, content: bytes, storages: dict, blocks: dict, what: str) -> bytes:
    order = b"big" if what == "machine" else b"little"
    members = [("archive/data.pkl", content), ("archive/byteorder", order)]
    members += [(f"archive/data/{key}", block) for key, block in blocks.items()]
    how = dict.fromkeys((name for name, _ in members), zipfile.ZIP_STORED)
    if what == "order":
        rng.shuffle(members)
    elif what == "none":
        name, block = rng.choice(members)
        change = rng.choice(("compressed", "twice", "renamed", "two roots"))
        if change == "compressed":
            how[name] = zipfile.ZIP_DEFLATED
        elif change == "twice":
            members.append((name, rng.choice((block, b"", block[::-1]))))
        elif change == "renamed":
            members[members.index((name, block))] = (rng.choice((name.upper(), name + "x", "x/" + name)), block)
        else:
            members.append(("other/data.pkl", content))
    nested = _nested(rng, blocks) if what == "nested" else {}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, block in members:
            if name not in nested:
                archive.writestr(zipfile.ZipInfo(name), block, how.get(name, zipfile.ZIP_STORED))
        if nested:
            add_nested(archive, nested)
    return _ended(rng, file.getvalue()) if what == "zip64" else file.getvalue()


def _nested(rng: Random, blocks: dict[str, bytes]) -> dict[str, bytes]:
    """Storages of which each has room for the next one and its header."""
    found: dict[str, bytes] = {}
    keys = rng.sample(sorted(blocks), rng.randint(len(blocks) // 2, len(blocks)))
    for key in sorted(keys, key=lambda key: len(blocks[key]), reverse=True):
        name, block = f"archive/data/{key}", blocks[key]
        if not found or len(block) + 30 + len(name) <= len(list(found.values())[-1]):
            found[name] = block
    return found if len(found) > 1 else {}


def _ended(rng: Random, data: bytes) -> bytes:
    """With a zip64 record, which says the same as the end or something else."""
    numbers = (None, None, len(data), *(number % 2**64 for number in NUMBERS))
    size = rng.choice((*numbers[:3], 0, 1, 0xFFFFFFFF, 0xFFFFFFFF))
    return with_zip64(data, rng.choice(numbers), size, rng.choice((*numbers, None, None, None)))


# ---------------------------------------------------------------------------------------------------------- the oracle


def stored(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a .bin by Python's own unpickler. Raises Refuse."""
    data = path.read_bytes()
    try:
        return _stored_in_zip(data) if data[:4] == b"PK\3\4" else _stored_in_legacy(data)
    except Refuse:
        raise
    except Exception as error:
        raise Refuse(f"a plain reading of the .bin fails: {type(error).__name__}") from None


class _Unpickler(pickle._Unpickler):
    """Python's, in Python, with names that do nothing."""

    def __init__(self, file):
        super().__init__(file)
        self.views: list = []

    def find_class(self, module, name):
        if f"{module} {name}" in STORAGES:
            return STORAGES[f"{module} {name}"]
        known = {"OrderedDict": OrderedDict, "_rebuild_tensor_v2": _view, "_rebuild_parameter": lambda data, *_: data}
        if module not in ("collections", "torch._utils") or name not in known:
            raise Refuse(f"it asks for {module}.{name}")
        return known[name]

    def persistent_load(self, value):
        kind, dtype, key, _, count = value[:5]
        if kind != "storage" or dtype not in STORAGES.values() or value[5:] not in ((), (None,)):
            raise Refuse("a storage that is none")
        return dtype, key, count


def _view(storage, offset, shape, stride, *_):
    if min((offset, *shape, *stride), default=0) < 0 or len(shape) != len(stride):
        raise Refuse("a negative number in a tensor")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage[2]:
        raise Refuse("a tensor beyond its storage")
    return storage, offset, shape, stride


_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
_KINDS |= {"U8": "u1", "BOOL": "?"}


def _array(view, blocks: dict[str, bytes | None]) -> np.ndarray | None:
    """A tensor; None if its bytes are damaged."""
    (dtype, key, count), offset, shape, stride = view
    block = blocks[key]
    if block is None:
        return None
    if len(block) != count * np.dtype(_KINDS[dtype]).itemsize:
        raise Refuse("a storage of another size")
    numbers = np.frombuffer(block, _KINDS[dtype])
    if dtype == "BF16":
        numbers = np.frombuffer(b"".join(b"\0\0" + block[i : i + 2] for i in range(0, len(block), 2)), "<f4")
    if len(shape) == 0:
        return numbers[offset]
    places = np.zeros(shape, np.int64) + offset
    for axis, step in enumerate(stride):
        places += (np.arange(shape[axis]) * step).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return numbers[places]


def _stored_in_zip(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise Refuse("a member is there twice")
        _check_apart(archive.infolist())
        used = [member for member in archive.infolist() if not member.filename.endswith("version")]
        (root,) = (name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl"))
        if f"{root}/byteorder" in names and archive.read(f"{root}/byteorder") != b"little":
            raise Refuse("another byte order")
        views = _Unpickler(io.BytesIO(archive.read(f"{root}/data.pkl"))).load()
        stored = {m.filename for m in used if m.compress_type == zipfile.ZIP_STORED}
        if f"{root}/data.pkl" not in stored:
            raise Refuse("compressed")
        blocks = {}
        for name in (n for n in stored if n.startswith(f"{root}/data/")):
            try:
                blocks[name.removeprefix(f"{root}/data/")] = archive.read(name)
            except zipfile.BadZipFile:  # of tensors that are left out nobody needs the checksum
                blocks[name.removeprefix(f"{root}/data/")] = None
    return {name: _array(view, blocks) for name, view in views.items()}


def _check_apart(members: list[zipfile.ZipInfo]) -> None:
    """The bytes of members that are read may belong to one of them alone."""
    spans = sorted((m.header_offset, m.header_offset + 30 + m.file_size) for m in members if m.file_size)
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise Refuse("members that overlap")


def _stored_in_legacy(data: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(data)
    magic, protocol, machine = (_Unpickler(file).load() for _ in range(3))
    if (magic, protocol) != (0x1950A86A20F9469CFC6C, 1001) or machine["little_endian"] is not True:
        raise Refuse("another layout")
    views = _Unpickler(file).load()
    kinds, blocks = {view[0][1]: view[0][0] for view in views.values()}, {}
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        blocks[key] = file.read(count * np.dtype(_KINDS[kinds[key]]).itemsize)
    return {name: _array(view, blocks) for name, view in views.items()}


# -------------------------------------------------------------------------------------------------------------- shards


def shards():
    """The maker of folders with safetensors in three shards, of which one or the index is mutated."""
    tensors = checkpoints._tensors(0)
    names = sorted(tensors)
    files = [f"model-0000{i + 1}-of-00003.safetensors" for i in range(3)]
    good = {file: safetensors.numpy.save({n: tensors[n] for n in names[i::3]}) for i, file in enumerate(files)}
    index = {"metadata": {"total_size": 1}, "weight_map": {n: files[i % 3] for i, n in enumerate(names)}}

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, what = mutate and rng.random() >= UNCHANGED, "unchanged"
        text, blocks = json.dumps(index), dict(good)
        change = rng.choice(("index", "map", "map", "shard", "bytes", "gone", "exchange")) if mutate else ""
        file, other = rng.sample(files, 2)
        if change == "index":
            text, what = mutate_json(rng, index)
        elif change == "map":
            text, what = _change_map(rng, index, files)
        elif change == "shard":
            mutation = rng.choice((checkpoints._damage_header, checkpoints._change_header, checkpoints._change_numbers))
            blocks[file], what = mutation(rng, blocks[file])
        elif change == "bytes":
            blocks[file], what = damage(rng, blocks[file], blocks[other])
        elif change == "gone":
            del blocks[file]
        elif change == "exchange":
            blocks[file], blocks[other] = blocks[other], blocks[rng.choice((file, other))]
        source = folder / "checkpoint"
        source.mkdir()
        checkpoints._write(source, rng, text.encode("utf-8", "surrogatepass"), SHARDS)
        (folder / "outside.safetensors").write_bytes(good[files[0]])
        for name, block in blocks.items():
            (source / name).write_bytes(block)
        return checkpoints._case(folder, f"{change}: {what}", mutate)

    return make


def _change_map(rng: Random, index: dict, files: list[str]) -> tuple[str, str]:
    listed = dict(index["weight_map"])
    name = rng.choice(sorted(listed))
    odd = (
        "../outside.safetensors",
        "/etc/passwd",
        "",
        ".",
        "..",
        "x.bin",
        "x.safetensors",
        None,
        3,
        [],
        "a\0.safetensors",
    )
    change = rng.choice(("file", "file", "name", "without", "all in one"))
    if change == "file":
        listed[name] = rng.choice((*odd, *files, files[0].upper(), "./" + files[0], "\\".join(("x", files[0]))))
    elif change == "name":
        listed[rng.choice(checkpoints._other_names(name))] = listed.pop(name)
    elif change == "without":
        del listed[name]
    else:
        listed = dict.fromkeys(listed, files[0])
    return json.dumps({**index, "weight_map": listed}), f"{change} of {name}"


def stored_in_shards(path: Path, stored_in) -> dict[str, np.ndarray]:
    """The tensors of an index, each from the file that it names. Raises Refuse."""
    pairs = json.loads(path.read_bytes())["weight_map"]
    for file in pairs.values():
        if "/" in file or "\\" in file or not (path.parent / file).is_file():
            raise Refuse("a shard that is not beside the index")
    found = {file: stored_in(path.parent / file) for file in set(pairs.values())}
    if {(name, file) for file, tensors in found.items() for name in tensors} != set(pairs.items()):
        raise Refuse("a tensor that is not where the index says")
    return {name: found[file][name] for name, file in pairs.items()}
