"""TensorFlow's checkpoints, the form in which BERT was released in 2018: bert_model.ckpt.index tells where each tensor
lies, and bert_model.ckpt.data-00000-of-00001 has their numbers, end to end.

The index is a sorted table of LevelDB (its doc/table_format.md): blocks of entries, of which each leaves out the
beginning of its key that it shares with the entry before; a block that lists the blocks; and a footer that tells where
that block is. The value of an entry is a message of protobuf, BundleEntryProto of TensorFlow's tensor_bundle.proto.
Every block and every tensor has a checksum, CRC-32C, and each is looked at.

Names become those of Hugging Face, by which names.py knows them. TensorFlow stores a kernel as (in, out), Hugging Face
as (out, in): it is given transposed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minibert.errors import LONGEST_VALUE, InputError, list_some, need, readable, require, shown
from minibert.storage import stand_in
from weights_convert.tensor_types import ITEM_SIZE, is_shape, to_array

INDEX = re.compile(r"(?P<prefix>.+\.ckpt(-\d+)?)\.index")
LONGEST_INDEX = 16 << 20  # bytes: some 100 a tensor
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER = 48  # bytes
DTYPES = {1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 9: "I64", 10: "BOOL", 14: "BF16", 19: "F16"}
MASK = 0xA282EAD8  # a checksum of what may hold checksums is rotated, and this is added
TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")


class Entry(NamedTuple):
    """Where a tensor lies."""

    dtype: str  # as safetensors spells it
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int  # bytes
    checksum: int


class Bundle:
    """The tensors of a checkpoint under Hugging Face's names. stored: {name: (dtype, shape)}."""

    def __init__(self, index: Path):
        """Raises InputError that names the index and what is wrong with it."""
        self._crc = require("a checkpoint of TensorFlow", "google_crc32c", "convert", "google-crc32c").value
        try:
            self._entries, n_shards = self._read_index(index)
        except InputError as error:
            raise InputError(f"{index}: {error}") from None
        except (IndexError, struct.error):
            raise InputError(f"{index}: is damaged (it ends in the middle of an entry)") from None
        prefix = INDEX.fullmatch(index.name)["prefix"]
        shards = [index.with_name(f"{prefix}.data-{i:05}-of-{n_shards:05}") for i in range(n_shards)]
        for path in shards:
            need(path.is_file(), f"{path}: no such file; it holds the tensors that {index.name} lists: get it, too")
            if instead := stand_in(path):
                raise InputError(f"{path}: {instead}")
        self.files = (index, *shards)
        self._names = {their_name(name): name for name in self._entries}
        need(len(self._names) == len(self._entries), f"{index}: lists a tensor twice")
        self.stored = {}
        for theirs, name in self._names.items():
            entry = self._entries[name]
            self.stored[theirs] = entry.dtype, entry.shape[::-1] if is_kernel(name) else entry.shape

    def read(self, theirs: str) -> np.ndarray:
        """The numbers of a tensor; bfloat16 becomes float32. Raises InputError if they are damaged."""
        name = self._names[theirs]
        entry = self._entries[name]
        path = self.files[1 + entry.shard]
        where = f"{path}: tensor {readable(name, LONGEST_VALUE)}"
        with open(path, "rb") as file:
            end = file.seek(0, 2)
            need(entry.offset + entry.size <= end, f"{where} lies beyond the end: the file is cut; get it again")
            file.seek(entry.offset)
            raw = file.read(entry.size)
        need(masked(self._crc(raw)) == entry.checksum, f"{where} is damaged: its checksum is another one")
        array = to_array(raw, entry.dtype).reshape(entry.shape)
        return array.T if is_kernel(name) else array

    def _read_index(self, path: Path) -> tuple[dict[str, Entry], int]:
        """{TensorFlow's name: entry}, and the number of files with numbers."""
        size = path.stat().st_size
        need(FOOTER <= size <= LONGEST_INDEX, f"has {size:,} bytes, expected {FOOTER} to {LONGEST_INDEX:,}")
        data = path.read_bytes()
        need(data[-8:] == MAGIC, "is no index of a TensorFlow checkpoint (it does not end as one)")
        _, at = _handle(data, len(data) - FOOTER)  # of a block that holds nothing here
        (begin, length), _ = _handle(data, at)
        entries: dict[str, Entry] = {}
        n_shards = 0
        for _, value in _entries(self._block(data, begin, length)):
            (begin, length), _ = _handle(value, 0)
            for key, message in _entries(self._block(data, begin, length)):
                if key == b"":
                    n_shards = _header(message)
                else:
                    name = key.decode(errors="replace")
                    need(name.isprintable() and name not in entries, f"lists {shown(name)}, which is no name, or twice")
                    entries[name] = _entry(name, message, n_shards)
        need(n_shards > 0 and entries, "lists no tensors")
        return entries, n_shards

    def _block(self, data: bytes, begin: int, length: int) -> bytes:
        """A block's content. After it stand one byte for the way of compression and the checksum of both."""
        need(begin + length + 5 <= len(data) - FOOTER, "is damaged (a block lies beyond the end)")
        content = data[begin : begin + length + 1]
        (checksum,) = struct.unpack_from("<I", data, begin + length + 1)
        need(masked(self._crc(content)) == checksum, "is damaged: the checksum of a block is another one")
        need(content[-1] == 0, "is compressed, which TensorFlow's checkpoints never are")
        return content[:-1]


