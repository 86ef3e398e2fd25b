"""Texts that seem to stand in quotes, where a file is read as one whose quotes enclose nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from minibert.data.reading import text_lines
from minibert.errors import shown

_FORMULA = re.compile('="[^"]*"')  # how spreadsheets write a text that looks like a number
OTHER_QUOTES = ("''", "``", "‘’", "’’", "“”", "””", "„“", "„”", "«»", "»«")  # than csv's
_OPENING = frozenset(pair[0] for pair in OTHER_QUOTES)
MOST = 0.5  # of the cells: quotes around that many are no quotations


def looks_quoted(cell: str) -> bool:
    """Whether a cell is written as a quoted field: in double quotes, those inside doubled."""
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")


def quoted_cells(cells: Sequence[str]) -> tuple[list[int], str]:
    """The numbers of the cells that seem to stand in quotes, and how. One is enough where its quotes cannot be those of
    a quotation, because those inside are doubled or `=` stands before; else it must be most of two or more cells."""
    odd = [i for i, cell in enumerate(cells) if '"' in cell and looks_quoted(cell.strip())]
    if _are_most(odd, cells) or any(_has_doubled(cells[i].strip()) for i in odd):
        return odd, "look quoted"
    odd = [i for i, cell in enumerate(cells) if cell[:1] == "=" and _FORMULA.fullmatch(cell.strip())]
    if odd:
        return odd, 'are written as a spreadsheet\'s formula, ="…"'
    odd = [
        i
        for i, cell in enumerate(cells)
        if cell[:1] in _OPENING and len(cell) > 1 and cell[0] + cell[-1] in OTHER_QUOTES
    ]
    return (odd, "stand in single or typographic quotes") if _are_most(odd, cells) else ([], "")


def quote_note(where: str, cells: Sequence[str], lines: Sequence[int] | None = None, what: str = "cells") -> list[str]:
    """A note if cells of a column, called where, seem to stand in quotes. lines: on which they stand."""
    odd, how = quoted_cells(cells)
    if not odd:
        return []
    first = shown(cells[odd[0]])
    first = first if lines is None else f"line {lines[odd[0]]}: {first}"
    return [f"{where}: {len(odd)} of {len(cells)} {what} {how}; the quotes are read as a part of them ({first})"]


def rows_held(row: list[str], delimiter: str, place: int | None, is_label: Callable[[str], object]) -> tuple[int, int]:
    """How many lines of a row with line ends in a cell look like rows of their own, if most do; and of how many it is.

    Such a line has as many fields as the row, and, where the column of the label is known (place), a label there; where
    it is not, three lines or more must look so, and all that are whole.
    """
    for i, cell in enumerate(row):
        if "\n" not in cell and "\r" not in cell:
            continue
        first, *inner, last = text_lines(f"{cell}.")  # with a last line also where the cell ends in a line end
        other = [line.split(delimiter) for line in inner if line.count(delimiter) == len(row) - 1]
        if place is not None and place >= i:  # the label stands on the first line, or the line is no row
            other.append([*row[:i], *first.split(delimiter)])
        elif place is not None:
            other.append([*last[:-1].split(delimiter), *row[i + 1 :]])
        held = sum(place is None or bool(is_label(cells[place])) for cells in other if len(cells) == len(row) > 1)
        n = len(inner) + (place is not None)
        if held > MOST * n if place is not None else held == n > 2:
            return held, len(inner) + 2
    return 0, 0


def held_note(name: str, line: int, held: int, lines: int) -> str:
    """The note about a row, of that many lines from that one on, in a cell of which rows are held."""
    told = f"spans {lines} lines, and {held} of them could be rows: is a quote not closed there?"
    return f"{name}: the row that begins on line {line} {told}"


def _are_most(odd: list[int], cells: Sequence[str]) -> bool:
    return len(odd) > max(1, MOST * len(cells))


def _has_doubled(cell: str) -> bool:
    return len(cell) > 4 and '""' in cell[1:-1]
