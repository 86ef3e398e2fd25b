"""The tasks of GLUE (Wang et al., 2018), read from the folder layout in which they are published.

What differs between tasks is data, not code: one row of `GLUE` per task. The files are tab-separated without quoting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.config import InputError
from minibert.data.reading import parse_score, read_text, tab_rows
from minibert.data.task import Examples, Task


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
    """One task. classes maps what the files write to the class name, in the order of the class numbers; {}: scores.

    metrics are names of minibert.metrics; the first chooses the best epoch. dev maps split names to files. tests lists
    the files that may hold a test set; the first that exists is read.
    """

    folder: str
    columns: Columns
    classes: dict[str, str]
    metrics: tuple[str, ...] = ("accuracy",)
    dev: tuple[tuple[str, str], ...] = (("dev", "dev.tsv"),)
    tests: tuple[tuple[str, Columns | None], ...] = (("test.tsv", None),)  # None: the columns of train and dev
    drop_short_rows: bool = False
    no_label: str = ""  # what the files write where annotators did not agree; such rows are left out

    def required(self) -> tuple[str, ...]:
        """The files without which the task cannot be trained."""
        return ("train.tsv", *(file for _, file in self.dev))


_ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}
_STS_TEST = Columns(5, 6, 4, widths=(7, 9))  # of the STS benchmark itself; rows may end in two source addresses

GLUE = {
    "cola": GlueTask(
        "CoLA",
        Columns(3, label=1, widths=(4,)),
        {"0": "unacceptable", "1": "acceptable"},
        ("matthews", "accuracy"),
        tests=(("test.tsv", Columns("sentence")),),
    ),
    "sst2": GlueTask("SST-2", Columns("sentence", label="label"), {"0": "negative", "1": "positive"}),
    "mrpc": GlueTask(
        "MRPC",
        Columns("#1 String", "#2 String", "Quality"),
        {"0": "not_equivalent", "1": "equivalent"},
        ("f1", "accuracy"),
        tests=(("msr_paraphrase_test.txt", None), ("test.tsv", None)),
    ),
    "stsb": GlueTask(
        "STS-B",
        Columns("sentence1", "sentence2", "score"),
        {},
        ("spearman", "pearson"),
        tests=(("sts-test.tsv", _STS_TEST), ("original/sts-test.tsv", _STS_TEST), ("test.tsv", None)),
    ),
    "qqp": GlueTask(
        "QQP",
        Columns("question1", "question2", "is_duplicate"),
        {"0": "not_duplicate", "1": "duplicate"},
        ("f1", "accuracy"),
        drop_short_rows=True,  # a few questions of the release contain a line break
    ),
    "mnli": GlueTask(
        "MNLI",
        Columns("sentence1", "sentence2", "gold_label"),
        {"contradiction": "contradiction", "entailment": "entailment", "neutral": "neutral"},
        dev=(("matched", "dev_matched.tsv"), ("mismatched", "dev_mismatched.tsv")),
        tests=(("test_matched.tsv", None),),
        no_label="-",
    ),
    "qnli": GlueTask("QNLI", Columns("question", "sentence", "label"), _ENTAILMENT),
    "rte": GlueTask("RTE", Columns("sentence1", "sentence2", "label"), _ENTAILMENT),
    "wnli": GlueTask("WNLI", Columns("sentence1", "sentence2", "label"), {"0": "not_entailment", "1": "entailment"}),
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
    test = None
    for file, columns in task.tests:
        if (folder / file).is_file():
            test = _read_split(folder / file, task, columns or task.columns, notes, is_test=True)
            break
    head = "classify" if task.classes else "regress"
    return Task(name, head, tuple(task.classes.values()), task.metrics, train, dev, test, tuple(notes))


@dataclass(frozen=True)
class _Places:
    """`Columns` with every name turned into a number, for one file."""

    text: int
    pair: int | None
    label: int | None
    widths: tuple[int, ...]


def _read_split(path: Path, task: GlueTask, columns: Columns, notes: list[str], is_test: bool = False) -> Examples:
    rows = tab_rows(read_text(path))
    if isinstance(columns.text, str):
        places = _from_header(path, next(rows)[1], columns, is_test)
    else:
        places = _Places(columns.text, columns.pair, columns.label, columns.widths)
    texts, pairs, labels, short, unlabelled = [], [], [], [], 0
    for number, row in rows:
        if task.drop_short_rows and len(row) < min(places.widths):
            short.append(number)
            continue
        if len(row) not in places.widths:
            expected = " or ".join(map(str, places.widths))
            raise InputError(f"{path}, line {number}: expected {expected} columns separated by tabs, found {len(row)}")
        if places.label is not None:
            if task.no_label and row[places.label] == task.no_label:
                unlabelled += 1
                continue
            labels.append(_label(path, number, row[places.label], task))
        texts.append(row[places.text])
        if places.pair is not None:
            pairs.append(row[places.pair])
    _note_left_out(path, short, unlabelled, notes)
    dtype = np.int64 if task.classes else np.float32
    return Examples(
        texts,
        None if places.pair is None else pairs,
        None if places.label is None else np.array(labels, dtype),
    )


def _from_header(path: Path, header: list[str], columns: Columns, is_test: bool) -> _Places:
    def place(column: str | None) -> int | None:
        if column is None:
            return None
        if column not in header:
            raise InputError(f"{path}, line 1: there is no column {column!r}; the columns are {', '.join(header)}")
        return header.index(column)

    label = None if is_test and columns.label not in header else columns.label
    return _Places(place(columns.text), place(columns.pair), place(label), (len(header),))


def _label(path: Path, number: int, found: str, task: GlueTask) -> int | float:
    if task.classes:
        if found not in task.classes:
            raise InputError(
                f"{path}, line {number}: the label is {found!r}; expected one of {', '.join(task.classes)}"
            )
        return list(task.classes).index(found)
    score = parse_score(found)
    if score is None:
        raise InputError(f"{path}, line {number}: the score is {found!r}; expected a number")
    return score


def _note_left_out(path: Path, short: list[int], unlabelled: int, notes: list[str]) -> None:
    if short:
        lines = ", ".join(map(str, short[:5])) + (", …" if len(short) > 5 else "")
        notes.append(f"{path.name}: left out {len(short)} lines with too few columns (line {lines})")
    if unlabelled:
        notes.append(f"{path.name}: left out {unlabelled} rows on whose label the annotators did not agree")
