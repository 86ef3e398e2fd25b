"""A delimited text file (CSV, TSV) as columns of strings, with the line on which each row begins."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from minibert.data.causes import KIND_ADVICE, SEPARATORS, are_numbered, kind_of, likely_cause
from minibert.data.encodings import LIKELY, misread_notes
from minibert.data.reading import BOM, LINE, read_text
from minibert.errors import InputError, counted, did_you_mean, list_some, shown

QUOTINGS = ("csv", "none")
MOST_COLUMNS = 20  # that a message lists
LONGEST_FIELD = 2**24  # characters; csv's own limit (131,072) is less than a long document
_ENDS = "\r\n"
_MARK = re.compile(r'("?)sep=([^\r\n])\1[,;\t]*(?=[\r\n])', re.IGNORECASE)  # a spreadsheet's line above the header
_SPACES = " \t\xa0"
ENCODING_ADVICE = f"Give the file's encoding with --encoding: {LIKELY}"
_SPOKEN = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}  # a tab is hard to type in a shell


class NoRows(InputError):
    """A file with a header line and nothing below it."""


@dataclass(frozen=True)
class Format:
    """How a file is written. None means: decide by the file's name and first line (see `read_delimited`).

    quoting "csv": double quotes enclose fields that hold the delimiter or line breaks; "none": quotes are ordinary
    characters. columns: the names of the columns of a file that has no header line; None or "": it has one. encoding:
    as in `reading.decode`. advice: what to do about a damaged file, where it is a known release and not described by
    the options of task csv.
    Raises InputError for a delimiter that is not one character, an unknown quoting, or column names that repeat.
    """

    delimiter: str | None = None
    encoding: str | Sequence[str] = "utf-8"
    columns: Sequence[str] | None = None
    quoting: str | None = None
    advice: str | None = None

    def __post_init__(self):
        delimiter = _SPOKEN.get(self.delimiter, self.delimiter)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise InputError(f"the delimiter must be one character (or the word tab), got {shown(self.delimiter)}")
        object.__setattr__(self, "delimiter", delimiter)
        if self.quoting is not None and self.quoting not in QUOTINGS:
            raise InputError(f"quoting must be one of {', '.join(QUOTINGS)}; got {shown(self.quoting)}")
        if self.columns == "":
            object.__setattr__(self, "columns", None)
        if self.columns is not None:
            names = self.columns.split(",") if isinstance(self.columns, str) else self.columns
            names = tuple(name.strip() for name in names)
            if not names or "" in names or len(set(names)) != len(names):
                raise InputError(f"--columns must give different names, as in label,text; got {shown(self.columns)}")
            object.__setattr__(self, "columns", names)


@dataclass(frozen=True)
class Header:
    """The names of a file's columns, and what separates them."""

    path: Path
    columns: tuple[str, ...]
    form: Format

    def place(self, name: str) -> int:
        """The number of a column. Raises InputError listing the columns if it is not there, or is there twice."""
        if self.columns.count(name) == 1:
            return self.columns.index(name)
        if name in self.columns:
            raise InputError(f"{self.path}: {self.columns.count(name)} columns are called {name!r}; rename one")
        there = list_some([shown(column) for column in self.columns], MOST_COLUMNS)
        message = f"{self.path}: there is no column {name!r}; the columns are {there}."
        alike = "" if f'"{name}"' in self.columns else did_you_mean(name, self.columns)
        raise InputError(message + (alike or f" {self.form.advice or self._advice(name)}"))

    def _advice(self, name: str) -> str:
        if f'"{name}"' in self.columns:
            return "If double quotes enclose fields in this file, use --quoting csv"
        advice = "If the file has no header line, name its columns with --columns"
        if len(self.columns) > 1:
            return advice
        separates = f"{_spell(self.form.delimiter)} is likely not what separates them"
        others = [typed for other, typed in SEPARATORS.items() if other in self.columns[0]]
        likely = f", {others[0]} is: --delimiter {others[0]}" if others else ": --delimiter"
        return f"With one column only, {separates}{likely}. {advice}"


