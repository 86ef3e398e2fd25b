"""From texts to a packed batch: the backbone's tokenizer (by the `tokenizers` library), and no padding anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

import numpy as np

from minibert.errors import InputError
from minibert.storage.tokenizer import CLS, SEP, load_tokenizer, parse, sha256_of_text, token_ids


@dataclass(frozen=True)
class Batch:
    """B sequences of tokens, end to end; sequence b is rows offsets[b]:offsets[b+1].

    truncated counts the sequences that were longer than max_length and lost tokens; cut says which, if it is known.
    """

    ids: np.ndarray  # (T,) int32, places in the vocabulary
    segments: np.ndarray  # (T,) int32, 0 for the first text of a pair and 1 for the second
    positions: np.ndarray  # (T,) int32, counted from the start of the sequence
    offsets: np.ndarray  # (B + 1,) int64
    truncated: int = 0
    cut: np.ndarray | None = None  # (B,) bool

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_tokens(self) -> int:
        """T, the sum of the lengths."""
        return len(self.ids)

    @property
    def first_rows(self) -> np.ndarray:
        """(B,) the row of each sequence's first token, [CLS]."""
        return self.offsets[:-1]

    def take(self, sequences) -> Batch:
        """The batch of the given sequences, in that order. `truncated` and `cut` are not carried over."""
        spans = [range(self.offsets[b], self.offsets[b + 1]) for b in sequences]
        rows = (
            np.concatenate([np.arange(s.start, s.stop, dtype=np.int64) for s in spans])
            if spans
            else np.empty(0, np.int64)
        )
        offsets = np.cumsum([0] + [len(s) for s in spans], dtype=np.int64)
        return Batch(self.ids[rows], self.segments[rows], self.positions[rows], offsets)

    def parts(self, size: int) -> Iterator[Batch]:
        """The sequences in batches of `size`, the last one perhaps smaller."""
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


@dataclass(frozen=True)
class Features:
    """B sequences of which the encoder's work is done: states (B, D) is the hidden state of each one's [CLS].

    It stands where a Batch stands for a model whose encoder is frozen and that reads [CLS] alone (`Model.features`).
    """

    states: np.ndarray
    truncated: int = 0
    n_tokens = 0  # that are left to be read

    def __len__(self) -> int:
        return len(self.states)

    @property
    def offsets(self) -> np.ndarray:
        """(B + 1,): one row a sequence."""
        return np.arange(len(self) + 1, dtype=np.int64)

    def take(self, sequences) -> Features:
        """The given sequences, in that order."""
        return Features(self.states[np.asarray(sequences, np.int64)])

    def parts(self, size: int) -> Iterator[Features]:
        """The sequences in batches of `size`, the last one perhaps smaller."""
        for start in range(0, len(self), size):
            yield Features(self.states[start : start + size])


def pack(ids: list[list[int]], segments: list[list[int]], truncated: int = 0) -> Batch:
    """Put sequences end to end. Raises InputError if one has no tokens: it has no first one to be read."""
    for row, sequence in enumerate(ids):
        if len(sequence) == 0:
            raise InputError(f"sequence {row} has no tokens; even an empty text has two, [CLS] and [SEP]")
    offsets = np.cumsum([0] + [len(sequence) for sequence in ids], dtype=np.int64)
    joined_ids = np.fromiter((i for sequence in ids for i in sequence), np.int32, offsets[-1])
    joined_segments = np.fromiter((s for sequence in segments for s in sequence), np.int32, offsets[-1])
    positions = np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], np.diff(offsets))
    return Batch(joined_ids, joined_segments, positions.astype(np.int32), offsets, truncated)


class Pieces(NamedTuple):
    """A text's tokens without special ones: ids (n,), and the characters of the text, [begin, end), of each (n, 2)."""

    ids: np.ndarray
    characters: np.ndarray


def _without_lone_surrogates(text: str) -> str:
    """Half a character (a lone UTF-16 surrogate, as broken files hold) becomes U+FFFD, which BERT's tokenizer drops."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Tokenizer:
    """A tokenizer that puts special tokens as BERT's does: [CLS] text [SEP], and [CLS] text [SEP] pair [SEP].

    text: its JSON, as a backbone file keeps it; BERT's own, of a vocabulary: `Tokenizer(bert_tokenizer(vocab))`.
    vocab: its tokens in the order of their ids; cls, sep: the ids of [CLS] and [SEP]; json: the text.
    Raises InputError if the library cannot read it.
    """

    def __init__(self, text: str):
        ids = token_ids(parse(text))
        self.json, self.vocab, self.cls, self.sep = text, list(ids), ids[CLS], ids[SEP]
        self._tokenizer = load_tokenizer(text)
        self._turn = Lock()  # the library keeps the truncation as a setting, so threads take turns

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its JSON."""
        return sha256_of_text(self.json)

    def encode(self, texts, pairs=None, max_length: int = 128) -> Batch:
        """Texts, or pairs of texts, to a packed batch of at most max_length tokens a sequence, special tokens included.

        A pair that is too long loses tokens from the end of its longer text. Raises InputError if the lists do not fit.
        """
        if isinstance(texts, str) or isinstance(pairs, str):
            raise InputError("texts must be a list of strings, got one string; write [text]")
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"pairs must be as many as texts: {len(texts)} texts, {len(pairs)} pairs")
        if max_length < (3 if pairs is not None else 2):
            raise InputError(f"max_length must leave room for [CLS] and [SEP], got {max_length}")
        inputs = [_without_lone_surrogates(text) for text in texts]
        if pairs is not None:
            inputs = list(zip(inputs, map(_without_lone_surrogates, pairs), strict=True))
        with self._turn:
            self._tokenizer.enable_truncation(max_length, strategy="longest_first")
            encodings = self._tokenizer.encode_batch(inputs)
        cut = np.array([bool(e.overflowing) for e in encodings], bool)
        batch = pack([e.ids for e in encodings], [e.type_ids for e in encodings], int(cut.sum()))
        return replace(batch, cut=cut)

    def pieces(self, texts: list[str]) -> list[Pieces]:
        """The tokens of each text, all of them."""
        inputs = [_without_lone_surrogates(text) for text in texts]  # as many characters as before
        with self._turn:
            self._tokenizer.no_truncation()
            encodings = self._tokenizer.encode_batch(inputs, add_special_tokens=False)
        return [Pieces(np.array(e.ids, np.int32), np.array(e.offsets, np.int32).reshape(-1, 2)) for e in encodings]

    def words(self, batch: Batch) -> list[list[str]]:
        """The word pieces of each sequence of a batch, for people to read."""
        return [[self.vocab[i] for i in batch.ids[a:b]] for a, b in pairwise(batch.offsets)]
