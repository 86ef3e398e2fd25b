"""Task csv from JSON Lines: a file, or a folder of them, with one object a line, as programs and people write it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

from . import delimited_files
from .case import Refuse
from .delimited_files import TEXTS, Form, checked, decoded_text
from .mutations import NUMBERS, mutate_text_bytes, odd_text

ODD_VALUES = (None, True, False, 0, 1.5, "", " ", "NaN", [], ["a"], {}, {"a": {"b": [1]}}, "\ud800", "\0", "x" * 300)
ODD_LINES = (
    *(b"", b"[]", b"null", b"1", b"{", b"}", b"{}", b'"x"', b"NaN", b"// a remark", b"[" * 5000, b'{"text": NaN}'),
    *(b"\x1e{}", b"{},", b"[{}]", b'{"text":"a" "label":"b"}', b"{'text': 'a'}", b'{"text": 1e999}'),
)


class Objects(Form):
    """How the objects are written, and the options that say so."""

    def __init__(self, rng: Random):
        super().__init__(rng)
        for option in ("delimiter", "quoting", "columns"):
            self.options.pop(option, None)
        self.quoting, self.header, self.ending = "csv", False, rng.choice((".jsonl", ".jsonl", ".ndjson"))

    def rows(self, rng: Random, file: str) -> list[dict]:
        """An object for each row; numbers as numbers where a label is one."""
        found, typed = [], rng.random() < 0.5
        for i in range(rng.randint(12, 30)):
            label = self.labels[i % len(self.labels)]
            if typed and re.fullmatch(r"-?\d+(\.\d+)?", label):
                label = json.loads(label)
            cells = {"id": i, "label": label}
            cells |= {name: f"{file}{i} {rng.choice(TEXTS)}" for name in ("text", "pair")}
            found.append({name: cells[name] for name in self.columns})
        return found

    def write(self, rng: Random, rows: list[dict]) -> bytes:
        """The bytes of a file."""
        ascii_only, end = rng.random() < 0.5, rng.choice(("\n", "\n", "\r\n"))
        text = "".join(json.dumps(value, ensure_ascii=ascii_only) + end for value in rows)
        return text.encode(self.encoding, "replace")

    def change_rows(self, rng: Random, rows: list[dict]) -> tuple[list, str]:
        """Objects in which something is changed, and what."""
        return _change_objects(rng, rows)

    def change_bytes(self, rng: Random, data: bytes, other: bytes) -> tuple[bytes, str]:
        """The same of a file's bytes."""
        return _change_bytes(rng, data, other)

    def readings(self, paths: dict[str, Path]) -> list[dict]:
        """What is right to read, by other means."""
        return _readings(paths, self)


def tables():
    """The maker of files and folders, of which one file is mutated."""
    return delimited_files.tables(Objects)


def _change_objects(rng: Random, objects: list[dict]) -> tuple[list, str]:
    objects = [dict(value) for value in objects]
    i = rng.randrange(len(objects))
    key = rng.choice(list(objects[i]))
    change = rng.choice(
        ("value", "value", "value", "label", "key gone", "key gone everywhere", "new key", "few", "twice")
    )
    if change == "value":
        objects[i][key] = rng.choice((*ODD_VALUES, odd_text(rng), rng.choice(NUMBERS)))
    elif change == "label":
        objects[i]["label"] = rng.choice((*ODD_VALUES, rng.choice(NUMBERS), "Yes", "no ", "1.0", odd_text(rng)))
    elif change == "key gone":
        del objects[i][key]
    elif change == "key gone everywhere":
        for value in objects:
            value.pop(key)
    elif change == "new key":
        objects[i][odd_text(rng)] = rng.choice(ODD_VALUES)
    elif change == "few":
        objects = objects[: rng.randint(1, 4)]
    else:
        objects.insert(i, dict(objects[rng.randrange(len(objects))]))
    return objects, f"objects: {change}"


def _change_bytes(rng: Random, data: bytes, other: bytes) -> tuple[bytes, str]:
    if rng.random() < 0.3:
        lines = data.split(b"\n")
        i = rng.randrange(len(lines))
        lines[i] = rng.choice((*ODD_LINES, lines[i][:-1] + b', "text": "again"}', lines[i].replace(b'"', b"'")))
        return b"\n".join(lines), f"line {i + 1}: {lines[i][:30]!r}"
    return mutate_text_bytes(rng, data, other)


# ---------------------------------------------------------------------------------------------------------- the oracle


def _readings(paths: dict[str, Path], form: Objects) -> list[dict[str, list[tuple]]]:
    """The readings that are right, as delimited_files has them. Raises Refuse if there is none."""
    parts = {split: _plain(path.read_bytes(), form, split) for split, path in paths.items()}
    parts = {split: rows for split, rows in parts.items() if rows is not None}
    return [reading | {"unscored": len(parts) < len(paths)} for reading in checked(parts, form)]


def _plain(data: bytes, form: Objects, split: str) -> list[tuple] | None:
    """(text, pair or None, label as it is written, or None) of each row; None for a test set that is not scored."""
    objects = []
    for line in decoded_text(data, form).replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.strip(" \t"):
            objects.append(_object(line.strip(" \t")))
    if not objects:
        raise Refuse("no objects")
    keys = {key for value in objects for key in value}
    labelled = not (split == "test" and "label" not in keys)
    texts = ["text", *(["pair"] if form.pair else [])]
    if split == "test" and not keys.issuperset(texts):
        return None
    if not keys.issuperset([*texts, *(["label"] if labelled else [])]):
        raise Refuse("a column is missing", column=bool(keys))
    return [
        (
            _cell(value.get("text")),
            _cell(value.get("pair")) if form.pair else None,
            _cell(value.get("label")).strip() if labelled else None,
        )
        for value in objects
    ]


def _object(line: str) -> dict:
    def unique(pairs):
        if len(dict(pairs)) < len(pairs):
            raise Refuse("a key is there twice", line=True)
        return dict(pairs)

    def constant(name):
        if name != "NaN":
            raise Refuse("no number", line=True)

    try:
        value = json.loads(line, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Refuse("not JSON", line=True) from None
    if not isinstance(value, dict):
        raise Refuse("no object", line=True)
    return value


def _cell(value) -> str:
    if isinstance(value, (dict, list)):
        raise Refuse("a nested value", line=True)
    return {None: "", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value
