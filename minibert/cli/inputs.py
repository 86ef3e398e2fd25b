"""What several commands read: the task of --task and --data, and a trained task of a bank."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from minibert.data import CSV_OPTIONS, Task, limit_dev, load_task
from minibert.model import Model
from minibert.run import open_backbone
from minibert.storage import TaskRecord
from minibert.trained import Labelled, open_labelled, open_trained


def _task_options(args) -> dict:
    given = {name: getattr(args, name) for name in CSV_OPTIONS}
    return {name: value for name, value in given.items() if value is not None and value is not False}


def read_task(args) -> Task:
    """The task of --task and --data."""
    task = load_task(args.task, args.data, **_task_options(args))
    return task if args.dev_rows is None else limit_dev(task, args.dev_rows)


def open_task(args) -> tuple[Model, TaskRecord]:
    """The model of the task of --bank and --name, and its record."""
    return open_trained(open_backbone(args.backbone), args.bank, args.name)


def open_rows(args, model: Model, record: TaskRecord) -> Labelled:
    """The rows of --task, --data and --split to score a trained task on. Prints what is to be told of them."""
    rows = open_labelled(model, record, args.task, args.data, args.split, args.dev_rows, **_task_options(args))
    print_notes(rows.notes)
    return rows


def print_notes(notes: Iterable[str]) -> None:
    """Notes on what is read or written; standard output is for results."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