@dataclass(frozen=True)
class Table(Header):
    """What a file holds: rows of as many cells as there are columns, and the line on which each row begins.

    notes are sentences about what was taken for what.
    """

    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> list[str]:
        """The cells of one column. Raises InputError as `place` does."""
        place = self.place(name)
        return [row[place] for row in self.rows]

    def take(self, kept: list[int]) -> Table:
        """The table with the rows of these numbers only."""
        return replace(self, rows=[self.rows[i] for i in kept], lines=[self.lines[i] for i in kept])


def read_delimited(path: Path, form: Format) -> Table:
    """Read one file. Format and errors as in `scan_delimited`.

    Spaces between a delimiter and a quoted field are dropped, with a note, if the whole file can be read so; a field
    is quoted if its quotes are closed where the field ends.
    """
    text, form, notes = _open(path, form)
    try:
        table = _table(path, text, form, notes)
    except InputError:
        spaced = _without_spaces(path, text, form, notes)
        if spaced is None:
            raise
        return spaced
    looks_spaced = any(is_spaced(cell) for row in (table.columns, *table.rows) for cell in row)
    return (looks_spaced and _without_spaces(path, text, form, notes)) or table


def scan_delimited(path: Path, form: Format) -> tuple[Header, Iterator[tuple[int, list[str]]]]:
    """The header of a file, and its rows one by one, each with the line it begins on: for files too big for a table.

    Blank lines are skipped; spaces around column names are dropped. Delimiter, if form gives none: that of a first
    line such as sep=; which spreadsheets write, else comma for .csv, tab for .tsv, and for another ending a tab if the
    first line holds one, else a comma. Quoting, if form gives none: "none" where tabs separate, else "csv".

    Raises InputError: the file cannot be read or decoded, a row with another number of fields than the header,
    a quote that is never closed, no rows, a sep= line that contradicts form.
    """
    text, form, _ = _open(path, form)
    return _scan(path, _lines_of(text), form)


def _width(path: Path, text: str, form: Format) -> int:
    """How many columns the text has as a table of that form; 0 if it is none."""
    try:
        header, rows = _scan(path, _lines_of(text), form)
        for _ in rows:
            pass
    except InputError:
        return 0
    return len(header.columns)


def scan_lines(
    path: Path, lines: Iterator[str], form: Format
) -> tuple[tuple[str, ...], Header, Iterator[tuple[int, list[str]]], tuple[str, ...]]:
    """As `scan_delimited`, of lines (with their ends) that come one by one: the names of the columns with the spaces
    around them, the header, the rows, and notes."""
    begin = ""
    for line in lines:
        begin += line
        if line.strip("\r\n"):
            break
    begin, form, notes = _settled(path, begin, form)
    names, header, rows = _named(path, chain(_lines_of(begin), lines), form)
    return names, header, rows, notes


def _open(path: Path, form: Format) -> tuple[str, Format, tuple[str, ...]]:
    """The text of a file, its format with nothing left open, and notes."""
    text, form, notes = _settled(path, read_text(path, form.encoding, form.advice or ENCODING_ADVICE), form)
    return text, form, (*misread_notes(Path(path).name, text, form.encoding), *notes)


def _settled(path: Path, text: str, form: Format) -> tuple[str, Format, tuple[str, ...]]:
    """The text, or the begin of it, without a spreadsheet's mark, its format with nothing left open, and notes."""
    kind = None if form.columns or form.advice else kind_of(text)
    if kind:
        raise InputError(f"{path} is {kind}, not a table: {KIND_ADVICE[kind]}")
    mark, notes = _MARK.match(text), ()
    delimiter = form.delimiter
    if mark:
        if delimiter not in (None, mark[2]):
            raise InputError(
                f"{path}, line 1: {shown(mark[0])} says that {_spell(mark[2])} separates, and --delimiter says "
                f"{_spell(delimiter)}. Leave out --delimiter, or delete this line"
            )
        if mark[2] == '"':
            raise InputError(f"{path}, line 1: {shown(mark[0])}: a quote cannot separate, expected one other character")
        delimiter = mark[2]
        text = text[mark.end() :]  # from the end of line 1, so that lines are counted right
        notes = (f"{Path(path).name}, line 1: {shown(mark[0])} is a spreadsheet's mark; {_spell(delimiter)} separates",)
    delimiter = delimiter or _guess_delimiter(path, text)
    form = replace(form, delimiter=delimiter, quoting=form.quoting or ("none" if delimiter == "\t" else "csv"))
    return text, form, notes


