"""Cells that hold any number of labels: "rude|spam", "rude", and an empty one for none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.data.labels import LabelColumn
from minibert.errors import InputError, list_some, shown


def split_cell(cell: str, separator: str | None) -> list[str]:
    """The labels of a cell, without spaces around them; without a separator the cell is the label."""
    return [cell.strip()] if separator is None else [part.strip() for part in cell.split(separator) if part.strip()]


@dataclass(frozen=True)
class LabelSets(LabelColumn):
    """The labels of all cells of a file, end to end, each with its line; and row (n,), the number of its cell among the
    n_rows cells."""

    row: list[int]
    n_rows: int

    def numbers(self, classes: tuple[str, ...]) -> np.ndarray:
        """Which labels a row has.   -> (N, C) int64, 0 and 1; labels that are no class are left out"""
        place = {name: i for i, name in enumerate(classes)}
        known = [(row, place[label]) for row, label in zip(self.row, self.labels, strict=True) if label in place]
        found = np.zeros((self.n_rows, len(classes)), np.int64)
        if known:
            found[tuple(zip(*known, strict=True))] = 1
        return found

    def unknown(self, classes: tuple[str, ...]) -> list[str]:
        """A note if labels are none of the classes. Raises InputError if none of them is one."""
        strange = [(row, label) for row, label in zip(self.row, self.labels, strict=True) if label not in classes]
        if not strange:
            return []
        rows, names = {row for row, _ in strange}, list_some(map(shown, dict.fromkeys(label for _, label in strange)))
        if len(strange) == len(self.labels):
            raise InputError(
                f"{self.path}: no row has one of the labels that the task was trained on "
                f"({list_some(map(shown, classes))}), found {names}. Is this the label column?"
            )
        return [
            f"{self.path.name}: {len(rows)} of {self.n_rows} rows have labels that the task does not know ({names}): "
            "they are left out, and the rows are scored by their other labels"
        ]


def read_sets(
    path: Path, column: str, cells: list[str], lines: list[int], separator: str, notes: list[str]
) -> LabelSets:
    """The labels of cells (N), which stand on these lines. Adds notes on what is left out or looks odd."""
    labels, where, rows, again, empty = [], [], [], [], []
    for row, (cell, line) in enumerate(zip(cells, lines, strict=True)):
        parts = split_cell(cell, separator)
        different = list(dict.fromkeys(parts))
        again += [line] * (len(different) < len(parts))
        empty += [line] * bool(cell.strip() and len(parts) <= cell.count(separator))
        labels += different
        where += [line] * len(different)
        rows += [row] * len(different)
    for found, told in ((again, "name a label twice; it counts once"), (empty, "have nothing between two separators")):
        if found:
            notes.append(f"{path.name}: {len(found)} of {len(cells)} label cells {told} (first on line {found[0]})")
    if not any(separator in cell for cell in cells):
        notes.append(f"{path.name}: no label cell has the separator {shown(separator)}: no row has two labels")
    return LabelSets(path, column, labels, where, rows, len(cells))
