"""What every HDF5 file of ours has in common: written atomically, checked on reading, plain arrays and text only.

backbone.py, bank.py and state.py are built on it. Nothing here is ever unpickled, and a reader does not trust the file:
links, compressed or external storage, and arrays that are not what was promised are refused.

All errors are `InputError`s that name the file and the first thing that is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from minibert.config import InputError
from minibert.params import flatten, unflatten
from minibert.storage.atomic import replacing

FORMATS = {
    "minibert-backbone": "a backbone",
    "minibert-bank": "a task bank",
    "minibert-state": "a training state",
}
VERSION = 2
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

    The file is built under a temporary name (see atomic.py). Missing folders are made. Raises InputError if the place
    cannot be written.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder; give the name of the file to write, such as {Path(path) / 'file.h5'}")
    try:
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        # The 1.10 layout has a checksum in every block of metadata; the older default has none.
        with replacing(path) as temporary, h5py.File(temporary, "x", libver=("v110", "v110")) as file:
            write_text(file, "format", kind)
            file.attrs["version"] = VERSION
            yield file
    except (OSError, RuntimeError) as error:  # h5py has both for a full disk
        advice = "is the folder writable, the disk full?"
        raise InputError(f"{path}: cannot be written ({_one_line(error)}); {advice}") from error


def write_text(node: h5py.HLObject, name: str, text: str) -> None:
    """Store an attribute as a fixed-length UTF-8 string (variable-length ones lie in a heap without checksums)."""
    data = text.encode()
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
    for name, array in arrays.items():
        try:
            group.create_dataset(name, data=np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C"))
        except (ValueError, TypeError) as error:  # "a" and "a/b": a dataset cannot be a group as well
            raise InputError(f"array {name!r} cannot be stored: {_one_line(error)}") from None


def check_name(name: str) -> None:
    """Refuse a name of an array that is no plain path, such as "", "a//b" or "../a"."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise InputError(f"an array cannot be named {name!r}; expected words joined by '/'")


def check_arrays(where: str | Path, arrays: dict, shapes: dict[str, tuple]) -> None:
    """Raise InputError for the first misfit unless `arrays` are exactly those of `shapes`, float32 and finite."""
    for name in shapes:
        if name not in arrays:
            raise InputError(f"{where}: array {name} is missing")
    for name, array in arrays.items():
        if name not in shapes:
            raise InputError(f"{where}: array {name} is unexpected")
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != tuple(shapes[name]):
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{where}: array {name} is {found}, expected float32 {tuple(shapes[name])}")
        check_finite(f"{where}: array {name}", array)


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
            _check_format(file, path, kind)
            yield file
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: is damaged or cut short ({_one_line(error)}); {if_missing}") from error


def _check_signature(path: Path, kind: str, if_missing: str) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file, expected {FORMATS[kind]}; {if_missing}")
    if not path.is_file():
        raise InputError(f"{path}: is not a file, expected {FORMATS[kind]} (an HDF5 file); {if_missing}")
    try:
        with open(path, "rb") as file:
            start = file.read(len(SIGNATURE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_one_line(error)})") from error
    if start != SIGNATURE:
        what = f"begins with {start!r}" if start else "is empty"
        raise InputError(f"{path}: is not an HDF5 file ({what}), expected {FORMATS[kind]}; {if_missing}")


def _check_format(file: h5py.File, path: str | Path, kind: str) -> None:
    if "format" not in file.attrs:
        raise InputError(f"{path}: is an HDF5 file but not one of minibert's (no 'format'), expected {FORMATS[kind]}")
    found = read_text(file, "format", path)
    if found != kind:
        raise InputError(f"{path}: is {FORMATS.get(found, f'of format {found!r}')}, expected {FORMATS[kind]} ({kind})")
    version = file.attrs.get("version")
    if not isinstance(version, np.integer) or version < 1:
        raise InputError(f"{path}: format version is {version!r}, expected a whole number from 1 to {VERSION}")
    if version > VERSION:
        raise InputError(f"{path}: has format version {version}, this minibert reads up to {VERSION}; update minibert")


def read_text(node: h5py.HLObject, name: str, path: str | Path) -> str:
    """Read a text attribute of the root, a group or a dataset. Raises InputError if it is missing or not text."""
    where = f"{path}: attribute '{name}' of {node.name}"
    if name not in node.attrs:
        raise InputError(f"{where} is missing")
    value = node.attrs[name]
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8 text") from None
    if not isinstance(text, str):
        raise InputError(f"{where} is {value!r}, expected text")
    return text


