"""What a task is, once it has been read: texts and labels in splits, and how it is scored."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from minibert.config import HEADS
from minibert.errors import InputError, list_some, shown


@dataclass(frozen=True)
class Examples:
    """One split. texts (N), pairs (N) or None for single texts, labels (N,) or None where the release gives none.

    labels are int64 class numbers (places in Task.labels), or float32 scores for a regression task;
    int64 0 and 1 (N, C) where an example has several labels.
    weights (N,) float64, finite and not negative: what each example counts in the training's loss (see
    `Model.loss_and_grads`); None: 1 each. Scores of a split do not use them.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: np.ndarray | None
    weights: np.ndarray | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows) -> Examples:
        """The examples of the given row numbers, in that order."""

        def pick(column):
            if isinstance(column, np.ndarray):
                return column[np.asarray(rows, np.int64)]
            return None if column is None else [column[i] for i in rows]

        return replace(self, **{f.name: pick(getattr(self, f.name)) for f in fields(self)})


def empty_texts(part: Examples, path: Path) -> list[str]:
    """A note if texts of the part read from path are empty; they are kept."""
    empty = count_empty(part)
    return [f"{path.name}: {empty} of {len(part)} rows have an empty text"] if empty else []


def count_empty(part: Examples) -> int:
    """How many rows have an empty text, or, of pairs, an empty one among the two."""
    columns = [part.texts] if part.pairs is None else [part.texts, part.pairs]
    return sum(not all(text.strip() for text in row) for row in zip(*columns, strict=True))


UNKNOWN = -1  # in place of a class number: no prediction is right


def class_numbers(labels: list[str], classes: tuple[str, ...]) -> np.ndarray:
    """The place of each label among the class names, UNKNOWN if it is none of them.   -> (N,) int64"""
    number = {label: i for i, label in enumerate(classes)}
    return np.array([number.get(label, UNKNOWN) for label in labels], np.int64)


def unknown_labels(path: Path, labels: list[str], classes: tuple[str, ...]) -> list[str]:
    """A note if labels of rows read from path are no class of the task that is scored; it is scored by accuracy, where
    they count as wrong. Raises InputError if no row's label is a class."""
    known = set(classes)
    unknown = [label for label in labels if label not in known]
    if not unknown:
        return []
    found = list_some(map(shown, dict.fromkeys(unknown)))
    if len(unknown) == len(labels):
        raise InputError(
            f"{path}: no row has one of the labels that the task was trained on ({list_some(map(shown, classes))}), "
            f"found {found}. Is this the label column?"
        )
    return [
        f"{path.name}: {len(unknown)} of {len(labels)} rows have labels that the task does not know ({found}): "
        "counted as wrong"
    ]


def no_test_labels(path: Path) -> str:
    """The note about a test file without labels: it does not stop a training."""
    return f"{path.name} has no labels: it is not scored"


@dataclass(frozen=True)
class Task:
    """A task to train on.

    head is one of config.HEADS; labels are the class names in the order of their numbers, else ().
    metrics names functions of minibert.metrics; the first chooses the best epoch. dev maps a name to a split:
    {"dev": …} for most, {"matched": …, "mismatched": …} for MNLI; the first one chooses the best epoch.
    notes are sentences to print before training (rows left out, a split made here, …).
    drawn_from: if rows were drawn (`limit_train`, `limit_dev`), the `training_fingerprint` of the task with all rows.
    """

    name: str
    head: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    train: Examples
    dev: dict[str, Examples]
    test: Examples | None = None
    notes: tuple[str, ...] = ()
    drawn_from: str = ""

    @property
    def n_out(self) -> int:
        """Outputs of the head: a score for each class, one number, or two (start and end) for each token."""
        return HEADS[self.head] or len(self.labels)

    @property
    def labelled_test(self) -> Examples | None:
        """The test split, if there is one with labels to score it by."""
        return None if self.test is None or self.test.labels is None else self.test

    @property
    def label_shape(self) -> tuple[int, ...]:
        """The shape of one example's label: () for a class or a score, (2,) for the two ends of an answer, (C,) where
        an example has several labels."""
        one = self.n_out == 1 if not self.labels else np.ndim(self.train.labels) == 1
        return () if one else (self.n_out,)
