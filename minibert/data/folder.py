"""The files of task csv: one file, or a folder with one for each split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from minibert.errors import InputError, list_some, readable

JSON_ENDINGS = (".jsonl", ".ndjson")
ENDINGS = (".csv", ".tsv", *JSON_ENDINGS)
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "val", "valid", "validation"), "test": ("test",)}
NO_DATA = ("readme", "license", "licence", "copying", "changelog", "makefile", "dockerfile", "thumbs.db")
OTHER_ENDINGS = {  # of programs, pictures, pages and settings
    *(".py", ".pyc", ".sh", ".r", ".ipynb", ".md", ".rst", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf", ".html"),
    *(".css", ".js", ".log", ".yml", ".yaml", ".toml", ".ini", ".cfg", ".sha256", ".md5"),
}
_A_SPLIT = re.compile("(train|dev|val|test)(?![a-z])|(training|development|valid|validation|testing)", re.IGNORECASE)


def find_splits(data: Path, notes: list[str]) -> dict[str, Path]:
    """The file of each split: {"train": data} for a file, what is there of train, dev and test for a folder.

    notes gets the names of the other files of the folder that may hold data. Raises InputError: nothing there, no
    training file, two files for a split.
    """
    if not data.exists():
        if re.match("https?:/", str(data)):
            raise InputError(f"--data {data} is an address, which is not read: get the file, and give its path")
        raise InputError(f"--data {data} does not exist; give a file, or a folder with train.csv, dev.csv and test.csv")
    if not data.is_dir():
        return {"train": data}
    there = sorted(path for path in data.iterdir() if path.is_file())
    files = {}
    for split, names in SPLIT_NAMES.items():
        found = [path for path in there if path.stem.lower() in names and path.suffix.lower() in ENDINGS]
        if len(found) > 1:
            raise InputError(f"{data} holds both {found[0].name} and {found[1].name}; keep one of them")
        if found:
            files[split] = found[0]
            if found[0].stem.lower() != split:
                notes.append(f"{found[0].name} is the {split} set")
    others = unread(data, files.values())
    if "train" not in files:
        holds = f" (it holds {others})" if others else ""
        raise InputError(
            f"{data} has neither train.csv nor train.tsv{holds}; give a folder with one (train.jsonl will do, too), or "
            "the file itself"
        )
    if others:
        notes.append(f"{data} also holds {others}: not read (train, dev and test are, each .csv, .tsv or .jsonl)")
    return files


def unread(folder: Path, read: Iterable[Path]) -> str:
    """The names of what a folder holds beside the files that were read, if it may be data: files that are no programs,
    pictures or notes, and folders called as a split."""
    return _list(path for path in _others(folder, read) if not path.is_dir() or _A_SPLIT.match(path.name))


def unread_note(folder: Path, read: Iterable[Path], known: Iterable[str] = (), also: Iterable[str] = ()) -> list[str]:
    """A note if the folder of a release holds more that is called as a split, or as one of also; but for known."""
    read = list(read)
    others = [path for path in _others(folder, read) if _A_SPLIT.match(path.name) or path.name in also]
    told = f"not read ({list_some(path.name for path in read)} are)"
    others = _list(path for path in others if path.name not in known)
    return [f"{folder} also holds {others}: {told}"] if others else []


def _others(folder: Path, read: Iterable[Path]) -> list[Path]:
    passed = {path.name for path in read}
    return [path for path in sorted(folder.iterdir()) if path.name not in passed and _may_hold_data(path)]


def _list(paths: Iterable[Path]) -> str:
    return list_some([f"{readable(path.name)}{os.sep if path.is_dir() else ''}" for path in paths])


def _may_hold_data(path: Path) -> bool:
    name = path.name.lower()
    return not name.startswith((".", *NO_DATA)) and path.suffix.lower() not in OTHER_ENDINGS
