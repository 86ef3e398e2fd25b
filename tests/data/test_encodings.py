"""What is told of bytes that are read in another encoding than they are written in."""

from __future__ import annotations

import io
import tracemalloc

import pytest

from minibert.data.delimited import ENCODING_ADVICE, Format, read_delimited
from minibert.data.encodings import likely, misread_notes, zeros_of
from minibert.data.reading import decode, stream_lines
from minibert.errors import InputError

TEXT = "text,label\nça va très bien, merci\n" * 3
MARKED = {
    "utf-8": b"\xef\xbb\xbf" + TEXT.encode(),
    "utf-16": b"\xff\xfe" + TEXT.encode("utf-16-le"),
    "utf-16 be": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-32": b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"),
}


def streamed(raw, encoding):
    return "".join(stream_lines(io.BytesIO(raw), "f", encoding, ENCODING_ADVICE))


@pytest.mark.parametrize("read", [lambda raw, encoding: decode(raw, "f", encoding), streamed])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp437", "utf-7", "shift_jis"])
@pytest.mark.parametrize("marked", MARKED)
def test_a_mark_that_contradicts_the_encoding_is_an_error(read, marked, encoding):
    with pytest.raises(InputError, match=f"f, line 1: there is the mark of {marked[:6].upper()}.*leave out --encoding"):
        read(MARKED[marked], encoding)


@pytest.mark.parametrize("read", [lambda raw, encoding: decode(raw, "f", encoding), streamed])
def test_a_mark_that_agrees_is_read(read):
    for marked, encodings in {
        "utf-8": ("utf-8", "utf-8-sig", "UTF8"),
        "utf-16": ("utf-8", "utf-16", "utf-16-le", "U16"),
        "utf-16 be": ("utf-8", "utf-16", "utf-16-be"),
        "utf-32": ("utf-8", "utf-32", "utf-32-le"),
    }.items():
        for encoding in encodings:
            assert read(MARKED[marked], encoding).removeprefix("\ufeff") == TEXT
    for encoding, marked in (("utf-16-le", "utf-16 be"), ("utf-16-be", "utf-16"), ("utf-16", "utf-32")):
        with pytest.raises(InputError, match="there is the mark of UTF-"):
            read(MARKED[marked], encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_zeros_tell_an_encoding_without_a_mark(encoding):
    raw = TEXT.encode(encoding)
    assert zeros_of(raw) == encoding and decode(raw, "f", encoding) == TEXT
    with pytest.raises(InputError, match=f"(looks like|--encoding:) {encoding}"):
        decode(raw, "f", "utf-8", ENCODING_ADVICE)
    plain = TEXT.replace("ç", "c").replace("è", "e").encode(encoding)
    with pytest.raises(InputError, match=f"NUL.*It looks like {encoding} without a mark.*--encoding: {encoding}$"):
        decode(plain, "f", "utf-8", ENCODING_ADVICE)
    other = encoding[:-2] + {"le": "be", "be": "le"}[encoding[-2:]]
    with pytest.raises(InputError, match=f"looks like {encoding}, not {other}"):
        decode(raw, "f", other)


def test_zeros_of_other_texts_tell_nothing():
    for raw in (TEXT.encode(), b"", b"a", b"a\0b", "漢字仮名".encode("utf-16-le") * 9, b"text\0" * 40, bytes(40)):
        assert zeros_of(raw) is None


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("it’s “good”".encode("cp1252"), "likely cp1252"),
        ("café".encode("latin-1"), "latin-1 or cp1252"),
        ("café, déjà".encode("mac_roman"), "mac_roman or cp437"),
        ("очень хороший фильм".encode("cp1251"), "cp1251, shift_jis"),
        ("映画が好き".encode("shift_jis"), "shift_jis"),
        ("café".encode(), "utf-8, which all of it is"),
        ("café, olé".encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_the_encoding_that_is_likely(raw, told):
    assert told in likely(raw)


def test_the_likely_encoding_is_in_the_error(tmp_path):
    for read in (decode, lambda raw, name, encoding, advice: streamed(raw, encoding)):
        with pytest.raises(InputError, match=r"line 2: byte 0x92 is not utf-8\. .*--encoding: likely cp1252"):
            read("text\nit’s".encode("cp1252"), "f", "utf-8", ENCODING_ADVICE)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-15", "cp437"])
def test_utf_8_that_is_read_as_another_encoding_is_told(tmp_path, encoding):
    path = tmp_path / "f.csv"
    path.write_bytes("text,label\ncafé olé,très bon\n".encode())
    (note,) = read_delimited(path, Format(encoding=encoding)).notes
    assert note == f"f.csv: 3 characters are UTF-8, and are read as {encoding}: is --encoding to be left out?"


def test_windows_characters_that_are_read_as_latin_1_are_told():
    raw = "it’s “good” – café…".encode("cp1252")
    (note,) = misread_notes("f", raw.decode("latin-1"), "latin-1")
    assert "5 control characters such as U+0092" in note and note.endswith(
        "Perhaps: likely cp1252, as Windows writes it"
    )
    assert misread_notes("f", raw.decode("cp1252"), "cp1252") == ()


def test_letters_of_no_western_language_are_told():
    raw = "очень хороший фильм, and so on".encode("cp1251")
    (note,) = misread_notes("f", raw.decode("latin-1"), "latin-1")
    assert "it holds words such as 'î÷åíü'" in note and "cp1251" in note
    both = "café olé\n".encode() + "café olé\n".encode("latin-1")
    assert "2 characters are UTF-8" in misread_notes("f", both.decode("latin-1"), "latin-1")[0]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("café olé", "latin-1"), ("Ελληνικά", "iso8859-7"), ("привет", "cp1251"), ("映画が好き", "shift_jis"),
     ("电影很好", "gbk"), ("plain", "ascii"), ("it’s", "utf-8"), ("it\x92s", "utf-16"), ("très bien ©®", "cp1252")],
)  # fmt: skip
def test_nothing_is_told_of_what_is_read_right(text, encoding):
    assert misread_notes("f", text, encoding) == ()


def test_the_memory_is_a_few_times_that_of_the_bytes():
    """Many odd bytes are not made objects one by one."""
    raw = b"caf\xe9 \x93quoted\x94 " * 20_000
    text = raw.decode("latin-1")
    tracemalloc.start()
    likely(raw)
    misread_notes("x.csv", text, "latin-1")
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 12 * len(raw)
