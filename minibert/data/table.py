"""Task csv: the user's own delimited file, or a folder with one file per split, made into a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.config import InputError
from minibert.data.delimited import Format, Table, read_delimited
from minibert.data.reading import parse_score
from minibert.data.split import Cut, Uncut, check_split_seed
from minibert.data.task import UNKNOWN, Examples, Task, class_numbers, empty_texts, unknown_labels

MOST_CLASSES = 1000
ENDINGS = (".csv", ".tsv")


@dataclass(frozen=True)
class Roles:
    """Which column is what, and whether labels are scores (regress) or class names."""

    text: str
    label: str
    pair: str | None
    regress: bool

    def __post_init__(self):
        if len(set(self.columns())) != len(self.columns()):
            raise InputError(f"the text, pair and label columns must be different; got {', '.join(self.columns())}")

    def columns(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return (self.text, self.label) if self.pair is None else (self.text, self.pair, self.label)


@dataclass(frozen=True)
class TableOptions:
    """The options of task csv.

    File format: delimiter, encoding, columns, quoting as in `Format` and `read_delimited`.
    Labels: the class names that the training rows show, sorted (as numbers if all are whole numbers); spaces around
    them are dropped. regress=True: finite numbers. An empty text is kept, and counted in the notes.
    Splits: one file is cut by `stratified_split` into dev_share, test_share (0: no test set) and the rest for training.
    In a folder the test file may be missing or have no label column; a missing dev file is cut from the training file.
    split_seed is not the training seed: runs that differ in the latter are scored on the same dev set.
    """

    text_column: str
    label_column: str
    pair_column: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    columns: Sequence[str] | None = None
    quoting: str | None = None
    regress: bool = False
    dev_share: float = 0.1
    test_share: float = 0.1
    split_seed: int = 0

    @property
    def form(self) -> Format:
        """How the file is written."""
        return Format(self.delimiter, self.encoding, self.columns, self.quoting)

    @property
    def roles(self) -> Roles:
        """Which column is what."""
        return Roles(self.text_column, self.label_column, self.pair_column, self.regress)


def read_table(name: str, data, classes: tuple[str, ...] | None = None, **options) -> Task | Uncut:
    """The task called `name` from a file, or from a folder with train, dev and test files (.csv or .tsv).

    options: those of `TableOptions`. classes: the names to look labels up in, if not those that the training rows
    show; then a label that is none of them is UNKNOWN, and told. Raises InputError, naming file and line where there is
    one, for everything that cannot be used.
    """
    o = TableOptions(**options)
    check_split_seed(o.split_seed)
    roles = o.roles
    tables = {split: read_delimited(path, o.form) for split, path in _files(Path(data)).items()}
    for column in roles.columns():
        tables["train"].place(column)  # before anything is said about what the columns hold
    refuse, classes = classes is None, () if o.regress else classes or _classes(tables["train"], roles)
    parts, notes = {}, []
    for split, table in tables.items():
        parts[split] = _examples(table, roles, classes, split)
        notes += empty_texts(parts[split], table.path)
        if classes and parts[split].labels is not None:
            notes += _unknown(table, parts[split].labels, roles, classes, refuse)
    head, metrics = ("regress", ("spearman", "pearson")) if o.regress else ("classify", ("accuracy",))
    if "dev" not in parts:
        cut = Cut(tables["train"].path, o.dev_share, 0 if Path(data).is_dir() else o.test_share, o.split_seed)
        return Uncut(name, head, classes, metrics, parts, tuple(notes), cut)
    return Task(name, head, classes, metrics, parts["train"], {"dev": parts["dev"]}, parts.get("test"), tuple(notes))


def _files(data: Path) -> dict[str, Path]:
    """The file of each split: {"train": data} for a file, what is there of train, dev and test for a folder."""
    if not data.exists():
        raise InputError(f"--data {data} does not exist; give a file, or a folder with train.csv, dev.csv and test.csv")
    if not data.is_dir():
        return {"train": data}
    files = {}
    for split in ("train", "dev", "test"):
        there = [data / (split + ending) for ending in ENDINGS if (data / (split + ending)).is_file()]
        if len(there) > 1:
            raise InputError(f"{data} holds both {there[0].name} and {there[1].name}; keep one of them")
        if there:
            files[split] = there[0]
    if "train" not in files:
        raise InputError(f"{data} has neither train.csv nor train.tsv; give a folder with one, or the file itself")
    return files


def _labels(table: Table, roles: Roles) -> list[str]:
    """The label cells of a table, none of them empty."""
    labels = [label.strip() for label in table.column(roles.label)]
    for line, label in zip(table.lines, labels, strict=True):
        if not label:
            raise InputError(f"{table.path}, line {line}: the label (column {roles.label!r}) is empty")
    return labels


def _classes(train: Table, roles: Roles) -> tuple[str, ...]:
    """The class names of the training rows, in the order of their numbers. Raises InputError if they seem scores."""
    names = sorted(set(_labels(train, roles)))
    where = f"{train.path}: column {roles.label!r}"
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"{where} has {len(names)} different labels, and a class each is too many (at most {MOST_CLASSES}). "
            "Is it the label column? If its labels are scores, use --regress"
        )
    numbers = [parse_score(label) for label in names]
    if all(number is not None for number in numbers):
        broken = [label for label, number in zip(names, numbers, strict=True) if number != int(number)]
        if broken:
            raise InputError(
                f"{where} holds numbers such as {broken[0]}: these look like scores, use --regress. "
                "If they are classes, give them names that are not fractions"
            )
        names.sort(key=lambda label: (float(label), label))
    if len(names) < 2:
        raise InputError(f"{where} has only one class, {names[0]!r}; at least two are needed")
    return tuple(names)


def _examples(table: Table, roles: Roles, classes: tuple[str, ...], split: str) -> Examples:
    texts = table.column(roles.text)
    pairs = None if roles.pair is None else table.column(roles.pair)
    if split == "test" and roles.label not in table.columns:
        return Examples(texts, pairs, None)
    labels = _labels(table, roles)
    numbers = _scores(table, labels) if roles.regress else class_numbers(labels, classes)
    return Examples(texts, pairs, numbers)


def _scores(table: Table, labels: list[str]) -> np.ndarray:
    scores = np.empty(len(labels), np.float32)
    for i, label in enumerate(labels):
        score = parse_score(label)
        if score is None:
            raise InputError(f"{table.path}, line {table.lines[i]}: the score is {label!r}; expected a finite number")
        scores[i] = score
    return scores


def _unknown(table: Table, numbers: np.ndarray, roles: Roles, classes: tuple[str, ...], refuse: bool) -> list[str]:
    """Notes on labels that are no class; an InputError for the first one if they are to be refused."""
    unknown = np.flatnonzero(numbers == UNKNOWN)
    if not unknown.size:
        return []
    labels = _labels(table, roles)
    if refuse:
        i, shown = unknown[0], ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise InputError(
            f"{table.path}, line {table.lines[i]}: no training row has the label {labels[i]!r}; the classes there are "
            f"{shown}"
        )
    return unknown_labels(table.path, labels, classes)
