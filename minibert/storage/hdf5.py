"""What every HDF5 file of ours has in common: written atomically, checked on reading, plain arrays and text only.

backbone.py, bank.py and state.py are built on it. Nothing here is ever unpickled, and a reader does not trust the file:
links, compressed or external storage, and arrays that are not what was promised are refused, before memory is taken.

Format version 2. The root has the attributes `format`, `version` and `seal`: the SHA-256 (hex) over all other
attributes of the file, as `seal_of` tells. Every array is under a SHA-256 that is such an attribute, so a file that is
read is bit for bit the one that was written. Version 1 has no seal; its files are read as they are. A seal that is
there is checked whatever version the file says.

All errors are `InputError`s that name the file and the first thing that is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import numpy as np

from minibert.errors import LONGEST_VALUE, InputError, one_line, readable, shown
from minibert.json_values import parse_json
from minibert.params import flatten, unflatten
from minibert.storage.atomic import cannot_be_written
from minibert.storage.image import Image
from minibert.storage.stand_ins import stand_in

FORMATS = {
    "minibert-backbone": "a backbone",
    "minibert-bank": "a task bank",
    "minibert-state": "a training state",
}
OTHER_COPY = "if there is another copy of the file, take that; else "  # of a damaged one
VERSION = 2
LONGEST_TEXT = 1 << 24  # bytes of an attribute
DEEPEST = 32  # groups in one another
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # the first 8 bytes of every HDF5 file without a user block


def fingerprint(params: dict) -> str:
    """SHA-256 (hex) over names, shapes, dtypes and little-endian bytes of all arrays, in sorted order of names.

    params: a tree or a flat dict; both give the same fingerprint.
    """
    digest = hashlib.sha256()
    for name, array in sorted(flatten(params).items()):
        little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        digest.update(json.dumps([name, little.dtype.str, list(little.shape)]).encode() + b"\n")
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------- writing


@contextmanager
def write_file(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Give an open file for the body to fill. `path` changes only if the body and every write succeed.

    The file is laid out in memory, sealed, and then written under a temporary name (see atomic.py). Missing folders
    are made. Raises InputError if the place cannot be written.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder; give the name of the file to write, such as {Path(path) / 'file.h5'}")
    image = Image()
    try:
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        # The 1.10 layout has a checksum in every block of metadata; the older default has none.
        with h5py.File(image, "w", libver=("v110", "v110")) as file, image.known_as(file):
            write_text(file, "format", kind)
            file.attrs["version"] = VERSION
            yield file
            write_text(file, "seal", seal_of(file, path))
        image.write_to(path)
    except (OSError, RuntimeError, MemoryError) as error:
        raise cannot_be_written(path, error) from error


def seal_of(file: h5py.File, path: str | Path) -> str:
    """SHA-256 (hex) over [path of the node, name, value] of every attribute but the seal itself: in sorted order, each
    as a line of JSON. Raises InputError if the file holds what no file of ours does."""
    lines = []
    for where, node in _nodes(file, path):
        names = [name for name in node.attrs if (where, name) != ("/", "seal")]
        lines += [json.dumps([where, name, _attribute(node, name, path)]) for name in names]
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def _nodes(file: h5py.File, path: str | Path) -> Iterator[tuple[str, h5py.HLObject]]:
    """Every group and data set of a file, with its name. None may be there twice, so no walk is endless."""
    waiting, seen = [("/", file["/"])], set()
    while waiting:
        where, node = waiting.pop()
        address = h5py.h5o.get_info(node.id).addr
        if address in seen:
            raise InputError(f"{path}: {_path_of(where)} is the same as another group or data set, under a second name")
        if where.count("/") > DEEPEST:
            raise InputError(f"{path}: has more than {DEEPEST} groups in one another, such as {shown(where)}")
        seen.add(address)
        yield where, node
        if isinstance(node, h5py.Group):
            waiting += [(f"{where.rstrip('/')}/{name}", child(node, name, h5py.HLObject, path)) for name in node]


def write_text(node: h5py.HLObject, name: str, text: str) -> None:
    """Store an attribute as a fixed-length UTF-8 string (variable-length ones lie in a heap without checksums).

    Raises InputError if it is too long to be read again."""
    data = text.encode()
    if len(data) > LONGEST_TEXT:
        raise InputError(f"{name} has {len(data):,} bytes; a file of minibert holds up to {LONGEST_TEXT:,} of it")
    node.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))


def write_json(node: h5py.HLObject, name: str, value) -> None:
    """Store a value of plain Python types as an attribute. Raises InputError if JSON cannot hold it."""
    try:
        write_text(node, name, json.dumps(value))
    except TypeError as error:
        raise InputError(f"{name} cannot be saved: {error}; use plain numbers, text, lists and dicts") from None


def write_arrays(group: h5py.Group, arrays: dict) -> None:
    """Store a flat dict of arrays, little-endian; "/" in a name makes groups. Raises InputError for bad names."""
    for name in arrays:
        check_name(name)
    image = Image.of(group)
    for name, array in arrays.items():
        try:
            image.add(group, name, np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C"))
        except (ValueError, TypeError) as error:  # "a" and "a/b": a dataset cannot be a group as well
            raise InputError(f"array {shown(name)} cannot be stored: {_reason(error)}") from None


def check_name(name: str) -> None:
    """Refuse a name of an array that is no plain path, such as "", "a//b" or "../a"."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise InputError(f"an array cannot be named {shown(name)}; expected words joined by '/'")


