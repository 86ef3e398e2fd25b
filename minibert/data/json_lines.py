"""A file with one JSON object a line (JSON Lines, NDJSON) as columns of strings: the keys are the columns.

Numbers and booleans are read as the file writes them (3, 1.50, true), null and NaN as an empty cell. So is a key that
an object does not have. Lists and objects are kept in columns that nobody asks for, and refused in those that are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minibert.data.delimited import ENCODING_ADVICE, Format, Table
from minibert.data.encodings import misread_notes
from minibert.data.folder import JSON_ENDINGS
from minibert.data.reading import LINE, read_text
from minibert.errors import InputError, shown
from minibert.json_values import parse_json

ONE_A_LINE = "a file of JSON Lines has one object a line"


def is_json_lines(path: Path | str) -> bool:
    """Whether a file's name says that it holds one JSON object a line."""
    return Path(path).suffix.lower() in JSON_ENDINGS


def _constant(name: str) -> None:
    """What Python, but no JSON, writes for a number that is missing (NaN) or too large."""
    if name != "NaN":
        raise InputError(f"{name} is no number of JSON")


def json_objects(path: Path | str, lines: Iterable[str]) -> Iterator[tuple[int, dict, str]]:
    """The line, the object and the text of every line that is not blank. Raises InputError: not an object, or none."""
    found = False
    for number, line in enumerate(lines, 1):
        text = line.strip(" \t\r\n")
        if not text:
            continue
        try:
            value = parse_json(text, str(path), number, parse_int=str, parse_float=str, parse_constant=_constant)
        except InputError as error:
            told = str(error).removeprefix(f"{path}, line {number}: ").removeprefix(f"{path}: ")
            raise InputError(f"{path}, line {number}: {told}; {ONE_A_LINE}") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}, line {number}: expected an object, got {shown(value)}; {ONE_A_LINE}")
        found = True
        yield number, value, text
    if not found:
        raise InputError(f"{path}: there is no object; {ONE_A_LINE}")


def cell(value, path: Path | str, line: int, column: str) -> str:
    """A value as a cell. Raises InputError, naming the place, for a list or an object."""
    if isinstance(value, (dict, list)):
        kind = "an object" if isinstance(value, dict) else "a list"
        where = f"{path}, line {line}, {shown(column)}"
        raise InputError(f"{where}: expected a text, a number, true, false or null, got {kind} ({shown(value)})")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _joined(value, path: Path, line: int, column: str, separator: str):
    """A list of strings as the cell of several labels that a delimited file would have; another value as it is."""
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        return value
    if any(separator in label for label in value):
        where = f"{path}, line {line}, {shown(column)}"
        raise InputError(f"{where}: a label of {shown(value)} holds {shown(separator)}: give another --label-separator")
    return separator.join(value)


@dataclass(frozen=True)
class JsonTable(Table):
    """A table whose rows hold the values of objects; a column's cells are made when it is asked for. lists: {column:
    what separates labels}, columns in which a list of strings is a cell, too."""

    lists: dict[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        """The cells of one column. Raises InputError as `place` does, and naming the line of a nested value."""
        place = self.place(name)
        values = [(row[place], self.path, line, name) for row, line in zip(self.rows, self.lines, strict=True)]
        if name in self.lists:
            values = [(_joined(*value, self.lists[name]), *value[1:]) for value in values]
        return [cell(*value) for value in values]

    def _advice(self, name: str) -> str:
        return "They are the keys of the objects in it"


def read_json_lines(path: Path, form: Format, lists: dict[str, str] | None = None) -> JsonTable:
    """Read one file; the columns are the keys of all its objects, in the order they first appear. form: its encoding;
    lists as in `JsonTable`. Raises InputError as `json_objects`, and as `read_text`."""
    text = read_text(path, form.encoding, form.advice or ENCODING_ADVICE)
    found = list(json_objects(path, (match[0] for match in LINE.finditer(text))))
    columns = tuple(dict.fromkeys(key for _, value, _ in found for key in value))
    if not columns:
        raise InputError(f"{path}: the objects have no keys")
    rows = [[value.get(column) for column in columns] for _, value, _ in found]
    notes = misread_notes(Path(path).name, text, form.encoding)
    return JsonTable(Path(path), columns, form, rows, [line for line, _, _ in found], notes, lists=lists or {})
