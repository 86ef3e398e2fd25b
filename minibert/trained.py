"""A trained task of a bank, opened again: its model, and labelled rows to score it on.

Scores of texts that were trained on say nothing about new ones. So a bank knows the rows of its training, and which
data they came from; rows of other data are scored all, or as their files divide them; those seen before are
counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.backbone import Backbone
from minibert.config import TrainConfig
from minibert.data import DEFAULT_MAX_LENGTH, Examples, Task, Uncut, limit_dev, load_labelled, training_fingerprint
from minibert.data.rows import shared_note
from minibert.data.task import UNKNOWN
from minibert.errors import InputError
from minibert.evaluate import Split, tokenize
from minibert.metrics import chosen_metrics
from minibert.model import Model
from minibert.spans import Windows
from minibert.storage import TaskRecord, bank_file, choose, read_bank

ALL = "all"  # the split that is all rows of a file


def open_trained(backbone: Backbone, bank: str | Path, name: str | None = None) -> tuple[Model, TaskRecord]:
    """The model of a task in a bank, and the record it was built from.

    bank: a run folder or a bank file. name: which task, if it holds several. Raises InputError.
    """
    path = bank_file(bank)
    record = choose(read_bank(path), path, name)
    return Model.from_record(backbone, record, path), record


def max_length(record: TaskRecord) -> int:
    """That of the training; a task put into a bank by hand need not have one."""
    usual = DEFAULT_MAX_LENGTH.get(record.training.get("task"), TrainConfig.max_length)
    return record.settings("train").get("max_length", usual)


def prediction_key(answer: dict) -> str:
    """The key of what was predicted in an answer, the object that `Head.describe` gives; what else is there says how
    probable it is, or where it stands. (The score of a text's answer is such a thing, that of a regression is not.)"""
    return next(key for key in ("label", "labels", "answer", "score") if key in answer)


def unscored_note(record: TaskRecord) -> list[str]:
    """A note if no epoch of the task was ever scored."""
    if record.dev:
        return []
    return [
        f"task {record.name} has no score in the bank: its weights may be those of a first epoch that was not finished"
    ]


@dataclass(frozen=True)
class Scored:
    """A split to be scored. trained_on, chose_epoch (N,) bool: the rows whose tokens the training saw in either
    way; None if the bank does not know. unknown: how many labels are no class of the task."""

    name: str
    split: Split | Windows
    trained_on: np.ndarray | None
    chose_epoch: np.ndarray | None
    unknown: int

    @property
    def unseen(self) -> np.ndarray | None:
        """The rows that are neither, (N,) bool; None if that is not known, or if it is all rows or none."""
        if self.trained_on is None:
            return None
        rows = ~(self.trained_on | self.chose_epoch)
        return rows if rows.any() and not rows.all() else None


@dataclass(frozen=True)
class Labelled:
    """Labelled rows for a trained task. is_trained: whether the data are those that were trained on, None if that is
    not known. notes: what is to be told before anything is scored."""

    task: str
    metrics: tuple[str, ...]
    splits: list[Scored]
    is_trained: bool | None
    notes: list[str]


def open_labelled(
    model: Model,
    record: TaskRecord,
    name: str | None = None,
    data=None,
    split: str | None = None,
    dev_rows: int | None = None,
    **options,
) -> Labelled:
    """Rows to score a trained task on, tokenized as for the training.

    name, data, options: as for `load_task`; what is not given is as it was for the training. split: train, dev, test or
    all; None: dev, but all where the data come without a dev set and are not those that were trained on. dev_rows: as
    for `limit_dev`.
    Raises InputError: the data cannot be read, or are not of the kind that the task reads; there is no such labelled
    split; a split is wanted of data that cannot be divided as those of the training were.
    """
    trained_as = record.training.get("task")
    name = name or trained_as
    if name is None:
        raise InputError(f"the bank does not say what data task {record.name} was trained on: give --task")
    usual = record.settings("task_options") if name == trained_as else {}
    found = load_labelled(name, data, record.labels, **usual | options)
    _check_fit(record, found)
    task = _divide(found)
    is_trained = _is_trained(record, task)
    split = _choose_split(record, found, task is not None and is_trained is not False, split)
    if split != "dev" and dev_rows is not None:
        raise InputError(f"--dev-rows is for the dev split, and {split} is scored here: leave it out")
    parts, notes = _parts(found, split, dev_rows)
    splits = [_scored(model, record, part_name, part) for part_name, part in parts.items()]
    notes = [*unscored_note(record), *notes, *_about_data(record, found, is_trained, split)]
    for scored in splits:
        shown = "" if split == ALL else scored.name
        notes += [*_about_rows(scored, is_trained, split), *scored.split.notes(shown)]
    return Labelled(name, _metrics(model, record, found), splits, is_trained, notes)


def _metrics(model: Model, record: TaskRecord, found: Task | Uncut) -> tuple[str, ...]:
    """Those of the training: first that which chose the best epoch."""
    wanted = record.settings("train").get("metric")
    return chosen_metrics(
        wanted if isinstance(wanted, str) else "", model.head_record.metrics, found.metrics, record.labels
    )


def _check_fit(record: TaskRecord, found: Task | Uncut) -> None:
    def describe(head: str, labels, pairs: bool) -> str:
        return f"{head}, {'pairs' if pairs else 'single texts'}" + (f", labels {', '.join(labels)}" if labels else "")

    train = found.parts["train"] if isinstance(found, Uncut) else found.train
    trained = describe(record.head, record.labels, record.reads_pairs)
    given = describe(found.head, found.labels, train.pairs is not None)
    if trained != given:
        raise InputError(f"task {record.name} in the bank ({trained}) does not fit task {found.name} ({given})")


def _divide(found: Task | Uncut) -> Task | None:
    """The task as it would be trained on; None if there are too few rows for that."""
    if isinstance(found, Task):
        return found
    try:
        return found.task()
    except InputError:
        return None


def _is_trained(record: TaskRecord, task: Task | None) -> bool | None:
    known = record.training.get("data_whole")
    if known is None or not record.tokens_seen:
        return None
    return task is not None and training_fingerprint(task) == known


def _choose_split(record: TaskRecord, found: Task | Uncut, divisible: bool, split: str | None) -> str:
    """The split to score. divisible: the rows of a file without a dev set may be cut as for the training."""
    cut = found.cut.names if isinstance(found, Uncut) else ()
    if split is None:
        if not cut or divisible:
            return "dev"
        test = found.parts.get("test")
        return ALL if test is None or test.labels is None else "test"
    if split == ALL and not cut:
        raise InputError(f"--split {ALL} is for a file without splits of its own, and task {found.name} has some here")
    if split in cut and not divisible:
        raise InputError(
            f"--split {split}: {found.cut.path.name} is not the data that task {record.name} was trained on, so it has "
            f"no such split; score all its rows with --split {ALL}"
        )
    return split


def _parts(found: Task | Uncut, split: str, dev_rows: int | None) -> tuple[dict[str, Examples], list[str]]:
    """{name: rows} of the split, and what reading them gave to tell. Raises InputError if they have no labels."""
    if isinstance(found, Uncut) and split not in found.cut.names:
        parts, notes = {split: found.parts.get("train" if split == ALL else split)}, found.notes
    else:
        task = found.task() if isinstance(found, Uncut) else found
        task = task if dev_rows is None else limit_dev(task, dev_rows)
        parts, notes = task.dev if split == "dev" else {split: getattr(task, split)}, task.notes
    for part in parts.values():
        if part is None or part.labels is None or not len(part):
            raise InputError(f"task {found.name} has no labelled {split} split")
    return parts, list(notes)


def _scored(model: Model, record: TaskRecord, name: str, part: Examples) -> Scored:
    split, seen = tokenize(model.backbone, part, max_length(record), record.labels), record.tokens_seen
    trained_on = chose_epoch = None
    if seen:
        hashes = split.hashes()
        trained_on = np.isin(hashes, seen["train"])
        chose_epoch = np.isin(hashes, seen["dev"]) & ~trained_on
    unknown = int((part.labels == UNKNOWN).sum()) if record.labels else 0
    return Scored(name, split, trained_on, chose_epoch, unknown)


def _about_data(record: TaskRecord, found: Task | Uncut, is_trained: bool | None, split: str) -> list[str]:
    if is_trained is None:
        told = f"the bank does not keep which rows task {record.name} was trained on: some of these may be among them"
        whole = f"; {split} is a part, cut as for a training: --split {ALL} scores the whole file"
        return [told + whole * (isinstance(found, Uncut) and split in found.cut.names)]
    if is_trained:
        return []
    if split == ALL:
        return [
            f"{found.cut.path.name} is not the data that task {record.name} was trained on: all its rows are scored"
        ]
    return [f"the data are not those that task {record.name} was trained on"]


def _about_rows(scored: Scored, is_trained: bool | None, split: str) -> list[str]:
    """What the training saw of the rows: of its own splits, what they share; of all others, how many they are."""
    if scored.trained_on is None or (is_trained and split == "train"):
        return []
    n, trained, chose = len(scored.trained_on), int(scored.trained_on.sum()), int(scored.chose_epoch.sum())
    if is_trained and split != ALL:
        chose = 0 if split == "dev" else chose
        return [*shared_note(trained, n, scored.name, "train"), *shared_note(chose, n, scored.name, "dev")]
    told = [f"{trained} were trained on"] * (trained > 0) + [f"{chose} chose the best epoch"] * (chose > 0)
    of = "rows" if split == ALL else f"{scored.name} rows"
    if not told:
        return [f"none of the {n} {of} was trained on or chose the best epoch"]
    return [f"of the {n} {of} {' and '.join(told)}: their score says nothing about new texts"]
