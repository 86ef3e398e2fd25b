"""PyTorch's files without PyTorch: tensors bit for bit, and what else a pickle asks for refused by its name."""

import builtins
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from torch_files import (
    Parameter,
    Tensor,
    add_nested,
    pickled,
    save_legacy,
    save_zip,
    state_dict,
    tensor,
    with_zip64,
)

from minibert.errors import InputError
from weights_convert import torch_file, torch_pickle
from weights_convert.torch_file import read_torch_file, write_torch_file

LAYOUTS = (save_zip, save_legacy)
RNG = np.random.default_rng(0)
NUMBERS = RNG.standard_normal(24).astype(np.float32)


def values_of(path):
    file = read_torch_file(path)
    return {name: file.read(name) for name in file.tensors}


def same(found, expected):
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("save", LAYOUTS)
def test_every_kind_of_tensor_is_read_bit_for_bit(tmp_path, save):
    arrays = {
        "float32": NUMBERS.reshape(4, 6),
        "float16": NUMBERS.astype(np.float16),
        "float64": NUMBERS.astype(np.float64).reshape(2, 3, 4),
        "int64": np.arange(512)[None],
        "int32": np.arange(3, dtype=np.int32),
        "bool": np.array([True, False]),
        "scalar": np.float32(3.5),
        "empty": np.zeros((0, 5), np.float32),
        "é\n": NUMBERS[:2],
    }
    save(tmp_path / "x.bin", state_dict(arrays))
    found = values_of(tmp_path / "x.bin")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert same(found[name], np.asarray(array)), name
    assert read_torch_file(tmp_path / "x.bin").tensors["float16"] == ("F16", (24,))


@pytest.mark.parametrize("save", LAYOUTS)
def test_bfloat16_becomes_float32_exactly(tmp_path, save):
    bits = np.array([0x3F80, 0xC049, 0x0001, 0x7F80, 0x8000], np.uint16)
    save(tmp_path / "x.bin", state_dict({"x": tensor(bits, "BFloat16")}))
    found = values_of(tmp_path / "x.bin")["x"]
    assert found.dtype == np.float32 and (found.view(np.uint32) == bits.astype(np.uint32) << 16).all()
    assert found[0] == 1 and found[1] == -3.140625


@pytest.mark.parametrize("save", LAYOUTS)
def test_views_of_one_storage(tmp_path, save):
    transposed, part = Tensor(NUMBERS, 0, (6, 4), (1, 6)), Tensor(NUMBERS, 5, (2, 3), (8, 2))
    save(tmp_path / "x.bin", {"transposed": transposed, "part": part, "parameter": tensor(NUMBERS[:3], of=Parameter)})
    found = values_of(tmp_path / "x.bin")
    assert same(found["transposed"], np.ascontiguousarray(NUMBERS.reshape(4, 6).T))
    assert same(found["part"], NUMBERS[[[5, 7, 9], [13, 15, 17]]])
    assert same(found["parameter"], NUMBERS[:3])


def test_many_tensors_are_read(tmp_path):
    arrays = {f"encoder.layer.{i}.weight": np.full((2, 2), i, np.float32) for i in range(2500)}  # SETITEMS of 1000 each
    for save in LAYOUTS:
        save(tmp_path / "x.bin", state_dict(arrays))
        found = values_of(tmp_path / "x.bin")
        assert len(found) == 2500 and (found["encoder.layer.2499.weight"] == 2499).all()


# ------------------------------------------------------------------------------------------------ what is not a tensor


