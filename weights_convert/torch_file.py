"""PyTorch's files of tensors (`pytorch_model.bin`, AdapterHub's `.bin`), read and written without PyTorch.

Such a file is a pickle, and to unpickle is to run whatever a stranger wrote. Nothing is unpickled here: `pickletools`
names the operations, and the small stack machine of torch_pickle.py follows those that build a dict of tensors. What
else a pickle asks for is refused by its name.

Two layouts. Zip (PyTorch 1.6 and later): stored members ROOT/data.pkl, ROOT/byteorder and ROOT/data/KEY, one for each
storage. Legacy: five pickles end to end (a magic number, 1001, the machine, the dict, the keys of the storages), then
for each key its number of elements as int64, and its bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from minibert.errors import InputError, need, one_line, readable, shown
from weights_convert.tensor_types import ITEM_SIZE, to_array
from weights_convert.torch_pickle import ORDERED_DICT, TENSOR, Pickle, Storage, Tensor

LONGEST_PICKLE = 4 << 20  # bytes: some 200 a tensor
MOST_DIRECTORY = 1 << 20  # bytes of the list of a zip's members, some 70 each; as objects it takes ten times that
PIECE = 1 << 20
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
ENCRYPTED_OR_PATCHED = 1 | 1 << 5 | 1 << 6  # flags of a zip member


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a storage lie in the file. crc32: what a zip says of them, None in the legacy layout."""

    start: int
    size: int
    crc32: int | None = None


# ------------------------------------------------------------------------------------------------------------ reading


class TorchFile:
    """The tensors of a file. tensors: {name: (dtype as safetensors spells it, shape)}; no numbers are kept."""

    def __init__(self, path: Path, views: dict[str, Tensor], places: dict[str, _Place]):
        self.path = path
        self.tensors = {name: (view.storage.dtype, view.shape) for name, view in views.items()}
        self._views, self._places, self._checked = views, places, set()

    def read(self, name: str) -> np.ndarray:
        """One tensor, C-contiguous; bfloat16 as float32, the other dtypes as they are. Raises InputError if the file
        changed or is damaged."""
        view = self._views[name]
        place, itemsize = self._places[view.storage.key], ITEM_SIZE[view.storage.dtype]
        try:
            with open(self.path, "rb") as file:
                self._check(file, view.storage.key, place)
                file.seek(place.start + view.offset * itemsize)
                raw = file.read(view.reach * itemsize)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from None
        need(len(raw) == view.reach * itemsize, f"{self.path}: became shorter while it was read")
        numbers = to_array(raw, view.storage.dtype)
        strides = tuple(step * numbers.itemsize for step in view.stride)
        return np.asarray(np.ndarray(view.shape, numbers.dtype, numbers, 0, strides), order="C")

    def _check(self, file, key: str, place: _Place) -> None:
        """Compare the checksum that a zip has of a storage, once."""
        if place.crc32 is None or key in self._checked:
            return
        file.seek(place.start)
        found, left = 0, place.size
        while left and (piece := file.read(min(PIECE, left))):
            found, left = zlib.crc32(piece, found), left - len(piece)
        need(found == place.crc32, f"{self.path}: is damaged: the checksum of its storage {shown(key)} is another one")
        self._checked.add(key)


