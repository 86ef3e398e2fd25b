"""GLUE folders: tab-separated files without quoting."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np

from minibert.data import load_task
from minibert.data.glue import GLUE

from .case import Case, Refuse
from .json_files import UNCHANGED, decoded
from .mutations import change_table, mutate_text_bytes

HEADERS = {
    "sst2": "sentence label",
    "mrpc": "Quality|#1 ID|#2 ID|#1 String|#2 String",
    "stsb": "index genre filename year old_index source1 source2 sentence1 sentence2 score",
    "qqp": "id qid1 qid2 question1 question2 is_duplicate",
    "mnli": "index promptID pairID genre a b c d sentence1 sentence2 label1 gold_label",
    "rte": "index sentence1 sentence2 label",
    "cola": None,
}
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TEXTS = ("é", "漢", "the film .", "it's", '5" tall', " x", 'the end"')
LABELS = (
    "",
    " ",
    "2",
    "-1",
    "1.0",
    " 1",
    "1 ",
    "True",
    "nan",
    "inf",
    "1e400",
    "1_0",
    "٣",
    "0x1",
    "1,5",
    "entailment ",
    "-",
    "Entailment",
)


def glues():
    """The maker of GLUE folders in which one file is mutated."""

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, name = mutate and rng.random() >= UNCHANGED, rng.choice(list(HEADERS))
        task = GLUE[name]
        files = [
            *task.required(),
            *(["test.tsv"] if name not in ("cola", "stsb", "mnli") and rng.random() < 0.3 else []),
        ]
        spoilt, what = rng.choice(files), "unchanged"
        for file in files:
            rows = _rows(rng, name, file)
            if mutate and file == spoilt and rng.random() < 0.4:
                rows, what = _change_rows(rng, rows)
            data = "".join("\t".join(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")
            if mutate and file == spoilt and what == "unchanged":
                data, what = mutate_text_bytes(rng, data, data)
            (folder / file).write_bytes(data)
        return Case(
            [folder],
            f"{name}/{spoilt}: {what}",
            lambda: load_task(name, folder),
            lambda: [{file: _plain(folder / file, name) for file in files}],
            lambda task, plain: _same(name, task, plain),
            may_refuse=mutate,
        )

    return make


def columns_of(name: str) -> list[str]:
    """The columns of a task's files; those of CoLA have no header."""
    header = HEADERS[name]
    return ["source", "label", "mark", "sentence"] if header is None else header.split("|" if "|" in header else " ")


def _rows(rng: Random, name: str, file: str) -> list[list[str]]:
    columns, task = columns_of(name), GLUE[name]
    labels = list(task.classes) or ["0.000", "5.000", "2.5", "3.25"]
    rows = [] if HEADERS[name] is None else [columns]
    for i in range(rng.randint(4, 7)):
        row = [f"c{i}"] * len(columns)
        for place in _places(name)[:-1]:
            row[place] = rng.choice(("", '"')) + f"{file} {i} " + rng.choice(TEXTS)
        row[_places(name)[-1]] = labels[i % len(labels)]
        rows.append(row)
    return rows


def _places(name: str) -> list[int]:
    """The places of text, second text and label."""
    columns = columns_of(name)
    if HEADERS[name] is None:
        return [3, 1]
    wanted = GLUE[name].columns
    return [columns.index(column) for column in (wanted.text, wanted.pair, wanted.label) if column is not None]


def _change_rows(rng: Random, rows: list[list[str]]) -> tuple[list[list[str]], str]:
    rows = [list(row) for row in rows]
    i = rng.randrange(len(rows))
    j = rng.randrange(len(rows[i]))
    change = rng.choice(
        ("label", "label", "label", "cell", "cell", "gone", "more", "header twice", "header odd", "empty")
    )
    if change == "label":
        rows[i][rng.choice((1, -1, -1))] = rng.choice(LABELS)
    elif change == "empty":
        rows = rows[:1]
    else:
        change_table(rng, rows, change, i, j)
    return rows, f"rows: {change}"


def decode_tabs(data: bytes) -> list[tuple[int, list[str]]]:
    """The lines of a file that are not blank, and their cells. Raises Refuse."""
    try:
        text = decoded(data)
    except UnicodeError:
        raise Refuse("not UTF-8", line=True) from None
    if "\0" in text:
        raise Refuse("a NUL", line=True)
    if not text.strip():
        raise Refuse("empty")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = [line[:-1] if line.endswith("\r") else line for line in text.split("\n")]
    return [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line]


