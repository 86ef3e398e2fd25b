"""`predict --data`: the rows of a file are labelled, and written with the answers as further columns.

Rows are read, labelled and written a chunk at a time, so that memory does not grow with the file. The new file takes
its name only when all rows are in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from tqdm import tqdm

from minibert.cli.inputs import open_task, print_notes
from minibert.data.delimited import Format
from minibert.data.encodings import misread_notes
from minibert.data.labels import show
from minibert.data.quotes import held_note, quote_note, rows_held
from minibert.data.squad import unlabelled
from minibert.data.stream import Row, Stream, open_input, open_stream
from minibert.data.task import Examples, count_empty
from minibert.data.write_table import LABEL_SEPARATOR, check_names, open_writer, output_form
from minibert.errors import InputError, counted, flag
from minibert.evaluate import predict as predict_batch
from minibert.evaluate import tokenize
from minibert.interrupt import compile_kernels
from minibert.model import Model
from minibert.spans import Answer
from minibert.storage import TaskRecord, cannot_be_written
from minibert.storage.atomic import replacing
from minibert.trained import max_length, prediction_key, unscored_note

CHUNK = 2048  # rows
CHUNK_CHARACTERS = 2**22  # of the texts of a chunk
ROW_OPTIONS = ("out", "text_column", "pair_column", "columns", "delimiter", "quoting", "encoding", "prefix")
OTHER_FORMATS = (
    *(".json", ".xls", ".xlsx", ".ods", ".parquet", ".feather", ".arrow", ".html", ".xml", ".h5", ".npz", ".pkl"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip"),
)  # endings of --out that promise what is not written
LIST_OPTIONS = ("texts", "file", "pair", "json", "mixed")


def check_list_options(args) -> None:
    """Raise InputError if options of --data were given without it. --file has an --encoding, too."""
    options = [name for name in (*ROW_OPTIONS, "force") if not (name == "encoding" and args.file)]
    given = [flag(name) for name in options if getattr(args, name)]
    if given:
        needs = "--data FILE, or --file FILE" if given == ["--encoding"] else "--data FILE: the rows to label"
        raise InputError(f"{' and '.join(given)} cannot be used without {needs}")


def predict_rows(args) -> None:
    """Label the rows of --data, and write them to --out."""
    _check(args)
    model, record = open_task(args)
    places, form = _settings(args, record)
    with open_input(args.data) as (file, name):
        stream = open_stream(file, name, form)
        columns = _numbers_of(args, stream, places)
        added = tuple(f"{args.prefix or ''}{key}" for key in _answer_keys(model, record))
        check_names(name, stream.columns, added)
        print_notes([*unscored_note(record), *stream.notes, *_about_output(args.out, stream)])
        compile_kernels("predict")
        labels = _Labels(model, record, stream, columns)
        with _output(args.out) as out, _progress(file, args.data) as advance:
            writer = open_writer(out, args.out, stream, added, _label_separator(record))
            for row, answer in labels.answered(advance):
                _write(writer, row, answer, name)
    print_notes(labels.notes())
    if args.out != "-":
        print(f"{counted(labels.n, 'row')}, with {', '.join(map(show, added))}: {args.out}", file=sys.stderr)


# ----------------------------------------------------------------------------------------------------------- options


def _check(args) -> None:
    """Raise InputError if options do not go together, or the output cannot be where it is to be."""
    given = [name for name in LIST_OPTIONS if getattr(args, name)]
    if given:
        named = "texts" if given[0] == "texts" else f"--{given[0]}"
        instead = "; for JSON Lines name --out FILE.jsonl" if named == "--json" else ""
        raise InputError(f"--data labels the rows of a file: leave out {named}{instead}")
    if not args.out:
        raise InputError("predict --data needs --out FILE for the rows and their labels (- is standard output)")
    if args.out == "-":
        return
    out = Path(args.out)
    if out.suffix.lower() in OTHER_FORMATS and out.suffix.lower() != Path(args.data).suffix.lower():
        raise InputError(f"--out {out}: {out.suffix} is not written; give a name that ends in .csv, .tsv or .jsonl")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    if args.data != "-" and out.exists() and os.path.exists(args.data) and os.path.samefile(out, args.data):
        raise InputError(f"--out {out} is the file that is read: give another name")
    if out.exists() and not out.is_file():
        raise InputError(f"--out {out} is no file; give a file's name, or - for standard output")
    if out.exists() and not args.force:
        raise InputError(f"--out {out} is there already; give another name, or --force to replace it")


def _settings(args, record: TaskRecord) -> tuple[list[str], Format]:
    """The columns of the texts, and how the file is written: as given, else as for the training."""
    usual = record.settings("task_options")

    def setting(name: str):
        return usual.get(name) if getattr(args, name) is None else getattr(args, name)

    places = ["text_column", "pair_column"]
    if not record.reads_pairs:
        places = places[:1]
        if args.pair_column is not None:
            raise InputError(f"task {record.name} reads single texts: leave out --pair-column")
    missing = [flag(place) for place in places if not setting(place)]
    if missing:
        raise InputError(f"predict --data needs {' and '.join(missing)}: which column of the file holds the texts")
    encoding = setting("encoding") or "utf-8"
    return [setting(place) for place in places], Format(
        setting("delimiter"), encoding, setting("columns"), setting("quoting")
    )


def _numbers_of(args, stream: Stream, places: list[str]) -> list[int]:
    """The numbers of the columns with the texts. Raises InputError; of a name that is the training's, how to give
    another."""
    found = []
    for option, column in zip(("text_column", "pair_column"), places, strict=False):
        try:
            found.append(stream.header.place(column))
        except InputError as error:
            if getattr(args, option) is not None:
                raise
            given = f"{flag(option)} NAME"
            end = "" if str(error).endswith("?") else "."
            raise InputError(f"{error}{end} If the file calls it otherwise: {given}") from None
    return found


def _label_separator(record: TaskRecord) -> str:
    """What stood between several labels of a row in the file of the training, so that the output can be read alike."""
    found = record.settings("task_options").get("label_separator")
    return found if isinstance(found, str) and found else LABEL_SEPARATOR


def _about_output(out: str, stream: Stream) -> list[str]:
    form, read, notes = output_form(out, stream), stream.header.form, []
    if str(read.encoding).lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        notes.append(f"{stream.name} is read as {read.encoding}; the output is UTF-8")
    if form is not None and form.delimiter == "\t" and form.quoting == "csv":
        notes.append(f"{out}: fields with a tab, a quote or a line end are enclosed in double quotes (--quoting csv)")
    return notes


# ----------------------------------------------------------------------------------------------------------- answers


def _answer_keys(model: Model, record: TaskRecord) -> tuple[str, ...]:
    """The names of what is added: those of an answer to nothing."""
    head = model.head_record
    nothing = head.to_prediction(np.zeros((1, model.n_out), np.float32))[0]
    return tuple(_flat(head.describe(Answer("", 0, 0, 0.0) if head.reads_all_tokens else nothing, record.labels)[1]))


def _flat(answer: dict) -> dict:
    """An answer as columns: what was predicted is `predicted`, and each class's probability `p_NAME`."""
    key = prediction_key(answer)
    found = {"predicted": _number(answer[key])}
    for name, value in answer.items():
        if name == "probabilities":
            found |= {f"p_{label}": _number(p) for label, p in value.items()}
        elif name != key:
            found[name] = _number(value)
    return found


