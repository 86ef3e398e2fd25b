"""Zip archives of downloads: damaged, hostile, or made by odd programs."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
from pathlib import Path
from random import Random

from minibert.data.unpack import unpack_zip
from minibert.errors import InputError

from .case import Case, Refuse, difference
from .json_files import UNCHANGED
from .mutations import NUMBERS, damage

CONTENT = b"sentence\tlabel\nthe soup was cold\t0\nthe best dumplings\t1\n" * 4
GOOD = {
    "SST-2/train.tsv": CONTENT,
    "SST-2/dev.tsv": CONTENT[::-1],
    "SST-2/original/read me.txt": b"",
    "SST-2/é.txt": b"x",
}
OUTSIDE = Path(tempfile.gettempdir(), "minibert-adversarial.tsv")
NAMES = (
    "../x.tsv", "SST-2/../../x.tsv", str(OUTSIDE), "C:\\x.tsv", "..\\x.tsv", "SST-2/..", "SST-2/./x", "a//b",
    "", "SST-2/" + "x" * 300, "SST-2/" + "d/" * 200 + "x", "SST-2/x\n.tsv", "SST-2/x\x1b[2J", "SST-2/CON",
    "SST-2/train.tsv/x", "SST-2/TRAIN.TSV", "SST-2/train.tsv", "SST-2", "//host/x", "~/.x", "SST-2/ x", "SST-2/x:y",
    "SST-2/\udcff", "./train.tsv",
)  # fmt: skip
SHOWN = 1 << 16  # bytes of a file that are compared
FIELDS = {  # signature of a header: where its fields are
    b"PK\1\2": (4, 6, 8, 10, 16, 20, 24, 28, 30, 32, 34, 38, 42),
    b"PK\3\4": (4, 6, 8, 14, 18, 22, 26, 28),
    b"PK\5\6": (4, 6, 8, 10, 12, 16, 20),
}
HOSTILE = ("../", "..\\", str(OUTSIDE), "C:", "//host", "SST-2/..")


def archives():
    """The maker of mutated zip archives."""

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, path, target = mutate and rng.random() >= UNCHANGED, folder / "SST-2.zip", folder / "new"
        method = rng.choice(
            (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        )
        data, what, expected = _zip(GOOD.items(), method), "unchanged", dict(GOOD)
        chance = rng.random() if mutate else 1
        if chance < 0.45:
            data, what = damage(rng, data, data)
        elif chance < 0.7:
            data, what = _change_field(rng, data)
        elif mutate:
            data, what, expected = _change_members(rng, method)
        path.write_bytes(data)
        return Case(
            [path],
            what,
            lambda: _unpack(path, target),
            lambda: [_files(expected)],
            difference,
            may_refuse=mutate,
            located=False,
        )

    return make


def _unpack(path: Path, target: Path) -> dict[str, bytes]:
    try:
        unpack_zip(path, target)
    except InputError as error:
        # The message names the archive alone, as its folder is a temporary one.
        raise InputError(str(error).replace(path.name, str(path), 1)).with_traceback(error.__traceback__) from error
    finally:
        others = [file for file in path.parent.iterdir() if file not in (path, target)]
        if others or OUTSIDE.exists():
            raise AssertionError(f"written outside the folder: {others}")
    found = {}
    for file in target.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                found[file.relative_to(target).as_posix()] = opened.read(SHOWN)
    return found


def _files(expected: dict[str, bytes] | str) -> dict[str, bytes]:
    """What must be in the folder: without the one folder that all lie in."""
    if isinstance(expected, str):
        raise Refuse(expected)
    tops = {name.split("/")[0] for name in expected}
    inside = len(tops) == 1 and all("/" in name for name in expected)
    return {name.partition("/")[2] if inside else name: data for name, data in sorted(expected.items())}


def _zip(members, method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, data)
    return out.getvalue()


def _change_field(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Another number in a field of a header."""
    signature, fields = rng.choice(list(FIELDS.items()))
    places = [i for i in range(len(data)) if data.startswith(signature, i)]
    place, field = rng.choice(places), rng.choice(fields)
    value = rng.choice((*NUMBERS, 99, 12, 14, 0x800, 0x2001, 5, 40))
    width = rng.choice((2, 4))
    found = bytearray(data)
    found[place + field : place + field + width] = (value % 256**width).to_bytes(width, "little")
    return bytes(found), f"field {field} of {signature!r} at {place} is {value}"


def _change_members(rng: Random, method: int) -> tuple[bytes, str, dict | str]:
    """Another set of members: the archive, what was done, and the files it holds, or why it must be refused."""
    members, chance = dict(GOOD), rng.random()
    if chance < 0.6:
        name = rng.choice(NAMES)
        listed = [*members.items(), (name, b"hostile")]
        rng.shuffle(listed)
        what = f"a member {name[:40]!r}"
        try:
            data = _zip(listed, method)
        except Exception:
            return _zip(members.items(), method), "unchanged", members
        if name.startswith(HOSTILE):
            return data, what, "a name that leads out of the folder"
        if name.upper() in ("SST-2/TRAIN.TSV", "SST-2", "SST-2/TRAIN.TSV/X"):
            return data, what, "two members with one name"
        if name in ("", "SST-2/\udcff"):
            return data, what, "a name that is none"
        if name.endswith("/x") and "//" not in name and "./" not in name:
            return data, what, members | {name: b"hostile"}
        plain = "/".join(part for part in name.split("/") if part not in ("", "."))
        return data, what, members | {plain: b"hostile"}
    if chance < 0.65:
        zeros = bytes(1 << 25)
        return (
            _zip([*members.items(), ("SST-2/zeros.txt", zeros)], zipfile.ZIP_DEFLATED),
            "a bomb",
            members | {"SST-2/zeros.txt": zeros[:SHOWN]},
        )
    if chance < 0.75:
        return _encrypted(_zip(members.items(), method)), "the flag of encryption", "encrypted"
    if chance < 0.85:
        return rng.randbytes(rng.choice((1, 100))) + _zip(members.items(), method), "bytes before the archive", members
    if chance < 0.95:
        data = _zip(members.items(), method)
        return data[:-2] + struct.pack("<H", 9) + b"a comment", "a comment", members
    return _zip([], method), "no member", "no files"


def _encrypted(data: bytes) -> bytes:
    found = bytearray(data)
    for signature, field in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for i in range(len(data)):
            if data.startswith(signature, i):
                found[i + field] |= 1
    return bytes(found)
