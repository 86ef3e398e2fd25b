"""Task csv: delimited files and folders of them, in the forms that spreadsheets and programs write."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random

from minibert.data import load_task

from .case import Case, Refuse
from .glue_files import LABELS, NO_CLASS, NUMBER, number, rows_of, stands_for_none
from .json_files import UNCHANGED, decoded
from .mutations import change_table, mutate_text_bytes, odd_text

TEXTS = (
    "a good film",
    'he said "no"',
    "soup, cold",
    "naïve é",
    "漢字",
    "x; y",
    " led",
    "two\nlines",
    "a\tb",
    "it's",
    "5' 2\"",
)


class Form:
    """How one file is written, and the options of `load_task` that say so."""

    def __init__(self, rng: Random):
        self.ending = rng.choice((".csv", ".csv", ".tsv", ".txt"))
        self.delimiter = {".csv": ",", ".tsv": "\t"}.get(self.ending) or rng.choice(("\t", ","))
        self.quoting = "none" if self.delimiter == "\t" else "csv"
        self.pair, self.regress = rng.random() < 0.3, rng.random() < 0.25
        self.encoding = rng.choice(("utf-8",) * 6 + ("utf-16", "latin-1", "cp1252"))
        self.options = {"text_column": "text", "label_column": "label"}
        if rng.random() < 0.2:
            self.delimiter = rng.choice(";|\t,")
            self.options["delimiter"] = self.delimiter
            self.quoting = "none" if self.delimiter == "\t" else "csv"
        if rng.random() < 0.15:
            self.quoting = rng.choice(("csv", "none"))
            self.options["quoting"] = self.quoting
        if self.pair:
            self.options["pair_column"] = "pair"
        if self.regress:
            self.options["regress"] = True
        if self.encoding != "utf-8":
            self.options["encoding"] = self.encoding
        self.columns = ["id", "text", *(["pair"] if self.pair else []), "label"]
        rng.shuffle(self.columns)
        self.labels = (
            ("0.5", "1", "-2e3", "3") if self.regress else rng.choice((("no", "yes"), ("0", "1", "10"), ("a b", "é")))
        )
        self.header = rng.random() >= 0.1
        if not self.header:
            self.options["columns"] = ",".join(self.columns)

    def rows(self, rng: Random, file: str) -> list[list[str]]:
        """Rows of cells, the header among them."""
        rows = [list(self.columns)] if self.header else []
        for i in range(rng.randint(12, 30)):
            cells = {"id": str(i), "label": self.labels[i % len(self.labels)]}
            cells |= {name: f"{file}{i} {rng.choice(TEXTS)}" for name in ("text", "pair")}
            row = [cells[name] for name in self.columns]
            if self.quoting == "none":
                row = [re.sub("[\r\n" + re.escape(self.delimiter) + "]", " ", cell) for cell in row]
            rows.append(row)
        return rows

    def write(self, rng: Random, rows: list[list[str]]) -> bytes:
        """The bytes of a file."""
        end = rng.choice(("\n", "\n", "\r\n"))
        if self.quoting == "none":
            text = "".join(self.delimiter.join(row) + end for row in rows)
        else:
            style = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
            out = io.StringIO()
            csv.writer(out, delimiter=self.delimiter, quoting=style, lineterminator=end).writerows(rows)
            text = out.getvalue()
        if self.encoding == "utf-8":
            return text.encode("utf-8", "surrogatepass")
        return text.encode(self.encoding, "replace")

    def change_rows(self, rng: Random, rows: list) -> tuple[list, str]:
        """Rows in which something is changed, and what."""
        return _change_rows(rng, rows, self)

    def change_bytes(self, rng: Random, data: bytes, other: bytes) -> tuple[bytes, str]:
        """The bytes of a file in which something is changed, and what. other: a good file of the same form."""
        return _change_bytes(rng, data, other, self)

    def readings(self, paths: dict[str, Path]) -> list[dict]:
        """What is right to read, by other means: the oracle."""
        return _readings(paths, self)


def tables(form_of: type[Form] = Form):
    """The maker of files and folders of task csv, of which one file is mutated. form_of: how they are written."""

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, form = mutate and rng.random() >= UNCHANGED, form_of(rng)
        whole = form.ending == ".txt" or rng.random() < 0.6
        splits = ["data"] if whole else ["train", "dev", "test"][: rng.choice((1, 2, 3))]
        spoilt, what = rng.choice(splits), "unchanged"
        first, paths = None, {}
        for split in splits:
            rows, paths[split] = form.rows(rng, split), folder / f"{split}{form.ending}"
            if mutate and split == spoilt and rng.random() < 0.4:
                rows, what = form.change_rows(rng, rows)
            data = form.write(rng, rows)
            if mutate and split == spoilt and what == "unchanged":
                data, what = form.change_bytes(rng, data, first or data)
            first = first or data
            paths[split].write_bytes(data)
        data = paths["data"] if whole else folder
        return Case(
            [data] if whole else [folder],
            f"{spoilt}{form.ending}: {what}; {form.options}",
            lambda: load_task("csv", data, **form.options),
            lambda: form.readings(paths),
            lambda task, plain: _same(task, plain, whole),
            may_refuse=mutate,
        )

    return make


def _change_rows(rng: Random, rows: list[list[str]], form: Form) -> tuple[list[list[str]], str]:
    rows = [list(row) for row in rows]
    i = rng.randrange(len(rows))
    j = rng.randrange(len(rows[i]))
    label = form.columns.index("label")
    changes = ("label", "label", "many labels", "cell", "cell", "gone", "more", "header twice", "header odd",
               "header odd", "doubled column", "few rows", "blank", "one class", "row twice")  # fmt: skip
    change = rng.choice(changes)
    if change == "label":
        rows[i][label] = rng.choice((*LABELS, rows[i][label].upper(), rows[i][label] + "\u200b", odd_text(rng)))
    elif change == "many labels":
        for row in rows[1:]:
            row[label] = rng.choice((f"label {rng.randrange(10**6)}", row[label], str(rng.random())))
    elif change == "doubled column":
        rows = [[*row, row[j]] for row in rows]
    elif change == "few rows":
        rows = rows[: rng.randint(1, 4)]
    elif change == "blank":
        rows.insert(i, rng.choice(([], [""], [" "], [""] * len(rows[0]))))
    elif change == "one class":
        for row in rows[1:]:
            row[label] = rows[-1][label]
    elif change == "row twice":
        rows.insert(i, list(rows[j]))
    else:
        change_table(rng, rows, change, i, j)
    return rows, f"rows: {change}"


def _change_bytes(rng: Random, data: bytes, other: bytes, form: Form) -> tuple[bytes, str]:
    chance, d = rng.random(), form.delimiter.encode()
    if chance < 0.06:
        return b"sep=" + rng.choice((d, b";")) + b"\r\n" + data, "a line sep="
    if chance < 0.08:
        return gzip.compress(data, mtime=0), "gzip"
    if chance < 0.082:
        return gzip.compress(data + b"\n" * (1 << 24), mtime=0), "a gzip bomb"
    if chance < 0.25:
        lines = data.split(b"\n")
        i = rng.randrange(len(lines))
        quotes = (lines[i].replace(d, d + b' "', 1), lines[i].replace(d, d + b" ", 1), b'"' + lines[i], lines[i] + b'"',
                  lines[i].replace(b'"', b""), lines[i].replace(b'"', b'\\"'), lines[i].replace(d, b'" "' + d, 1),
                  lines[i].replace(b'"', b"'"), lines[i].replace(b'"', b"\xe2\x80\x9c"),
                  lines[i].replace(d, b";"))  # fmt: skip
        lines[i] = rng.choice(quotes)
        return b"\n".join(lines), f"quotes or delimiters of line {i + 1}"
    if chance < 0.28:
        return data.replace(d + b'"', rng.choice((b"", b" ")) + d + b' "'), "spaces before quotes"
    return mutate_text_bytes(rng, data, other)


# ---------------------------------------------------------------------------------------------------------- the oracle


def _readings(paths: dict[str, Path], form: Form) -> list[dict[str, list[tuple]]]:
    """The readings that are right: {split: [(text, pair or None, label), ...]}, and {"spaces": []} if spaces around
    quotes were dropped. Raises Refuse if there is none.

    Such spaces are dropped where the whole can be read so. A test set may be read without its labels if it shows none.
    """
    refusals = []
    for cells_of in (_cells_without_spaces, _cells):
        try:
            parts = {split: _plain(path.read_bytes(), form, split, cells_of) for split, path in paths.items()}
            parts = {split: rows for split, rows in parts.items() if rows is not None}
            readings = [reading | {"unscored": len(parts) < len(paths)} for reading in checked(parts, form)]
        except Refuse as refusal:
            refusals.append(refusal)
            continue
        spaced = cells_of is _cells_without_spaces and _plain_differs(paths, form, parts)
        return [reading | {"spaces": []} if spaced else reading for reading in readings]
    first, second = refusals  # an error may say what is wrong with either
    raise Refuse(str(first), first.line and second.line, first.column and second.column)


def _plain_differs(paths: dict[str, Path], form: Form, parts: dict) -> bool:
    try:
        return parts != {split: _plain(paths[split].read_bytes(), form, split, _cells) for split in parts}
    except Refuse:
        return True


def checked(parts: dict[str, list[tuple]], form: Form) -> list[dict[str, list[tuple]]]:
    """The readings of rows with labels as they are written: as scores if they are, those of a test set perhaps left
    out. Raises Refuse if labels cannot be used."""
    known = {label for *_, label in next(iter(parts.values()))}
    if len(known) < 2:
        raise Refuse("one class, or one score")
    found = dict(parts)
    without = [(*texts, None) for *texts, _ in parts.get("test", ())]
    for split, rows in parts.items():
        is_test = split == "test" and (rows == without or not any(_is_label(label, known, form) for *_, label in rows))
        if split == "test" and not is_test:  # rows without a label are left out
            lacks = {label for *_, label in rows if label == "" or (form.regress and _stands_for_no_score(label))}
            labelled = [row for row in rows if row[-1] not in lacks]
            rows, found["left out"] = labelled, len(rows) - len(labelled)
        found[split] = without if is_test else [(*texts, _label(label, known, form, split)) for *texts, label in rows]
    known = {label for *_, label in next(iter(found.values()))}
    if len(known) < 2:
        raise Refuse("one class, or one score")
    numbers = [] if form.regress else [Decimal(label) for label in known if NUMBER.fullmatch(label)]
    if len(set(numbers)) < len(numbers):
        raise Refuse("two labels are the same number")
    return [found]


def _is_label(label: str, known: set[str], form: Form) -> bool:
    return bool(NUMBER.fullmatch(label)) if form.regress else label in known


def _stands_for_no_score(label: str) -> bool:
    return not NUMBER.fullmatch(label) and stands_for_none(label)


def _label(label: str, known: set[str], form: Form, split: str):
    if label == "":
        raise Refuse("an empty label", line=True)
    if form.regress:
        return number(label)
    if label not in known and split != "test":
        raise Refuse("a label that train has not", line=True)
    return label if label in known else NO_CLASS


def decoded_text(data: bytes, form: Form) -> str:
    kind = data.startswith((b"\x1f\x8b", b"\xff\xff\xff\xff"))  # gzip, or as Arrow's files begin
    try:
        text = decoded(data, form.encoding)
    except UnicodeError:
        raise Refuse("not of the encoding", line=not kind) from None
    if "\0" in text:
        raise Refuse("a NUL", line=not kind)
    if not text.strip():
        raise Refuse("empty")
    return text


def _cells(text: str, delimiter: str, quoting: str) -> list[list[str]]:
    if quoting == "none":
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return [line.split(delimiter) for line in lines if line]
    limit = csv.field_size_limit(1 << 24)
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error:
        raise Refuse("quotes in the wrong place", line=True) from None
    finally:
        csv.field_size_limit(limit)


def _cells_without_spaces(text: str, delimiter: str, quoting: str) -> list[list[str]]:
    """The cells, without the spaces between a delimiter, or a line's end, and the quotes of a quoted field."""
    if quoting == "none":
        return _cells(text, delimiter, quoting)
    spaces, ends = " \t\xa0".replace(delimiter, ""), delimiter + "\r\n"
    end, rows, row, place = re.compile(f"[{re.escape(ends)}]|\\Z"), [], [], 0
    quoted = re.compile(f'[{spaces}]*"((?:[^"]|"")*)"[{spaces}]*(?=[{re.escape(ends)}]|\\Z)')
    while place < len(text) or row:
        field = quoted.match(text, place)
        if field is None and text.startswith('"', place):
            raise Refuse("quotes in the wrong place", line=True)
        stop = field.end() if field else end.search(text, place).start()
        row.append(field[1].replace('""', '"') if field else text[place:stop])
        if not text.startswith(delimiter, stop):
            rows += [row] if field or row != [""] else []
            row = []
        place = stop + 1
    return rows


