"""Ends of characters as people see them, by hand from the rules of UAX 29."""

import numpy as np
import pytest

from minibert.graphemes import whole_ends


@pytest.mark.parametrize(
    "character",
    [
        "e\u0301",
        "a\u0323\u0302",  # two accents
        "\u0628\u064f\u0651",  # Arabic letter, vowel, doubling
        "\u05e9\u05c1\u05b8",  # Hebrew
        "\u0e1e\u0e4c",  # Thai
        "\u0e1b\u0e35\u0e48",
        "\u0915\u0940",  # Devanagari: a spacing sign (Mc)
        "\u0b95\u0bca",  # Tamil
        "\u0915\u094d\u200d",
        "\u2764\ufe0f",  # variation selector
        "\u845b\U000e0100",
        "1\ufe0f\u20e3",  # keycap
        "#\u20e3",
        "\U0001f44d\U0001f3fd",  # skin tone
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # family
        "\U0001f3c3\U0001f3fd\u200d\u2642\ufe0f",
        "\U0001f1e9\U0001f1ea",  # flag
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # flag of a region
        "\uff8a\uff9e",
    ],
)
@pytest.mark.parametrize("around", [("", ""), ("film ", " x"), ("a", "b")])
def test_an_end_within_a_character_moves_to_its_end(character, around):
    before, after = around
    text = before + character + after
    end = len(before) + len(character)
    ends = np.arange(len(before) + 1, end + 1, dtype=np.int32)
    assert whole_ends(text, ends).tolist() == [end] * len(ends)
    assert whole_ends(text, ends).dtype == np.int32


@pytest.mark.parametrize(
    "text",
    [
        "café tea, naïve.",
        "漢字かな",
        "\u0915\u200d\u0916",  # a joiner between letters: one end, after the joiner
        "a\u200b\u00adb\u200e",  # invisible, and no part of a character
        "\U0001f468\U0001f469",
        "a\u2028 \u0301",  # a mark after a space has no letter to belong to
        "\U0001f44d 5\u00b0",
    ],
)
def test_other_ends_stay(text):
    ends = np.array([i for i in range(len(text) + 1) if text[i : i + 1] != "\u200d"])
    assert whole_ends(text, ends).tolist() == ends.tolist()


def test_flags_are_pairs():
    text = "x\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f1ee"
    assert whole_ends(text, np.array([1, 2, 3, 4, 5, 6])).tolist() == [1, 3, 3, 5, 5, 6]


def test_nothing_and_the_whole():
    assert whole_ends("", np.array([0, 0])).tolist() == [0, 0]
    assert whole_ends("\u0301e", np.array([0, 1, 2])).tolist() == [0, 1, 2]
    assert whole_ends("", np.empty(0, np.int32)).shape == (0,)
