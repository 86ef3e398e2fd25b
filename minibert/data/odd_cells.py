"""Cells and rows of a table that seem to be written in another way than the file is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from minibert.data.delimited import NO_COLUMNS, Table, folded, is_spaced
from minibert.data.json_lines import JsonTable
from minibert.data.labels import leave_out
from minibert.data.quotes import held_note, looks_quoted, quote_note, rows_held
from minibert.data.reading import NUMBER, parse_score
from minibert.errors import shown

USUAL_NAMES = ("text", "sentence", "content", "message", "review", "label", "class", "category", "target", "sentiment")
MANY = 20  # different numbers, from which on labels are taken for scores
_NAME = re.compile(r"[^\W\d][\w.#-]*( [\w.#-]+)?")  # of a column, as most are called


def odd_cells(table: Table, columns: Sequence[str], label: str) -> list[str]:
    """Notes about cells that seem to be written in another way than the file is read; columns: those that are read,
    label: that of the label."""
    notes = []
    if isinstance(table, JsonTable):  # its quotes are not to be mistaken
        return notes
    for column in columns:
        if column not in table.columns:
            continue
        cells, where = table.column(column), f"{table.path.name}, column {column!r}"
        odd, told = _odd_quotes(cells, column == label, table.form.quoting)
        if odd:
            first = f"line {table.lines[odd[0]]}: {shown(cells[odd[0]])}"
            notes.append(f"{where}: {len(odd)} of {len(cells)} cells {told} ({first})")
        else:
            notes += quote_note(where, cells, table.lines)
    return [*notes, *_odd_rows(table, label)]


def _odd_quotes(cells: list[str], is_label: bool, quoting: str) -> tuple[list[int], str]:
    """The numbers of the cells whose double quotes are a part of them, and a note on it."""
    if quoting == "none":
        odd = [i for i, cell in enumerate(cells) if looks_quoted(cell.strip())]
        if odd:
            return odd, "look quoted; the quotes are read as a part of them. If they enclose fields: --quoting csv"
    if is_label:
        odd = [i for i, cell in enumerate(cells) if '"' in cell]
        return odd, "hold a double quote, which is read as a part of the label"
    odd = [i for i, cell in enumerate(cells) if quoting == "csv" and is_spaced(cell)]
    return odd, "begin with a space and a double quote, which are read as a part of them"


def _odd_rows(table: Table, label: str) -> list[str]:
    """Notes on rows that look like the header, and on cells that hold rows."""
    header, name, notes = folded(table.columns), table.path.name, []
    again = [i for i, row in enumerate(table.rows) if folded(row[:1]) == header[:1] and folded(row) == header]
    if again:
        lines = f"line {table.lines[again[0]]}" + (", …" if len(again) > 1 else "")
        told = f"{name}: rows that repeat the header: {len(again)} ({lines}), read as any other"
        drop = table.rows[again[0]][table.place(label)] if label in table.columns else label
        notes.append(f"{told}. {leave_out(drop.strip())}")
    if table.form.columns and _is_header(table, label):
        told = f"looks like a header ({', '.join(map(shown, table.rows[0]))}), and is read as a row"
        notes.append(f"{name}, line {table.lines[0]} {told}. If it is one, {NO_COLUMNS}")
    place = table.place(label) if label in table.columns else None
    labels = set() if place is None else {row[place] for row in table.rows}
    are_scores = len(labels) > MANY and all(parse_score(cell) is not None for cell in labels)
    is_label = NUMBER.fullmatch if are_scores else labels.__contains__
    for row, line in zip(table.rows, table.lines, strict=True):
        held, lines = rows_held(row, table.form.delimiter, place, is_label)
        if held:
            notes.append(held_note(name, line, held, lines))
            break
    return notes


def _is_header(table: Table, label: str) -> bool:
    """Whether the first row of a file without header looks like one: words, among them a label that no other row has,
    which is a usual name of such a column."""
    first = table.rows[0]
    if label not in table.columns or not all(_NAME.fullmatch(cell.strip()) for cell in first):
        return False
    labels = [cell.strip() for cell in table.column(label)]
    usual = (*USUAL_NAMES, *folded(table.columns))
    return labels.count(labels[0]) == 1 and any(name in usual for name in folded(first))
