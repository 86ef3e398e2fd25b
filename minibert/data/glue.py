"""The tasks of GLUE (Wang et al., 2018), read from the folder layout in which they are published.

What differs between tasks is data, not code: one row of `GLUE` per task. The files are tab-separated without quoting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from minibert.data.checks import release_notes
from minibert.data.folder import unread_note
from minibert.data.labels import is_missing
from minibert.data.quotes import quote_note
from minibert.data.reading import TO_UTF8, parse_score, read_text, tab_rows
from minibert.data.task import Examples, Task, no_test_labels
from minibert.errors import InputError, counted, list_some, readable, shown

ADVICE = f"GLUE's files are UTF-8: get the task again (minibert download NAME --out DIR), or {TO_UTF8}"


@dataclass(frozen=True)
class Columns:
    """Where a file keeps what. Names are looked up in its header line; numbers (from 0) mean it has no header.

    widths: the numbers of columns a row of a file without header may have; with a header, as many as the header.
    """

    text: str | int
    pair: str | int | None = None
    label: str | int | None = None
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class GlueTask:
    """One task. rows: how many the release has for training, without those that are left out.

    classes maps what the files write to the class name, in the order of the class numbers; {}: scores. metrics are
    names of minibert.metrics; the first chooses the best epoch. dev maps split names to files. tests lists the files
    that may hold a test set; the first that holds rows is read.
    """

    folder: str
    columns: Columns
    rows: int
    classes: dict[str, str]
    metrics: tuple[str, ...] = ("accuracy",)
    dev: tuple[tuple[str, str], ...] = (("dev", "dev.tsv"),)
    tests: tuple[tuple[str, Columns | None], ...] = (("test.tsv", None),)  # None: the columns of train and dev
    drop_short_rows: bool = False
    no_label: str | None = None  # what the files write where annotators did not agree; such rows are left out

    def required(self) -> tuple[str, ...]:
        """The files without which the task cannot be trained."""
        return ("train.tsv", *(file for _, file in self.dev))

    def hides(self, cells: list[str]) -> bool:
        """Whether the label column of a test file holds no labels: one word in all rows that is no class (hidden, -,
        -1, nothing), or no score; scores are 0 or more."""
        if len(set(cells)) != 1:
            return False
        score = parse_score(cells[0])
        return cells[0] not in self.classes if self.classes else score is None or score < 0

    def shown(self, label) -> str:
        """A label as people read it: the class of a number, or a score."""
        return tuple(self.classes.values())[int(label)] if self.classes else f"{label:g}"


LOWEST_AND_HIGHEST = (0, 5)  # of STS-B's scores
_ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}
_STS_TEST = Columns(5, 6, 4, widths=(7, 9))  # of the STS benchmark itself; rows may end in two source addresses

# What releases hold beside what is read: the same rows in another form, and the list by which MRPC is split.
RELEASED = ("train.jsonl", "dev_matched.jsonl", "dev_mismatched.jsonl", "dev_ids.tsv")

GLUE = {
    "cola": GlueTask(
        "CoLA",
        Columns(3, label=1, widths=(4,)),
        8551,
        {"0": "unacceptable", "1": "acceptable"},
        ("matthews", "accuracy"),
        tests=(("test.tsv", Columns("sentence")),),
    ),
    "sst2": GlueTask("SST-2", Columns("sentence", label="label"), 67349, {"0": "negative", "1": "positive"}),
    "mrpc": GlueTask(
        "MRPC",
        Columns("#1 String", "#2 String", "Quality"),
        3668,
        {"0": "not_equivalent", "1": "equivalent"},
        ("f1", "accuracy"),
        tests=(("msr_paraphrase_test.txt", None), ("test.tsv", None)),
    ),
    "stsb": GlueTask(
        "STS-B",
        Columns("sentence1", "sentence2", "score"),
        5749,
        {},
        ("spearman", "pearson"),
        tests=(("sts-test.tsv", _STS_TEST), ("original/sts-test.tsv", _STS_TEST), ("test.tsv", None)),
    ),
    "qqp": GlueTask(
        "QQP",
        Columns("question1", "question2", "is_duplicate"),
        363846,
        {"0": "not_duplicate", "1": "duplicate"},
        ("f1", "accuracy"),
        drop_short_rows=True,  # a few questions of the release contain a line break
    ),
    "mnli": GlueTask(
        "MNLI",
        Columns("sentence1", "sentence2", "gold_label"),
        392702,
        {"contradiction": "contradiction", "entailment": "entailment", "neutral": "neutral"},
        dev=(("matched", "dev_matched.tsv"), ("mismatched", "dev_mismatched.tsv")),
        tests=(("test_matched.tsv", None),),
        no_label="-",
    ),
    "qnli": GlueTask("QNLI", Columns("question", "sentence", "label"), 104743, _ENTAILMENT),
    "rte": GlueTask("RTE", Columns("sentence1", "sentence2", "label"), 2490, _ENTAILMENT),
    "wnli": GlueTask(
        "WNLI", Columns("sentence1", "sentence2", "label"), 635, {"0": "not_entailment", "1": "entailment"}
    ),
}


def find_folder(name: str, data) -> Path:
    """The folder of GLUE task `name`: data/FOLDER, or data itself. Raises InputError saying what was looked for."""
    task, data = GLUE[name], Path(data)
    for folder in (data / task.folder, data):
        missing = [file for file in task.required() if not (folder / file).is_file()]
        if not missing:
            return folder
        if len(missing) < len(task.required()) or (folder is not data and folder.is_dir()):
            raise InputError(f"{folder} has no {' and no '.join(missing)}. {_how_to_get(name)}")
    what = "does not exist" if not data.exists() else "is not a folder" if not data.is_dir() else "does not hold it"
    raise InputError(
        f"task {name}: --data {data} {what}. Looked for the folder {data / task.folder}, and in {data} itself for "
        f"{', '.join(task.required())}. {_how_to_get(name)}"
    )


def _how_to_get(name: str) -> str:
    return f"To download the task: minibert download {name} --out DIR"


def read_glue(name: str, data) -> Task:
    """Read GLUE task `name` (a key of `GLUE`) from the folder that holds the GLUE folders, or from its own folder.

    The test set is None if there is none; its labels are None unless the release has them. MNLI's is the matched one.
    Raises InputError naming file, line, what was found and what was expected.
    """
    task, folder = GLUE[name], find_folder(name, data)
    notes: list[str] = []
    train = _read_split(folder / "train.tsv", task, task.columns, notes)
    dev = {split: _read_split(folder / file, task, task.columns, notes) for split, file in task.dev}
    classes = tuple(task.classes.values())
    notes += release_notes(folder / "train.tsv", train, classes, len(classes), task.rows)
    test = _read_test(folder, task, notes)
    read = [folder / file for file in task.required()]
    notes += unread_note(folder, read, [*RELEASED, *(file for file, _ in task.tests)])
    head = "classify" if task.classes else "regress"
    return Task(name, head, classes, task.metrics, train, dev, test, tuple(notes))


def _read_test(folder: Path, task: GlueTask, notes: list[str]) -> Examples | None:
    """The first test file that holds rows. A note names one that is empty or has no labels."""
    for file, columns in task.tests:
        path = folder / file
        if not path.is_file():
            continue
        test = None if _is_blank(path) else _read_split(path, task, columns or task.columns, notes, is_test=True)
        if test is None or len(test) == 0:
            notes.append(f"{path.name} has no rows: it is not scored")
            continue
        if test.labels is None:
            notes.append(no_test_labels(path))
        elif len(test) > 1 and len(set(test.labels.tolist())) == 1:
            label = task.shown(test.labels[0])
            notes.append(
                f"{path.name}: all rows have the label {label}; if it stands for none, their score says nothing"
            )
        return test
    return None


def _is_blank(path: Path) -> bool:
    return not path.read_bytes().strip()


@dataclass(frozen=True)
class _Places:
    """`Columns` with every name turned into a number, for one file."""

    text: int
    pair: int | None
    label: int | None
    widths: tuple[int, ...]


def _read_split(path: Path, task: GlueTask, columns: Columns, notes: list[str], is_test: bool = False) -> Examples:
    rows = tab_rows(read_text(path, advice=ADVICE))
    if isinstance(columns.text, str):
        places = _from_header(path, next(rows)[1], columns, is_test)
    else:
        places = _Places(columns.text, columns.pair, columns.label, columns.widths)
    kept = list(_whole_rows(path, rows, places, task, notes))
    cells = None if places.label is None else [row[places.label] for _, row in kept]
    if cells is None or (is_test and task.hides(cells)):
        labels = None
    else:
        if is_test:
            kept = _labelled(path, kept, places.label, task, notes)
            cells = [row[places.label] for _, row in kept]
        agreed = [cell != task.no_label for cell in cells]
        if not all(agreed):
            left_out = counted(len(agreed) - sum(agreed), "row")
            notes.append(f"{path.name}: left out {left_out} on whose label the annotators did not agree")
            kept = list(compress(kept, agreed))
        numbers = [_label(path, number, row[places.label], task) for number, row in kept]
        labels = np.array(numbers, np.int64 if task.classes else np.float32)
        notes += _beyond(path, task, labels)
    columns = [[row[i] for _, row in kept] for i in (places.text, places.pair) if i is not None]
    for column in columns:
        notes += quote_note(path.name, column, [number for number, _ in kept], "texts")
    return Examples(columns[0], None if places.pair is None else columns[1], labels)


def _labelled(path: Path, kept: list, place: int, task: GlueTask, notes: list[str]) -> list:
    """The rows of a test file with labels, without those that have none (see `is_missing`)."""

    def lacks(cell: str) -> bool:
        return cell not in task.classes and cell != task.no_label and is_missing(cell)

    odd = [(number, row[place]) for number, row in kept if lacks(row[place])]
    if odd:
        told = f"left out {len(odd)} of {len(kept)} rows without a label"
        notes.append(f"{path.name}: {told} ({shown(odd[0][1])}, first on line {odd[0][0]})")
    return [(number, row) for number, row in kept if not lacks(row[place])]


def _beyond(path: Path, task: GlueTask, scores: np.ndarray) -> list[str]:
    """A note if scores are none that the release has."""
    if task.classes or not len(scores):
        return []
    low, high = LOWEST_AND_HIGHEST
    beyond = np.flatnonzero((scores < low) | (scores > high))
    if not beyond.size:
        return []
    told = f"are not from {low} to {high}, as those of the release, such as {scores[beyond[0]]:g}"
    return [f"{path.name}: {beyond.size} of {len(scores)} scores {told}"]


def _whole_rows(path: Path, rows: Iterator, places: _Places, task: GlueTask, notes: list[str]) -> Iterator:
    """The numbered rows of the right width. Raises InputError for another, if it is not to be left out."""
    short = []
    for number, row in rows:
        if task.drop_short_rows and len(row) < min(places.widths):
            short.append(number)
        elif len(row) not in places.widths:
            expected = " or ".join(map(str, places.widths))
            raise InputError(f"{path}, line {number}: expected {expected} columns separated by tabs, found {len(row)}")
        else:
            yield number, row
    if short:
        lines = list_some(map(str, short), 5)
        notes.append(f"{path.name}: left out {counted(len(short), 'line')} with too few columns (line {lines})")


def _from_header(path: Path, header: list[str], columns: Columns, is_test: bool) -> _Places:
    def place(column: str | None) -> int | None:
        if column is None:
            return None
        if header.count(column) != 1:
            wrong = f"{header.count(column)} columns are called" if column in header else "there is no column"
            there = list_some([readable(name) for name in header], 20)
            raise InputError(f"{path}, line 1: {wrong} {column!r}; the columns are {there}")
        return header.index(column)

    label = None if is_test and columns.label not in header else columns.label
    return _Places(place(columns.text), place(columns.pair), place(label), (len(header),))


def _label(path: Path, number: int, found: str, task: GlueTask) -> int | float:
    if task.classes:
        if found not in task.classes:
            raise InputError(
                f"{path}, line {number}: the label is {shown(found)}; expected one of {', '.join(task.classes)}"
            )
        return list(task.classes).index(found)
    score = parse_score(found)
    if score is None:
        raise InputError(f"{path}, line {number}: the score is {shown(found)}; expected a number")
    return score
