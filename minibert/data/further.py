"""Reading the tasks of releases.py: find the file, make rows of it, make a task of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from minibert.data.checks import release_notes
from minibert.data.delimited import Header, scan_delimited
from minibert.data.folder import unread_note
from minibert.data.quotes import quote_note
from minibert.data.reading import encoding_note, read_text
from minibert.data.releases import FURTHER, PublicTask
from minibert.data.split import Cut, Uncut, check_split_seed
from minibert.data.task import Examples, class_numbers, empty_texts, no_test_labels, unknown_labels
from minibert.errors import InputError, counted, list_some, shown

BESIDE_A_LABEL = (":confidence", ".confidence", "_confidence", ":gold", "_gold")  # ends of names of other columns

# Where a row stands (a line, or a file of its own), its text, its second text if there are pairs, its label.
Row = tuple[int | str, str, str | None, str]


def read_further(
    name: str,
    data,
    classes: tuple[str, ...] | None = None,
    *,
    dev_share: float = 0.1,
    test_share: float | None = None,
    split_seed: int = 0,
) -> Uncut:
    """Read task `name` (a key of `FURTHER`) from the folder that holds its folder, from its own folder, or its file.

    Where the release has no split, one is made by class (see `stratified_split`): dev_share of the rows for dev,
    test_share (None: 0.1) for test. Where it has a test set, dev is cut from the training rows, and test_share cannot
    be given.
    classes: the names to look labels up in, if not those that the release has; then a label that is none of them is
    UNKNOWN, and told.
    Raises InputError: the file is not there (what to get, from where, where to put it); a row that is not as released
    (file, line, what was expected); options out of range.
    """
    check_split_seed(split_seed)
    task = FURTHER[name]
    if task.tests and test_share is not None:
        raise InputError(f"task {name} has a test set of its own: leave out --test-share")
    paths = _find(name, Path(data))
    notes: list[str] = []
    task = _with_stand_in(paths["train"], task, notes)
    refuse, classes = not classes, classes or task.class_names()
    parts = {}
    for split, path in paths.items():
        if split == "test" and (why := _why_no_test(path, task)):
            notes.append(why)
            continue
        parts[split], classes = _read_part(path, task, classes, notes, refuse)
        if split == "train" and refuse:
            n_classes = task.classes if isinstance(task.classes, int) else len(task.class_names())
            notes += release_notes(path, parts[split], classes, n_classes, task.rows)
    if task.tests:
        notes += unread_note(paths["train"].parent, paths.values(), also=task.tests)
    share = 0 if task.tests else 0.1 if test_share is None else test_share
    cut = Cut(paths["train"], dev_share, share, split_seed)
    return Uncut(name, "classify", classes, ("accuracy",), parts, tuple(notes), cut)


def _with_stand_in(path: Path, task: PublicTask, notes: list[str]) -> PublicTask:
    """The task with the column that stands in for the label's, and a note, if the file at path lacks the label's."""
    if task.stand_in is None:
        return task
    header, _ = scan_delimited(path, task.form())
    other = task.stand_in
    if task.label in header.columns or other.column not in header.columns:
        return task
    notes.append(f"{path.name} has no column {task.label!r}, so {other.column!r} is read: {other.lost}")
    return replace(task, label=other.column, classes=other.classes)


def _table_rows(path: Path, task: PublicTask) -> Iterator[Row]:
    header, rows = scan_delimited(path, task.form())
    texts, label = [header.place(column) for column in task.text], header.place(_label_column(header, task.label))
    pair = None if task.pair is None else header.place(task.pair)
    for line, row in rows:
        text = " ".join(row[i] for i in texts if row[i])
        yield line, text, None if pair is None else row[pair], row[label]


def _label_column(header: Header, wanted: str) -> str:
    start = wanted.removesuffix("*")
    found = [name for name in header.columns if name == start or (wanted != start and name.startswith(start))]
    found = [name for name in found if not name.endswith(BESIDE_A_LABEL)]
    if len(found) > 1:
        raise InputError(f"{header.path}: which is the label, column {' or '.join(map(shown, found))}? Keep one")
    return found[0] if found else wanted  # not there: `place` says so, and what is


def _content_lines(path: Path, task: PublicTask) -> list[tuple[int, str]]:
    lines = enumerate(read_text(path, task.encoding, task.advice).split("\n"), start=1)
    return [(line, content.strip()) for line, content in lines if content.strip()]


def _line_rows(path: Path, task: PublicTask) -> Iterator[Row]:
    for line, content in _content_lines(path, task):
        label, _, text = content.partition(" ")
        if ":" not in label or not text:
            found = shown(content)
            raise InputError(f"{path}, line {line}: expected LABEL:fine, a space and a question, found {found}")
        yield line, text, None, label.partition(":")[0]


def _why_no_test(path: Path, task: PublicTask) -> str | None:
    """The note about a test set that has no rows or no labels (of the layouts lines and folders); None if it has."""
    if task.layout == "folders":
        inside = _visible(path)
        rows, labelled = bool(inside), any(entry.is_dir() for entry in inside)
    else:
        blank = path.is_file() and not path.read_bytes().strip()
        lines = [] if blank else _content_lines(path, task)
        rows, labelled = bool(lines), any(":" in line.partition(" ")[0] for _, line in lines)
    if not rows:
        return f"{path.name} has no rows: it is not scored"
    return None if labelled else no_test_labels(path)


def _folder_rows(path: Path, task: PublicTask) -> Iterator[Row]:
    for folder in (entry for entry in _visible(path) if entry.is_dir()):
        for file in _visible(folder):
            try:
                text = file.read_bytes().decode(task.encoding[0])
            except OSError as error:
                raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
            yield f"{folder.name}/{file.name}", text, None, folder.name


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files."""
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder that holds one folder a class; unpack the archive first")
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


