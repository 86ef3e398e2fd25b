"""Files as torch.save writes them, made by Python's own pickler, without PyTorch: modules that only have its names."""

import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile
import zlib
from collections import OrderedDict
from unittest.mock import patch

import numpy as np

KINDS = {"float32": "Float", "float16": "Half", "float64": "Double", "int64": "Long", "int32": "Int", "bool": "Bool"}


class Tensor:
    """A view of a storage, as PyTorch pickles it. storage: array of one dimension; kind: such as "BFloat16"."""

    def __init__(self, storage, offset, shape, stride, kind=None):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride
        self.kind = kind or KINDS[storage.dtype.name]

    def __reduce_ex__(self, protocol):
        arguments = (_Storage(self), self.offset, self.shape, self.stride, False, OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class Parameter(Tensor):
    """The same inside an nn.Parameter."""

    def __reduce_ex__(self, protocol):
        tensor = Tensor(self.storage, self.offset, self.shape, self.stride, self.kind)
        return sys.modules["torch._utils"]._rebuild_parameter, (tensor, True, OrderedDict())


class _Storage:
    def __init__(self, tensor):
        self.numbers, self.kind = tensor.storage, tensor.kind


def tensor(array, kind=None, of=Tensor):
    """All of an array. kind "BFloat16": the array holds its bits as uint16."""
    array = np.asarray(array)
    stride = tuple(step // array.itemsize for step in np.empty(array.shape, array.dtype).strides)
    return of(np.ascontiguousarray(array).reshape(-1), 0, array.shape, stride, kind)


class _Pickler(pickle.Pickler):
    def __init__(self, file, storages, legacy=False):
        super().__init__(file, protocol=2)
        self.storages, self.legacy = storages, legacy

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        key = next((key for key, numbers in self.storages.items() if numbers is value.numbers), str(len(self.storages)))
        self.storages[key] = value.numbers
        kind = getattr(sys.modules["torch"], f"{value.kind}Storage")
        described = ("storage", kind, key, "cpu", value.numbers.size)
        return (*described, None) if self.legacy else described


@contextlib.contextmanager
def names_of_torch():
    """Modules that have the names which a pickle of tensors holds."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in (*KINDS.values(), "BFloat16", "Short", "Char", "Byte"):
        setattr(torch, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    with patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield


def state_dict(tensors):
    """{name: array or Tensor} as a module gives it: an OrderedDict with the versions of the parts as an attribute."""
    found = OrderedDict((name, t if isinstance(t, Tensor) else tensor(t)) for name, t in tensors.items())
    found._metadata = OrderedDict([("", {"version": 1}), ("embeddings", {"version": 1})])
    return found


def pickled(value, legacy=False):
    """The pickle of a value, and the storages in it by their keys."""
    file, storages = io.BytesIO(), {}
    with names_of_torch():
        _Pickler(file, storages, legacy).dump(value)
    return file.getvalue(), storages


def save_zip(path, value, root="archive", byteorder=b"little", how=zipfile.ZIP_STORED, more=()):
    """The layout since PyTorch 1.6."""
    content, storages = pickled(value)
    members = [("data.pkl", content), ("byteorder", byteorder)]
    members += [(f"data/{key}", numbers.tobytes()) for key, numbers in storages.items()]
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in [*members, ("version", b"3\n"), (".data/serialization_id", b"1" * 40), *more]:
            archive.writestr(zipfile.ZipInfo(f"{root}/{name}"), content, how)


def add_nested(archive, blocks):
    """Add members {name: content} to a zip, each of which begins inside the one before, in place of its first bytes."""
    inside, infos = b"", []
    for name, block in reversed(blocks.items()):
        content, info = inside + block[len(inside) :], zipfile.ZipInfo(name)
        info.file_size = info.compress_size = len(content)
        info.CRC = zlib.crc32(content)
        inside = info.FileHeader() + content
        infos.append(info)
    archive.writestr(infos[-1].filename, content)
    at = archive.infolist()[-1].header_offset + len(infos[-1].FileHeader())
    for info in infos[-2::-1]:
        info.header_offset, at = at, at + len(info.FileHeader())
        archive.filelist.append(info)


def with_zip64(data, directory=None, size=None, record=None):
    """A zip with a zip64 record before its end, as PyTorch writes it. directory, record: other numbers in it (bytes of
    the directory; where the record is); size: another number of bytes in the end."""
    at = len(data) - 22
    count, said, offset = struct.unpack("<H2L", data[at + 10 : at + 20])
    directory = said if directory is None else directory
    zip64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, directory, offset)
    zip64 += struct.pack("<4sLQL", b"PK\6\7", 0, at if record is None else record, 1)
    return data[:at] + zip64 + data[at : at + 12] + struct.pack("<L", said if size is None else size) + data[at + 16 :]


def save_legacy(path, value, little_endian=True, magic=0x1950A86A20F9469CFC6C, protocol=1001, more=b""):
    """The layout before."""
    content, storages = pickled(value, legacy=True)
    machine = {"protocol_version": protocol, "little_endian": little_endian}
    machine["type_sizes"] = {"short": 2, "int": 4, "long": 4}
    parts = [pickle.dumps(part, 2) for part in (magic, protocol, machine)]
    parts += [content, pickle.dumps(list(storages), 2)]
    parts += [struct.pack("<q", numbers.size) + numbers.tobytes() for numbers in storages.values()]
    path.write_bytes(b"".join(parts) + more)
