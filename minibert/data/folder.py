"""The files of task csv: one file, or a folder with one for each split."""

from __future__ import annotations

import re
from pathlib import Path

from minibert.errors import InputError, list_some

JSON_ENDINGS = (".jsonl", ".ndjson")
ENDINGS = (".csv", ".tsv", *JSON_ENDINGS)
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "val", "valid", "validation"), "test": ("test",)}
DATA_ENDINGS = (
    *ENDINGS, ".tab", ".txt", ".data", ".json", ".xls", ".xlsx", ".ods", ".parquet", ".arrow",
    ".feather", ".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz", "",
)  # fmt: skip
NO_DATA = ("readme", "license", "licence", "copying", "changelog", "makefile", "dockerfile")
PROGRAMS = (".py", ".sh", ".r", ".ipynb", ".md")


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
    others = list_some([path.name for path in there if path not in files.values() and _may_hold_data(path)])
    if "train" not in files:
        holds = f" (it holds {others})" if others else ""
        raise InputError(
            f"{data} has neither train.csv nor train.tsv{holds}; give a folder with one (train.jsonl will do, too), or "
            "the file itself"
        )
    if others:
        notes.append(f"{data} also holds {others}: not read (train, dev and test are, each .csv, .tsv or .jsonl)")
    return files


def _may_hold_data(path: Path) -> bool:
    name, ending = path.name.lower(), path.suffix.lower()
    if name.startswith((".", *NO_DATA)) or ending in PROGRAMS:
        return False
    return ending in DATA_ENDINGS or name.startswith(tuple(sum(SPLIT_NAMES.values(), ())))