def their_name(name: str) -> str:
    """bert/encoder/layer_0/attention/self/query/kernel -> bert.encoder.layer.0.attention.self.query.weight"""
    parts = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name).split("/")
    if parts[-1] == "kernel":
        parts[-1] = "weight"
    elif parts[-1] in TABLES:
        parts.append("weight")
    return ".".join(parts)


def is_kernel(name: str) -> bool:
    """Whether a tensor is stored as (in, out)."""
    return name.endswith("/kernel")


def masked(checksum: int) -> int:
    """A checksum as it is stored."""
    return ((checksum >> 15 | checksum << 17) + MASK) & 0xFFFFFFFF


# --------------------------------------------------------------------------------------------------- table and messages


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        need(shift < 64, "is damaged (a number has more than 64 bits)")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Begin and length of a block, and where that ends."""
    begin, at = _varint(data, at)
    length, at = _varint(data, at)
    return (begin, length), at


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value). At the end of a block stand places where keys are whole, four bytes each, and their number."""
    (n_restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end, at, key = len(block) - 4 - 4 * n_restarts, 0, b""
    need(end >= 0, "is damaged (a block is shorter than it says)")
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        need(shared <= len(key) and at + own + length <= end, "is damaged (an entry goes beyond its block)")
        key, at = key[:shared] + block[at : at + own], at + own
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> dict[int, list]:
    """{number of a field: its values} of a message of protobuf."""
    found: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            need(at + length <= len(message), "is damaged (a field goes beyond its message)")
            value, at = message[at : at + length], at + length
        else:
            need(kind in (1, 5), "is damaged (a field is of an unknown kind)")
            value, at = struct.unpack_from("<Q" if kind == 1 else "<I", message, at)[0], at + (8 if kind == 1 else 4)
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: dict[int, list], field: int, default: int = 0) -> int:
    value = fields.get(field, [default])[-1]
    need(isinstance(value, int), "is damaged (text stands where a number should)")
    return value


def _header(message: bytes) -> int:
    """The number of files with numbers."""
    fields = _fields(message)
    n_shards = _number(fields, 1)
    need(0 < n_shards <= 1000, f"has {n_shards} files of numbers, expected 1 to 1000")
    need(_number(fields, 2) == 0, "has big-endian numbers, expected little-endian ones")
    return n_shards


def _entry(name: str, message: bytes, n_shards: int) -> Entry:
    fields, where = _fields(message), f"tensor {readable(name, LONGEST_VALUE)}"
    code = _number(fields, 1)
    need(code in DTYPES, f"{where} has the dtype number {code}; expected one of {list_some(DTYPES.values())}")
    need(7 not in fields, f"{where} is cut into slices, which is not read")
    shape = []
    for part in fields.get(2, []):
        need(isinstance(part, bytes), f"{where} has no shape")
        for dimension in _fields(part).get(2, []):
            need(isinstance(dimension, bytes), f"{where} has no shape")
            shape.append(_number(_fields(dimension), 1))
    entry = Entry(DTYPES[code], tuple(shape), *(_number(fields, field) for field in (3, 4, 5, 6)))
    need(is_shape(entry.shape), f"{where} has the shape {shown(entry.shape)}, which is none that can be read")
    need(entry.size == prod(entry.shape) * ITEM_SIZE[entry.dtype], f"{where} has {entry.size:,} bytes: not its shape's")
    need(entry.shard < n_shards, f"{where} lies in file {entry.shard} of {n_shards}")
    return entry
