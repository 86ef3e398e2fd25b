"""Task csv: the user's own file, delimited or of JSON Lines, or a folder with one file per split, made into a task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.data.delimited import Format, NoRows, Table, read_delimited
from minibert.data.folder import find_splits
from minibert.data.json_lines import is_json_lines, read_json_lines
from minibert.data.label_sets import read_sets, split_cell
from minibert.data.labels import LabelColumn, Spellings, escaped, fold, is_missing, leave_out, show
from minibert.data.odd_cells import odd_cells
from minibert.data.reading import parse_score
from minibert.data.split import Cut, Uncut, check_split_seed
from minibert.data.task import Examples, Task, empty_texts
from minibert.errors import InputError, counted, did_you_mean, list_some, shown

MOST_CLASSES = 1000
MANY_SINGLE = 10  # classes of one row each, from which on a note asks whether it is the label column
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)


@dataclass(frozen=True)
class Roles:
    """Which column is what, and whether labels are scores (regress) or class names."""

    text: str
    label: str
    pair: str | None
    regress: bool
    separator: str | None = None  # between the labels of one cell

    def __post_init__(self):
        if self.separator is not None and self.regress:
            raise InputError("--label-separator is for classes, --regress for one number a row: leave out one of them")
        if self.separator is not None and (len(self.separator) != 1 or self.separator.isalnum()):
            told = "expected one character that is no letter or digit"
            raise InputError(f"--label-separator {shown(self.separator)}: {told}")
        if len(set(self.columns())) != len(self.columns()):
            raise InputError(f"the text, pair and label columns must be different; got {', '.join(self.columns())}")

    def columns(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return (self.text, self.label) if self.pair is None else (self.text, self.pair, self.label)


@dataclass(frozen=True)
class TableOptions:
    """The options of task csv.

    File format: delimiter, encoding, columns, quoting as in `Format` and `read_delimited`.
    Labels: the class names that the training rows show, sorted (as numbers if all are whole numbers); spaces around
    them are dropped. label_separator: a cell holds any number of them with this character between, an empty one none.
    Rows with a label of drop_label are left out. regress=True: decimal numbers (see `parse_score`).
    An empty text is kept.
    Splits: one file is cut by `stratified_split` into dev_share (None: 0.1), test_share (None: 0.1; 0: no test set) and
    the rest for training. In a folder the test file may be missing or have no labels; a missing dev file is cut from
    the training file. split_seed (None: 0) is not the training seed: runs that differ in the latter are scored on the
    same dev set. An option that would do nothing is refused.
    """

    text_column: str
    label_column: str
    pair_column: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    columns: Sequence[str] | None = None
    quoting: str | None = None
    regress: bool = False
    drop_label: Sequence[str] = ()
    dev_share: float | None = None
    test_share: float | None = None
    split_seed: int | None = None
    label_separator: str | None = None

    def __post_init__(self):
        dropped = (self.drop_label,) if isinstance(self.drop_label, str) else tuple(self.drop_label)
        if not all(isinstance(label, str) for label in dropped):
            raise InputError(f"the labels to drop must be texts, as in a file; got {shown(self.drop_label)}")
        object.__setattr__(self, "drop_label", tuple(label.strip() for label in dropped))

    @property
    def form(self) -> Format:
        """How the file is written."""
        return Format(self.delimiter, self.encoding, self.columns, self.quoting)

    @property
    def roles(self) -> Roles:
        """Which column is what."""
        return Roles(self.text_column, self.label_column, self.pair_column, self.regress, self.label_separator)


def read_table(name: str, data, classes: tuple[str, ...] | None = None, **options) -> Task | Uncut:
    """The task called `name` from a file, or from a folder with train, dev and test files (.csv, .tsv, .jsonl).

    options: those of `TableOptions`. classes: those of a trained task that is scored, in place of those that the
    training rows show. Then a label that is none of them is UNKNOWN, and told; and the options are those that another
    file was read with, so one that does nothing here is no error.
    Raises InputError, naming file and line where there is one, for everything that cannot be used. The notes say what
    was taken for what.
    """
    o = TableOptions(**options)
    if o.split_seed is not None:
        check_split_seed(o.split_seed)
    data = Path(data)
    notes: list[str] = []
    files = find_splits(data, notes)
    if classes is None:
        _check_split_options(o, data, files)
        _check_form(o.form, files)
    roles = o.roles
    tables = {split: _read_file(path, o) for split, path in files.items() if split != "test"}
    if "test" in files and (test := _read_test(files["test"], o, roles, notes)):
        tables["test"] = test
    for column in roles.columns():
        try:
            tables["train"].place(column)  # before anything is said about what the columns hold
        except InputError as error:
            if classes is None or column != roles.label:
                raise
            raise InputError(f"{error} To label rows that have none: predict --data") from None
    for table in tables.values():
        notes += [*table.notes, *odd_cells(table, roles.columns(), roles.label)]
    parts, classes = _parts(tables, roles, classes, o.drop_label, notes)
    head, metrics = ("regress", ("spearman", "pearson", "r2")) if o.regress else ("classify", ("accuracy",))
    if o.label_separator is not None:
        head, metrics = "multilabel", ("micro_f1", "macro_f1", "subset_accuracy")
    if "dev" not in parts:
        dev_share, test_share = (0.1 if share is None else share for share in (o.dev_share, o.test_share))
        cut = Cut(files["train"], dev_share, 0 if data.is_dir() else test_share, o.split_seed or 0)
        return Uncut(name, head, classes, metrics, parts, tuple(notes), cut)
    return Task(name, head, classes, metrics, parts["train"], {"dev": parts["dev"]}, parts.get("test"), tuple(notes))


def _read_file(path: Path, o: TableOptions) -> Table:
    if not is_json_lines(path):
        return read_delimited(path, o.form)
    return read_json_lines(path, o.form, {o.label_column: o.label_separator} if o.label_separator else {})


def _read_test(path: Path, o: TableOptions, roles: Roles, notes: list[str]) -> Table | None:
    """The table of a test set; None, and a note, if it has no rows or not the columns of the texts: that does not stop
    a training."""
    try:
        table = _read_file(path, o)
    except NoRows:
        notes.append(f"{path.name} has no rows: it is not scored")
        return None
    try:
        for column in roles.columns():
            if column != roles.label:
                table.place(column)
    except InputError as error:
        told = str(error).replace(str(path), path.name, 1).rstrip("?")
        notes.append(f"{told}{'?' if str(error).endswith('?') else '.'} It is not scored")
        return None
    return table


def _check_form(form: Format, files: dict[str, Path]) -> None:
    """Raise InputError for an option of delimited files where there is none."""
    given = [f"--{name}" for name in ("delimiter", "columns", "quoting") if getattr(form, name) is not None]
    if given and all(map(is_json_lines, files.values())):
        raise InputError(
            f"{files['train']}: {' and '.join(given)} cannot be used with JSON Lines, whose columns are the keys of "
            "its objects: leave it out"
        )


def _check_split_options(o: TableOptions, data: Path, files: dict[str, Path]) -> None:
    """Raise InputError for an option that would do nothing."""
    idle = {}
    if "dev" in files:
        why = f"the folder {data} has a dev set, so nothing is split"
        idle = {"--dev-share": o.dev_share, "--test-share": o.test_share, "--split-seed": o.split_seed}
    elif data.is_dir():
        why = f"the test set of a folder is its test.csv; of {files['train'].name} only a dev set is cut"
        idle = {"--test-share": o.test_share}
    given = [option for option, value in idle.items() if value is not None]
    if given:
        raise InputError(f"{why}: leave out {' and '.join(given)}")


# ------------------------------------------------------------------------------------------------------------ labels


def _parts(
    tables: dict[str, Table],
    roles: Roles,
    classes: tuple[str, ...] | None,
    dropped: tuple[str, ...],
    notes: list[str],
) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """The examples of each table, that of train first, and the classes: those given, or else those that train shows."""
    parts: dict[str, Examples] = {}
    scored = classes is not None
    classes = () if roles.regress else classes or None
    seen: set[str] = set()
    for split, table in tables.items():
        if split == "test" and _is_unlabelled(table, roles, classes, seen, notes):
            parts[split] = _examples(table, roles, None)
        else:
            table, labels = _keep(table, roles, dropped, seen, notes, is_test=split == "test")
            if classes is None:
                classes = _classes(labels, notes)
            if classes and (scored or split == "test"):
                _check_spellings(labels, classes)
                notes += labels.unknown(classes)
                numbers = labels.numbers(classes)
            else:
                numbers = _scores(labels) if roles.regress else _numbers(labels, classes)
            parts[split] = _examples(table, roles, numbers)
        notes += empty_texts(parts[split], table.path)
    for label in dropped:
        if label not in seen and not scored:
            alike = Spellings(seen).find(label)
            alike = f" Did you mean {escaped(alike)}?" if alike is not None else did_you_mean(label, seen)
            told = f"no row has the label {label!r} of --drop-label in column {roles.label!r}.{alike}"
            raise InputError(told.removesuffix("."))
    return parts, classes


def _examples(table: Table, roles: Roles, labels: np.ndarray | None) -> Examples:
    return Examples(table.column(roles.text), None if roles.pair is None else table.column(roles.pair), labels)


def _is_unlabelled(table: Table, roles: Roles, classes: tuple[str, ...], seen: set[str], notes: list[str]) -> bool:
    """Whether a test set has no labels: no such column, or in every row a cell that is empty or no label of train."""
    if roles.label not in table.columns:
        alike = next((name for name in table.columns if fold(name) == fold(roles.label)), None)
        has = f" (it has {shown(alike)})" if alike else ""
        notes.append(f"{table.path.name} has no column {roles.label!r}{has}: its rows are not scored")
        return True
    labels = {label for cell in table.column(roles.label) for label in split_cell(cell, roles.separator)}
    if roles.regress:
        labelled = any(parse_score(label) is not None for label in labels)
    else:
        labelled = any(map(Spellings(classes).find, labels))
    if not labelled:
        found = list_some([shown(label) for label in sorted(labels)])
        kind = "a number" if roles.regress else "a label of the training rows"
        notes.append(f"{table.path.name}: no row has {kind} (found {found}): its rows are not scored")
        seen |= labels
    return not labelled


def _keep(
    table: Table, roles: Roles, dropped: tuple[str, ...], seen: set[str], notes: list[str], is_test: bool
) -> tuple[Table, LabelColumn]:
    """The table without the rows to drop, and its labels, none of them empty: rows of a test set without a label are
    left out. What labels there were is added to seen."""
    cells = table.column(roles.label)
    labels = [cell.strip() for cell in cells]
    spaced = [i for i, (cell, label) in enumerate(zip(cells, labels, strict=True)) if cell != label and label]
    if spaced and roles.separator is None:
        first = f"line {table.lines[spaced[0]]}: {shown(cells[spaced[0]])}"
        told = f"spaces around {counted(len(spaced), 'label')} are dropped ({first})"
        notes.append(f"{table.path.name}: {told}")
    seen |= set(labels)
    kept = [i for i, label in enumerate(labels) if label not in dropped]
    if not kept:
        raise InputError(f"{table.path}: --drop-label leaves no row")
    if len(kept) < len(labels):
        told = ", ".join(f"{n} with label {label!r}" for label in dropped if (n := labels.count(label)))
        notes.append(f"{table.path.name}: left out {len(labels) - len(kept)} of {len(labels)} rows ({told})")
        table, labels = table.take(kept), [labels[i] for i in kept]
    lacking = [i for i, label in enumerate(labels) if not label or (roles.regress and _is_no_score(label))]
    if is_test and lacking and roles.separator is None:
        told = f"left out {len(lacking)} of {len(labels)} rows, whose label is empty or stands for a missing one"
        notes.append(f"{table.path.name}: {told} (first on line {table.lines[lacking[0]]})")
        kept = sorted(set(range(len(labels))) - set(lacking))
        table, labels = table.take(kept), [labels[i] for i in kept]
    if roles.separator is not None:
        return table, read_sets(table.path, roles.label, labels, table.lines, roles.separator, notes)
    column = LabelColumn(table.path, roles.label, labels, table.lines)
    if "" in column.counts:
        where = f"{table.path}, line {column.first['']}: the label (column {roles.label!r}) is empty"
        raise InputError(f"{where}, as in {column.counts['']} of {len(labels)} rows. {leave_out('')}")
    return table, column


def _is_no_score(label: str) -> bool:
    """Whether a label stands for a missing score; -1 is one."""
    return parse_score(label) is None and is_missing(label)


def _classes(train: LabelColumn, notes: list[str]) -> tuple[str, ...]:
    """The class names of the training rows, in the order of their numbers. Raises InputError if they seem scores."""
    names, where = sorted(train.counts), f"{train.path}: column {train.name!r}"
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"{where} has {len(names)} different labels, and a class each is too many (at most {MOST_CLASSES}). "
            "Is it the label column? If its labels are scores, use --regress"
        )
    _check_scores(train, where)
    numbers = [parse_score(label) for label in names]
    if all(number is not None for number in numbers):
        names.sort(key=lambda label: (float(label), label))
    if len(names) < 2:
        raise InputError(f"{where} has only one class, {shown(names[0])}; at least two are needed")
    train.check_numbers()
    notes += train.notes()
    single = sum(n == 1 for n in train.counts.values())
    if single > len(train.labels) / 2 and single >= MANY_SINGLE:
        told = f"{single} of {len(train.labels)} rows have a label that no other row has; is it the label column?"
        notes.append(f"{train.path.name}, column {train.name!r}: {told}")
    if any("," in label for label in names) and all(_DECIMAL_COMMA.fullmatch(label) for label in names):
        told = f"labels such as {show(next(label for label in names if ',' in label))} look like scores with a decimal"
        told += " comma; they are classes here. For scores: a point, and --regress; for several labels in a cell:"
        notes.append(f"{train.path.name}, column {train.name!r}: {told} --label-separator ,")
    return tuple(names)


def _check_scores(train: LabelColumn, where: str) -> None:
    """Raise InputError if the labels are numbers with fractions, but for those that stand for a missing one."""
    names = [label for label in sorted(train.counts) if not _is_no_score(label)]
    numbers = [parse_score(label) for label in names]
    if names and all(number is not None for number in numbers):
        broken = [label for label, number in zip(names, numbers, strict=True) if number != int(number)]
        if broken:
            missing = [label for label in train.counts if label not in names]
            drop = f" with {leave_out(missing[0]).rpartition(' ')[2]}" if missing else ""
            raise InputError(
                f"{where} holds numbers such as {show(broken[0])}: these look like scores, use --regress{drop}. "
                "If they are classes, give them names that are not fractions"
            )


def _scores(labels: LabelColumn) -> np.ndarray:
    scores = np.empty(len(labels.labels), np.float32)
    for i, label in enumerate(labels.labels):
        score = parse_score(label)
        if score is None:
            message = f"{labels.path}, line {labels.lines[i]}: the score is {shown(label)}; expected a finite number"
            message += " with a decimal point, not a comma" if _DECIMAL_COMMA.fullmatch(label) else ""
            raise InputError(f"{message}. {leave_out(label)}" if is_missing(label) else message)
        scores[i] = score
    return scores


def _numbers(labels: LabelColumn, classes: tuple[str, ...]) -> np.ndarray:
    """Raises InputError for the first label that is no class."""
    _check_spellings(labels, classes)
    for label, line in labels.first.items():
        if label not in classes:
            known = list_some([show(name) for name in classes], 20)
            found = f"{shown(label)}; the classes there are {known}. {leave_out(label)}"
            raise InputError(f"{labels.path}, line {line}: no training row has the label {found}")
    return labels.numbers(classes)


def _check_spellings(labels: LabelColumn, classes: tuple[str, ...]) -> None:
    """Raise InputError for the first label that is a class in another spelling."""
    spellings = Spellings(classes)
    for label, line in labels.first.items():
        alike = label if label in classes else spellings.find(label)
        if alike not in (None, label):
            found = f"{escaped(label)}; there it is written {escaped(alike)}. Write a class in one way"
            raise InputError(f"{labels.path}, line {line}: no training row has the label {found}")