LAYOUTS = {"table": _table_rows, "lines": _line_rows, "folders": _folder_rows}


def _find(name: str, data: Path) -> dict[str, Path]:
    """{"train": …} and, if the release has it, {"test": …}."""
    task = FURTHER[name]
    if data.name in (task.file, *task.tests) and data.exists():
        folders, train = [data.parent], task.file
    elif data.is_file():
        folders, train = [data.parent], data.name
    else:
        sharing = [other for other in FURTHER if FURTHER[other].file == task.file and other != name]
        folders, train = [data / name, *(data / other for other in sharing), data], task.file
    folder = next((folder for folder in folders if (folder / train).exists()), None)
    if folder is None:
        raise InputError(_missing(name, data, train))
    paths = {"train": folder / train}
    if task.tests:
        paths["test"] = next((folder / test for test in task.tests if (folder / test).exists()), None)
        if paths["test"] is None:
            raise InputError(_missing(name, folder, task.tests[0]))
    return paths


def _missing(name: str, data: Path, file: str) -> str:
    what = f"there is no {file} in {data} or {data / name}" if data.is_dir() else f"--data {data} does not exist"
    alone = "" if FURTHER[name].tests else ", or give the file itself with --data"
    into = data if data.name == name else data / name
    return f"task {name}: {what}. {FURTHER[name].how_to_get(into)}{alone}"


def _read_part(
    path: Path, task: PublicTask, classes: tuple[str, ...], notes: list[str], refuse: bool
) -> tuple[Examples, tuple[str, ...]]:
    """The examples of one file, and the classes: those given, or, if none are, those the file shows. refuse: a label
    that is none of them is an error."""
    texts, pairs, labels = [], [], []
    left_out: Counter[str] = Counter()
    first: dict[str, int | str] = {}  # where a label is met first
    for where, text, pair, cell in LAYOUTS[task.layout](path, task):
        if task.skip_empty and not text.strip():
            left_out["no text"] += 1
            continue
        label = task.rule(cell.strip())
        if label not in first:
            first[label] = where
            if refuse:
                _check_label(path, where, label, task, classes)
        if isinstance(task.classes, dict):
            label = task.classes.get(label, None if task.skip_rest else label)
        if not label:
            left_out[f"label {shown(cell.strip())}"] += 1
            continue
        texts.append(text)
        pairs.append(pair)
        labels.append(label)
    notes += _left_out(path, left_out) + _how_read(path, task)
    if not classes:
        classes = _classes(path, Counter(labels), first, task)
    notes += unknown_labels(path, labels, classes)
    if task.delimiter == "\t":
        notes += quote_note(path.name, texts, what="texts")
    part = Examples(texts, pairs if task.pair else None, class_numbers(labels, classes))
    notes += empty_texts(part, path)
    return part, classes


def _check_label(path: Path, where: int | str, label: str, task: PublicTask, classes: tuple[str, ...]) -> None:
    """Raise InputError if the row's label cannot be."""
    known = task.classes if isinstance(task.classes, dict) else classes
    if task.skip_rest or label in known or (label and not known):
        return
    expected = f"one of {', '.join(map(shown, known))}" if known else "a label"
    raise InputError(f"{_place(path, where)}: the label is {shown(label)}; expected {expected}")


def _classes(path: Path, counts: Counter[str], first: dict[str, int | str], task: PublicTask) -> tuple[str, ...]:
    """The labels that a file shows, sorted. Raises InputError if they are more than the release has."""
    if task.classes is not None and len(counts) > task.classes:
        odd = counts.most_common()[task.classes][0]
        usual = list_some([shown(label) for label, _ in counts.most_common(task.classes)], 20)
        raise InputError(
            f"{_place(path, first[odd])}: the label is {shown(odd)}; expected one of the {task.classes} labels that "
            f"the release has, and {usual} are more frequent"
        )
    if len(counts) < 2:
        raise InputError(f"{path}: at least two classes are needed, found {', '.join(map(shown, counts)) or 'no rows'}")
    return tuple(sorted(counts))


def _place(path: Path, where: int | str) -> str:
    return f"{path}, line {where}" if isinstance(where, int) else f"{path}/{where}"


def _how_read(path: Path, task: PublicTask) -> list[str]:
    if task.layout != "folders":
        return encoding_note(path, task.encoding)
    loose = sum(not entry.is_dir() for entry in _visible(path))
    return [f"{path.name}: left out {counted(loose, 'file')} in no folder of a class"] if loose else []


def _left_out(path: Path, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    why = list_some((f"{n} with {what}" for what, n in counts.most_common()), 5)
    return [f"{path.name}: left out {counted(counts.total(), 'row')} ({why})"]