def _lines_of(text: str) -> Iterator[str]:
    """The lines with their ends, one at a time: io.StringIO would hold another copy of the file, at four bytes a
    character."""
    return (match[0] for match in LINE.finditer(text) if match[0])


def _scan(
    path: Path, lines: Iterator[str], form: Format, text: str = ""
) -> tuple[Header, Iterator[tuple[int, list[str]]]]:
    return _named(path, lines, form, text)[1:]


def _named(
    path: Path, lines: Iterator[str], form: Format, text: str = ""
) -> tuple[tuple[str, ...], Header, Iterator[tuple[int, list[str]]]]:
    """The names of the columns as they are written, the header, and the rows. text: all lines, to try other forms on
    where they are no table."""
    rows = _parse(path, lines, form, text)
    line, first, record = next(rows, (0, None, []))
    if first is None:
        raise InputError(f"{path}: there is no header line")
    record, first_names = list(record), tuple(cell.strip() for cell in first)
    if form.columns and folded(first_names) == folded(form.columns):
        but = "" if first_names == form.columns else f", written {', '.join(map(shown, first_names))}"
        named = f"its columns{but}. {form.advice}" if form.advice else f"--columns{but}; {NO_COLUMNS}"
        raise InputError(f"{path}: line {line} is a header with just the names of {named}")
    if form.columns is not None:
        rows = chain([(line, first, record)], rows)
    names = form.columns or first_names
    whole = _same_width(path, rows, len(names), form, ("".join(record), text))
    return form.columns or tuple(first), Header(Path(path), names, form), whole


NO_COLUMNS = "leave out --columns (where they come from the training: --columns=)"


def folded(names: Iterable[str]) -> tuple[str, ...]:
    """Cells as they are alike: without case, the spaces around them, and a byte-order mark."""
    return tuple(name.removeprefix(BOM).strip().casefold() for name in names)


def _table(path: Path, text: str, form: Format, notes: tuple[str, ...]) -> Table:
    header, numbered = _scan(path, _lines_of(text), form, text)
    lines, rows = map(list, zip(*numbered, strict=True))
    return Table(header.path, header.columns, header.form, rows, lines, notes)


def is_spaced(cell: str) -> bool:
    """Whether a cell begins with spaces and a double quote."""
    return '"' in cell and cell[0] != '"' and cell.lstrip(_SPACES)[0] == '"'


def _without_spaces(path: Path, text: str, form: Format, notes: tuple[str, ...]) -> Table | None:
    """The table of the text without the spaces around quoted fields; None if there are none, or it is no table."""
    if form.quoting != "csv":
        return None
    spaces = _SPACES.replace(form.delimiter, "")
    end = rf"{re.escape(form.delimiter)}|\r\n|\r|\n|\Z"
    # One field a match, quoted or not, so that no match begins inside a quoted field.
    fields = rf'(?P<before>[{spaces}]*)(?P<field>"[^"]*(?:""[^"]*)*")(?P<after>[{spaces}]*)(?P<end>{end})'
    fields += rf"|[^{re.escape(form.delimiter)}\r\n]*(?:{end})"
    found: list[str] = []

    def drop(match: re.Match) -> str:
        if not (match["before"] or match["after"]):
            return match[0]
        found.append(match[0].removesuffix(match["end"]))
        return match["field"] + match["end"]

    changed = re.sub(fields, drop, text)
    if not found:
        return None
    note = f"{Path(path).name}: spaces around {len(found)} quoted fields are dropped, as around {shown(found[0])}"
    broken = sum("\n" in cell or "\r" in cell for cell in found)
    if broken:  # read otherwise, each would be several rows
        note += f"; {broken} of them hold line breaks"
    try:
        return _table(path, changed, form, (*notes, note))
    except InputError:
        return None


