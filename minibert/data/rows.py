"""Which rows are the same: a hash of every row, and one fingerprint of all that a task holds.

For a model two rows are the same if it reads the same tokens. The hashes tell which rows stand in two splits; a bank
keeps those of the rows that were trained on, so that scores of the same rows are not taken for scores of new ones.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np

from minibert.data.task import Examples, Task
from minibert.errors import list_some, shown

OTHER_FIELDS = ("notes", "drawn_from")  # of a task: no rows
BETWEEN = b"\xff" * 4  # the two texts of a pair: no token has the id -1


def token_hashes(ids, segments, offsets, ordered: bool = False, cut=None) -> np.ndarray:
    """A 64-bit hash of the tokens of each row.   ids, segments (T,), offsets (N + 1,) as of a Batch -> (N,) uint64

    A pair of texts is the same in either order, unless ordered. cut (N,) bool: rows that lost tokens; of two texts of
    the same length the second then keeps one token more, which does not count. The same on every machine: the first 8
    bytes of BLAKE2b over the ids, 4 bytes each.
    """
    data, digests = np.asarray(ids).astype("<i4").tobytes(), bytearray()
    in_second = np.concatenate([[0], np.cumsum(segments, dtype=np.int64)])[np.asarray(offsets)]
    seconds = 4 * (np.asarray(offsets)[1:] - np.diff(in_second))
    bounds = zip(pairwise((4 * np.asarray(offsets)).tolist()), seconds.tolist(), strict=True)
    for i, ((begin, end), second) in enumerate(bounds):
        row = data[begin:end]
        if second < end:  # [CLS] one [SEP] other [SEP]
            parts = [data[begin + 4 : second - 4], data[second : end - 4]]
            if not ordered:
                shorter = min(map(len, parts))
                is_even = cut is not None and cut[i] and max(map(len, parts)) == shorter + 4
                parts = sorted(part[:shorter] if is_even else part for part in parts)
            row = BETWEEN.join(parts)
        digests += hashlib.blake2b(row, digest_size=8).digest()
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def text_hashes(examples: Examples, ordered: bool = False) -> np.ndarray:
    """The same of each row's texts, but for case and white space, where no tokenizer reads them.   -> (N,) uint64"""
    columns = [examples.texts] if examples.pairs is None else [examples.texts, examples.pairs]
    digests = bytearray()
    for row in zip(*columns, strict=True):
        parts = [" ".join(text.lower().split()) for text in row]
        text = "\n".join(parts if ordered else sorted(parts))  # no text holds a line end any more
        digests += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def text_notes(task: Task) -> list[str]:
    """`row_notes` of a task that no model has tokenized."""
    parts = {"train": task.train, **task.dev}
    if task.labelled_test is not None:
        parts["test"] = task.labelled_test
    hashes = {name: text_hashes(part) for name, part in parts.items()}
    return row_notes(task, hashes, text_hashes(task.train, ordered=True), "case and spaces aside")


def trained_rows(hashes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hashes of the different rows that train, and of those that choose the epoch, in rising order: {"train": uint64
    (N,), "dev": uint64 (n,)}. The order of the file, and how often a text stands in it, are not kept.

    hashes: of train, and of each dev split, the first one chooses.
    """
    return {name: np.unique(own) for name, own in zip(("train", "dev"), hashes.values(), strict=False)}


def row_notes(
    task: Task, hashes: dict[str, np.ndarray], ordered: np.ndarray, alike: str = "as the model reads them"
) -> list[str]:
    """Notes on texts of train with different labels, and on texts of dev, and of a test set with labels, that the
    training sees. All of them stay, as in the releases.

    hashes: {"train": (N,), …} of train, of each dev split, and of "test" if it has labels. ordered: of the training
    rows, where a pair is another one in the other order. alike: what makes two of them the same.
    """
    rows, notes = trained_rows(hashes), contradictions(task, ordered, alike)
    for name, own in hashes.items():
        for other in {"train": (), "test": ("train", "dev")}.get(name, ("train",)):
            notes += shared_note(int(np.isin(own, rows[other]).sum()), len(own), name, other, alike)
    return notes


def shared_note(n: int, total: int, split: str, other: str, alike: str = "as the model reads them") -> list[str]:
    """The note on n of a split's texts that are also in another one; none for 0."""
    return [f"{n} of {total} {split} texts are also in {other}, {alike}"] if n else []


def contradictions(task: Task, hashes: np.ndarray, alike: str) -> list[str]:
    """A note on texts that stand in train with different labels; scores and answers may differ.   hashes (N,)"""
    if not task.labels:
        return []
    _, text = np.unique(hashes, return_inverse=True)
    sets, label = np.unique(task.train.labels, axis=0, return_inverse=True)
    text, label = text.reshape(-1), label.reshape(-1)  # NumPy 2.0 keeps an axis
    n_labels = np.bincount(np.unique(text * len(sets) + label) // len(sets))
    rows = np.flatnonzero(n_labels[text] > 1)
    if not rows.size:
        return []
    same = np.flatnonzero(text == text[rows[0]])
    labels = list_some([_label_of(task, sets[i]) for i in dict.fromkeys(label[same].tolist())])
    example = " and ".join(shown(column[rows[0]]) for column in (task.train.texts, task.train.pairs) if column)
    n, what = int((n_labels > 1).sum()), "text" if task.train.pairs is None else "pair"
    stand = f"1 {what} stands" if n == 1 else f"{n} {what}s stand"
    counts = f"{stand} in train with different labels ({rows.size} of {len(text)} rows)"
    return [f"{counts}, {alike}: for example {example}, {labels}"]


def _label_of(task: Task, label: np.ndarray) -> str:
    """A class, or all of an example's labels, for people."""
    names = [task.labels[int(label)]] if label.ndim == 0 else [task.labels[i] for i in np.flatnonzero(label)]
    return " and ".join(map(shown, names)) or "none"


def data_fingerprint(task: Task) -> str:
    """SHA-256 over every text and label that the task holds, in order, whatever file they came from."""
    content = {name: value for name, value in vars(task).items() if name not in OTHER_FIELDS}
    return hashlib.sha256(json.dumps(content, default=_plain, sort_keys=True).encode()).hexdigest()


def training_fingerprint(task: Task) -> str:
    """The same over what a training sees: train and dev."""
    return data_fingerprint(replace(task, test=None))


def _plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    # No weights leave no trace: fingerprints of rows without weights are in banks, and stay comparable.
    return {name: v for name, v in vars(value).items() if name != "weights" or v is not None}
