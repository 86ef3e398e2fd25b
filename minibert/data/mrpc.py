"""MRPC in GLUE's layout. GLUE may not hand out the texts; it publishes which pairs of the training file are for dev."""

from __future__ import annotations

from pathlib import Path

from minibert.data.reading import read_text, tab_rows
from minibert.errors import InputError, list_some, readable, shown

TEST_FILE = "msr_paraphrase_test.txt"
DEV_PAIRS = 408
AGAIN = "The download may have been cut short; try again"
HEADER = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")


def split_mrpc(train_file: Path, dev_ids_file: Path, folder: Path) -> None:
    """Write folder/train.tsv (3,668 rows) and folder/dev.tsv (408), the rows in the order of train_file.

    No checksum of the list of pairs is known, so its content is checked: 408 different pairs, each of them in exactly
    one row of the training file (whose checksum is known). Raises InputError if that is not so.
    """
    dev_ids = _dev_ids(dev_ids_file)
    numbered = tab_rows(read_text(train_file, advice=AGAIN))
    _, header = next(numbered)
    if tuple(header) != HEADER:
        found = list_some(list(map(readable, header)))
        raise InputError(f"{train_file.name}, line 1: expected {', '.join(HEADER)}; found {found}")
    parts: dict[str, list[list[str]]] = {"train": [header], "dev": [header]}
    for number, row in numbered:
        if len(row) != len(HEADER):
            raise InputError(f"{train_file.name}, line {number}: expected {len(HEADER)} columns, found {len(row)}")
        parts["dev" if (row[1], row[2]) in dev_ids else "train"].append(row)
    found = {(row[1], row[2]) for row in parts["dev"][1:]}
    if len(found) != len(dev_ids) or len(parts["dev"]) - 1 != len(dev_ids):
        raise InputError(
            f"{dev_ids_file.name} does not belong to {train_file.name}: of its {len(dev_ids)} pairs {len(found)} are "
            f"there, in {len(parts['dev']) - 1} rows"
        )
    for part, rows in parts.items():
        text = "".join("\t".join(row) + "\n" for row in rows)
        (folder / f"{part}.tsv").write_bytes(text.encode("utf-8"))  # bytes: the same file on every system


def _dev_ids(path: Path) -> set[tuple[str, str]]:
    pairs = []
    for number, row in tab_rows(read_text(path, advice=AGAIN)):
        pair = tuple(cell.strip() for cell in row)
        if len(pair) != 2 or not all(cell.isdigit() for cell in pair):
            raise InputError(f"{path.name}, line {number}: expected two numbers separated by a tab, found {shown(row)}")
        pairs.append(pair)
    if not len(pairs) == len(set(pairs)) == DEV_PAIRS:
        raise InputError(
            f"{path.name} must hold {DEV_PAIRS} different pairs; it holds {len(pairs)} ({len(set(pairs))} different)"
        )
    return set(pairs)
