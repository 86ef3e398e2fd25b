"""Tasks to train on: GLUE folders, SQuAD, the paper's further tasks, the user's own delimited file, and the built-in
task. Start with `load_task`."""

from __future__ import annotations

import inspect
import random
from dataclasses import fields, replace

from minibert.data.builtin import opinions
from minibert.data.checks import check_task
from minibert.data.folder import unread_note
from minibert.data.further import FURTHER, read_further
from minibert.data.glue import GLUE, read_glue
from minibert.data.rows import data_fingerprint, training_fingerprint
from minibert.data.split import Uncut
from minibert.data.squad import FILES, find_file, read_squad
from minibert.data.table import TableOptions, read_table
from minibert.data.task import Examples, Task
from minibert.errors import InputError, did_you_mean, flag, shown

__all__ = [
    "CSV_OPTIONS",
    "DEFAULT_MAX_LENGTH",
    "FURTHER",
    "SPLIT_OPTIONS",
    "TASK_NAMES",
    "Examples",
    "Task",
    "Uncut",
    "check_task",
    "data_fingerprint",
    "limit_dev",
    "limit_train",
    "load_labelled",
    "load_task",
    "task_options",
    "training_fingerprint",
]

TASK_NAMES = (*GLUE, *FURTHER, "squad", "csv", "opinions")
DEFAULT_MAX_LENGTH = {"squad": 384}  # tokens of a sequence; 128 for the other tasks (both as BERT)

CSV_OPTIONS = tuple(option.name for option in fields(TableOptions))
SPLIT_OPTIONS = tuple(inspect.signature(read_further).parameters)[3:]


def task_options(name: str) -> tuple[str, ...]:
    """The options that task `name` has."""
    return CSV_OPTIONS if name == "csv" else SPLIT_OPTIONS if name in FURTHER else ()


def load_task(name: str, data=None, **options) -> Task:
    """Read and check the task called name.

    data is a path: for a GLUE task or squad the folder that holds the tasks' folders, or the task's own; for a further
    task that, or the file; for csv the file, or a folder with train, dev and test files; opinions is built in and
    takes none. options are those of `TableOptions` for csv, those of `read_further` for a further task; one that is
    None or False counts as not given.

    Raises InputError: unknown name, data missing or not usable, an option the task does not have.
    """
    found = load_labelled(name, data, None, **options)
    return check_task(found.task() if isinstance(found, Uncut) else found, data)


def load_labelled(name: str, data=None, classes: tuple[str, ...] | None = None, **options) -> Task | Uncut:
    """What is found in the data of `load_task`, not yet checked for training, and not cut: to score a trained task on.

    classes: its class names. csv and the further tasks look labels up in them: the rows may show fewer classes, or
    labels that are none of them, which get the number UNKNOWN (-1) and a note. None: the classes that the rows show.
    Raises InputError as `load_task`, and if no row has a label among the classes.
    """
    if name not in TASK_NAMES:
        alike = did_you_mean(str(name), TASK_NAMES)
        raise InputError(f"there is no task {name!r}; the tasks are {', '.join(TASK_NAMES)}.{alike}".removesuffix("."))
    options = {key: value for key, value in options.items() if value is not None and value is not False}
    _check_options(name, options)
    if name == "opinions":
        if data is not None:
            raise InputError(f"task opinions is built in and reads no file: leave out --data (got {str(data)!r})")
        return opinions()
    if data is None:
        raise InputError(f"task {name} needs --data: {_what_data_is(name)}")
    if name == "squad":
        read = [find_file(data, split) for split in FILES]
        task = read_squad(data)
        return replace(task, notes=(*task.notes, *unread_note(read[0].parent, read)))
    if name in GLUE:
        return read_glue(name, data)
    return (read_table if name == "csv" else read_further)(name, data, classes, **options)


def _check_options(name: str, options: dict) -> None:
    unknown = sorted(set(options) - set(CSV_OPTIONS))
    if unknown:
        raise InputError(f"no task has an option {', '.join(unknown)}; task csv has {', '.join(CSV_OPTIONS)}")
    foreign = [option for option in options if option not in task_options(name)]
    if foreign:
        given = ", ".join(flag(option) for option in foreign)
        whose = "a task without a split of its own" if set(foreign) <= set(SPLIT_OPTIONS) else "task csv, your own file"
        raise InputError(f"{given} cannot be used with task {name}: only {whose} has such options")
    missing = [option for option in ("text_column", "label_column") if name == "csv" and option not in options]
    if missing:
        flags = " and ".join(flag(option) for option in missing)
        raise InputError(f"task csv needs {flags}: the name of the column in your file")


def _what_data_is(name: str) -> str:
    if name == "csv":
        return "your file, or a folder with train.csv, dev.csv and test.csv"
    if name in FURTHER:
        return f"{FURTHER[name].file}, or the folder that holds it. To get it: {FURTHER[name].source}"
    folder = GLUE[name].folder if name in GLUE else name
    return f"the folder that holds {folder}/, or {folder} itself. To get it: minibert download {name} --out DIR"


def limit_train(task: Task, rows: int, seed: int = 0) -> Task:
    """The task with at most `rows` training rows: a shuffle by `random.Random(seed)`, then the first `rows`.

    Python's own generator, applied to the rows in the file's order, so that any other program can draw the very same
    rows. If there are fewer rows, all stay, in the shuffled order. Raises InputError if rows is not a whole number
    above 0, or if fewer than two classes are left.
    """
    kept = _draw(task.train, rows, seed, "training")
    note = f"training on {len(kept)} of {len(task.train)} rows, drawn with seed {seed}"
    return check_task(_drawn(task, note, train=kept))


def limit_dev(task: Task, rows: int, seed: int = 0) -> Task:
    """The task with at most `rows` rows in each dev split, drawn as by `limit_train`: where scoring all takes long."""
    kept = {name: _draw(split, rows, seed, "dev") for name, split in task.dev.items()}
    sizes = ", ".join(f"{len(kept[name])} of {len(split)} {name} rows" for name, split in task.dev.items())
    return _drawn(task, f"scoring on {sizes}, drawn with seed {seed}", dev=kept)


def _drawn(task: Task, note: str, **kept) -> Task:
    return replace(task, **kept, notes=(*task.notes, note), drawn_from=task.drawn_from or training_fingerprint(task))


def _draw(examples: Examples, rows: int, seed: int, what: str) -> Examples:
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise InputError(f"the number of {what} rows must be a whole number above 0, got {shown(rows)}")
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    return examples.take(order[:rows])
