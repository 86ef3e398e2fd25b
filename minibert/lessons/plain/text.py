"""From text to a packed batch."""

from __future__ import annotations

import numpy as np


def wordpiece(word: str, vocab: dict[str, int]) -> list[str]:
    """The pieces of one word: the longest that the vocabulary has, and again in what is left; "##" marks a later one.

    A word with a rest that no piece begins is ["[UNK]"] as a whole.
    """
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start > 0 else ""
        ends = range(len(word), start, -1)  # the longest first
        end = next((end for end in ends if prefix + word[start:end] in vocab), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


def pack(sequences):
    """Sequences end to end: ids (T,), positions (T,), offsets (B + 1,): sequence b is offsets[b]:offsets[b+1]."""
    lengths = [len(sequence) for sequence in sequences]
    ids = np.concatenate([np.asarray(sequence, np.int64) for sequence in sequences])
    positions = np.concatenate([np.arange(length) for length in lengths])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ids, positions, offsets
