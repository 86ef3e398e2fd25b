"""The command `bank`: what a bank holds, and what is done to it. Each function takes the parsed arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from minibert.cli.bank_arguments import EARLIER
from minibert.cli.exchange import bank_export, bank_import
from minibert.cli.inputs import print_notes
from minibert.errors import InputError, counted, list_some, need, printable, readable
from minibert.evaluate import format_scores
from minibert.methods import GROUPS, group_of
from minibert.storage import (
    TaskRecord,
    add_task,
    bank_file,
    check_new_name,
    copy_task,
    extract_tasks,
    find_task,
    read_bank,
    remove_tasks,
    rename_task,
)
from minibert.trained import unscored_note


def bank(args) -> None:
    """Do what the subcommand says."""
    ACTIONS[args.action](args)


# ------------------------------------------------------------------------------------------------------- list and show


def list_bank(args) -> None:
    """One line a task: its method, how many parameters are its own, its scores."""
    for record in read_bank(bank_file(args.bank)).values():
        print_notes(unscored_note(record))
        size = record.n_params
        if args.json:
            row = {"task": record.name, "head": record.head, "labels": record.labels, "method": record.method}
            print(json.dumps({**row, "parameters": size, "dev": record.dev}))
        else:
            dev = format_scores(record.dev) or "not scored"
            print(printable(f"{record.name:<16}{record.method:<11}{size:>12,} parameters   dev {dev}"))


def show_bank(args) -> None:
    """All that a bank knows of its tasks, or of those that are named."""
    path = bank_file(args.bank)
    tasks = read_bank(path)
    records = [find_task(path, tasks, name) for name in dict.fromkeys(args.names)] or list(tasks.values())
    for i, record in enumerate(records):
        print_notes(unscored_note(record))
        facts = _facts(record)
        if args.json:
            print(json.dumps({"bank": str(path), **facts}))
        else:
            print("\n" * (i > 0) + "\n".join(printable(line) for line in _lines(facts)))


def _facts(record: TaskRecord) -> dict:
    """What there is to know of a task, of plain Python types."""
    counts = dict.fromkeys(GROUPS, 0)
    for name, array in record.params.items():
        counts[group_of(name)] += array.size
    return {
        "task": record.name,
        "head": record.head,
        "labels": list(record.labels),
        "outputs": record.n_out,
        "method": record.method,
        "adapter": asdict(record.adapter) if record.adapter else None,
        "options": record.model_options,
        "dev": record.dev,
        "training": record.training,
        "rows": {name: len(hashes) for name, hashes in record.rows.items()},
        "parameters": {"total": record.n_params} | {group: n for group, n in counts.items() if n},
        "bytes": sum(array.nbytes for array in record.arrays.values()),
        "backbone": {
            "fingerprint": record.backbone_fingerprint,
            "tokenizer": record.backbone_tokenizer,
            "config": asdict(record.backbone_config),
        },
    }


def _lines(facts: dict) -> list[str]:
    """The facts for people: a line each, and for what has parts a line for each of these."""
    lines = []
    if facts["adapter"] and facts["adapter"]["layers"] is None:
        facts = facts | {"adapter": facts["adapter"] | {"layers": "all"}}
    names = {"rows": "rows, each different one once"}  # what was trained on may hold a text several times
    for name, value in ((names.get(name, name), value) for name, value in facts.items()):
        if isinstance(value, dict) and value:
            lines += [f"{name:<14}"] + [f"  {part:<20}{_written(one)}" for part, one in value.items()]
        else:
            lines.append(f"{name:<14}{_written(value)}")
    return [line.rstrip() for line in lines]


def _written(value) -> str:
    """A value as a person writes it: thousands with commas, lists without brackets, nothing as "-"."""
    if value is None or value in ("", [], {}, ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_written(one)}" for name, one in value.items())
    return ", ".join(map(_written, value)) if isinstance(value, (list, tuple)) else str(value)


# ------------------------------------------------------------------------------------------------------- what changes


def add_to_bank(args) -> None:
    """Add the tasks of other runs or banks."""
    records = _to_be_added(args)
    _change(args, "added", [record.name for record in records], add_task, *records, replace=args.replace)


def _to_be_added(args) -> list[TaskRecord]:
    path, records = bank_file(args.bank), []
    for other in map(bank_file, args.add):
        tasks = read_bank(other)
        records += tasks.values() if args.name is None else [find_task(other, tasks, args.name)]
    if not path.exists() and path.suffix != ".h5":
        raise InputError(f"{path} does not exist; the name of a new bank ends in .h5")
    if args.new_name is not None:
        if len(records) != 1:
            raise InputError(f"--as names one task, and {len(records)} are added")
        check_new_name(args.new_name)
        records = [replace(records[0], name=args.new_name)]
    return records


def copy_in_bank(args) -> None:
    """A second entry of a task."""
    _change(args, "copied", [args.name, args.new_name], copy_task, args.name, args.new_name)


def rename_in_bank(args) -> None:
    """Another name for a task."""
    _change(args, "renamed", [args.name, args.new_name], rename_task, args.name, args.new_name)


def remove_from_bank(args) -> None:
    """Tasks less."""
    _change(args, "removed", list(dict.fromkeys(args.names)), remove_tasks, *args.names)


def extract_from_bank(args) -> None:
    """Some of the tasks, in a new bank."""
    need(Path(args.out).suffix == ".h5", f"--out {args.out}: the name of a new bank ends in .h5")
    extract_tasks(bank_file(args.bank), args.names, args.out)
    _report(args, Path(args.out), 0, "extracted", list(dict.fromkeys(args.names)))


def _change(args, done: str, names: list[str], change: Callable, *arguments, **options) -> None:
    """Change the bank, and say what was done: change(path of the bank, ...)."""
    path = bank_file(args.bank)
    before = _bytes(path)
    change(path, *arguments, **options)
    _report(args, path, before, done, names)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _report(args, path: Path, before: int, done: str, names: list[str]) -> None:
    """One line: what was done, and the size that the bank has now."""
    tasks, size = list(read_bank(path)), _bytes(path)
    if args.json:
        print(json.dumps({"bank": str(path), "done": done, "names": names, "tasks": tasks, "bytes": size}))
        return
    between = " to " if done in ("copied", "renamed") else ", "
    what = between.join(names) if len(names) < 3 else list_some(map(readable, names))
    was = f", before {before / 1e6:.1f} MB" if before else ""
    print(printable(f"{done} {what}; {path}: {counted(len(tasks), 'task')}, {size / 1e6:.1f} MB{was}"))


def as_earlier(args) -> None:
    """`minibert bank BANK [--add RUN ...]`: add, if something is to be added, then list."""
    if args.add:
        add_task(bank_file(args.bank), *_to_be_added(args), replace=args.replace)
    elif args.new_name or args.replace:
        raise InputError("--as and --replace are for tasks that are added: give --add")
    list_bank(args)


ACTIONS = {
    "list": list_bank,
    "show": show_bank,
    "add": add_to_bank,
    "copy": copy_in_bank,
    "rename": rename_in_bank,
    "remove": remove_from_bank,
    "extract": extract_from_bank,
    "export": bank_export,
    "import": bank_import,
    EARLIER: as_earlier,
}
