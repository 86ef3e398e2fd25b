"""A trained task of a bank, opened again: its model, and splits to score it on."""

from __future__ import annotations

from pathlib import Path

from minibert.config import InputError, TrainConfig
from minibert.data import DEFAULT_MAX_LENGTH, SPLIT_OPTIONS, Task
from minibert.evaluate import Split, tokenize
from minibert.model import Backbone, Model
from minibert.spans import Windows
from minibert.storage import TaskRecord, bank_file, read_bank


def open_trained(backbone: Backbone, bank: str | Path, name: str | None = None) -> tuple[Model, TaskRecord]:
    """The model of a task in a bank, and the record it was built from.

    bank: a run folder or a bank file. name: which task, if it holds several. Raises InputError.
    """
    path = bank_file(bank)
    record = choose(read_bank(path), path, name)
    return Model.from_record(backbone, record, path), record


def choose(records: dict[str, TaskRecord], path: Path, name: str | None) -> TaskRecord:
    """The task called name, or the only one. Raises InputError if there is no such task, or if there are several."""
    names = ", ".join(records)
    if name is None and len(records) != 1:
        raise InputError(f"{path} holds {len(records)} tasks; choose one with --name: {names}")
    if name is not None and name not in records:
        raise InputError(f"{path} has no task {name!r}; it has {names}")
    return records[name or names]


def max_length(record: TaskRecord) -> int:
    """That of the training; a task put into a bank by hand need not have one."""
    usual = DEFAULT_MAX_LENGTH.get(record.training.get("task"), TrainConfig.max_length)
    return record.training.get("train", {}).get("max_length", usual)


def split_options(record: TaskRecord) -> dict:
    """How the task's rows were divided into splits for the training."""
    trained_with = record.training.get("task_options", {})
    return {name: trained_with[name] for name in SPLIT_OPTIONS if name in trained_with}


def labelled_splits(model: Model, record: TaskRecord, task: Task, kind: str) -> dict[str, Split | Windows]:
    """The splits of a kind (train, dev, test) of a task, tokenized as for the training: {name: split}.

    Raises InputError if it is not a task of the kind that the model was trained for, or has no such labelled split.
    """
    _check_fit(record, task)
    examples = task.dev if kind == "dev" else {kind: getattr(task, kind)}
    if any(part is None or part.labels is None for part in examples.values()):
        raise InputError(f"task {task.name} has no labelled {kind} split")
    return {name: tokenize(model.backbone, part, max_length(record)) for name, part in examples.items()}


def _check_fit(record: TaskRecord, task: Task) -> None:
    def describe(head: str, labels, pairs: bool) -> str:
        return f"{head}, {'pairs' if pairs else 'single texts'}" + (f", labels {', '.join(labels)}" if labels else "")

    trained = describe(record.head, record.labels, record.training.get("pairs", False))
    given = describe(task.head, task.labels, task.train.pairs is not None)
    if trained != given:
        raise InputError(f"task {record.name} in the bank ({trained}) does not fit task {task.name} ({given})")