def read_torch_file(path: str | Path) -> TorchFile:
    """What tensors a file of torch.save has, without their numbers; `read(name)` gives those of one.

    Raises InputError that names the file: it is no such file, damaged, of another byte order, or its pickle asks for
    something else than a dict {name: tensor}.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\3\4"
            file.seek(0)
            views, places = _read_zip(file) if is_zip else _read_legacy(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    return TorchFile(path, views, places)


def _views_of(pickle: Pickle) -> dict[str, Tensor]:
    """The dict that a pickle builds, if it is one of tensors that take no more than twice the memory of the file."""
    views = pickle.value
    need(isinstance(views, dict), "holds no dict of tensors")
    for name, view in views.items():
        need(isinstance(view, Tensor), f"holds {shown(name)}, which is no tensor; save the state dict alone")
    stored = sum(storage.count * ITEM_SIZE[storage.dtype] for storage in pickle.storages.values())
    taken = sum(prod(view.shape) * ITEM_SIZE[view.storage.dtype] for view in views.values())
    need(taken <= 2 * stored, "its tensors share memory so often that they would take more than twice the file")
    return views


def _size_of(file) -> int:
    return file.seek(0, io.SEEK_END)


# ------------------------------------------------------------------------------------------------------ the zip layout


def _read_zip(file) -> tuple[dict[str, Tensor], dict[str, _Place]]:
    members = _members(file)
    roots = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    need(len(roots) == 1, "is a zip, but not one of torch.save (expected one data.pkl in it)")
    root = roots[0]
    order = _content(file, members, f"{root}/byteorder", 16) if f"{root}/byteorder" in members else b"little"
    need(order == b"little", f"has the byte order {shown(order.decode(errors='replace'))}, expected little")
    pickle = Pickle(io.BytesIO(_content(file, members, f"{root}/data.pkl", LONGEST_PICKLE)))
    views, places, used = _views_of(pickle), {}, [members[f"{root}/data.pkl"]]
    for key, storage in pickle.storages.items():
        name = f"{root}/data/{key}"
        need(name in members, f"has no member {readable(name)}, which its pickle names")
        place, expected = _place(file, members[name]), storage.count * ITEM_SIZE[storage.dtype]
        need(place.size == expected, f"{readable(name)} has {place.size:,} bytes, expected {expected:,}")
        places[key] = place
        used.append(members[name])
    _check_apart(file, used)
    return views, places


def _check_apart(file, members: list[zipfile.ZipInfo]) -> None:
    """No two may share bytes: a member inside another would make the tensors far larger than the file."""
    end, before = 0, ""
    for member in sorted(members, key=lambda member: member.header_offset):
        name, place = readable(member.filename), _place(file, member)
        need(member.header_offset >= end, f"is a damaged zip ({before} and {name} lie in the same place)")
        end, before = place.start + place.size, name


def _members(file) -> dict[str, zipfile.ZipInfo]:
    """{name: member}. A directory that would take far more memory than the file is refused before it is read."""
    size = _size_of(file)
    file.seek(max(0, size - (1 << 16) - 98))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    need(at >= 0 and at + 22 <= len(tail), "is a damaged zip (its end is missing): get the file again")
    need(_directory_size(tail, at, size) <= MOST_DIRECTORY, "is a zip with too many members")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except Exception as error:  # a damaged archive raises nearly everything: struct.error, NotImplementedError, ...
        raise InputError(f"is a damaged zip ({one_line(error)})") from None
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        need(member.filename not in found, f"has the member {readable(member.filename)} twice")
        found[member.filename] = member
    return found


def _directory_size(tail: bytes, at: int, size: int) -> int:
    """Bytes of the directory. tail: the end of a file of that size; at: where the end record begins in it.

    With a zip64 record before the end record, which PyTorch writes always, that is what counts, and both must agree.
    """
    (directory,) = struct.unpack_from("<I", tail, at + 12)
    if at < 20 or tail[at - 20 : at - 16] != b"PK\6\7":
        return directory
    need(at >= 76 and tail[at - 76 : at - 72] == b"PK\6\6", "is a damaged zip (its zip64 record is missing)")
    (large,), (record,) = struct.unpack_from("<Q", tail, at - 36), struct.unpack_from("<Q", tail, at - 12)
    agree = directory in (large, 0xFFFFFFFF) and record == size - len(tail) + at - 76
    need(agree, "is a damaged zip (its end and its zip64 record contradict each other)")
    return large


def _place(file, member: zipfile.ZipInfo) -> _Place:
    """Where a member's bytes lie: after its own header, whose names may have another length than in the directory."""
    name = readable(member.filename)
    stored = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
    plain = stored and not member.flag_bits & ENCRYPTED_OR_PATCHED
    need(plain, f"{name} is compressed or encrypted, which torch.save never does")
    size = _size_of(file)
    need(0 <= member.header_offset <= size - 30, f"is a damaged zip ({name} lies beyond its end)")
    file.seek(member.header_offset)
    header = file.read(30)
    name_size, extra_size = struct.unpack_from("<HH", header, 26)
    need(header[:4] == b"PK\3\4", f"is a damaged zip ({name} is not where it should be)")
    own = file.read(name_size).decode("utf-8" if member.flag_bits & 0x800 else "cp437", errors="replace")
    need(own == member.orig_filename, f"is a damaged zip ({name} has two names)")
    start = member.header_offset + 30 + name_size + extra_size
    need(start + member.file_size <= size, f"is a damaged zip ({name} lies beyond its end)")
    return _Place(start, member.file_size, member.CRC)


