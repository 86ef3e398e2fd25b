"""Cutting rows into train, dev and test for files that come without a split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np

from minibert.data.labels import show
from minibert.data.task import Examples, Task
from minibert.errors import InputError, list_some, shown


@dataclass(frozen=True)
class Cut:
    """How the rows read from path are cut: shares for dev and test (0: no test set), and a seed. Raises InputError."""

    path: Path
    dev_share: float
    test_share: float
    seed: int

    def __post_init__(self):
        check_split_seed(self.seed)
        _check_shares(self.dev_share, self.test_share)

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that it makes."""
        return ("train", "dev", "test") if self.test_share else ("train", "dev")


@dataclass(frozen=True)
class Uncut:
    """A task before the cut: what readers make of files that come without a dev set. Fields as in `Task`.

    parts: {"train": all rows that are to be cut}, and "test" if there is a test set.
    """

    name: str
    head: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    parts: dict[str, Examples]
    notes: tuple[str, ...]
    cut: Cut

    def task(self) -> Task:
        """The task with its splits. Raises InputError if there are too few rows."""
        parts, notes = cut_train(self.parts, self.labels, self.cut)
        dev, test = {"dev": parts["dev"]}, parts.get("test")
        return Task(self.name, self.head, self.labels, self.metrics, parts["train"], dev, test, (*self.notes, *notes))


def cut_train(parts: dict[str, Examples], classes: tuple[str, ...], cut: Cut) -> tuple[dict[str, Examples], list[str]]:
    """The parts with parts["train"] replaced by its splits, and notes that say how it was cut.

    By class (see `stratified_split`); at random if there are no classes, or if all have too few rows to be in every
    split. Raises InputError if a split would be empty.
    """
    whole, path, names = parts["train"], cut.path, cut.names
    dev_share, test_share, seed = cut.dev_share, cut.test_share, cut.seed
    parts = dict(parts)
    at_random = np.zeros(len(whole), np.int64)
    classes = classes if whole.labels.ndim == 1 else ()  # sets of labels are often all different
    how = "by class" if classes else "at random"
    rows = stratified_split(whole.labels if classes else at_random, dev_share, test_share, seed)
    enough = len(whole) * min(dev_share, test_share or dev_share) >= 1
    if enough and classes and not all(len(numbers) for _, numbers in zip(names, rows, strict=False)):
        how = "at random (all classes have too few rows)"
        rows = stratified_split(at_random, dev_share, test_share, seed)
    for split, numbers in zip(names, rows, strict=False):
        if len(numbers) == 0:
            remedy = "Give more rows" + (", or leave out the test set (--test-share 0)" if split == "test" else "")
            raise InputError(
                f"{path}: {len(whole)} rows are too few to split, the {split} set would be empty. {remedy}"
            )
        parts[split] = whole.take(numbers)
    lacking = "split" if test_share else "dev set"
    sizes = ", ".join(f"{split} {len(numbers)}" for split, numbers in zip(names, rows, strict=False))
    note = f"{path.name} has no {lacking} of its own; split {how} with seed {seed}: {sizes}"
    return parts, [note, *_rare(whole, classes, len(names))]


def _rare(whole: Examples, classes: tuple[str, ...], n_splits: int) -> list[str]:
    counts = sorted(Counter(whole.labels.tolist()).items()) if classes else []
    rare = [show(classes[c]) for c, n in counts if n < n_splits]
    if not rare:
        return []
    return [f"classes with too few rows to be in every split: {list_some(rare)}"]


def check_split_seed(seed: int) -> None:
    """Raise InputError if seed cannot be the seed of a split."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"the seed of the split must be a whole number from 0, got {shown(seed)}")


def stratified_split(
    groups: np.ndarray, dev_share: float, test_share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of train, dev and test, each in rising order. groups (N,) are class numbers (all 0: a random split).

    The rule, class by class, n rows each:
    1. n rows are shuffled; the first go to test, the next to dev, the rest to train.
    2. A part gets share × n rows, rounded half up, and at least one; a share of 0 gets none.
    3. Train keeps at least one row: while it would have none, the larger of the two other parts (test, if equal) gives
       one up. So a class with 3 rows or more is in all parts, one with 2 in train and dev, one with 1 in train.

    The same seed gives the same split on every platform. Raises InputError if a share is out of range.
    """
    _check_shares(dev_share, test_share)
    rng = np.random.default_rng(seed)
    # Sorting random numbers, and not Generator.permutation: its draws depend on the platform's integer size.
    order = np.argsort(rng.random(len(groups)), kind="stable")
    train, dev, test = [], [], []
    for group in np.unique(groups):
        rows = order[groups[order] == group]
        n_dev, n_test = _sizes(len(rows), dev_share, test_share)
        test.append(rows[:n_test])
        dev.append(rows[n_test : n_test + n_dev])
        train.append(rows[n_test + n_dev :])
    return tuple(np.sort(np.concatenate(part)) for part in (train, dev, test))


def _sizes(n: int, dev_share: float, test_share: float) -> tuple[int, int]:
    n_dev, n_test = (max(1, int(share * n + 0.5)) if share > 0 else 0 for share in (dev_share, test_share))
    while n_dev + n_test > n - 1:
        if n_test >= n_dev:
            n_test -= 1
        else:
            n_dev -= 1
    return n_dev, n_test


def _check_shares(dev_share: float, test_share: float) -> None:
    for name, share in (("dev", dev_share), ("test", test_share)):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise InputError(f"the share of rows for {name} must be a number from 0 to below 1, got {shown(share)}")
    if dev_share == 0:
        raise InputError("the share of rows for dev must be above 0: the best epoch is chosen on the dev set")
    if dev_share + test_share >= 1:
        raise InputError(f"the shares for dev ({dev_share}) and test ({test_share}) leave no rows for training")
