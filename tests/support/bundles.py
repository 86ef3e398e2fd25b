"""TensorFlow's checkpoints, written here: the table of LevelDB, with keys that share beginnings, in several blocks."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import google_crc32c
import numpy as np

from weights_convert.tensor_bundle import DTYPES, MAGIC, masked

CODES = {dtype: code for code, dtype in DTYPES.items()}
KINDS = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "int32": "I32"}


def tensorflow_name(name: str) -> str:
    """Hugging Face's name in TensorFlow's spelling, below bert/."""
    name = re.sub(r"\.layer\.(\d+)\.", r".layer_\1.", name)
    if "LayerNorm" in name:
        name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
    elif not name.endswith("_embeddings.weight"):
        name = name.replace(".weight", ".kernel")
    return "bert/" + name.removesuffix(".weight").replace(".", "/")


def of_checkpoint(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What TensorFlow would save of a checkpoint in Hugging Face's names: kernels are (in, out)."""
    named = {tensorflow_name(name): array for name, array in tensors.items()}
    return {name: array.T if name.endswith("kernel") else array for name, array in named.items()}


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _field(number: int, value) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array: np.ndarray, offset: int, shard: int = 0, shape: tuple | None = None) -> bytes:
    """The message about one tensor. shape: that it says, default: the tensor's own."""
    shape = b"".join(_field(2, _field(1, n)) for n in (array.shape if shape is None else shape))
    data = array.tobytes()
    parts = _field(1, CODES[KINDS[array.dtype.name]]) + _field(2, shape)
    parts += _field(3, shard) if shard else b""
    parts += (_field(4, offset) if offset else b"") + _field(5, len(data))
    return parts + varint(6 << 3 | 5) + struct.pack("<I", masked(google_crc32c.value(data)))


def block(entries: list[tuple[bytes, bytes]], every: int = 4) -> bytes:
    """Entries, then the places where keys are whole."""
    content, before, restarts = b"", b"", []
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % every == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return content + b"".join(struct.pack("<I", n) for n in restarts) + struct.pack("<I", len(restarts))


def table(entries: list[tuple[bytes, bytes]], a_block: int = 7, compression: int = 0) -> bytes:
    """The whole file of the index."""
    data, index = b"", []

    def add(content: bytes) -> bytes:
        nonlocal data
        handle = varint(len(data)) + varint(len(content))
        content += bytes([compression])
        data += content + struct.pack("<I", masked(google_crc32c.value(content)))
        return handle

    for i in range(0, len(entries), a_block):
        part = entries[i : i + a_block]
        index.append((part[-1][0], add(block(part))))
    footer = add(block([])) + add(block(index))
    return data + footer.ljust(40, b"\0") + MAGIC


def save_bundle(folder: Path, tensors: dict[str, np.ndarray], name: str = "bert_model.ckpt", more=(), **options):
    """Write index and numbers. more: further (key, message); options: of `table`."""
    numbers, entries = b"", [(b"", _field(1, 1) + _field(3, _field(1, 1)))]
    for key, array in sorted(tensors.items()):
        array = np.asarray(array, order="C")
        entries.append((key.encode(), entry(array, len(numbers))))
        numbers += array.tobytes()
    (folder / f"{name}.index").write_bytes(table([*entries, *more], **options))
    (folder / f"{name}.data-00000-of-00001").write_bytes(numbers)
