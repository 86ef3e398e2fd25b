"""A file is replaced whole or not at all, on systems that cannot flush a folder, too."""

import os

import pytest

from minibert.config import InputError
from minibert.storage import write_rows, write_text
from minibert.storage.atomic import replacing


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
