"""Archives that are damaged or hostile: InputError and nothing else, and nothing outside the folder."""

import io
import random
import shutil
import zipfile

import pytest

from minibert.data import unpack
from minibert.data.unpack import unpack_zip
from minibert.errors import InputError


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


def patched(content, signature, field, value):
    """The archive with another number in a field of its last header of a kind."""
    place = bytes(content).rindex(signature) + field
    content[place : place + len(value)] = value
    return content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (patched(archive(MEMBERS), b"PK\5\6", 10, b"\x04\0"), "it lists 3 of 4 files"),
        (patched(archive(MEMBERS), b"PK\5\6", 10, b"\xff\xff"), "it lists 3 of 65535 files"),
        (patched(archive(MEMBERS), b"PK\5\6", 12, bytes(4)), "it lists 0 of 3 files"),
        (patched(archive(MEMBERS), b"PK\5\6", 10, bytes(6)), "holds no files"),
        (archive([]), "holds no files"),
        (patched(archive(MEMBERS), b"PK\1\2", 16, bytes(8)), "'T/deep/raw.txt' is cut"),  # its checksum, its length
        (archive([("T/a/", "text"), ("T/b", "x")]), "'T/a/' is a folder with contents"),
        (
            bytearray(bytes(archive([("T/train.tsv", ""), ("T/b", "x")])).replace(b"T/train", b"T/\0rain")),
            "a name with a NUL",
        ),
    ],
)
def test_a_list_of_members_that_lost_some_is_not_believed(tmp_path, content, told):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.zip .*{told}"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")


def test_the_first_member_does_not_swallow_the_others(tmp_path):
    content = archive(MEMBERS)
    place = bytes(content).index(b"PK\1\2") + 32  # the length of its comment
    content[place : place + 2] = b"\xff\xff"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="it lists 1 of 3 files"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")


def test_a_comment_and_bytes_before_the_archive_are_no_damage(tmp_path):
    content = archive(MEMBERS)
    content[-2:] = b"\x09\0a comment"
    (tmp_path / "a.zip").write_bytes(b"before" + content)
    assert len(unpacked(unpack_zip(tmp_path / "a.zip", tmp_path / "new"))) == 3


def test_an_archive_of_more_members_than_its_end_record_counts(tmp_path):
    folders = [(f"T/{i}/", "") for i in range(66_000)]
    (tmp_path / "a.zip").write_bytes(archive([*folders, ("T/x", "1")]))
    assert unpacked(unpack_zip(tmp_path / "a.zip", tmp_path / "new")) == {"x": "1"}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("T/train.tsv", "T/TRAIN.tsv"), "T/TRAIN.tsv more than once"),
        (("T/train.tsv", "T/train.tsv/x"), "T/train.tsv as a file and as a folder"),
        (("T/Train.tsv/x", "T/train.tsv"), "T/train.tsv as a file and as a folder"),
        (("T/x\n", "T/x\n/y"), r"'T/x\n' as a file and as a folder"),
    ],
)
def test_names_that_cannot_all_be_there_on_every_system(tmp_path, names, told):
    (tmp_path / "a.zip").write_bytes(archive([(name, "x") for name in names]))
    with pytest.raises(InputError) as error:
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")
    assert told in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_name_that_no_file_can_have_is_told_in_a_short_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(archive([("T/a", "1"), ("T/" + "x" * 30_000, "2")]))
    with pytest.raises(InputError) as error:
        unpack_zip(tmp_path / "a.zip", tmp_path / "new")
    assert len(str(error.value)) < 500
