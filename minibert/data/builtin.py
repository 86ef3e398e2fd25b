"""The built-in task: short opinions, negative or positive, shipped with the package so that every lesson runs offline.

Each row also says what makes it easy or hard (its kind), so that a lesson can ask where a model fails.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from minibert.data.reading import decode, tab_rows
from minibert.data.task import Examples, Task
from minibert.errors import InputError

FILE = "opinions.tsv"
COLUMNS = ("split", "label", "kind", "text")
SPLITS = ("train", "dev", "test")
LABELS = ("negative", "positive")
KINDS = ("plain", "negation", "contrast", "irony", "mixed")


def opinions() -> Task:
    """The task "opinions": single texts, classes negative and positive, scored by accuracy.

    Raises InputError if the package's file is missing or damaged, naming the line.
    """
    rows = _rows()
    train, dev, test = (_examples([row for row in rows if row[0] == split]) for split in SPLITS)
    return Task("opinions", "classify", LABELS, ("accuracy",), train, {"dev": dev}, test)


def opinion_kinds() -> dict[str, list[str]]:
    """The kind of every row by split, in the row order of `opinions()`: {"train": […], "dev": […], "test": […]}."""
    rows = _rows()
    return {split: [row[2] for row in rows if row[0] == split] for split in SPLITS}


def _examples(rows: list[list[str]]) -> Examples:
    labels = np.array([LABELS.index(row[1]) for row in rows], np.int64)
    return Examples([row[3] for row in rows], None, labels)


def _raw() -> bytes:
    try:
        return resources.files(__package__).joinpath(FILE).read_bytes()
    except OSError:
        raise InputError(f"{FILE} is missing from the installed package; install minibert again") from None


def _rows() -> list[list[str]]:
    numbered = tab_rows(decode(_raw(), FILE, advice="Install minibert again"))
    _, header = next(numbered)
    if tuple(header) != COLUMNS:
        raise InputError(f"{FILE}, line 1: expected the columns {', '.join(COLUMNS)}; found {', '.join(header)}")
    rows = []
    for number, row in numbered:
        if len(row) != len(COLUMNS):
            raise InputError(f"{FILE}, line {number}: expected {len(COLUMNS)} columns, found {len(row)}")
        for column, value, known in zip(COLUMNS, row, (SPLITS, LABELS, KINDS), strict=False):
            if value not in known:
                raise InputError(f"{FILE}, line {number}: {column} must be one of {', '.join(known)}; found {value!r}")
        rows.append(row)
    return rows