def _content(file, members: dict[str, zipfile.ZipInfo], name: str, most: int) -> bytes:
    place = _place(file, members[name])
    need(place.size <= most, f"{readable(name)} has {place.size:,} bytes, expected at most {most:,}")
    file.seek(place.start)
    data = file.read(place.size)
    need(zlib.crc32(data) == place.crc32, f"is damaged: the checksum of {readable(name)} is another one")
    return data


# --------------------------------------------------------------------------------------------------- the legacy layout


def _read_legacy(file) -> tuple[dict[str, Tensor], dict[str, _Place]]:
    data = io.BytesIO(file.read(LONGEST_PICKLE))
    try:
        magic = Pickle(data).value
    except InputError:
        magic = None
    need(_is(magic, LEGACY_MAGIC), "is not a file of torch.save, or damaged: it has neither of its two layouts")
    protocol = Pickle(data).value
    need(_is(protocol, LEGACY_PROTOCOL), f"has the layout {shown(protocol)}, expected {LEGACY_PROTOCOL}")
    machine = Pickle(data).value
    little = machine.get("little_endian") if isinstance(machine, dict) else None
    need(little is True, "was written on a machine of another byte order, expected little-endian")
    pickle = Pickle(data)
    keys = Pickle(data).value
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    need(texts and len(set(keys)) == len(keys), "is damaged: its storages have no list of keys")
    need(set(keys) == set(pickle.storages), "is damaged: its storages are not those that its pickle names")
    return _views_of(pickle), _legacy_places(file, data.tell(), [pickle.storages[key] for key in keys])


def _is(value, number: int) -> bool:
    return isinstance(value, int) and value == number


def _legacy_places(file, at: int, storages: list[Storage]) -> dict[str, _Place]:
    """Each storage after the number of its elements; at: where the first one begins."""
    places, size = {}, _size_of(file)
    for storage in storages:
        file.seek(at)
        count = file.read(8)
        expected = struct.pack("<q", storage.count)
        need(count == expected, f"is damaged: its storage {shown(storage.key)} has another size than its pickle says")
        places[storage.key] = place = _Place(at + 8, storage.count * ITEM_SIZE[storage.dtype])
        at = place.start + place.size
        need(at <= size, f"is damaged: it ends within its storage {shown(storage.key)}; get the file again")
    need(at == size, f"is damaged: {size - at:,} bytes follow its last storage")
    return places


# ------------------------------------------------------------------------------------------------------------ writing


def write_torch_file(path: str | Path, tensors: dict[str, np.ndarray]) -> None:
    """Write float32 arrays in the zip layout, as `torch.load(path, weights_only=True)` reads it.

    The same arrays give the same bytes. An OSError leaves half a file: the caller writes into a temporary folder.
    """
    arrays = {name: np.asarray(array, "<f4", order="C") for name, array in tensors.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)

        add("data.pkl", _pickle_of(arrays))
        add("byteorder", b"little")
        for i, array in enumerate(arrays.values()):
            add(f"data/{i}", array.tobytes())
        add("version", b"3\n")


def _pickle_of(arrays: dict[str, np.ndarray]) -> bytes:
    """The pickle of an OrderedDict of tensors, written operation by operation, as torch_pickle.py follows it."""
    empty_dict = _global(ORDERED_DICT) + b")R"
    parts = [b"\x80\x02", empty_dict]
    for i, (name, array) in enumerate(arrays.items()):
        storage = b"(" + _text("storage") + _global("torch FloatStorage") + _text(str(i)) + _text("cpu")
        storage += _whole(array.size) + b"tQ"
        stride = tuple(step // array.itemsize for step in array.strides)
        shape_and_stride = _whole_numbers(array.shape) + _whole_numbers(stride)
        tensor = _global(TENSOR) + b"(" + storage + _whole(0) + shape_and_stride + b"\x89" + empty_dict + b"tR"
        parts.append(_text(name) + tensor + b"s")
    return b"".join([*parts, b"."])


def _global(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _whole(number: int) -> bytes:
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)


def _whole_numbers(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_whole, numbers)) + b"t"
