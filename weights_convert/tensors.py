"""The tensors of a checkpoint, whatever files they lie in: names, dtypes and shapes first, the numbers one by one.

model.safetensors               all in one file
model.safetensors.index.json    the list of its shards: {"weight_map": {tensor: file}}
pytorch_model.bin               the same of PyTorch's own format, torch_file.py
pytorch_model.bin.index.json
bert_model.ckpt.index           TensorFlow's, in which BERT was released first, tensor_bundle.py
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np

from minibert.errors import LONGEST_VALUE, InputError, list_some, need, one_line, readable, require, shown
from minibert.storage import stand_in
from minibert.storage.tokenizer import parse
from weights_convert.tensor_bundle import INDEX, Bundle
from weights_convert.tensor_types import is_shape, to_array
from weights_convert.tokenizer_files import read_json
from weights_convert.torch_file import read_torch_file

WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
TORCH_WEIGHTS, TORCH_SHARDS = "pytorch_model.bin", "pytorch_model.bin.index.json"
LAYOUTS = (WEIGHTS, SHARDS, TORCH_WEIGHTS, TORCH_SHARDS)  # in the order in which transformers looks for them
# Endings of what may hold weights, and is not read: other frameworks, other names, shards without their index.
OTHERS = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".ckpt", ".ckpt.index", ".gguf", ".tflite")
VARIANT = re.compile(r"(model|pytorch_model)\.\w+\.(safetensors|bin)")
OF_TRAINING = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # beginnings of names: no weights
SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")
LONGEST_HEADER = 4 << 20  # bytes: some 100 a tensor


@dataclass(frozen=True)
class Tensors:
    """stored: {name: (dtype as safetensors spells it, shape)}; read(name) gives the array, bfloat16 as float32.

    path: what the tensors were looked up in, for messages; files: those that hold the numbers.
    """

    path: Path
    stored: dict[str, tuple[str, tuple[int, ...]]]
    read: Callable[[str], np.ndarray]
    files: tuple[Path, ...]


def find_weights(folder: Path) -> Path:
    """The first of LAYOUTS in a folder, or the only checkpoint of TensorFlow. Raises InputError if there is none."""
    for name in LAYOUTS:
        if (folder / name).exists():
            return folder / name
    indexes = sorted(path for path in folder.iterdir() if INDEX.fullmatch(path.name))
    if len(indexes) == 1:
        return indexes[0]
    if indexes:
        names = list_some(readable(path.name) for path in indexes)
        raise InputError(f"{folder}: has {len(indexes)} checkpoints ({names}); give the path of one of them")
    others = other_weights(folder)
    found = f"; {list_some(map(readable, others))} cannot be read: {_what_to_do(others)}" if others else ""
    raise InputError(f"{folder}: has no weights; expected one of {', '.join(LAYOUTS)}, *.ckpt.index{found}")


def other_weights(folder: Path) -> list[str]:
    """The names of files that seem to hold weights and are none of LAYOUTS."""
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(OTHERS))
    return [name for name in names if name not in LAYOUTS and not name.startswith(OF_TRAINING)]


def _what_to_do(names: list[str]) -> str:
    if any(SHARD.fullmatch(name) for name in names):
        return "shards are read by their index, which lists them: get it, too"
    if variant := next(filter(VARIANT.fullmatch, names), ""):
        usual = VARIANT.sub(r"\1.\2", variant)
        return f"to read a variant such as {readable(variant)}, call it {usual}"
    if any(name.startswith("adapter_") for name in names):
        return "these are adapters alone: get the model that they were trained on"
    return "save it from a BertModel of transformers"


def open_tensors(path: Path) -> Tensors:
    """List the tensors of one of LAYOUTS, or of a *.ckpt.index.

    Raises InputError that names the file and what is wrong with it.
    """
    need(path.is_file(), f"{path}: no such file, expected the weights (one of {', '.join(LAYOUTS)})")
    return _open_shards(path) if path.suffix == ".json" else _open_file(path)


def _open_file(path: Path) -> Tensors:
    if instead := stand_in(path):
        raise InputError(f"{path}: {instead}")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix == ".index":
        bundle = Bundle(path)
        return Tensors(path, bundle.stored, bundle.read, bundle.files)
    file = read_torch_file(path)
    return Tensors(path, file.tensors, file.read, (path,))


# -------------------------------------------------------------------------------------------------------- safetensors


def safetensors():
    """The safetensors package. Raises InputError that names the extra if it is not installed."""
    require("a safetensors file", "safetensors.numpy", "convert", "safetensors")
    return require("a safetensors file", "safetensors", "convert")


def _open_safetensors(path: Path) -> Tensors:
    """The package checks the file; the numbers are read by their offsets, as it gives NumPy no bfloat16."""
    package = safetensors()
    try:
        begin, header = _header(path)
        with package.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
            stored = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (package.SafetensorError, OSError) as error:
        raise InputError(f"{path}: is not a safetensors file, or damaged ({one_line(error)})") from error
    entries = parse(header, f"{path}: its header")

    def read(name: str) -> np.ndarray:
        (dtype, shape), (first, end) = stored[name], entries[name]["data_offsets"]
        where = f"{path}: tensor {readable(name, LONGEST_VALUE)}"
        need(is_shape(shape), f"{where} has the shape {shown(shape)}, which is none that can be read")
        with open(path, "rb") as file:
            file.seek(begin + first)
            raw = file.read(end - first)
        need(len(raw) == end - first, f"{path}: became shorter while it was read")
        try:
            return to_array(raw, dtype).reshape(shape)
        except InputError as error:
            raise InputError(f"{where} {error}") from None

    return Tensors(path, stored, read, (path,))


def _header(path: Path) -> tuple[int, str]:
    """Where the numbers of a file begin, and the JSON before them."""
    with open(path, "rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        header = file.read(size) if 0 <= size <= LONGEST_HEADER else b""
    if size < 0 or len(header) != size:
        raise InputError(f"{path}: is not a safetensors file, or damaged (it has no header)")
    return 8 + size, header.decode(errors="replace")


# ------------------------------------------------------------------------------------------------------------- shards


def shards_of(index: Path) -> dict[str, set[str]]:
    """{file: the tensors that an index says lie in it}. Raises InputError if one is no plain name of a file."""
    listed = read_json(index).get("weight_map")
    need(isinstance(listed, dict) and listed, f"{index}: weight_map is {shown(listed)}, expected {{tensor: file}}")
    suffix = index.name.removesuffix(".index.json").rpartition(".")[2]
    shards: dict[str, set[str]] = {}
    for name, file in listed.items():
        need(
            _is_plain(file) and file.endswith(f".{suffix}"),
            f"{index}: {shown(name)} lies in {shown(file)}, expected the name of a .{suffix} file beside it",
        )
        shards.setdefault(file, set()).add(name)
    return shards


def _open_shards(index: Path) -> Tensors:
    """The tensors of all shards that an index lists, each where the index says that it is."""
    listed = shards_of(index)
    for path in map(index.with_name, listed):
        need(path.is_file(), f"{path}: no such file, but {index.name} lists it; get it, too")
    shards = [_open_shard(index, file, names) for file, names in sorted(listed.items())]
    reads = {name: shard.read for shard in shards for name in shard.stored}
    return Tensors(
        index,
        stored={name: entry for shard in shards for name, entry in shard.stored.items()},
        read=lambda name: reads[name](name),
        files=tuple(shard.path for shard in shards),
    )


def _is_plain(name) -> bool:
    """Whether it is the name of a file, and no path, on any system."""
    return isinstance(name, str) and name.isprintable() and name == Path(name).name == PureWindowsPath(name).name


def _open_shard(index: Path, file: str, names: set[str]) -> Tensors:
    path = index.with_name(file)
    shard = _open_file(path)
    for name in sorted(names ^ set(shard.stored)):
        here, there = ("is not", "says so") if name in names else ("is", "does not say so")
        raise InputError(f"{path}: tensor {readable(name)} {here} in it, but {index.name} {there}; get both again")
    return shard
