"""A delimited text file (CSV, TSV) as columns of strings, with the line on which each row begins."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minibert.config import InputError
from minibert.data.reading import read_text

QUOTINGS = ("csv", "none")
LONGEST_FIELD = 2**24  # characters; csv's own limit (131,072) is less than a long document
_SPOKEN = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}  # a tab is hard to type in a shell


@dataclass(frozen=True)
class Format:
    """How a file is written. None means: decide by the file's name and first line (see `read_delimited`).

    quoting "csv": double quotes enclose fields that hold the delimiter or line breaks; "none": quotes are ordinary
    characters. columns: the names of the columns of a file that has no header line.
    Raises InputError for a delimiter that is not one character, an unknown quoting, or column names that repeat.
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    columns: Sequence[str] | None = None
    quoting: str | None = None

    def __post_init__(self):
        delimiter = _SPOKEN.get(self.delimiter, self.delimiter)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise InputError(f"the delimiter must be one character (or the word tab), got {self.delimiter!r}")
        object.__setattr__(self, "delimiter", delimiter)
        if self.quoting is not None and self.quoting not in QUOTINGS:
            raise InputError(f"quoting must be one of {', '.join(QUOTINGS)}; got {self.quoting!r}")
        if self.columns is not None:
            names = self.columns.split(",") if isinstance(self.columns, str) else self.columns
            names = tuple(name.strip() for name in names)
            if not names or "" in names or len(set(names)) != len(names):
                raise InputError(f"--columns must give different names, as in label,text; got {self.columns!r}")
            object.__setattr__(self, "columns", names)


@dataclass(frozen=True)
class Table:
    """What a file holds: rows of as many cells as there are columns, and the line on which each row begins."""

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """The cells of one column. Raises InputError as `place` does."""
        place = self.place(name)
        return [row[place] for row in self.rows]

    def place(self, name: str) -> int:
        """The number of a column. Raises InputError listing the columns if it is not there, or is there twice."""
        if self.columns.count(name) == 1:
            return self.columns.index(name)
        if name in self.columns:
            raise InputError(f"{self.path}: {self.columns.count(name)} columns are called {name!r}; rename one")
        there = ", ".join(repr(column[:60]) for column in self.columns)
        message = f"{self.path}: there is no column {name!r}; the columns are {there}. "
        if len(self.columns) == 1:
            message += (
                f"With one column only, {_spell(self.delimiter)} is likely not what separates them: --delimiter. "
            )
        raise InputError(message + "If the file has no header line, name its columns with --columns")


def read_delimited(path: Path, form: Format) -> Table:
    """Read one file. Blank lines are skipped; spaces around column names are dropped.

    Delimiter, if form gives none: comma for .csv, tab for .tsv, and for another ending a tab if the first line holds
    one, else a comma. Quoting, if form gives none: "none" where tabs separate, else "csv".

    Raises InputError: the file cannot be read or decoded, a row with another number of fields than the header,
    a quote that is never closed, no rows.
    """
    text = read_text(path, form.encoding)
    delimiter = form.delimiter or _guess_delimiter(path, text)
    quoting = form.quoting or ("none" if delimiter == "\t" else "csv")
    lines, rows = _parse(path, text, delimiter, quoting)
    if form.columns is None:
        header, lines, rows = tuple(cell.strip() for cell in rows[0]), lines[1:], rows[1:]
    else:
        header = form.columns
        if tuple(cell.strip() for cell in rows[0]) == header:
            raise InputError(
                f"{path}: line {lines[0]} is a header with just the names of --columns; leave out --columns"
            )
    if not rows:
        raise InputError(f"{path}: there is a header line and no row below it")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            named = "--columns names" if form.columns else "the header has"
            raise InputError(
                f"{path}, line {line}: found {_fields(len(row))}, expected {len(header)} as {named} "
                f"({_spell(delimiter)} separates, quoting is {quoting}). {_advice(quoting)}"
            )
    return Table(Path(path), header, delimiter, rows, lines)


def _guess_delimiter(path: Path, text: str) -> str:
    by_ending = {".csv": ",", ".tsv": "\t"}.get(Path(path).suffix.lower())
    return by_ending or ("\t" if "\t" in text.partition("\n")[0] else ",")


def _parse(path: Path, text: str, delimiter: str, quoting: str) -> tuple[list[int], list[list[str]]]:
    style = csv.QUOTE_MINIMAL if quoting == "csv" else csv.QUOTE_NONE
    # strict: a quote in the wrong place is an error, where the default would swallow the lines up to the next quote.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=style, strict=True)
    lines, rows, line = [], [], 1
    limit = csv.field_size_limit(LONGEST_FIELD)  # a setting of the whole process, so it is put back
    try:
        for row in reader:
            if row:
                lines.append(line)
                rows.append(row)
            line = reader.line_num + 1  # a row with quoted line breaks spans lines; an editor shows its first
    except csv.Error as error:
        raise InputError(f"{path}, in the row that begins on line {line}: {error}. {_advice(quoting)}") from None
    finally:
        csv.field_size_limit(limit)
    return lines, rows


def _advice(quoting: str) -> str:
    if quoting == "csv":
        quotes = "If quotes are ordinary characters in this file, use --quoting none"
    else:
        quotes = "If double quotes enclose fields in this file, use --quoting csv"
    return f"{quotes}; if something else separates the columns, give it with --delimiter"


def _fields(n: int) -> str:
    return "1 field" if n == 1 else f"{n} fields"


def _spell(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else repr(delimiter)