def _same_width(
    path: Path, numbered: Iterator, width: int, form: Format, written: tuple[str, str]
) -> Iterator[tuple[int, list[str]]]:
    """The rows. Raises InputError for one with another number of fields; written: the header and all the text."""
    first = None
    for line, row, record in numbered:
        first = first or line
        if len(row) != width:
            if form.advice:
                named = "everywhere in the release"
            else:
                named = "as --columns names" if form.columns else "as the header has"
            record, (header, text) = "".join(record), written
            numbers = line == first and are_numbered(row, _next_row(numbered))
            cause = likely_cause(numbers, record, row, header, width, form.delimiter, form.quoting)
            raise InputError(
                f"{path}, line {line}: found {counted(len(row), 'field')}, expected {width} {named} "
                f"({_spell(form.delimiter)} separates, quoting is {form.quoting}), in {shown(record.strip(_ENDS))}. "
                f"{form.advice or _advice(path, text, form, cause)}"
            )
        yield line, row
    if first is None:
        raise NoRows(f"{path}: there is a header line and no row below it")


def _next_row(numbered: Iterator) -> list[str]:
    try:
        return next(numbered, (0, [], ""))[1]
    except InputError:
        return []


def _guess_delimiter(path: Path, text: str) -> str:
    by_ending = {".csv": ",", ".tsv": "\t"}.get(Path(path).suffix.lower())
    return by_ending or ("\t" if "\t" in LINE.match(text.lstrip("\r\n"))[0] else ",")


def _parse(
    path: Path, lines: Iterator[str], form: Format, text: str = ""
) -> Iterator[tuple[int, list[str], list[str]]]:
    """The line on which each row begins, its fields, and the lines it was made of, which hold until the next row."""
    style = csv.QUOTE_MINIMAL if form.quoting == "csv" else csv.QUOTE_NONE
    taken: list[str] = []

    def take() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    # strict: a quote in the wrong place is an error, where the default would swallow the lines up to the next quote.
    reader = csv.reader(take(), delimiter=form.delimiter, quoting=style, strict=True)
    line = 1
    limit = csv.field_size_limit(LONGEST_FIELD)  # a setting of the whole process, so it is put back
    try:
        for row in reader:
            if row:
                yield line, row, taken
            taken.clear()
            line = reader.line_num + 1  # a row with quoted line breaks spans lines; an editor shows its first
    except csv.Error as error:
        told = str(error).replace(f"'{form.delimiter}'", _spell(form.delimiter))
        raise InputError(
            f"{path}, in the row that begins on line {line}, {shown(taken[0].strip(_ENDS))}: {told}. "
            f"{form.advice or _advice(path, text, form, _quote_cause(taken, told))}"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _quote_cause(taken: list[str], told: str) -> str:
    """What is likely wrong with quotes that csv cannot read."""
    if '\\"' in "".join(taken[:2]):
        return r'A quote inside a quoted field is written twice (""), and here as \": replace it'
    if len(taken) > 1 or "end of data" in told:
        return "A quote that opens a field there is not closed where the field ends: close it, or delete it"
    return 'A quoted field ends with its quote; a quote inside it is written twice ("")'


def _advice(path: Path, text: str, form: Format, cause: str) -> str:
    """The cause, and the other form in which the text can be read, if there is one."""
    for delimiter, typed in SEPARATORS.items():
        if delimiter in LINE.match(text)[0] and _width(path, text, replace(form, delimiter=delimiter)) > 1:
            return f"It can be read if {typed} separates: --delimiter {typed}"
    other = "none" if form.quoting == "csv" else "csv"
    if not _width(path, text, replace(form, quoting=other)):
        return cause
    if other == "none":
        return f"{cause}. If quotes are ordinary characters in this file, use --quoting none"
    return f"{cause}. If double quotes enclose fields in this file, use --quoting csv"


def _spell(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else repr(delimiter)