def _number(value):
    """A number with the digits that its 32 bits hold, and no more."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


@dataclass
class _Labels:
    """The rows of a stream with their answers, and what there is to tell of them. columns: the numbers of those with
    the texts."""

    model: Model
    record: TaskRecord
    stream: Stream
    columns: list[int]
    n: int = 0
    empty: int = 0
    cut: int = 0
    odd: list[str] = field(default_factory=list)  # notes on the cells as they are written

    def answered(self, advance: Callable[[int], None]) -> Iterator[tuple[Row, list]]:
        """(row, values of the added columns), in the order of the file."""
        for rows, texts in self._chunks():
            self._look(rows, texts)
            examples = self._examples(texts)
            split = tokenize(self.model.backbone, examples, max_length(self.record))
            predicted = split.answers(predict_batch(self.model, split.batch))
            self.n, self.cut = self.n + len(rows), self.cut + split.batch.truncated
            self.empty += count_empty(examples)
            for row, prediction in zip(rows, predicted, strict=True):
                answer = self.model.head_record.describe(prediction, self.record.labels)[1]
                yield row, list(_flat(answer).values())
            advance(len(rows))

    def _chunks(self) -> Iterator[tuple[list[Row], list[list[str]]]]:
        """Some rows, and their texts (or two texts each), for the model."""
        rows, texts, size = [], [], 0
        for row in self.stream.rows:
            rows.append(row)
            texts.append([self.stream.text(row, column) for column in self.columns])
            size += sum(map(len, texts[-1]))
            if len(rows) == CHUNK or size > CHUNK_CHARACTERS:
                yield rows, texts
                rows, texts, size = [], [], 0
        if rows:
            yield rows, texts

    def _look(self, rows: list[Row], texts: list[list[str]]) -> None:
        """Tell of cells that seem to be written in another way than the file is read, if there is no such note yet."""
        if self.odd:
            return
        stream, form = self.stream, self.stream.header.form
        for column, cells in zip(self.columns, zip(*texts, strict=True), strict=True):
            where = f"{stream.name}, column {stream.columns[column]!r}"
            self.odd += misread_notes(where, "\n".join(cells), form.encoding)
            if not stream.is_json:
                self.odd += quote_note(where, cells, [row.line for row in rows])
        for row in () if stream.is_json else rows:
            held, lines = rows_held(row.values, form.delimiter, None, bool)
            if held:
                self.odd.append(held_note(stream.name, row.line, held, lines))
                return

    def _examples(self, texts: list[list[str]]) -> Examples:
        columns = [list(column) for column in zip(*texts, strict=True)]
        first, pairs = columns[0], columns[1] if len(columns) > 1 else None
        return unlabelled(first, pairs, self.model.head_record.reads_all_tokens)

    def notes(self) -> list[str]:
        """Notes for the end."""
        notes = [*self.odd, *([f"{self.empty} of {self.n} rows have an empty text"] if self.empty else [])]
        if self.cut:
            notes.append(f"{self.cut} of {self.n} texts are cut to {max_length(self.record)} tokens")
        return notes


# ------------------------------------------------------------------------------------------------------------ output


def _write(writer, row: Row, answer: list, name: str) -> None:
    try:
        writer.write(row, answer)
    except UnicodeEncodeError:
        raise InputError(
            f"{name}, line {row.line}: half a character (a lone surrogate) cannot be written; write JSON Lines (a name "
            "that ends in .jsonl)"
        ) from None


@contextmanager
def _output(out: str) -> Iterator[TextIO]:
    """The open output. A file is there when the body has succeeded, and not before."""
    if out == "-":
        sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="\n")
        yield sys.stdout
        return
    try:
        with replacing(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise cannot_be_written(out, error) from error


@contextmanager
def _progress(file: BinaryIO, path: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, and the function that says how many rows more are labelled. How many there are in a file is
    estimated from the bytes that were read for them."""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    with tqdm(unit=" rows", desc="predict", leave=False, disable=not sys.stderr.isatty()) as bar:

        def advance(n: int) -> None:
            if size:
                bar.total = max(bar.n + n, round((bar.n + n) * size / max(file.tell(), 1)))
            bar.update(n)

        yield advance
