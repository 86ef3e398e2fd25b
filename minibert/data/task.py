"""What a task is, once it has been read: texts and labels in splits, and how it is scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Examples:
    """One split. texts (N), pairs (N) or None for single texts, labels (N,) or None where the release gives none.

    labels are int64 class numbers (places in Task.labels), or float32 scores for a regression task.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows) -> Examples:
        """The examples of the given row numbers, in that order."""
        return Examples(
            [self.texts[i] for i in rows],
            None if self.pairs is None else [self.pairs[i] for i in rows],
            None if self.labels is None else self.labels[np.asarray(rows, np.int64)],
        )


def empty_texts(part: Examples, path: Path) -> list[str]:
    """A note if texts of the part read from path are empty; they are kept."""
    empty = sum(not text.strip() for text in part.texts)
    return [f"{path.name}: {empty} of {len(part)} rows have an empty text"] if empty else []


@dataclass(frozen=True)
class Task:
    """A task to train on.

    head is "classify" or "regress"; labels are the class names in the order of their numbers, () for regression.
    metrics names functions of minibert.metrics; the first chooses the best epoch. dev maps a name to a split:
    {"dev": …} for most, {"matched": …, "mismatched": …} for MNLI; the first one chooses the best epoch.
    notes are sentences to print before training (rows left out, a split made here, …).
    """

    name: str
    head: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    train: Examples
    dev: dict[str, Examples]
    test: Examples | None = None
    notes: tuple[str, ...] = ()
