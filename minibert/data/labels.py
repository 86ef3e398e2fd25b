"""Class names as people write them: counts, spellings of one name, and what stands for a name that is missing."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import combinations
from pathlib import Path
from subprocess import list2cmdline

import numpy as np

from minibert.data.reading import NUMBER
from minibert.data.task import Task, class_numbers, unknown_labels
from minibert.errors import InputError, counted, cut, quoted, shown

MOST_GROUPS = 5  # notes about spellings
LONGEST_NUMBER = 400  # characters; a longer row of digits is no class number
SHOWN = 5  # classes that are listed from each end of many
MISSING = {
    *("", "-", "--", "---", ".", "..", "...", "?", "??", "_", "__", "nan", "-nan", "nat", "na", "n/a", "n.a.", "#n/a"),
    *("#n/a n/a", "<na>", "<null>", "none", "null", "nil", "\\n", "missing", "undefined", "unlabeled", "unlabelled"),
    *("#value!", "#ref!", "#name?", "#div/0!", "#null!", "#num!"),
}  # as pandas, R, SQL, spreadsheets, SNLI and GLUE write a value that is not there; folded (see `fold`)
MISSING_NUMBERS = {-1, -9, -99, -999, -100}  # -100: what PyTorch's loss leaves out

_QUOTES = "\"'`“”„‘’‚«»‹›"
# Characters that look like others: dashes, apostrophes, Cyrillic and Greek letters.
_TWINS = str.maketrans(
    dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("‘’´", "'")
    | dict(zip("аеорсухіјѕһАВЕКМНОРСТУХІЈЅ", "aeopcyxijshABEKMHOPCTYXIJS", strict=True))
    | dict(zip("οΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "oABEZHIKMNOPTYX", strict=True))
    | dict(zip("кмтвгԁԛԝӏıνι", "kmtbrdqwlivi", strict=True))
)
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def _without_unseen(label: str) -> str:
    """Without characters that are not shown: zero-width ones, direction marks, soft hyphens, variation selectors."""
    seen = (c for c in label if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
    return _UNSEEN.sub("", "".join(seen))


_DIGIT = re.compile(r"[^\W_](?<=\d)(?<![0-9])")  # of another script


def _plain_digit(match: re.Match) -> str:
    return str(unicodedata.decimal(match[0]))


# What does not make another name of a label, by what one would call the difference.
DIFFERENCES = {
    "characters that are not seen": _without_unseen,
    "spaces": lambda label: " ".join(label.split()),
    "the form of characters": lambda label: _DIGIT.sub(_plain_digit, unicodedata.normalize("NFKC", label)).translate(
        _TWINS
    ),
    "quotes": lambda label: label.strip(_QUOTES),
    "upper and lower case": lambda label: label.replace("İ", "i").casefold(),  # else it would be an i with two dots
}


def fold(label: str, differences: Iterable[str] = DIFFERENCES) -> str:
    """The label without these differences: equal for two spellings of one name."""
    for name in differences:
        label = DIFFERENCES[name](label)
    return label.strip()


def number_of(label: str) -> Decimal | None:
    """The number that a label spells, exactly; None if it spells none."""
    label = fold(label)
    try:
        return Decimal(label) if len(label) < LONGEST_NUMBER and NUMBER.fullmatch(label) else None
    except InvalidOperation:
        return None


@dataclass(frozen=True)
class LabelColumn:
    """The label cells (N) of a file, without spaces around them, and the lines they stand on."""

    path: Path
    name: str
    labels: list[str]
    lines: list[int]

    @cached_property
    def counts(self) -> Counter[str]:
        """{label: rows}."""
        return Counter(self.labels)

    @cached_property
    def first(self) -> dict[str, int]:
        """{label: the first line that has it}."""
        found: dict[str, int] = {}
        for label, line in zip(self.labels, self.lines, strict=True):
            found.setdefault(label, line)
        return found

    def numbers(self, classes: tuple[str, ...]) -> np.ndarray:
        """See `class_numbers`."""
        return class_numbers(self.labels, classes)

    def unknown(self, classes: tuple[str, ...]) -> list[str]:
        """See `unknown_labels`."""
        return unknown_labels(self.path, self.labels, classes)

    def check_numbers(self) -> None:
        """Raise InputError if two labels are the same number: 1 and 1.0, 7 and 07."""
        for same in _grouped(self.counts, number_of):
            rows = {name: f"{counted(self.counts[name], 'row')}, first on line {self.first[name]}" for name in same}
            told = [f"{escaped(name)} ({where})" for name, where in rows.items()]
            raise InputError(
                f"{self.path}: the labels {' and '.join(told[:4])} are the same number. Write a class in one way; if "
                "they are different classes, give them names that are not numbers"
            )

    def notes(self) -> list[str]:
        """Sentences about labels that differ only in their spelling, and about those that stand for a missing one."""
        groups = _grouped(self.counts, fold)
        notes = [self._spellings(group) for group in groups[:MOST_GROUPS]]
        if len(groups) > MOST_GROUPS:
            notes.append(f"{self.path.name}: {len(groups) - MOST_GROUPS} more names are spelled in several ways")
        return notes + self._missing()

    def _spellings(self, group: list[str]) -> str:
        difference = _difference(group)
        show = shown if difference == "upper and lower case" else escaped
        told = " and ".join(f"{show(name)} ({self.counts[name]})" for name in group)
        return (
            f"{self.path.name}: labels {told} differ only in {difference}; they are {len(group)} classes here. "
            "If they are one class, write it in one way"
        )

    def _missing(self) -> list[str]:
        plus_and_minus = {number_of(label) for label in self.counts} == {Decimal(1), Decimal(-1)}
        notes = []
        for label, n in self.counts.items():
            if is_missing(label) and not plus_and_minus:
                has = f"{counted(n, 'row')} {'has' if n == 1 else 'have'}"
                notes.append(
                    f"{self.path.name}: {has} the label {escaped(label)}, which "
                    f"often stands for a missing one; it is a class here. {leave_out(label)}"
                )
        return notes


def is_missing(label: str) -> bool:
    """Whether a label often stands for one that is not there."""
    return fold(label) in MISSING or number_of(label) in MISSING_NUMBERS


def leave_out(label: str) -> str:
    """Advice: the option that drops the rows with this label."""
    if not label.isprintable() or label != cut(label):
        return "To leave such rows out, take them out of the file"
    return f"To leave such rows out: --drop-label={_for_the_shell(label)}"


def _for_the_shell(label: str) -> str:
    """The label as one types it; cmd.exe knows no single quotes."""
    quote = list2cmdline if os.name == "nt" else shlex.join
    return quote([label]) if label else ""


class Spellings:
    """The names of classes, to be found in whatever way they are spelled."""

    def __init__(self, classes: Iterable[str]):
        classes = tuple(classes)
        self._names = {key: name for name in classes for key in (number_of(name), fold(name)) if key is not None}
        self._names |= {name: name for name in classes}

    def find(self, label: str) -> str | None:
        """The class with that name, or else one that is another spelling of it; None if there is none."""
        keys = (key for key in (label, fold(label), number_of(label)) if key in self._names)
        return next((self._names[key] for key in keys), None)


def _grouped(labels: Iterable[str], key) -> list[list[str]]:
    """The labels whose keys are equal, in groups of two or more; those whose key is None belong to no group."""
    groups = defaultdict(list)
    for label in labels:
        groups[key(label)].append(label)
    groups.pop(None, None)
    return [group for group in groups.values() if len(group) > 1]


def _difference(group: list[str]) -> str:
    for n in range(1, len(DIFFERENCES) + 1):
        for names in combinations(DIFFERENCES, n):
            if len({fold(label, names) for label in group}) == 1:
                return " and ".join(names)
    return "their spelling"


def show(label: str) -> str:
    """A label as one reads it in a list: cut if it is long, in quotes if it has a comma, and with escapes where there
    would be nothing to see."""
    if "," not in label and label.isprintable() and label == fold(label, ["characters that are not seen"]):
        return cut(label)
    return escaped(label)


def escaped(label: str) -> str:
    """A label in quotes, cut if it is long, and with escapes for all that might look like something else."""
    return quoted(label, ascii)


def class_counts(task: Task) -> list[str]:
    """What to print of a task's classes: a line with the training rows of each (of many the first and the last), and
    one for each other split that has no row of some class. Nothing for a task without classes."""
    if not task.labels:
        return []

    def count(labels: np.ndarray) -> np.ndarray:
        if task.label_shape:
            return labels.sum(axis=0)
        return np.bincount(labels[labels >= 0], minlength=len(task.labels))

    told = [f"{show(name)} ({n})" for name, n in zip(task.labels, count(task.train.labels), strict=True)]
    many = len(told) > 2 * SHOWN
    kind = "labels" if task.label_shape else "classes"
    lines = [f"{len(told)} {kind}: {_ends(told)}" if many else f"{kind}: {', '.join(told)}"]
    if task.label_shape:
        none, per_row = int((~task.train.labels.any(axis=1)).sum()), float(task.train.labels.sum(axis=1).mean())
        lines.append(f"labels of a training row: {per_row:.2f} on average; {none} of {len(task.train)} rows have none")
    splits = {"train": task.train, **task.dev, "test": task.test}
    for split, examples in splits.items():
        if examples is None or examples.labels is None:
            continue
        lacking = [show(task.labels[i]) for i in np.flatnonzero(count(examples.labels) == 0)]
        if lacking:
            lines.append(f"note: {split} has no row of {len(lacking)} of {len(told)} {kind}: {_ends(lacking)}")
    return lines


def _ends(names: list[str]) -> str:
    if len(names) > 2 * SHOWN:
        names = [*names[:SHOWN], "…", *names[-SHOWN:]]
    return ", ".join(names)
