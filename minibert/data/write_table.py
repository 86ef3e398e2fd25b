"""Writing the rows of a `Stream` again, with columns added to them: as CSV or TSV, or as JSON Lines.

What was read is written as it was: cells of delimited files as they are, objects letter for letter, with keys added at
their end. The encoding is UTF-8.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

from minibert.data.delimited import Format
from minibert.data.json_lines import is_json_lines
from minibert.data.stream import Row, Stream
from minibert.errors import InputError, list_some, shown

LABEL_SEPARATOR = "|"  # as `predict` prints several labels; for tasks whose data were read with no other
_BREAKS = "\r\n"


class DelimitedWriter:
    """Rows of a delimited file, with a header line. form: with delimiter and quoting; "none" writes cells as they are.
    separator: stands between several labels of one row.

    Where fields are enclosed, they are if they hold the delimiter, a quote or a line end, as RFC 4180 says.
    """

    def __init__(self, file: TextIO, stream: Stream, added: tuple[str, ...], form: Format, separator: str):
        self._stream, self._form, self._separator = stream, form, separator
        # The writer makes lines that end in "\r\n", so that it encloses fields with either of the two; a line of
        # the file ends in "\n".
        lines = SimpleNamespace(write=lambda line: file.write(f"{line[:-2]}\n"))
        self._write = csv.writer(lines, delimiter=form.delimiter).writerow
        if form.quoting == "none":
            self._write = lambda cells: file.write(f"{form.delimiter.join(map(self._checked, cells))}\n")
        self._write([*stream.columns, *added])

    def write(self, row: Row, added: list) -> None:
        """One row, with the values of the added columns."""
        cells = [*self._stream.cells(row), *(_as_cell(value, self._separator) for value in added)]
        if any("\0" in cell for cell in cells):  # of an object: a delimited file with one is not read
            told = "a NUL character cannot be written as CSV or TSV; give --out a name that ends in .jsonl"
            raise InputError(f"{self._stream.name}, line {row.line}: {told}")
        self._write(cells)

    def _checked(self, cell: str) -> str:
        if any(character in cell for character in (self._form.delimiter, *_BREAKS)):
            told = "quotes enclose no fields in this file, so a cell cannot hold the delimiter or a line end"
            raise InputError(f"{shown(cell)} cannot be written: {told}; give --out a name that ends in .csv or .jsonl")
        return cell


class JsonWriter:
    """One object a line. Raises InputError: two columns with one name, or an object that has an added key already."""

    def __init__(self, file: TextIO, stream: Stream, added: tuple[str, ...]):
        self._file, self._stream, self._added = file, stream, added
        twice = sorted({name for name in stream.columns if stream.columns.count(name) > 1})
        if twice:
            raise InputError(
                f"{stream.name}: an object cannot have a key twice, and there are several columns called "
                f"{list_some(map(shown, twice))}: write CSV, or rename them"
            )

    def write(self, row: Row, added: list) -> None:
        """One row, with the values of the added keys."""
        more = dict(zip(self._added, added, strict=True))
        if not self._stream.is_json:
            cells = dict(zip(self._stream.columns, row.values, strict=True))
            self._file.write(f"{json.dumps(cells | more, ensure_ascii=False)}\n")
            return
        clash = [key for key in row.others if key in more]
        if clash:
            check_names(f"{self._stream.name}, line {row.line}", row.others, self._added)
        begin = row.text[:-1].rstrip()
        self._file.write(f"{begin}{'' if begin == '{' else ', '}{json.dumps(more, ensure_ascii=False)[1:]}\n")


def open_writer(
    file: TextIO, out: str, stream: Stream, added: tuple[str, ...], separator: str = LABEL_SEPARATOR
) -> DelimitedWriter | JsonWriter:
    """The writer for the file called out ("-": standard output), which file is; added: names of the new columns;
    separator: what stands between several labels in a cell."""
    form = output_form(out, stream)
    return JsonWriter(file, stream, added) if form is None else DelimitedWriter(file, stream, added, form, separator)


def output_form(out: str, stream: Stream) -> Format | None:
    """How a file of that name is written, None being JSON Lines: .csv, .tsv, .jsonl by name, else as the input is."""
    ending = Path(out).suffix.lower()
    if is_json_lines(out) or (stream.is_json and ending not in (".csv", ".tsv")):
        return None
    read = stream.header.form
    delimiter = {".csv": ",", ".tsv": "\t"}.get(ending, read.delimiter)
    same = not stream.is_json and delimiter == read.delimiter
    return Format(delimiter, quoting=read.quoting if same else "csv")


def check_names(where: str, there: tuple[str, ...], added: tuple[str, ...]) -> None:
    """Raise InputError if a column that would be added is there already."""
    taken = {name.strip() for name in there}
    clash = [name for name in added if name in taken]
    if clash:
        several = "columns are" if len(clash) > 1 else "column is"
        raise InputError(
            f"{where}: the {several} there already: {list_some(map(shown, clash))}. Give --prefix TEXT: what the names "
            "of the added columns begin with"
        )


def _as_cell(value, separator: str) -> str:
    """A value of an answer as text; nothing where there is none."""
    if isinstance(value, list):  # several labels
        return separator.join(value)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