def _plain(data: bytes, form: Form, split: str, cells_of) -> list[tuple] | None:
    """(text, pair or None, label as it is written, or None) of each row; None for a test set that is not scored."""
    text, delimiter = decoded_text(data, form), form.delimiter
    mark = re.match(r'("?)sep=([^\r\n])\1[,;\t]*(?=[\r\n])', text, re.IGNORECASE)
    if form.ending == ".txt" and "delimiter" not in form.options:
        delimiter = "\t" if "\t" in re.split(r"[\r\n]", text.lstrip("\r\n"))[0] else ","
    if mark:
        if mark[2] == '"' or mark[2] != form.options.get("delimiter", mark[2]):
            raise Refuse("a line sep= that contradicts the option, or of a quote", line=True)
        text, delimiter = text[mark.end() :], mark[2]
    quoting = form.options.get("quoting") or ("none" if delimiter == "\t" else "csv")
    rows = cells_of(text, delimiter, quoting)
    header = [cell.strip() for cell in (rows.pop(0) if form.header else form.columns)]
    labelled = not (split == "test" and "label" not in header)
    wanted = ["text", *(["pair"] if form.pair else []), *(["label"] if labelled else [])]
    texts = wanted[: 2 if form.pair else 1]
    if split == "test" and header and (not rows or any(header.count(column) != 1 for column in texts)):
        return None  # told, and not scored
    if not rows:
        raise Refuse("no rows")
    if any(header.count(column) != 1 for column in wanted):
        raise Refuse("a column is missing, or there twice", column=True)
    found = []
    for row in rows:
        if len(row) != len(header):
            raise Refuse("a row of another width", line=True)
        cells = dict(zip(header, row, strict=True))
        label = cells["label"].strip() if labelled else None
        found.append((cells["text"], cells["pair"] if form.pair else None, label))
    return found


