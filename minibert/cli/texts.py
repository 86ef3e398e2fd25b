"""What `predict` labels: one text a line, or a pair of texts with a tab between them; from the arguments, a file or
standard input."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from minibert.data.causes import kind_of
from minibert.data.delimited import ENCODING_ADVICE
from minibert.data.quotes import quote_note
from minibert.data.reading import decode, read_text, text_lines
from minibert.errors import InputError, shown
from minibert.storage import TaskRecord

TABLE_ENDINGS = (".csv", ".tsv", ".tab")
END_OF_INPUT = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
ADVICE = "Save the texts as UTF-8"
_MARK = re.compile(r'"?sep=.[,;\t"]*', re.IGNORECASE)  # what spreadsheets write above a header
_OPEN_QUOTE = re.compile(r'(?:^|[,;\t])\s*"[^"]*$')  # a quote where a field may begin, and no further one on the line


def texts_and_pairs(args, record: TaskRecord) -> tuple[list[str], list[str] | None]:
    """The texts, and the second texts if the task of the record reads pairs. Notes go to standard error. Raises
    InputError."""
    lines, pair = read_lines(args, record.settings("task_options")), second_text(args)
    cut = [text_and_pair(i, line, record, pair) for i, line in enumerate(lines, 1)]
    texts, pairs = zip(*cut, strict=True)
    return list(texts), list(pairs) if record.reads_pairs else None


def second_text(args) -> str | None:
    """The text of --pair, if it is given. Raises InputError."""
    return args.pair and _argument("--pair", args.pair)


def text_and_pair(number: int, line: str, record: TaskRecord, pair: str | None = None) -> tuple[str, str | None]:
    """The line's text, and its second text if the task of the record reads pairs: pair, or what stands after a tab.
    Raises InputError."""
    if not record.reads_pairs:
        if pair is not None:
            raise InputError(f"task {record.name} reads single texts: leave out --pair")
        return line, None
    if pair is not None:
        return line, pair
    if line.count("\t") != 1:
        raise InputError(
            f"text {number}: task {record.name} reads pairs, two texts with one tab between them (or --pair)"
        )
    text, pair = line.split("\t")
    return text, pair


def _argument(name: str, text: str) -> str:
    """An argument as the text it was given as. Python reads arguments in the locale's encoding, and keeps bytes that
    are not of it as halves of characters. Raises InputError if it is not UTF-8."""
    if text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    return decode(os.fsencode(text), name, advice="Give it as UTF-8, or the texts in a file that is")


def read_lines(args, trained_with: dict) -> list[str]:
    """The lines to be labelled, at least one. trained_with: as for `_table_notes`. Raises InputError."""
    if args.texts and args.file:
        raise InputError("give texts as arguments or with --file, not both")
    if args.texts:
        for text in filter(_is_a_file, args.texts):
            told = "it is labelled as a text. To label its lines: --file; the rows of a table: --data"
            print(f"note: {shown(text)} is also a file: {told}", file=sys.stderr)
        return [_argument(f"text {i}", text) for i, text in enumerate(args.texts, 1)]
    if args.file:
        source, text = args.file, read_text(args.file, args.encoding or "utf-8", ENCODING_ADVICE)
    else:
        source, text = "standard input", _standard_input()
    lines = text_lines(text)
    for note in _table_notes(source, text, lines, trained_with):
        print(f"note: {note}", file=sys.stderr)
    return lines


def _is_a_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a character that no path has
        return False


def _standard_input() -> str:
    raw = b""
    if sys.stdin is not None:
        if sys.stdin.isatty():
            print(f"reading standard input: one text a line, and {END_OF_INPUT} at the end", file=sys.stderr)
        raw = sys.stdin.buffer.read()
    if not raw:
        raise InputError("there is no text to label: give texts as arguments, with --file, or on standard input")
    return decode(raw, "standard input", advice=ADVICE)


def _table_notes(source: str, text: str, lines: list[str], trained_with: dict) -> list[str]:
    """What to say of lines that seem to be no texts but the lines of a table, or of something else. trained_with: the
    options of task csv."""
    kind = kind_of(text)
    if kind:
        told = "; to label the texts in it: predict --data FILE.jsonl" if kind == "JSON Lines" else ""
        return [f"{source} looks like {kind}: each line is labelled as a text, with all that stands on it{told}"]
    notes = []
    marked = len(lines) > 1 and _MARK.fullmatch(lines[0].strip())
    if marked:
        notes.append(f"{source}: line 1 looks like a spreadsheet's mark ({lines[0].strip()}), it is labelled as a text")
    header = _header(lines[1 if marked else 0], trained_with)
    if header:
        names = ", ".join(map(repr, header))
        line = 2 if marked else 1
        notes.append(f"{source}: line {line} looks like a header (it names {names}), it is labelled as a text")
    torn = [i for i, line in enumerate(lines, 1) if line.count('"') % 2 and _OPEN_QUOTE.search(line)]
    if torn:
        notes.append(
            f"{source}: on {len(torn)} of {len(lines)} lines (first on line {torn[0]}) a quoted field begins that does "
            "not end there; each line is labelled as a text of its own"
        )
    if notes or Path(source).suffix.lower() in TABLE_ENDINGS:
        column = f", which reads column {trained_with['text_column']!r}" if "text_column" in trained_with else ""
        notes.append(
            f"{source}: each line is a text as a whole, delimiters and quotes included. To label the rows of a table: "
            f"predict --data FILE --out FILE{column}"
        )
    return notes or _odd_lines(source, text, lines)


def _odd_lines(source: str, text: str, lines: list[str]) -> list[str]:
    """Notes on texts that stand in quotes, and on line ends that make every second text empty."""
    cells = [cell for line in lines for cell in line.split("\t")]
    notes = quote_note(source, cells, what="texts")
    ends = next((end for end in ("\r\r\n", "\n\r") if end in text), None)
    if ends and "\r\n\r\n" not in text and 3 * text.count(ends) >= len(lines):
        notes.append(f"{source}: lines end in {shown(ends)}, which is two line ends: a text between them is empty")
    return notes


def _header(line: str, trained_with: dict) -> list[str]:
    """The columns of the training that a line names; [] if it does not look like a header with the texts' column."""
    text, *others = (trained_with.get(role) for role in ("text_column", "pair_column", "label_column"))
    cells = [cell.strip().strip('"') for cell in re.split(r"[,;\t|]", line)]
    known = {name.casefold() for name in (text, *others) if name}
    found = [cell for cell in cells if cell.casefold() in known]
    is_header = len(cells) == 1 or len(found) > 1 or not any(" " in cell for cell in cells)
    return found if text and text.casefold() in map(str.casefold, found) and is_header else []
