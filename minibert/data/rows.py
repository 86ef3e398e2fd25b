"""Which rows are the same: a hash of every row's texts, and one fingerprint of all that a task holds.

The hashes tell which texts stand in two splits; a bank keeps those of the rows that were trained on, so that scores of
the same texts are not taken for scores of new ones.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np

from minibert.data.task import Examples, Task

OTHER_FIELDS = ("notes", "drawn_from")  # of a task: no rows


def row_hashes(examples: Examples) -> np.ndarray:
    """A 64-bit hash of each row's text, or of its two texts, but for case and white space.   -> (N,) uint64

    The same on every machine: the first 8 bytes of BLAKE2b over UTF-8.
    """
    columns = [examples.texts] if examples.pairs is None else [examples.texts, examples.pairs]
    digests = bytearray()
    for row in zip(*columns, strict=True):
        text = "\n".join([" ".join(text.lower().split()) for text in row])  # no text holds a line end any more
        digests += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def trained_rows(task: Task) -> dict[str, np.ndarray]:
    """Hashes of the different rows that train, and of those that choose the epoch, in rising order: {"train": uint64
    (N,), "dev": uint64 (n,)}. The order of the file, and how often a text stands in it, are not kept."""
    first_dev = next(iter(task.dev.values()))
    return {"train": np.unique(row_hashes(task.train)), "dev": np.unique(row_hashes(first_dev))}


def shared_texts(task: Task, rows: dict[str, np.ndarray] | None = None) -> list[str]:
    """Notes on texts of dev, and of a test set with labels, that the training sees. Such rows stay, as in the releases.

    rows: `trained_rows` of the task, if they are there already.
    """
    rows = trained_rows(task) if rows is None else rows
    notes = []
    parts = [(name, part, ("train",)) for name, part in task.dev.items()]
    if task.test is not None and task.test.labels is not None:
        parts.append(("test", task.test, ("train", "dev")))
    for name, part, others in parts:
        hashes = row_hashes(part)
        for other in others:
            notes += shared_note(int(np.isin(hashes, rows[other]).sum()), len(part), name, other)
    return notes


def shared_note(n: int, total: int, split: str, other: str) -> list[str]:
    """The note on n of a split's texts that are also in another one; none for 0."""
    return [f"{n} of {total} {split} texts are also in {other}, case and spaces aside"] if n else []


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
    return {
        name: v for name, v in vars(value).items() if name != "weights" or v is not None
    }  # as before there were any