def read_json(node: h5py.HLObject, name: str, path: str | Path, kinds: type | tuple):
    """Read a JSON attribute of one of the Python types `kinds`. Raises InputError if it is anything else."""
    where = f"{path}: attribute '{name}' of {node.name}"
    text = read_text(node, name, path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{where} is not valid JSON: {text[:60]!r}") from None
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise InputError(f"{where} is {text[:60]!r}, expected JSON for {names}")
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
        message = f"{path}: {what} changed since the file was written (SHA-256 {actual[:12]}, expected {stored[:12]})"
        raise InputError(f"{message}; {if_damaged}")


def child(group: h5py.Group, name: str, kind: type, path: str | Path):
    """The member of that name, of kind h5py.Group or h5py.Dataset. Raises InputError if it is missing or the other."""
    where = f"{path}: {group.name.rstrip('/')}/{name}"
    link = group.get(name, getlink=True)
    if link is None:
        raise InputError(f"{where} is missing")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{where} is a link, expected the data itself")
    node = group[name]
    if not isinstance(node, kind):
        raise InputError(f"{where} is a {type(node).__name__.lower()}, expected a {kind.__name__.lower()}")
    return node


def check_children(group: h5py.Group, names, path: str | Path) -> None:
    """Raise InputError for the first member of a group that should not be there (`child` finds what is missing)."""
    for name in group:
        if name not in names:
            raise InputError(f"{path}: {group.name.rstrip('/')}/{name} is unexpected; this version knows no such thing")


def read_arrays(group: h5py.Group, expected: dict[str, tuple], path: str | Path) -> dict[str, np.ndarray]:
    """Read exactly the arrays that are expected, {flat name: (shape, dtype)}; any other content is an error.

    Returns {flat name: C-contiguous array in the machine's byte order}, in the order of `expected`.
    Raises InputError for the first array that is missing, unexpected, misshaped, of another dtype, or not finite.
    """
    _check_members(group, unflatten(expected), path)
    arrays = {}
    for name, (shape, dtype) in expected.items():
        dataset, where = group[name], f"{path}: {group.name.rstrip('/')}/{name}"
        if dataset.shape != tuple(shape):
            raise InputError(f"{where} has shape {dataset.shape}, expected {tuple(shape)}")
        if dataset.dtype != np.dtype(dtype).newbyteorder("<"):
            raise InputError(f"{where} has dtype {dataset.dtype}, expected {np.dtype(dtype)}")
        # One plain block, as we write it: never a small file that unpacks to fill the memory, or one that opens others.
        plain = dataset.chunks is None and dataset.external is None and not dataset.is_virtual
        if not plain or dataset.id.get_storage_size() != dataset.nbytes:
            raise InputError(f"{where} is not stored as one plain block (chunked, compressed or outside the file)")
        arrays[name] = np.asarray(dataset[()], dtype=dtype, order="C")
        check_finite(where, arrays[name])
    return arrays


def read_bytes(group: h5py.Group, name: str, path: str | Path) -> bytes:
    """Read a data set of bytes, uint8 (n,). Raises InputError if it is missing, or stored in any other way."""
    dataset, where = child(group, name, h5py.Dataset, path), f"{path}: {group.name.rstrip('/')}/{name}"
    if dataset.ndim != 1 or dataset.dtype != np.uint8:
        raise InputError(f"{where} is {dataset.dtype} {dataset.shape}, expected a row of bytes")
    plain = dataset.chunks is None and dataset.external is None and not dataset.is_virtual
    if not plain or dataset.id.get_storage_size() != dataset.nbytes:
        raise InputError(f"{where} is not stored as one plain block (chunked, compressed or outside the file)")
    return dataset[()].tobytes()


def _check_members(group: h5py.Group, tree: dict, path: str | Path) -> None:
    # Walks the expected tree, not the file: a file whose groups contain each other cannot lead it astray.
    for name, value in tree.items():
        if isinstance(value, dict):
            _check_members(child(group, name, h5py.Group, path), value, path)
        else:
            child(group, name, h5py.Dataset, path)
    check_children(group, tree, path)


def _one_line(error: Exception) -> str:
    if getattr(error, "errno", None):
        return os.strerror(error.errno)  # HDF5's own text adds addresses and byte counts
    return " ".join(str(error).split()) or type(error).__name__