class Calls:
    """Pickled, it calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ASKS = {
    "os.system": (Calls(os.system, "touch there"), "asks for posix.system" if os.name == "posix" else "asks for nt"),
    "eval": (Calls(eval, "1"), "asks for __builtin__.eval"),
    "a class": (pickle.PickleError("x"), "asks for "),
    "a number": (3.5, "operation BINFLOAT"),
    "a set": ({1}, "asks for __builtin__.set"),
    "text": ("words", "holds 'bad', which is no tensor"),
    "more": ({"step": 3}, "holds 'bad', which is no tensor; save the state dict alone"),
    "a key": ({3: 3}, "key that is no text"),
    "a call": (Calls(OrderedDict, [("a", 1)]), "an OrderedDict that is made of something"),
    "a new object": (OrderedDict, "holds 'bad', which is no tensor"),
}


@pytest.mark.parametrize("save", LAYOUTS)
@pytest.mark.parametrize("case", ASKS)
def test_what_a_pickle_asks_for_beyond_tensors_is_refused_by_its_name(tmp_path, save, case, monkeypatch):
    value, words = ASKS[case]
    save(tmp_path / "x.bin", {"good": tensor(NUMBERS), "bad": value})
    imported = []
    monkeypatch.setattr(builtins, "__import__", lambda name, *_, **__: imported.append(name))
    with pytest.raises(InputError) as error:
        read_torch_file(tmp_path / "x.bin")
    monkeypatch.undo()
    assert words in str(error.value) and str(tmp_path / "x.bin") in str(error.value) and imported == []
    assert not (tmp_path / "there").exists()


def test_a_value_that_is_no_dict(tmp_path):
    for save in LAYOUTS:
        save(tmp_path / "x.bin", [tensor(NUMBERS)])
        with pytest.raises(InputError, match="holds no dict of tensors"):
            read_torch_file(tmp_path / "x.bin")


VIEWS = {
    "beyond the end": Tensor(NUMBERS, 1, (24,), (1,)),
    "a wide stride": Tensor(NUMBERS, 0, (2, 2), (23, 2)),
    "repeated without end": Tensor(NUMBERS, 0, (1 << 40, 24), (0, 1)),
    "a stride of 0": Tensor(NUMBERS, 0, (25,), (0,)),
    "a negative offset": Tensor(NUMBERS, -1, (2,), (1,)),
    "a negative stride": Tensor(NUMBERS, 23, (24,), (-1,)),
    "a huge number": Tensor(NUMBERS, 1 << 90, (1,), (1,)),
    "two lengths": Tensor(NUMBERS, 0, (2, 2), (1,)),
    "a list": Tensor(NUMBERS, 0, [24], [1]),
    "a truth value": Tensor(NUMBERS, 0, (True,), (1,)),
    "many dimensions": Tensor(NUMBERS, 0, (1,) * 30, (1,) * 30),
    "nothing, of huge numbers": Tensor(NUMBERS, 0, (0, 1 << 47, 1 << 40), (1, 1, 1)),
}


@pytest.mark.parametrize("save", LAYOUTS)
@pytest.mark.parametrize("case", VIEWS)
def test_views_beyond_their_storage_are_refused_before_memory_is_taken(tmp_path, save, case):
    save(tmp_path / "x.bin", {"x": VIEWS[case]})
    with pytest.raises(InputError, match=r"does not fit into its storage|cannot be one"):
        read_torch_file(tmp_path / "x.bin")


def test_storages_that_are_shared_too_often(tmp_path):
    save_zip(tmp_path / "x.bin", {name: Tensor(NUMBERS, 0, (24,), (1,)) for name in "ab"})
    assert same(values_of(tmp_path / "x.bin")["b"], NUMBERS)
    save_zip(tmp_path / "x.bin", {name: Tensor(NUMBERS, 0, (24,), (1,)) for name in "abc"})
    with pytest.raises(InputError, match="share memory so often"):
        read_torch_file(tmp_path / "x.bin")


def raw(*operations):
    return b"\x80\x02" + b"".join(operations) + b"."


PICKLES = {
    "empty": (b"", "damaged"),
    "no end": (b"\x80\x02}", "damaged"),
    "an empty stack": (raw(b"s"), "damaged"),
    "two values": (raw(b"}}"), "does not end in one value"),
    "a mark alone": (raw(b"("), "a value is missing"),
    "no such memory": (raw(b"h\x05"), "damaged"),
    "another protocol": (b"\x80\x04}.", "protocol 4, expected 2"),
    "an unknown operation": (raw(b"]\x94"), "operation MEMOIZE"),
    "a name from the stack": (b"\x80\x02X\x02\0\0\0osX\x06\0\0\0system\x93.", "operation STACK_GLOBAL"),
    "an extension": (raw(b"\x82\x01"), "operation EXT1"),
    "an instance": (raw(b"(ios\nsystem\n"), "operation INST"),
    "no such operation": (raw(b"\xfe"), "damaged"),
    "twice": (raw(b"}X\1\0\0\0aNsX\1\0\0\0aNs"), "sets 'a' twice"),
    "items without a dict": (raw(b"]X\1\0\0\0aNs"), "items without a dict"),
    "elements without a list": (raw(b"}Na"), "elements without a list"),
    "attributes of a list": (raw(b"]}b"), "no dict"),
    "a call of text": (raw(b"X\1\0\0\0a)R"), "calls something that makes no tensor"),
    "a storage that is none": (raw(b"NQ"), "storage that is not described as one"),
    "a tensor of nothing": (raw(b"ctorch._utils\n_rebuild_tensor_v2\n)R"), "tensor without a storage"),
    "a parameter of nothing": (raw(b"ctorch._utils\n_rebuild_parameter\n)R"), "parameter without a tensor"),
    "no arguments": (raw(b"ccollections\nOrderedDict\n]R"), "no tuple"),
    "a text without an end": (raw(b"X\xff\xff\xff\xffabc"), "damaged"),
    "no text": (raw(b"X\x02\0\0\0\xff\xfe"), "damaged"),
    "a dict in itself": (raw(b"}q\0X\1\0\0\0ah\0s"), "holds 'a', which is no tensor"),
    "a deep list": (raw(b"]" * 2000 + b"a" * 1999), "holds no dict"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickles_that_are_damaged_or_made_by_hand(tmp_path, case):
    content, words = PICKLES[case]
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(InputError) as error:
        read_torch_file(tmp_path / "x.bin")
    assert words in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_pickle_of_too_many_operations(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("a/data.pkl", raw(b"}" * (torch_pickle.MOST_OPERATIONS + 1)))
    with pytest.raises(InputError, match="more than 150,000 operations"):
        read_torch_file(tmp_path / "x.bin")
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("a/data.pkl", bytes(torch_file.LONGEST_PICKLE + 1))
    with pytest.raises(InputError, match=r"a/data.pkl has 4,194,305 bytes, expected at most"):
        read_torch_file(tmp_path / "x.bin")


def test_a_storage_that_is_described_in_two_ways(tmp_path):
    one = pickled({"a": tensor(NUMBERS), "b": tensor(NUMBERS[:3])})[0]
    content = one.replace(b"X\1\0\0\x001", b"X\1\0\0\x000")
    assert content != one
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(InputError, match="storage '0' is described in two ways"):
        read_torch_file(tmp_path / "x.bin")


# ------------------------------------------------------------------------------------------------------------- layouts


def zips(path, case):
    value = {"x": tensor(NUMBERS)}
    if case == "big-endian":
        save_zip(path, value, byteorder=b"big")
    elif case == "compressed":
        save_zip(path, value, how=zipfile.ZIP_DEFLATED)
    elif case == "doubled":
        with pytest.warns(UserWarning, match="Duplicate name"):
            save_zip(path, value, more=[("data/0", NUMBERS.tobytes())])
    elif case == "two pickles":
        save_zip(path, value, more=[("b/data.pkl", b"")])
    elif case == "a changed number":
        save_zip(path, value)
        data = bytearray(path.read_bytes())
        data[data.index(NUMBERS.tobytes())] ^= 1
        path.write_bytes(data)
    elif case == "no such storage":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", pickled(value)[0])
    elif case == "a storage that is too short":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", pickled(value)[0])
            archive.writestr("a/data/0", bytes(95))
    elif case == "a name with another in it":
        save_zip(path, value)
        path.write_bytes(path.read_bytes().replace(b"archive/data/0", b"archive/data/1", 1))
    elif case in ("encrypted", "patched", "strongly encrypted"):
        save_zip(path, value)
        data = bytearray(path.read_bytes())
        flags = data.rindex(b"archive/data/0") - 46 + 8  # in the directory
        data[flags] |= {"encrypted": 1, "patched": 1 << 5, "strongly encrypted": 1 << 6}[case]
        path.write_bytes(data)
    elif case == "a longer directory":
        save_zip(path, value)
        data = bytearray(path.read_bytes())
        data[-10:-6] = struct.pack("<I", 1 << 30)
        path.write_bytes(data)


ZIPS = {
    "big-endian": "has the byte order 'big', expected little",
    "compressed": "archive/byteorder is compressed or encrypted",
    "doubled": "has the member archive/data/0 twice",
    "two pickles": "expected one data.pkl",
    "a changed number": "the checksum of its storage '0' is another one",
    "no such storage": "has no member a/data/0",
    "a storage that is too short": "a/data/0 has 95 bytes, expected 96",
    "a name with another in it": "archive/data/0 has two names",
    "a longer directory": "too many members",
    "encrypted": "is compressed or encrypted",
    "patched": "is compressed or encrypted",
    "strongly encrypted": "is compressed or encrypted",
}


@pytest.mark.parametrize("case", ZIPS)
def test_zips_that_torch_does_not_write(tmp_path, case):
    path = tmp_path / "x.bin"
    zips(path, case)
    with pytest.raises(InputError) as error:
        values_of(path)
    assert ZIPS[case] in str(error.value)


def test_members_that_lie_in_one_another(tmp_path):
    """200 storages in the place of one: a file of 0.4 MB with 40 MB of tensors."""
    arrays = {f"x{i}": np.zeros(100_000 - 100 * i, np.float32) for i in range(200)}
    content, storages = pickled(state_dict(arrays))
    blocks = {f"a/data/{key}": numbers.tobytes() for key, numbers in storages.items()}
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("a/data.pkl", content)
        add_nested(archive, blocks)
    assert (tmp_path / "x.bin").stat().st_size < 500_000 < sum(map(len, blocks.values())) / 60
    with zipfile.ZipFile(tmp_path / "x.bin") as archive:  # it is whole: all names are there, with their checksums
        assert len(archive.namelist()) == 201
    with pytest.raises(InputError, match=r"a/data/0 and a/data/1 lie in the same place"):
        read_torch_file(tmp_path / "x.bin")


def test_a_pickle_inside_a_storage(tmp_path):
    content, _ = pickled({"x": tensor(np.zeros(1000, np.float32))})
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        add_nested(archive, {"a/data/0": bytes(4000), "a/data.pkl": content})
    with pytest.raises(InputError, match=r"a/data/0 and a/data.pkl lie in the same place"):
        read_torch_file(tmp_path / "x.bin")


ENDS = {
    "as torch writes it": ({}, None),
    "in a large file": ({"size": 0xFFFFFFFF}, None),
    "another directory": ({"directory": 50}, "its end and its zip64 record contradict each other"),
    "a directory too large": ({"directory": 1 << 30, "size": 0xFFFFFFFF}, "too many members"),
    "hidden": ({"directory": 1 << 30, "size": 50}, "its end and its zip64 record contradict each other"),
    "a record elsewhere": ({"record": 0}, "its end and its zip64 record contradict each other"),
}


@pytest.mark.parametrize("case", ENDS)
def test_zip64_records(tmp_path, case):
    options, words = ENDS[case]
    save_zip(tmp_path / "x.bin", {"x": tensor(NUMBERS)})
    data = with_zip64((tmp_path / "x.bin").read_bytes(), **options)
    (tmp_path / "x.bin").write_bytes(data)
    if words is None:
        assert same(values_of(tmp_path / "x.bin")["x"], NUMBERS)
        (tmp_path / "x.bin").write_bytes(data.replace(b"PK\6\6", b"PK\6\5"))
        words = "its zip64 record is missing"
    with pytest.raises(InputError, match=words):
        read_torch_file(tmp_path / "x.bin")


def test_a_directory_that_is_longer_than_the_limit_is_not_read(tmp_path, monkeypatch):
    """1.1 MB, some 11 MB as objects; hidden behind a zip64 record or not."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 3, *[0] * 6) + b"abc"
    whole = entry * (1_100_000 // len(entry))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(whole), 4, 0)
    monkeypatch.setattr(zipfile, "ZipFile", lambda _: pytest.fail("the directory was read"))
    for data in (b"PK\3\4" + whole + end, with_zip64(b"PK\3\4" + whole + end, size=0xFFFFFFFF)):
        (tmp_path / "x.bin").write_bytes(data)
        with pytest.raises(InputError, match="too many members"):
            read_torch_file(tmp_path / "x.bin")


def test_every_truncation_is_refused(tmp_path):
    for save in LAYOUTS:
        save(tmp_path / "good.bin", {"x": tensor(NUMBERS)})
        data = (tmp_path / "good.bin").read_bytes()
        for size in range(0, len(data), 7):
            (tmp_path / "x.bin").write_bytes(data[:size])
            with pytest.raises(InputError):
                read_torch_file(tmp_path / "x.bin")


LEGACIES = {
    "big-endian": ({"little_endian": False}, "another byte order"),
    "another magic number": ({"magic": 5}, "has neither of its two layouts"),
    "another protocol": ({"protocol": 1002}, "has the layout 1002, expected 1001"),
    "more bytes": ({"more": b"x"}, "1 bytes follow its last storage"),
}


@pytest.mark.parametrize("case", LEGACIES)
def test_legacy_files_that_torch_does_not_write(tmp_path, case):
    options, words = LEGACIES[case]
    save_legacy(tmp_path / "x.bin", {"x": tensor(NUMBERS)}, **options)
    with pytest.raises(InputError, match=words):
        read_torch_file(tmp_path / "x.bin")


def test_a_legacy_storage_of_another_size(tmp_path):
    save_legacy(tmp_path / "x.bin", {"x": tensor(NUMBERS)})
    data = (tmp_path / "x.bin").read_bytes()
    (tmp_path / "x.bin").write_bytes(data.replace(struct.pack("<q", 24), struct.pack("<q", 23)))
    with pytest.raises(InputError, match="storage '0' has another size than its pickle says"):
        read_torch_file(tmp_path / "x.bin")


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path):
    save_legacy(tmp_path / "x.bin", {"x": tensor(NUMBERS)})
    file = read_torch_file(tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes((tmp_path / "x.bin").read_bytes()[:-1])
    with pytest.raises(InputError, match="became shorter"):
        file.read("x")
    (tmp_path / "x.bin").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        file.read("x")


# ------------------------------------------------------------------------------------------------------------- writing


def test_what_is_written_is_read_bit_for_bit_and_is_the_same_each_time(tmp_path):
    arrays = {"a.weight": NUMBERS.reshape(4, 6).T, "é": NUMBERS[::2], "s": np.float32(2), "empty": NUMBERS[:0]}
    write_torch_file(tmp_path / "x.bin", arrays)
    write_torch_file(tmp_path / "y.bin", arrays)
    assert (tmp_path / "x.bin").read_bytes() == (tmp_path / "y.bin").read_bytes()
    found = values_of(tmp_path / "x.bin")
    assert list(found) == list(arrays)
    assert all(same(found[name], np.array(array, order="C")) for name, array in arrays.items())


class Unpickler(pickle.Unpickler):
    """Python's own, as an oracle of what is written: it may find three names, and they do nothing but tell."""

    def persistent_load(self, value):
        return value

    def find_class(self, module, name):
        assert (module, name) in {
            ("collections", "OrderedDict"),
            ("torch", "FloatStorage"),
            ("torch._utils", "_rebuild_tensor_v2"),
        }
        return OrderedDict if name == "OrderedDict" else (lambda *arguments: arguments) if name[0] == "_" else name


def test_what_is_written_means_the_same_to_pickles_own_machine(tmp_path):
    write_torch_file(tmp_path / "x.bin", {"w": NUMBERS.reshape(4, 6)})
    with zipfile.ZipFile(tmp_path / "x.bin") as archive, archive.open("archive/data.pkl") as file:
        found = Unpickler(file).load()
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("archive/version") == b"3\n" and archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/data/0") == NUMBERS.tobytes()
    storage = ("storage", "FloatStorage", "0", "cpu", 24)
    assert found == {"w": (storage, 0, (4, 6), (6, 1), False, OrderedDict())}
