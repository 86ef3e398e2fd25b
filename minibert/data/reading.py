"""From bytes on disk to text and rows: the first step of every reader, and where a damaged file is refused."""

from __future__ import annotations

import codecs
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minibert.data.encodings import ODD, advise, check_mark, count_utf8, native, zeros_of
from minibert.errors import InputError

BOM = "\ufeff"  # the byte-order mark some editors put before the first letter
SAVE = "Save the file as UTF-8"
TO_UTF8 = "save the file as UTF-8 (every editor can, and iconv -f LATIN1 -t UTF-8)"
LONGEST_MARK = 4  # bytes of a byte-order mark
BLOCK = 2**20  # bytes that are read at a time of a file that is streamed
LONGEST_LINE = 2**26  # characters, of such a file
LARGEST_SCORE = float(np.finfo(np.float32).max)  # scores are stored as float32
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")  # as every text editor sees a line; group 1 is without its end
_WHOLE_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)")

# What files begin with that are no text, what they are, and how to make text of them.
_UNPACK, _EXPORT = "unpack it first", "export it as CSV in UTF-8 first"
_AS_CSV = "convert it to CSV first, for example with pandas"
SIGNATURES = {
    rb"\x1f\x8b": ("compressed by gzip", f"{_UNPACK} (gunzip, or python -m gzip -d FILE)"),
    rb"\x1f\x9d": ("compressed by compress", f"{_UNPACK} (uncompress)"),
    rb"\xfd7zXZ\0": ("compressed by xz", f"{_UNPACK} (unxz)"),
    rb"BZh[1-9]1AY&SY": ("compressed by bzip2", f"{_UNPACK} (bunzip2)"),
    rb"\x28\xb5\x2f\xfd": ("compressed by zstd", f"{_UNPACK} (unzstd)"),
    rb"\x04\x22\x4d\x18": ("compressed by lz4", f"{_UNPACK} (unlz4)"),
    rb"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    rb"Rar!\x1a\x07": ("a RAR archive", _UNPACK),
    rb"(?=[^\0]+\0).{257}ustar": ("a tar archive", f"{_UNPACK} (tar -xf, or python -m tarfile -e FILE)"),
    rb"PK\x05\x06": ("an empty zip archive", "give a text file"),
    rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis\.opendocument": ("an OpenDocument file", _EXPORT),
    rb"PK\x03\x04.*xl/workbook": ("an Excel workbook", _EXPORT),
    rb"PK\x03\x04": ("a zip archive", f"{_UNPACK} (unzip, or python -m zipfile -e FILE FOLDER)"),
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an Excel or other Office file", _EXPORT),
    rb"PAR1.*PAR1\Z": ("a Parquet file", _AS_CSV),
    rb"ARROW1\0\0|\xff\xff\xff\xff": ("an Arrow file", _AS_CSV),
    rb"FEA1.*FEA1\Z": ("a Feather file", _AS_CSV),
    rb"Obj\x01": ("an Avro file", _AS_CSV),
    rb"\x93NUMPY": ("a NumPy array", _AS_CSV),
    rb"\x89HDF\r\n\x1a\n": ("an HDF5 file", _AS_CSV),
    rb"SQLite format 3\0": ("an SQLite database", _EXPORT),
    rb"%PDF-": ("a PDF document", "give a text file"),
    rb"\x5d\0\0..(\xff{8}|.{5}\0\0\0)": ("compressed by lzma", f"{_UNPACK} (unlzma)"),
    rb"\x78[\x01\x9c\xda](?=.*[\0-\x08\x0e-\x1f])": ("compressed by zlib", _UNPACK),
    rb"version https://git-lfs\.github\.com/spec/": ("a pointer of Git LFS to the data", "get them with git lfs pull"),
    rb"\{\\rtf": ("a document of a word processor (RTF)", "save it as plain text in UTF-8"),
}
_WIDE_MARKS = {  # UTF-32 first: its mark begins as that of UTF-16 does
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


def read_text(path: Path, encoding: str | Sequence[str] = "utf-8", advice: str | None = None) -> str:
    """The whole file as text, without a byte-order mark. Raises InputError if it cannot be read, and as `decode`."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return decode(raw, str(path), encoding, advice)


def decode(raw: bytes, name: str, encoding: str | Sequence[str] = "utf-8", advice: str = "") -> str:
    """The text of raw, the content of the file called name.

    encoding: one name, or several: the first is one of many bytes a character (UTF-8), the others of one byte, and the
    last knows every byte. With several, a byte reads in the same way everywhere in the file, see `_decode_odd`. A file
    that begins with the mark of UTF-16 or UTF-32 is read as that where UTF-8 is expected: the mark is no UTF-8.
    advice: what to do about a wrong encoding, if not to save the file as UTF-8.

    Raises InputError: compressed or another kind of file (see `SIGNATURES`), unknown encoding, a byte that is not of
    the encoding (naming its line), NUL, or nothing there.
    """
    _check_kind(raw, name)
    encodings = (encoding,) if isinstance(encoding, str) else tuple(encoding)
    advice = advice or SAVE
    try:
        text = _decode(raw, name, encodings)
    except UnicodeDecodeError as error:
        line = _line_of(raw[: error.start].decode(error.encoding, errors="replace"))
        raise _wrong_byte(f"{name}, line {line}", error, encodings[0], advise(advice, raw)) from None
    except UnicodeError as error:  # of codecs that do not say where
        raise InputError(f"{name} is not {encodings[0]} ({error}). {advise(advice, raw)}") from None
    except InputError:
        raise
    except (LookupError, ValueError):
        raise _no_encoding(encoding) from None
    text = text.removeprefix(BOM)
    _check_no_nul(text, name, 1, encodings, advice)
    if not text or text.isspace():  # and not strip(), which copies a big file
        raise InputError(f"{name} is empty")
    _check_end(text, lambda: f"{name}, line {_line_of(text.rstrip())}")
    return text


def _wrong_byte(where: str, error: UnicodeDecodeError, encoding: str, advice: str) -> InputError:
    expected = error.encoding if error.encoding.startswith("utf") else encoding  # "charmap" for many
    return InputError(f"{where}: byte 0x{error.object[error.start]:02x} is not {expected}. {advice}")


def _no_encoding(encoding) -> InputError:
    return InputError(
        f"there is no text encoding called {encoding!r}; use for example utf-8, latin-1, cp1252 or utf-16"
    )


def _check_end(text: str, where: Callable[[], str]) -> None:
    """Raise InputError if the last line is the mark with which DOS ended a text. where: the file and that line."""
    if re.search(r"[\r\n]\x1a\s*\Z", text[-9:]):
        raise InputError(f"{where()}: the line is Ctrl-Z (0x1a), the mark with which DOS ended a text: delete it")


def _check_no_nul(text: str, name: str, line: int, encodings: Sequence[str], advice: str) -> None:
    """Raise InputError if there is a NUL character in the text, which begins on that line of the file called name."""
    if "\0" in text:
        line += _line_of(text[: text.index("\0")]) - 1
        raw = text[: 2**12].encode("latin-1", "replace")
        seems = zeros_of(raw)
        told = (
            f"It looks like {seems} without a mark"
            if seems
            else ("If it was saved as Unicode by a spreadsheet, it is utf-16")
        )
        raise InputError(
            f"{name}, line {line}: there is a NUL character, so this is not a text file in {' or '.join(encodings)}. "
            f"{told}. {advise(advice, raw)}"
        )


def stream_lines(file: BinaryIO, name: str, encoding: str = "utf-8", advice: str = "") -> Iterator[str]:
    """The lines, with their ends, of an open file called name, in memory that does not grow with the file.

    encoding, advice and errors as in `decode`; an error is raised where it stands. A line of more than LONGEST_LINE
    characters is an error, too.
    """
    line, rest, advice = 1, "", advice or SAVE
    for text in _stream_text(file, name, encoding, advice):
        _check_no_nul(text, name, line, [encoding], advice)
        rest += text
        end = 0
        for match in _WHOLE_LINE.finditer(rest):
            end, line = match.end(), line + 1
            yield match[0]
        rest = rest[end:]
        if len(rest) > LONGEST_LINE:
            raise InputError(f"{name}, line {line}: the line has more than {LONGEST_LINE:,} characters")
    _check_end(f"\n{rest}", lambda: f"{name}, line {line}")
    if rest:
        yield rest
    elif line == 1:
        raise InputError(f"{name} is empty")


def _stream_text(file: BinaryIO, name: str, encoding: str, advice: str) -> Iterator[str]:
    """The text of an open file, a block at a time; "\\r\\n" is never cut in two."""
    block, line = file.read(BLOCK), 1
    while len(block) < LONGEST_MARK and (more := file.read(BLOCK)):
        block += more
    _check_kind(block, name)
    try:
        b"xx".decode(encoding, "ignore")  # a LookupError also for codecs that give no text, such as hex
        check_mark(block, name, encoding)
        wide = next((width for width, marks in _WIDE_MARKS.items() if block.startswith(marks)), None)
        if codecs.lookup(encoding).name == "utf-8":
            encoding = wide or encoding
        elif codecs.lookup(encoding).name in _WIDE_MARKS and wide is None:
            encoding = native(encoding)  # a decoder of parts of a file wants a mark, which one of the whole does not
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=False)
    except InputError:
        raise
    except (LookupError, ValueError):
        raise _no_encoding(encoding) from None
    mark = BOM
    while True:
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(error.encoding, errors="replace")
            where = f"{name}, line {line + _line_of(before) - 1}"
            raise _wrong_byte(where, error, encoding, advise(advice, block)) from None
        except UnicodeError as error:  # of codecs that do not say where
            told = advise(advice, block)
            raise InputError(f"{name} is not {encoding} ({error}). {told}") from None
        if text:
            text, mark = text.removeprefix(mark), ""
            yield text
            line += _line_of(text) - 1
        if not block:
            return
        block = file.read(BLOCK)


def _check_kind(raw: bytes, name: str) -> None:
    """Raise InputError if raw begins as a file that is not text."""
    for signature, (kind, advice) in SIGNATURES.items():
        if re.match(signature, raw, re.DOTALL):
            raise InputError(f"{name} is {kind}, not text: {advice}")


def _line_of(before: str) -> int:
    """The number of the line that follows a text, from 1."""
    return 1 + before.count("\n") + before.count("\r") - before.count("\r\n")


def text_lines(text: str) -> list[str]:
    r"""The lines of a text without their ends ("\n", "\r\n", "\r"). The end of the last line begins no other one."""
    return [match.group(1) for match in LINE.finditer(text)][:-1]  # the last match is the end of the text


def _decode(raw: bytes, name: str, encodings: tuple[str, ...]) -> str:
    check_mark(raw, name, encodings[0])
    if codecs.lookup(encodings[0]).name == "utf-8":
        for width, marks in _WIDE_MARKS.items():
            if raw.startswith(marks):
                return raw.decode(width)
    if len(encodings) == 1:
        return raw.decode(encodings[0])
    try:
        return raw.decode(encodings[0])
    except UnicodeDecodeError:
        return _decode_odd(raw, encodings)[0]


def _decode_odd(raw: bytes, encodings: Sequence[str]) -> tuple[str, str]:
    """The text of a file that is not all of the first encoding, and a sentence that says how it was read.

    If at least as many characters are of the first encoding as bytes are not, or if the file begins with the mark of
    UTF-8, it is a file of that encoding, and only the odd bytes are read by the others: rows of another origin were
    added to it, or a quotation mark. Else all of it is read by the others. A byte is read by the first of the others
    that knows it (Windows-1252 lacks five).
    """
    first, *others = encodings
    text = raw.decode(first, errors="surrogateescape")
    whole, odd = count_utf8(raw)
    by_others = {byte: _decode_byte(byte, others) for byte in range(0x80, 0x100)}
    read_as = f"read as {others[0]}" + (f" (what that lacks, as {others[1]})" if len(others) > 1 else "")
    if odd > whole and not raw.startswith(codecs.BOM_UTF8):
        perhaps = f", though {whole} of its characters could be {first}" if whole else ""
        return raw.decode("latin-1").translate(by_others), f"it is not {first}; all of it is {read_as}{perhaps}"
    line = 1 + text.count("\n", 0, ODD.search(text).start())
    said = "1 byte is" if odd == 1 else f"{odd} bytes are"
    text = text.translate({0xDC00 + byte: character for byte, character in by_others.items()})
    return text, f"{said} not {first}, the first on line {line}, and {read_as}; all else is {first}"


def _decode_byte(byte: int, encodings: Sequence[str]) -> str:
    for encoding in encodings[:-1]:
        try:
            return bytes([byte]).decode(encoding)
        except UnicodeDecodeError:
            continue
    return bytes([byte]).decode(encodings[-1])


def encoding_note(path: Path, encodings: Sequence[str]) -> list[str]:
    """A note that says how `read_text` reads a file that is not all of the first of several encodings."""
    if len(encodings) == 1:
        return []
    raw = Path(path).read_bytes()
    if any(raw.startswith(marks) for marks in _WIDE_MARKS.values()):  # not read by any of the encodings
        return []
    try:
        raw.decode(encodings[0])
        return []
    except UnicodeDecodeError:
        return [f"{Path(path).name}: {_decode_odd(raw, encodings)[1]}"]


def tab_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    r"""Line number (from 1) and cells of each line that is not blank, as GLUE writes them.

    No quoting: a quote is an ordinary character. Only "\n" and "\r\n" end a line, and "\r" in a file that has no
    "\n"; str.splitlines would also cut at rarer characters (U+2028, form feed) that occur inside sentences.
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line:
            yield number, line.split("\t")


def parse_score(text: str) -> float | None:
    """The decimal number that text spells, or None if it spells none (such as nan, 1_0, 0x1, digits other than 0-9) or
    one that float32 cannot hold."""
    score = float(text) if NUMBER.fullmatch(text.strip()) else math.inf
    return score if abs(score) <= LARGEST_SCORE else None
