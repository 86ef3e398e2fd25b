"""What must be true of every task, whichever reader made it; checked in one place, before any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minibert.data.labels import show
from minibert.data.task import UNKNOWN, Examples, Task
from minibert.errors import InputError, need

FAR = 0.1  # of a release's rows: a note names a file that has so many more or less


def release_notes(path: Path, part: Examples, names: tuple[str, ...], classes: int, rows: int | None) -> list[str]:
    """Notes if the training rows, read from path, are not those of the release: another data set, or a part of it.

    names: the classes, in the order of their numbers; classes: how many the release has, with names known or not;
    rows: how many labelled rows it has, None if that is not known.
    """
    notes = []
    shown = set() if part.labels is None or not classes else set(part.labels.tolist())
    if len(shown) < classes:
        missing = ", ".join(show(name) for i, name in enumerate(names) if i not in shown)
        there = f"; missing: {missing}" if missing else ""
        notes.append(f"{path.name}: the rows show {len(shown)} of the {classes} labels of the release{there}")
    if rows is not None and abs(len(part) - rows) > FAR * rows:
        notes.append(f"{path.name}: {len(part):,} labelled rows; the release has {rows:,}")
    return notes


def check_task(task: Task, data=None) -> Task:
    """Return the task if it can be trained on; raise InputError naming the first thing that is wrong, and data, the
    path that the task was read from.

    Every split holds rows, and as many pairs and labels as texts; all splits are single texts or all are pairs.
    With class names: labels are numbers of classes, and training rows show at least two classes; or 0 and 1 for each
    class, and training rows differ. Without, one score an example: scores are finite, and the training scores are not
    all the same. Else labels are whole numbers: positions.
    """
    try:
        _check(task)
    except InputError as error:
        raise InputError(f"task {task.name}{'' if data is None else f' from {data}'}: {error}") from None
    return task


def _check(task: Task) -> None:
    splits = {"train": task.train, **task.dev}
    need(bool(task.dev), "there is no dev set to choose the best epoch on")
    for name, split in splits.items():
        need(split.labels is not None, f"the {name} set has no labels")
    if task.test is not None:
        splits["test"] = task.test
    for name, split in splits.items():
        _check_split(task, name, split)
    if task.labels:
        _check_classes(task)
    elif task.label_shape == ():
        varied = np.ptp(task.train.labels) > 0
        need(varied, "all training scores are the same, so there is nothing to learn")


def _check_split(task: Task, name: str, split: Examples) -> None:
    n = len(split)
    need(n > 0, f"the {name} set is empty")
    need(
        (split.pairs is None) == (task.train.pairs is None),
        f"the {name} set and the train set differ: one has pairs of texts, the other single texts",
    )
    if split.pairs is not None:
        need(len(split.pairs) == n, f"the {name} set has {n} texts and {len(split.pairs)} second texts")
    if split.weights is not None:
        _check_weights(name, split)
    if split.labels is None:
        return
    shape = (n, *task.label_shape)
    need(split.labels.shape == shape, f"the {name} set has {n} texts and labels of shape {split.labels.shape}")
    if not task.labels and task.label_shape == ():
        need(bool(np.isfinite(split.labels).all()), f"a score of the {name} set is not finite")
        return
    need(np.issubdtype(split.labels.dtype, np.integer), f"the labels of the {name} set are not whole numbers")
    if not task.labels:
        return
    if task.label_shape:
        need(bool(np.isin(split.labels, (0, 1)).all()), f"the labels of the {name} set are not all 0 or 1")
        return
    low, high = int(split.labels.min()), int(split.labels.max())
    classes = len(task.labels)
    need(
        low >= (UNKNOWN if name == "test" else 0) and high < classes,
        f"the {name} set has class numbers {low} to {high}; with {classes} classes they go from 0 to {classes - 1}",
    )


def _check_weights(name: str, split: Examples) -> None:
    n, weights = len(split), split.weights
    need(weights.shape == (n,), f"the {name} set has {n} texts and weights of shape {weights.shape}")
    sound = weights.dtype.kind == "f" and bool(np.isfinite(weights).all()) and bool((weights >= 0).all())
    need(sound, f"the weights of the {name} set are not all finite numbers from 0 on")
    need(name != "train" or weights.sum() > 0, "all weights of the train set are 0, so there is nothing to learn")


def _check_classes(task: Task) -> None:
    names = ", ".join(map(show, task.labels))
    need(len(set(task.labels)) == len(task.labels), f"a class name occurs twice in {names}")
    if task.label_shape:
        varied = bool((task.train.labels != task.train.labels[0]).any())
        need(varied, "all training rows have the same labels, so there is nothing to learn")
        return
    present = np.unique(task.train.labels)
    only = show(task.labels[int(present[0])])
    need(len(present) >= 2, f"all training rows have the same class ({only}); at least two classes are needed")
