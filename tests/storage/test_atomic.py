"""A file is replaced whole or not at all, on systems that cannot flush a folder, too."""

import os

import pytest

from minibert.errors import InputError
from minibert.storage import atomic, write_rows, write_text
from minibert.storage.atomic import flush, replacing


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "text"
    write_text(path, "old\n")
    write_text(path, "é\r\nnew\n")
    assert path.read_bytes() == "é\r\nnew\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch):
    """Windows opens no folders, and some network disks refuse to flush one."""

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    write_rows(tmp_path / "rows.csv", [{"a": 1, "b": float("nan")}, {"a": 2, "c": "x,y"}])
    assert (tmp_path / "rows.csv").read_text() == 'a,b,c\n1,,\n2,,"x,y"\n'


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "nowhere" / "text", "x")


def test_a_file_that_another_program_has_open_is_no_full_disk(tmp_path, monkeypatch):
    """Windows replaces no file that is open."""

    def refuse(source, target):
        error = PermissionError(13, "Permission denied")
        error.winerror = 32
        raise error

    write_text(tmp_path / "text", "old")
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(atomic, "PATIENCE", 0.3)
    with pytest.raises(InputError, match="text: cannot be replaced: another program has it open; close it there"):
        write_text(tmp_path / "text", "new")
    assert (tmp_path / "text").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("works", [True, False])
def test_a_mac_is_asked_to_write_to_the_disk_itself(tmp_path, monkeypatch, works):
    fcntl, done = pytest.importorskip("fcntl"), []

    def full_flush(number, command):
        if not works:
            raise OSError(45, "Operation not supported")
        done.append(command)

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full_flush)
    monkeypatch.setattr(os, "fsync", lambda number: done.append("fsync"))
    with open(tmp_path / "x", "wb") as file:
        flush(file)
    assert done == ([51] if works else ["fsync"])