def _plain(path: Path, name: str) -> list | None:
    """How many rows are left out, and (text, pair or None, label or None) of each of the others, in their order. None:
    a test set without rows."""
    is_test = path.name.startswith("test")
    if is_test and not path.read_bytes().strip():
        return None
    rows, columns, places = decode_tabs(path.read_bytes()), columns_of(name), _places(name)
    labelled = True
    if HEADERS[name] is not None:
        wanted, header = [columns[place] for place in places], rows.pop(0)[1]
        if is_test and wanted[-1] not in header:
            labelled, wanted = False, wanted[:-1]
        if any(header.count(column) != 1 for column in wanted):
            raise Refuse("a column is missing, or there twice", column=True)
        places, width = [header.index(column) for column in wanted], len(header)
    else:
        width = 4
    short = [row for _, row in rows if GLUE[name].drop_short_rows and len(row) < width]
    found, left_out, rows = [], len(short), [row for _, row in rows if row not in short]
    if any(len(row) != width for row in rows):
        raise Refuse("a row of another width", line=True)
    if is_test and labelled:  # one word that is no label stands for a hidden one
        words = {row[places[-1]] for row in rows}
        labelled = len(words) != 1 or bool(words & set(GLUE[name].classes))
        places = places if labelled else places[:-1]
    for row in rows:
        if is_test and labelled and row[places[-1]] not in GLUE[name].classes and stands_for_none(row[places[-1]]):
            left_out += 1
            continue
        label = _label(name, row[places[-1]]) if labelled else None
        if label == "-":
            left_out += 1
            continue
        texts = [row[place] for place in (places[:-1] if labelled else places)]
        found.append((texts[0], texts[1] if len(texts) > 1 else None, label))
    if is_test and not found:
        return None
    _check_rows(found, name, path)
    return [left_out, *found]


def stands_for_none(cell: str) -> bool:
    """Whether a cell of a test set is blank, or written as what is missing."""
    unseen = "".join(c for c in cell if unicodedata.category(c) not in ("Cf", "Cc")).strip().casefold()
    return unseen in {"", "-1", "-1.0", "-", "..", "?", "nan", "none", "null", "n/a", "na"}


def _label(name: str, cell: str):
    if name == "mnli" and cell == "-":
        return "-"
    if GLUE[name].classes:
        if cell not in GLUE[name].classes:
            raise Refuse("an unknown label", line=True)
        return GLUE[name].classes[cell]
    return number(cell)


def number(cell: str) -> float:
    """The score that a cell spells in ASCII. Raises Refuse."""
    if not NUMBER.fullmatch(cell.strip()) or not math.isfinite(np.float32(float(cell))):
        raise Refuse("no number", line=True)
    return float(np.float32(float(cell)))


def _check_rows(found: list, name: str, path: Path) -> None:
    if not found:
        raise Refuse("no rows")
    if path.name == "train.tsv" and len({label for *_, label in found}) < 2:
        raise Refuse("one class, or one score")


def _same(name: str, task, plain: dict) -> str:
    parts = {"train.tsv": task.train, "test.tsv": task.test}
    parts |= {file: task.dev[split] for split, file in GLUE[name].dev}
    for file, part in plain.items():
        if part is None:
            told = any(f"{file} has no rows" in note for note in task.notes)
            if task.test is not None or not told:
                return f"{file}: it has no rows, and there is a test set or no note"
            continue
        left_out, *expected = part
        if expected[0][-1] is None and not any(f"{file} has no labels" in note for note in task.notes):
            return f"{file}: it has no labels, and no note"
        found = rows_of(parts[file], task.labels)
        if found != expected:
            lost, more = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
            return f"{file}: expected and not there: {list(lost)[:3]}; there and not expected: {list(more)[:3]}"
        if left_out and not any(file in note and f" {left_out} " in note for note in task.notes):
            return f"{file}: {left_out} rows are left out without a note"
    return ""


NO_CLASS = "none of the classes"  # a label of a test set that no training row has: it counts as wrong


def rows_of(part, classes) -> list[tuple]:
    """The rows of a split as (text, pair or None, class name or score or None); NO_CLASS where it is none of them."""
    labels = [None] * len(part.texts) if part.labels is None else part.labels.tolist()
    labels = (
        [classes[label] if label >= 0 else NO_CLASS for label in labels]
        if classes and part.labels is not None
        else labels
    )
    return list(zip(part.texts, part.pairs or [None] * len(part.texts), labels, strict=True))
