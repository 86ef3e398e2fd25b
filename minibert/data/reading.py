"""From bytes on disk to text and rows: the first step of every reader, and where a damaged file is refused."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from minibert.config import InputError

BOM = "\ufeff"  # the byte-order mark some editors put before the first letter
TO_UTF8 = "save the file as UTF-8, for example with: iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE"
LARGEST_SCORE = float(np.finfo(np.float32).max)  # scores are stored as float32


def read_text(path: Path, encoding: str | Sequence[str] = "utf-8", advice: str | None = None) -> str:
    """The whole file as text, without a byte-order mark. Raises InputError if it cannot be read, and as `decode`."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return decode(raw, str(path), encoding, advice)


def decode(raw: bytes, name: str, encoding: str | Sequence[str] = "utf-8", advice: str | None = None) -> str:
    """The text of raw, the content of the file called name.

    encoding: one name, or several: the first is one of many bytes a character (UTF-8), the others of one byte, and the
    last knows every byte. With several, a byte reads in the same way everywhere in the file, see `_decode_odd`.
    advice: what to do about a wrong encoding, if not to give another one with --encoding.

    Raises InputError: unknown encoding, a byte that is not of the encoding (naming its line), NUL, or nothing there.
    """
    encodings = (encoding,) if isinstance(encoding, str) else tuple(encoding)
    try:
        text = _decode(raw, encodings)
    except LookupError:
        raise InputError(
            f"there is no text encoding called {encoding!r}; use for example utf-8, latin-1, cp1252 or utf-16"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(_not_of_encoding(raw, name, encodings[0], error, advice)) from None
    text = text.removeprefix(BOM)
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise InputError(
            f"{name}, line {line}: there is a NUL character, so this is not a text file in {' or '.join(encodings)}. "
            + (advice or "If it was saved as Unicode by a spreadsheet, try --encoding utf-16")
        )
    if not text or text.isspace():  # and not strip(), which copies a big file
        raise InputError(f"{name} is empty")
    return text


def _decode(raw: bytes, encodings: tuple[str, ...]) -> str:
    if len(encodings) == 1:
        return raw.decode(encodings[0])
    try:
        return raw.decode(encodings[0])
    except UnicodeDecodeError:
        return _decode_odd(raw, encodings)[0]


_ODD = re.compile("[\udc80-\udcff]")  # what Python's "surrogateescape" makes of a byte that is not of the encoding
_NOT_ASCII = re.compile("[^\x00-\x7f]")


def _decode_odd(raw: bytes, encodings: Sequence[str]) -> tuple[str, str]:
    """The text of a file that is not all of the first encoding, and a sentence that says how it was read.

    If at least as many characters are of the first encoding as bytes are not, or if the file begins with the mark of
    UTF-8, it is a file of that encoding, and only the odd bytes are read by the others: rows of another origin were
    added to it, or a quotation mark. Else all of it is read by the others. A byte is read by the first of the others
    that knows it (Windows-1252 lacks five).
    """
    first, *others = encodings
    text = raw.decode(first, errors="surrogateescape")
    odd = len(text) - len(_ODD.sub("", text))
    whole = len(text) - len(_NOT_ASCII.sub("", text)) - odd
    by_others = {byte: _decode_byte(byte, others) for byte in range(0x80, 0x100)}
    read_as = f"read as {others[0]}" + (f" (what that lacks, as {others[1]})" if len(others) > 1 else "")
    if odd > whole and not raw.startswith(codecs.BOM_UTF8):
        perhaps = f", though {whole} of its characters could be {first}" if whole else ""
        return raw.decode("latin-1").translate(by_others), f"it is not {first}; all of it is {read_as}{perhaps}"
    line = 1 + text.count("\n", 0, _ODD.search(text).start())
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
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # not read by any of the encodings
        return []
    try:
        raw.decode(encodings[0])
        return []
    except UnicodeDecodeError:
        return [f"{Path(path).name}: {_decode_odd(raw, encodings)[1]}"]


def _not_of_encoding(raw: bytes, name: str, encoding: str, error: UnicodeDecodeError, advice: str | None) -> str:
    before = raw[: error.start].decode(encoding, errors="replace")
    line = 1 + before.count("\n")
    if advice is None and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        advice = "The file begins with the mark of UTF-16: use --encoding utf-16"
    elif advice is None:
        advice = "Give the file's encoding with --encoding, for example latin-1 or cp1252"
    return f"{name}, line {line}: byte 0x{raw[error.start]:02x} is not {encoding}. {advice}"


def tab_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    r"""Line number (from 1) and cells of each line that is not blank, as GLUE writes them.

    No quoting: a quote is an ordinary character. Only "\n" and "\r\n" end a line; str.splitlines would also cut at
    rarer characters (U+2028, form feed) that occur inside sentences.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line:
            yield number, line.split("\t")


def parse_score(text: str) -> float | None:
    """The number that text spells, or None if it spells none or one that float32 cannot hold (NaN, infinity)."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) and abs(score) <= LARGEST_SCORE else None
