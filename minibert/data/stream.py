"""The rows of a file one by one, in memory that does not grow with the file: for tables of any length.

A `Stream` is what `open_stream` makes of a delimited file or of JSON Lines (see delimited.py and json_lines.py, whose
rules and errors hold); the rows are checked as they come.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from minibert.data.delimited import ENCODING_ADVICE, NO_COLUMNS, Format, Header, folded, scan_lines
from minibert.data.json_lines import JsonTable, cell, is_json_lines, json_objects
from minibert.data.reading import stream_lines
from minibert.errors import InputError, list_some, shown

STANDARD_INPUT = "standard input"


class Row(NamedTuple):
    """values: as many as there are columns, strings (of JSON Lines also booleans, None, lists, objects); line: where
    the row begins. text: the object as the file writes it; others: its keys that are no columns."""

    line: int
    values: list
    text: str = ""
    others: tuple[str, ...] = ()


@dataclass
class Stream:
    """A table that is being read. columns: as the file writes them. notes: what was taken for what."""

    name: str
    columns: tuple[str, ...]
    header: Header
    rows: Iterator[Row]
    notes: tuple[str, ...] = ()
    is_json: bool = False

    def cells(self, row: Row) -> list[str]:
        """The row as strings. Raises InputError: nested values, or keys that are no columns."""
        if not self.is_json:
            return row.values
        if row.others:
            raise InputError(
                f"{self.name}, line {row.line}: the object has the keys {list_some(map(shown, row.others))}, which the "
                "first object does not have, so they have no column; write JSON Lines (a name that ends in .jsonl)"
            )
        return [cell(value, self.name, row.line, key) for value, key in zip(row.values, self.columns, strict=True)]

    def text(self, row: Row, place: int) -> str:
        """The cell of a row in the column of that number. Raises InputError for a nested value."""
        return cell(row.values[place], self.name, row.line, self.columns[place])


@contextmanager
def open_input(path: str) -> Iterator[tuple[BinaryIO, str]]:
    """A file for reading, and what to call it; "-" is standard input. Raises InputError."""
    if path == "-":
        if sys.stdin is None:
            raise InputError("there is no standard input")
        yield sys.stdin.buffer, STANDARD_INPUT
        return
    if Path(path).is_dir():
        raise InputError(f"--data {path} is a folder; give the file whose rows are to be labelled")
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        yield file, path


def open_stream(file: BinaryIO, name: str, form: Format) -> Stream:
    """The rows of an open file called name: JSON Lines if its name says so, or if it is standard input and begins with
    an object; else a delimited file of that form. Raises InputError, here or with the row where it stands."""
    lines = _checked_reads(name, stream_lines(file, name, form.encoding, ENCODING_ADVICE))
    begin = []
    for line in lines:
        begin.append(line)
        if line.strip():
            break
    lines = chain(begin, lines)
    looks_like_json = bool(begin) and begin[-1].lstrip()[:1] == "{"
    if is_json_lines(name) or (name == STANDARD_INPUT and form.delimiter is None and looks_like_json):
        return _json_stream(name, lines, form)
    columns, header, numbered, notes = scan_lines(Path(name), lines, form)
    if form.columns:
        first = list(islice(numbered, 1))
        numbered, notes = chain(first, numbered), (*notes, *_header_notes(name, form.columns, first))
    return Stream(name, columns, header, (Row(line, values) for line, values in numbered), notes)


def _header_notes(name: str, columns: tuple[str, ...], first: list[tuple[int, list[str]]]) -> list[str]:
    """A note if the first row, of a file that is to have no header, has the name of a column in its place."""
    return [
        f"{name}, line {line} looks like a header ({', '.join(map(shown, row))}), and is labelled as a row. If it is "
        f"one, {NO_COLUMNS}"
        for line, row in first
        if any(cell == column for cell, column in zip(folded(row), folded(columns), strict=False))
    ]


def _checked_reads(name: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines. An OSError, of a disk or a network, becomes an InputError about the input: whoever takes the lines
    may have an output open, whose errors are OSErrors, too."""
    try:
        yield from lines
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"{name} cannot be read: {error.strerror or error}")


def _json_stream(name: str, lines: Iterator[str], form: Format) -> Stream:
    """The columns are the keys of the first object."""
    objects = json_objects(name, lines)
    first = list(islice(objects, 1))
    columns = tuple(first[0][1])
    known = set(columns)
    if not columns:
        raise InputError(f"{name}, line {first[0][0]}: the object has no keys")

    def rows() -> Iterator[Row]:
        for line, value, text in chain(first, objects):
            others = tuple(key for key in value if key not in known)
            yield Row(line, [value.get(key) for key in columns], text, others)

    return Stream(name, columns, JsonTable(Path(name), columns, form, [], []), rows(), (), True)
