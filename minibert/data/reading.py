"""From bytes on disk to text and rows: the first step of every reader, and where a damaged file is refused."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from minibert.config import InputError

BOM = "\ufeff"  # the byte-order mark some editors put before the first letter
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

    encoding: one name, or several. With several, a text that is not all of the first is decoded line by line, each
    line by the first of them that it is: such files were put together from rows of different origin.
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
        return "".join(_decode_line(line, encodings) for line in raw.splitlines(keepends=True))


def _decode_line(line: bytes, encodings: tuple[str, ...]) -> str:
    for encoding in encodings[:-1]:
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode(encodings[-1])


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