def _same(task, plain: dict[str, list[tuple]], whole: bool) -> str:
    plain = dict(plain)
    if plain.pop("spaces", None) is not None and not any("spaces around" in note for note in task.notes):
        return "spaces around quotes are dropped without a note"
    left_out = plain.pop("left out", 0)
    if left_out and not any(f"left out {left_out} of" in note for note in task.notes):
        return "test: rows without a label are left out without a note"
    if plain.pop("unscored", False) and (task.test or not any("not scored" in note for note in task.notes)):
        return "test: it has no rows or no texts, and there is a test set or no note"
    parts = {"train": task.train, **task.dev} | ({"test": task.test} if task.test is not None else {})
    found = {split: rows_of(part, task.labels) for split, part in parts.items()}
    if whole:
        found = {"data": [row for rows in found.values() for row in rows]}
    elif "dev" not in plain:
        found["train"] += found.pop("dev")
    for split, expected in plain.items():
        lost, more = Counter(expected) - Counter(found[split]), Counter(found[split]) - Counter(expected)
        told = any(f"{lost.total()} " in note and "left out" in note for note in task.notes)
        if more or (lost and not told):
            return f"{split}: expected and not there: {list(lost)[:3]}; there and not expected: {list(more)[:3]}"
        if split in ("dev", "test") and not lost and found[split] != expected:
            return f"{split}: another order"
        if split == "test" and expected[0][-1] is None and not any("not scored" in note for note in task.notes):
            return "test: no labels, and no note"
        if not any("quote" in note for note in task.notes) and any(
            _quotes_are_kept(cell) for row in expected for cell in row if isinstance(cell, str)
        ):
            return f"{split}: quotes after a space belong to a text, and no note says so"
    return "" if set(plain) <= set(found) else "a split is not there"


def _quotes_are_kept(cell: str) -> bool:
    """Whether a cell is in quotes that a space kept from being read as such."""
    return bool(re.fullmatch(r'\s+"([^"]|"")*"\s*', cell))
