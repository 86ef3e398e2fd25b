"""The SHA-256 of files: of every block of them, and of several end to end."""

import hashlib

import pytest

from minibert.errors import InputError
from minibert.storage import sha256_of


def test_of_a_large_file_and_of_several(tmp_path):
    first, second = b"a" * (1 << 20) + b"b" * 5, b"c"
    (tmp_path / "first").write_bytes(first)
    (tmp_path / "second").write_bytes(second)
    assert sha256_of(tmp_path / "first") == hashlib.sha256(first).hexdigest()
    assert sha256_of(tmp_path / "first", tmp_path / "second") == hashlib.sha256(first + second).hexdigest()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        sha256_of(tmp_path / "nowhere")
