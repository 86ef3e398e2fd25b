"""What several commands read: the task of --task and --data, and a trained task of a bank."""

from __future__ import annotations

import sys

from minibert.data import CSV_OPTIONS, Task, limit_dev, load_task, task_options
from minibert.evaluate import Split
from minibert.model import Model
from minibert.run import open_backbone
from minibert.spans import Windows
from minibert.storage import TaskRecord
from minibert.trained import labelled_splits, open_trained, split_options


def read_task(args, defaults: dict | None = None) -> Task:
    """The task of --task and --data; defaults stand in for options that were not given."""
    given = {name: getattr(args, name) for name in CSV_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    usual = {name: value for name, value in (defaults or {}).items() if name in task_options(args.task)}
    task = load_task(args.task, args.data, **usual | given)
    return task if args.dev_rows is None else limit_dev(task, args.dev_rows)


def open_task(args) -> tuple[Model, TaskRecord]:
    """The model of the task of --bank and --name, and its record."""
    return open_trained(open_backbone(args.backbone), args.bank, args.name)


def open_splits(args, model: Model, record: TaskRecord) -> tuple[Task, dict[str, Split | Windows]]:
    """The task of --task and --data, and its splits of the kind --split. Prints what is to be said of them."""
    task = read_task(args, split_options(record))
    splits = labelled_splits(model, record, task, args.split)
    for name, split in splits.items():
        for note in split.notes(name):
            print(f"note: {note}", file=sys.stderr)
    return task, splits
