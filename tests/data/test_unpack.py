"""Archives that are damaged or hostile: InputError and nothing else, and nothing outside the folder."""

import io
import random
import shutil
import zipfile

import pytest

from minibert.config import InputError
from minibert.data import unpack
from minibert.data.unpack import unpack_zip


def archive(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return bytearray(buffer.getvalue())


TEXT = "".join(f"a line with the number {i}\n" for i in range(300))
MEMBERS = [("T/train.tsv", TEXT), ("T/dev.tsv", TEXT[:500]), ("T/deep/raw.txt", "x")]


def unpacked(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_mutated_archives_are_unpacked_right_or_refused(tmp_path, method):
    rng, good = random.Random(method), archive(MEMBERS, method)
    path, folder = tmp_path / "a.zip", tmp_path / "new"
    path.write_bytes(good)
    right, refused = unpacked(unpack_zip(path, folder)), 0
    assert right["train.tsv"] == TEXT and len(right) == 3
    headers = [i for i in range(len(good)) if good[i : i + 2] == b"PK"]
    for _ in range(400):
        shutil.rmtree(folder, ignore_errors=True)
        content = bytearray(good)
        for _ in range(rng.choice((1, 1, 3))):  # most of the mutations near the headers, where fields are
            near = min(rng.choice(headers) + rng.randrange(64), len(content) - 1)
            content[rng.choice((near, rng.randrange(len(content))))] = rng.randrange(256)
        if rng.random() < 0.1:
            del content[rng.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            found = unpacked(unpack_zip(path, folder))
        except InputError as error:
            assert str(error).startswith("a.zip")
            refused += 1
        else:
            assert sorted(found.values()) == sorted(right.values()) or len(found) < 3
    assert refused > 100
    assert {entry.name for entry in tmp_path.iterdir()} <= {"a.zip", "new"}


def test_an_archive_that_needs_a_password(tmp_path):
    content = archive(MEMBERS)
    for i in range(len(content)):
        if content[i : i + 4] in (b"PK\x01\x02", b"PK\x03\x04"):
            content[i + (8 if content[i + 2] == 1 else 6)] |= 1  # the flag of an encrypted member
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip is not an intact zip archive: .*encrypted"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")


def test_an_archive_that_unpacks_to_fill_the_disk(tmp_path):
    (tmp_path / "a.zip").write_bytes(archive([("T/zeros", bytes(50_000_000))]))
    with pytest.raises(InputError, match=r"a\.zip would unpack to 50,000,000 bytes"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_there_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        (tmp_path / "a.zip").write_bytes(archive([("T/a", "1"), ("T/b", "2"), ("T/a", "3")]))
    with pytest.raises(InputError, match=r"a\.zip holds T/a more than once"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")


def test_a_full_disk_is_not_a_damaged_archive(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.zip").write_bytes(archive(MEMBERS))
    monkeypatch.setattr(unpack.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")
