"""From bytes to text and lines: what is no text is named, and lines end as in an editor."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.data.reading import decode, stream_lines, tab_rows, text_lines
from minibert.errors import InputError

TEXT = b"text,label\na,yes\nb,no\n"


def zipped(*names, first=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, first or TEXT)
    return out.getvalue()


def tarred():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("data.csv"), io.BytesIO(b""))
    return out.getvalue()


OTHER_FILES = {
    "gzip": (gzip.compress(TEXT), "compressed by gzip", "gunzip"),
    "bzip2": (bz2.compress(TEXT), "compressed by bzip2", "bunzip2"),
    "xz": (lzma.compress(TEXT), "compressed by xz", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\0", "compressed by zstd", "unzstd"),
    "zip": (zipped("data.csv"), "a zip archive", "unzip"),
    "empty zip": (zipped(), "an empty zip archive", "text file"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook", "export it as CSV"),
    "ods": (
        zipped("mimetype", first=b"application/vnd.oasis.opendocument.spreadsheet"),
        "an OpenDocument file",
        "export it as CSV",
    ),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 9, "an Excel or other Office file", "export it as CSV"),
    "parquet": (b"PAR1\x15\x04PAR1", "a Parquet file", "convert it to CSV"),
    "arrow": (b"ARROW1\0\0\xff", "an Arrow file", "convert it to CSV"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file", "convert it to CSV"),
    "sqlite": (b"SQLite format 3\0", "an SQLite database", "export it as CSV"),
    "tar": (tarred(), "a tar archive", "tar -xf"),
    "pdf": (b"%PDF-1.7\n", "a PDF document", "text file"),
    "lzma": (lzma.compress(b"text,label\n" * 9, format=lzma.FORMAT_ALONE), "compressed by lzma", "unlzma"),
    "zlib": (zlib.compress(b"text,label\n" * 9), "compressed by zlib", "unpack"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "a pointer of Git LFS", "git lfs pull"),
    "rtf": (b"{\\rtf1\\ansi x}", "a document of a word processor (RTF)", "plain text"),
}


@pytest.mark.parametrize(("raw", "kind", "advice"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_a_file_that_is_no_text_is_named_whatever_it_is_called(raw, kind, advice):
    with pytest.raises(InputError) as refused:
        decode(raw, "data.csv")
    assert (
        str(refused.value).startswith(f"data.csv is {kind}")
        and ", not text: " in str(refused.value)
        and advice in str(refused.value)
    )


@pytest.mark.parametrize(
    "text",
    ["PAR1,label\n", "PK,label\n", "BZh91,label\n", "Obj,label\n", "x" * 257 + "ustar\n", "]a", "x^2", "version https"],
)
def test_texts_that_begin_like_other_files_are_texts(text):
    assert decode(text.encode(), "data.csv") == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_how_a_file_is_read(encoding):
    raw = "text,label\nnaïve 漢,yes".encode(encoding)
    assert decode(raw, "f") == "text,label\nnaïve 漢,yes"
    big = {"utf-16": b"\xfe\xff" + "né".encode("utf-16-be"), "utf-32": b"\0\0\xfe\xff" + "né".encode("utf-32-be")}
    if encoding in big:
        assert decode(big[encoding], "f") == "né"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("given", ["utf-8", "utf-16", "utf16", "U16", "utf-16-le", "utf-32", "cp1252"])
def test_a_file_is_read_alike_whole_and_in_parts(encoding, given):
    raw = "text,label\nnaïve,yes\nnäiv,no\n".encode(encoding)
    for text in (raw, raw.removeprefix(b"\xff\xfe")):
        try:
            expected = decode(text, "f", given)
        except InputError as error:
            with pytest.raises(InputError) as found:
                list(stream_lines(io.BytesIO(text), "f", given))
            assert str(found.value) == str(error)
        else:
            assert "".join(stream_lines(io.BytesIO(text), "f", given)) == expected


def test_a_cut_utf_16_file_is_not_called_utf_8():
    with pytest.raises(InputError, match="f, line 2: byte 0x62 is not utf-16"):
        decode("a\nb".encode("utf-16")[:-1], "f")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_are_counted_alike_whatever_ends_them(end):
    with pytest.raises(InputError, match=r"f, line 3: byte 0xe9 is not utf-8\. Save the file as UTF-8"):
        decode(end.join([b"one", b"two", b"caf\xe9", b"four"]), "f")
    with pytest.raises(InputError, match="f, line 2: there is a NUL"):
        decode(end.join([b"one", b"t\0wo"]), "f")


@pytest.mark.parametrize("end", ["\x1a", "\x1a\n", "\x1a\r\n"])
def test_the_end_of_a_text_of_dos_is_named(end):
    with pytest.raises(InputError, match="f, line 3: the line is Ctrl-Z"):
        decode(f"one\r\ntwo\r\n{end}".encode(), "f")
    with pytest.raises(InputError, match="f, line 3: the line is Ctrl-Z"):
        list(stream_lines(io.BytesIO(b"one\ntwo\n\x1a"), "f"))
    assert decode(b"one\ntwo\x1a", "f") and decode(b"\x1a\ntwo", "f")


def test_the_advice_is_that_of_the_caller():
    with pytest.raises(InputError, match=r"is not utf-8\. Ask the author$"):
        decode(b"\xff\xfa", "f", advice="Ask the author")


@pytest.mark.parametrize("encoding", ["hex", "rot13", "", "klingon", "utf-8\0"])
def test_what_is_no_text_encoding(encoding):
    with pytest.raises(InputError, match="there is no text encoding called"):
        decode(b"abc", "f", encoding)


@pytest.mark.parametrize("raw", [b"\xff\xfe\xff", b"xn--\xff"])
@pytest.mark.parametrize("encoding", ["idna", "punycode", "utf-7", "utf-16-le"])
def test_codecs_of_another_kind_end_in_one_line(raw, encoding):
    try:
        decode(raw, "f", encoding)
    except InputError as error:
        assert str(error).startswith("f")


def test_lines_of_a_text():
    assert text_lines("a\nb\r\nc\rd") == ["a", "b", "c", "d"]
    assert text_lines("a\n\nb\n") == ["a", "", "b"]
    assert text_lines("a\n\n") == ["a", ""]
    assert text_lines("a\u2028b\x0bc\x85d\n") == ["a\u2028b\x0bc\x85d"]
    assert text_lines("") == []


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"))), st.sampled_from(["\n", "\r\n", "\r"]))
def test_lines_are_those_that_were_joined(lines, end):
    assert text_lines("".join(line + end for line in lines)) == lines


def test_tab_rows_of_a_file_with_old_line_ends():
    assert list(tab_rows("a\tb\rc\td\r")) == [(1, ["a", "b"]), (2, ["c", "d"])]
    assert list(tab_rows("a\tb\rc\td\n")) == [(1, ["a", "b\rc", "d"])]
