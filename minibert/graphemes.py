"""Where a character ends as people see it: a letter with its accents and vowel signs, an emoji made of several.

The rules are those of Unicode's extended grapheme clusters (UAX 29) that concern ends. Syllables of separate Korean
letters are left out: a tokenizer never drops one of those.
"""

from __future__ import annotations

import unicodedata

import numpy as np

ZWNJ, ZWJ = "\u200c", "\u200d"  # zero-width non-joiner and joiner
_MARKS = ("Mn", "Mc", "Me")  # categories: accents, vowel signs, variation selectors, keycaps
_FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")  # two of them are a flag
_SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
_TAGS = ("\U000e0020", "\U000e007f")  # letters that nobody sees, of the flags of regions
_HALFWIDTH_MARKS = ("\uff9e", "\uff9f")  # Japanese voiced sounds


def whole_ends(text: str, ends: np.ndarray) -> np.ndarray:
    """The ends (n,) of parts of a text, each moved on to the end of the character that it would cut.

    "e" + U+0301 is one character: an end between the two becomes the end after both. An end of 0, or one that cuts
    nothing, stays.
    """
    if text.isascii():
        return ends
    moved = {end: _whole_end(text, end) for end in set(ends.tolist())}
    return np.array([moved[end] for end in ends.tolist()], ends.dtype)


def _whole_end(text: str, end: int) -> int:
    while 0 < end < len(text) and _belongs_together(text, end):
        end += 1
    return end


def _belongs_together(text: str, end: int) -> bool:
    """Whether no character ends between text[end - 1] and text[end]."""
    before, after = text[end - 1], text[end]
    if before.isspace() or unicodedata.category(before) == "Cc":  # a mark there stands for itself
        return False
    if _extends(after):
        return True
    if before == ZWJ:  # joins what follows to an emoji; in Indic and Arabic script it only changes the shape of letters
        return unicodedata.category(after) == "So" and _is_emoji(text[:end])
    return _within(after, _FLAG_LETTERS) and _flag_letters_before(text, end) % 2 == 1


def _extends(character: str) -> bool:
    return character > "\x7f" and (
        unicodedata.category(character) in _MARKS
        or character in (ZWNJ, ZWJ)
        or any(_within(character, block) for block in (_SKIN_TONES, _TAGS, _HALFWIDTH_MARKS))
    )


def _is_emoji(text: str) -> bool:
    """Whether the last character of text that extends no other is a picture."""
    base = next((c for c in reversed(text) if not _extends(c)), "")
    return bool(base) and unicodedata.category(base) == "So"


def _flag_letters_before(text: str, end: int) -> int:
    first = end
    while first > 0 and _within(text[first - 1], _FLAG_LETTERS):
        first -= 1
    return end - first


def _within(character: str, block: tuple[str, str]) -> bool:
    return block[0] <= character <= block[1]
