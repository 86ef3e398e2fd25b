"""In which encoding the bytes of a file seem to be written, where that is not the one they are to be read in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import numpy as np

from minibert.errors import InputError, shown

MARKS = {  # the byte-order mark of each; UTF-32 before UTF-16, whose mark it begins with
    "utf-8": codecs.BOM_UTF8,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
SAMPLE = 2**12  # bytes that are looked at
PIECE = 2**16  # characters
LIKELY = "{likely}"  # in an advice: what `likely` says
ODD = re.compile("[\udc80-\udcff]")  # what Python's "surrogateescape" makes of a byte that is not of the encoding
_CONTROLS = re.compile("[\x80-\x9f]")
_RUN = re.compile(rb"[\x80-\xff]{3,}")
USUAL_OF_WINDOWS = b"\x80\x85\x8a\x8c\x91\x92\x93\x94\x95\x96\x97\x99\x9a\x9c"  # € … Š Œ ‘ ’ “ ” • – — ™ š œ
WESTERN = ("iso8859-1", "cp1252", "iso8859-15")  # in which hardly any text has letters that are UTF-8
FEW = 0.1


def check_mark(raw: bytes, name: str, encoding: str) -> None:
    """Raise InputError if the bytes, with which the file called name begins, are of another encoding by their mark; or,
    if they have none and are to be of one with several bytes a character, by the places of their zeros."""
    given = codecs.lookup(encoding).name
    marked = next((other for other, mark in MARKS.items() if raw.startswith(mark)), None)
    if marked and given not in ("utf-8", "utf-8-sig", marked, marked[:6]):
        raise InputError(
            f"{name}, line 1: there is the mark of {marked[:6].upper()}, which is not {encoding}: leave out "
            f"--encoding, and the file is read as {marked[:6]}; or save it as {encoding}"
        )
    seems = None if marked or given[:6] not in ("utf-16", "utf-32") else zeros_of(raw)
    if seems and seems != codecs.lookup(given if given[6:] else native(given)).name:
        raise InputError(
            f"{name}, line 1: there is no byte-order mark, and this looks like {seems}, not {encoding}: "
            f"--encoding {seems}"
        )


def native(encoding: str) -> str:
    """How Python reads utf-16 or utf-32, by whatever name, without a mark."""
    encoding = codecs.lookup(encoding).name
    return f"{encoding}-{'le' if 'a'.encode(encoding).endswith(bytes(1)) else 'be'}"


def zeros_of(raw: bytes) -> str | None:
    """The encoding of two or four bytes a character whose zeros these bytes have, if they hold Latin letters."""
    raw = raw[: min(SAMPLE, len(raw) // 4 * 4)]
    if not raw:
        return None
    one, two, three, four = (raw[i::4].count(0) / (len(raw) // 4) for i in range(4))
    few, many = 0.1, 0.5
    for name, zero, letters in (
        ("utf-32-le", (two, three, four), (one,)),
        ("utf-32-be", (one, two, three), (four,)),
        ("utf-16-le", (two, four), (one, three)),
        ("utf-16-be", (one, three), (two, four)),
    ):
        if min(zero) > many and max(letters) < few:
            return name
    return None


def likely(raw: bytes) -> str:
    """The encoding that bytes which are not UTF-8 are likely written in, as words that follow a colon."""
    wide = zeros_of(raw)
    if wide:
        return wide
    odd = b"".join(_odd(codes) for codes in _codes(raw.decode("utf-8", "surrogateescape")))
    if not odd and not raw.isascii():
        return "utf-8, which all of it is"
    if _has_runs(raw):
        return "such as cp1251, shift_jis, gbk or big5"
    windows = bytes(byte for byte in odd if byte < 0xA0)
    if 2 * sum(byte not in USUAL_OF_WINDOWS for byte in windows) > len(odd):
        return "such as mac_roman or cp437, if it is of an old Mac or of DOS"
    return "likely cp1252, as Windows writes it" if windows else "for example latin-1 or cp1252"


def _has_runs(raw: bytes) -> bool:
    """Whether most bytes beyond ASCII stand beside others, as in no language of Latin letters."""
    runs = sum(map(len, _RUN.findall(raw)))
    return 2 * runs > sum(byte >= 0x80 for byte in raw)


def advise(advice: str, raw: bytes) -> str:
    """The advice, with the encoding that is likely where it asks for one."""
    return advice.replace(LIKELY, likely(raw)) if LIKELY in advice else advice


def count_utf8(raw: bytes) -> tuple[int, int]:
    """How many characters beyond ASCII are whole in UTF-8, and how many bytes belong to none."""
    beyond = odd = 0
    for codes in _codes(raw.decode("utf-8", "surrogateescape")):
        beyond, odd = beyond + int((codes > 0x7F).sum()), odd + len(_odd(codes))
    return beyond - odd, odd


def _codes(text: str) -> Iterator[np.ndarray]:
    """The numbers of the characters, a piece at a time: one object for each would take a hundred times the text."""
    for i in range(0, len(text), PIECE):
        yield np.frombuffer(text[i : i + PIECE].encode("utf-32-le", "surrogatepass"), "<u4")


def _odd(codes: np.ndarray) -> bytes:
    """Of text that was decoded with "surrogateescape": the bytes that are not of the encoding."""
    return (codes[(codes >= 0xDC80) & (codes <= 0xDCFF)] & 0xFF).astype(np.uint8).tobytes()


def misread_notes(name: str, text: str, encoding) -> tuple[str, ...]:
    """A note if text, read in an encoding that was given and is not a Unicode one, is likely written in another: in
    UTF-8, or with Windows' characters where the encoding has control characters."""
    if text.isascii() or not isinstance(encoding, str) or codecs.lookup(encoding).name.startswith("utf"):
        return ()
    try:
        raw = text.encode(encoding)
    except UnicodeError:
        return ()
    whole, odd = count_utf8(raw)
    is_western = codecs.lookup(encoding).name in WESTERN
    if whole > odd * (FEW if is_western else 1):
        return (f"{name}: {whole} characters are UTF-8, and are read as {encoding}: is --encoding to be left out?",)
    if controls := _CONTROLS.search(text):
        n = sum(int(((codes >= 0x80) & (codes <= 0x9F)).sum()) for codes in _codes(text))
        told = f"it holds {n} control characters such as U+{ord(controls[0]):04X}"
    elif is_western and _has_runs(raw):
        told = f"it holds words such as {shown(_words(text))}"
    else:
        return ()
    return (f"{name}: read as {encoding}, {told}. Is --encoding to be another? Perhaps: {likely(raw)}",)


def _words(text: str) -> str:
    """The first three letters or more beyond ASCII in a row."""
    return re.search(r"[^\x00-\x7f]{3,}", text)[0]