def check_arrays(where: str | Path, arrays: dict, shapes: dict[str, tuple]) -> None:
    """Raise InputError for the first misfit unless `arrays` are exactly those of `shapes`, float32 and finite."""
    for name in shapes:
        if name not in arrays:
            raise InputError(f"{where}: array {_path_of(name)} is missing")
    for name, array in arrays.items():
        if name not in shapes:
            raise InputError(f"{where}: array {_path_of(name)} is unexpected")
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != tuple(shapes[name]):
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{where}: array {_path_of(name)} is {found}, expected float32 {tuple(shapes[name])}")
        check_finite(f"{where}: array {_path_of(name)}", array)


def check_finite(where: str, array: np.ndarray) -> None:
    """Raise InputError if an array has a NaN or an infinity, and say at which index."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{where} holds {array[index]} at index {index}; expected finite numbers")


# ---------------------------------------------------------------------------------------------------------- reading


@contextmanager
def read_file(path: str | Path, kind: str, if_missing: str) -> Iterator[h5py.File]:
    """Give an open file of the right format and version. `if_missing` tells the user how to get one.

    Whatever HDF5 says of a damaged file (it raises nearly everything) becomes an InputError.
    """
    _check_signature(Path(path), kind, if_missing)
    try:
        # No lock: files are only ever replaced as a whole, and some network file systems refuse to lock.
        with h5py.File(path, "r", locking=False) as file:
            is_sealed = "seal" in file.attrs
            if _check_format(file, path, kind) >= 2 or is_sealed:
                check_sha256(path, "an attribute", read_text(file, "seal", path), seal_of(file, path), if_missing)
            yield file
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: there is not enough memory to read it ({_reason(error)})") from None
    except Exception as error:
        raise InputError(
            f"{path}: is damaged or cut short; {OTHER_COPY}{if_missing} (the HDF5 library says: {_reason(error)})"
        ) from error


def _check_signature(path: Path, kind: str, if_missing: str) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file, expected {FORMATS[kind]}; {if_missing}")
    if not path.is_file():
        raise InputError(f"{path}: is not a file, expected {FORMATS[kind]} (an HDF5 file); {if_missing}")
    try:
        with open(path, "rb") as file:
            start = file.read(len(SIGNATURE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from error
    if start != SIGNATURE:
        if instead := stand_in(path):
            raise InputError(f"{path}: {instead}")
        what = f"begins with {start!r}" if start else "is empty"
        raise InputError(f"{path}: is not an HDF5 file ({what}), expected {FORMATS[kind]}; {if_missing}")


def _check_format(file: h5py.File, path: str | Path, kind: str) -> int:
    """Returns the format version."""
    if "format" not in file.attrs:
        raise InputError(f"{path}: is an HDF5 file but not one of minibert's (no 'format'), expected {FORMATS[kind]}")
    found = read_text(file, "format", path)
    if found != kind:
        raise InputError(
            f"{path}: is {FORMATS.get(found, f'of format {shown(found)}')}, expected {FORMATS[kind]} ({kind})"
        )
    version = _attribute(file, "version", path) if "version" in file.attrs else None
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{path}: format version is {shown(version)}, expected a whole number from 1 to {VERSION}")
    if version > VERSION:
        raise InputError(f"{path}: has format version {version}, this minibert reads up to {VERSION}; update minibert")
    return version


def _attribute(node: h5py.HLObject, name: str, path: str | Path) -> str | int:
    """The value of an attribute, of the kinds that we write; its size is checked before it is read. Bytes that are not
    UTF-8 are in the text as surrogates."""
    attribute = h5py.h5a.open(node.id, name.encode("utf-8", "surrogateescape"))
    kind = attribute.get_type()
    text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
    if not text and not isinstance(kind, h5py.h5t.TypeIntegerID):
        raise InputError(f"{_attribute_place(node, name, path)} is neither plain text nor a whole number")
    size, scalar = kind.get_size(), attribute.get_space().get_simple_extent_type() == h5py.h5s.SCALAR
    if not scalar or size > LONGEST_TEXT:
        raise InputError(f"{_attribute_place(node, name, path)} is not one text of up to {LONGEST_TEXT:,} bytes")
    value = np.empty((), attribute.dtype)
    attribute.read(value, kind)
    return value.item().decode("utf-8", "surrogateescape") if text else int(value)


def _attribute_place(node: h5py.HLObject, name: str, path: str | Path) -> str:
    return f"{path}: attribute {shown(name)} of {_path_of(node.name)}"


def _path_of(name: str) -> str:
    return readable(name, LONGEST_VALUE)


def _place(group: h5py.Group, name: str, path: str | Path) -> str:
    """The file and a member of one of its groups, for a message."""
    return f"{path}: {_path_of(group.name.rstrip('/') + '/' + name)}"


def read_text(node: h5py.HLObject, name: str, path: str | Path) -> str:
    """Read a text attribute of the root, a group or a dataset. Raises InputError if it is missing or not text."""
    where = _attribute_place(node, name, path)
    if name not in node.attrs:
        raise InputError(f"{where} is missing")
    text = _attribute(node, name, path)
    if not isinstance(text, str):
        raise InputError(f"{where} is {shown(text)}, expected text")
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        raise InputError(f"{where} is not UTF-8 text")
    return text


def read_json(node: h5py.HLObject, name: str, path: str | Path, kinds: type | tuple):
    """Read a JSON attribute of one of the Python types `kinds`. Raises InputError if it is anything else."""
    where = _attribute_place(node, name, path)
    text = read_text(node, name, path)
    value = parse_json(text, where)
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise InputError(f"{where} is {shown(text)}, expected JSON for {names}")
    return value


def read_settings(cls, node: h5py.HLObject, name: str, path: str | Path):
    """Read one of the config dataclasses from its JSON attribute. Raises InputError if a setting does not fit."""
    text = read_text(node, name, path)
    try:
        return cls.from_json(text)
    except InputError as error:
        raise in_file(path, error) from None


def in_file(path: str | Path, error: InputError) -> InputError:
    """The same error, with the file it was found in."""
    return InputError(f"{path}: {error}")


def check_sha256(path: str | Path, what: str, stored: str, actual: str, if_damaged: str) -> None:
    """Raise InputError if what was read is not what was written."""
    if stored != actual:
        digests = f"SHA-256 {actual[:12]}, expected {readable(stored[:12])}"
        message = f"{path}: {what} changed since the file was written ({digests})"
        raise InputError(f"{message}; {OTHER_COPY}{if_damaged}")


def child(group: h5py.Group, name: str, kind: type, path: str | Path):
    """The member of that name, of kind h5py.Group or h5py.Dataset. Raises InputError if it is missing or the other."""
    where = _place(group, name, path)
    links, key = group.id.links, name.encode("utf-8", "surrogateescape")
    if not links.exists(key):
        raise InputError(f"{where} is missing")
    if links.get_info(key).type != h5py.h5l.TYPE_HARD:
        raise InputError(f"{where} is a link, expected the data itself")
    node = group[name]
    if not isinstance(node, kind):
        raise InputError(f"{where} is a {type(node).__name__.lower()}, expected a {kind.__name__.lower()}")
    return node


def check_children(group: h5py.Group, names, path: str | Path) -> None:
    """Raise InputError for the first member of a group that should not be there (`child` finds what is missing)."""
    for name in group:
        if name not in names:
            raise InputError(f"{_place(group, name, path)} is unexpected; this version knows no such thing")


def plain_dataset(group: h5py.Group, name: str, path: str | Path) -> h5py.Dataset:
    """A data set that is one plain block inside the file, as we write it: reading it takes no more memory than its part
    of the file, and opens no other. Every data set is got by this. Raises InputError for any other."""
    dataset, where = child(group, name, h5py.Dataset, path), _place(group, name, path)
    layout = dataset.id.get_create_plist()
    plain = layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_external_count() == 0
    if not plain or dataset.shape is None:
        raise InputError(f"{where} is not stored as one plain block (chunked, compressed or outside the file)")
    size, offset = prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_offset() or 0
    if dataset.id.get_storage_size() != size or offset + size > _file_size(group):
        raise InputError(f"{where} is not stored as one plain block of {size:,} bytes inside the file")
    return dataset


def _file_size(node: h5py.HLObject) -> int:
    return h5py.h5i.get_file_id(node.id).get_filesize()


def read_arrays(group: h5py.Group, expected: dict[str, tuple], path: str | Path) -> dict[str, np.ndarray]:
    """Read exactly the arrays that are expected, {flat name: (shape, dtype)}; any other content is an error.

    Returns {flat name: C-contiguous array in the machine's byte order}, in the order of `expected`.
    Raises InputError for the first array that is missing, unexpected, misshaped, of another dtype, or not finite, and
    before anything else if the file is too small for them.
    """
    promised = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in expected.values())
    if promised > _file_size(group):
        has = f"the file has {_file_size(group):,}"
        raise InputError(
            f"{path}: {_path_of(group.name)} should hold arrays of {promised:,} bytes by its attributes; {has}"
        )
    _check_members(group, unflatten(expected), path)
    arrays = {}
    for name, (shape, dtype) in expected.items():
        dataset, where = plain_dataset(group, name, path), _place(group, name, path)
        if dataset.shape != tuple(shape):
            raise InputError(f"{where} has shape {dataset.shape}, expected {tuple(shape)}")
        if dataset.dtype != np.dtype(dtype).newbyteorder("<"):
            raise InputError(f"{where} has dtype {dataset.dtype}, expected {np.dtype(dtype)}")
        arrays[name] = np.asarray(dataset[()], dtype=dtype, order="C")
        check_finite(where, arrays[name])
    return arrays


def read_bytes(group: h5py.Group, name: str, path: str | Path) -> bytes:
    """Read a data set of bytes, uint8 (n,). Raises InputError if it is missing, or stored in any other way."""
    dataset = plain_dataset(group, name, path)
    if dataset.ndim != 1 or dataset.dtype != np.uint8:
        found = f"{dataset.dtype} {dataset.shape}"
        raise InputError(f"{_place(group, name, path)} is {found}, expected a row of bytes")
    return dataset[()].tobytes()


def _check_members(group: h5py.Group, tree: dict, path: str | Path) -> None:
    """Raise InputError unless the groups of the expected tree are there, with nothing that is not in it.

    It is the tree that is walked, not the file: one whose groups contain each other cannot lead astray."""
    check_children(group, tree, path)
    for name, value in tree.items():
        if isinstance(value, dict):
            _check_members(child(group, name, h5py.Group, path), value, path)


def _reason(error: Exception) -> str:
    if getattr(error, "errno", None):
        return os.strerror(error.errno)  # HDF5's own text adds addresses and byte counts
    return one_line(error)
