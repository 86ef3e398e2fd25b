"""What changes a bank: tasks are added, copied, renamed, removed, extracted; all that is asked for is done, or nothing.

The file is written anew each time, under one lock: of several programs each waits for those before it, and none undoes
what another has done. The space of a task that is removed comes back; the other tasks stay as they are, bit for bit.
All errors are InputErrors, and then the bank is as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace as with_changes
from pathlib import Path

from minibert.errors import need, shown
from minibert.storage.bank import TaskRecord, check_task_name, find_task, read_bank, write_bank
from minibert.storage.locks import locked
from minibert.storage.run_folder import LOCK, RunFolder

WAIT = 300  # seconds, for other programs that change the bank


@contextmanager
def changing(path: str | Path) -> Iterator[dict[str, TaskRecord]]:
    """Give the tasks of a bank, {name: record}, none if there is no file. What the body makes of them is the bank's
    content if it succeeds.

    Raises InputError if other programs do not let go of the bank for WAIT seconds, or if it is that of a run that has
    not ended: the run will write it.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    busy = f"is being changed by another program ({{}}), also after {WAIT} s; try again later"
    with locked(target.with_name(f".{target.name}.lock"), Path(path), WAIT, busy), _no_run(target, path):
        tasks = read_bank(path) if Path(path).exists() else {}
        yield tasks
        write_bank(path, tasks)


def _no_run(target: Path, path: str | Path):
    """Keep runs from the folder if the bank is where a run writes its own."""
    if target != RunFolder(target.parent).bank:
        return nullcontext()
    busy = "is the bank of a run that is in use ({}); wait for its end, or give another bank"
    return locked(target.parent / LOCK, Path(path), 0, busy)


def add_task(path: str | Path, *records: TaskRecord, replace: bool = False) -> None:
    """Add tasks to a bank, or make a bank with them.

    Raises InputError if the bank belongs to another backbone, has a task of that name and `replace` is False, or if two
    of the records have one name.
    """
    names = [record.name for record in records]
    twice = [name for name in names if names.count(name) > 1]
    need(not twice, f"{path}: several tasks that are added are called {shown(twice and twice[0])}; rename one first")
    with changing(path) as tasks:
        for record in records:
            if not replace:
                _check_free(path, tasks, record.name, "give it another name (--as), or replace it (--replace)")
            tasks[record.name] = record


def copy_task(path: str | Path, name: str, new_name: str) -> None:
    """Give a task a second entry in its bank, under another name. Raises InputError."""
    _copy(path, name, new_name, keep=True)


def rename_task(path: str | Path, name: str, new_name: str) -> None:
    """Give a task another name. Raises InputError."""
    _copy(path, name, new_name, keep=False)


def _copy(path: str | Path, name: str, new_name: str, keep: bool) -> None:
    """File a task under a new name; keep: under its own, too."""
    _check_bank(path)
    with changing(path) as tasks:
        record = find_task(path, tasks, name)
        _check_new(path, tasks, new_name)
        tasks[new_name] = with_changes(record, name=new_name)
        if not keep:
            del tasks[name]


def remove_tasks(path: str | Path, *names: str) -> None:
    """Take tasks out of a bank. Raises InputError if none would be left: a bank has at least one."""
    _check_bank(path)
    with changing(path) as tasks:
        for name in dict.fromkeys(names):
            find_task(path, tasks, name)
        left = {name: record for name, record in tasks.items() if name not in names}
        need(bool(left), f"{path}: no task would be left, and a bank has at least one; delete the file instead")
        tasks.clear()
        tasks.update(left)


def extract_tasks(path: str | Path, names, out: str | Path) -> None:
    """Write a new bank with some of a bank's tasks, which stay where they are. Raises InputError if `out` exists."""
    tasks = read_bank(path)
    found = [find_task(path, tasks, name) for name in dict.fromkeys(names)]
    need(not os.path.isdir(out), f"{out}: is a folder; give the name of a file, such as {Path(out) / 'bank.h5'}")
    there = f"{out} is there already; give the name of a new file, or add the tasks to it: minibert bank add"
    need(not os.path.lexists(out), there)
    with changing(out) as new:
        need(not new, there)
        new.update({record.name: record for record in found})


def check_new_name(name: str) -> None:
    """Raise InputError unless a task can be given this name, and be found by it in a list of tasks. (Those of earlier
    versions may have others, and are read.)"""
    check_task_name(name)
    plain = "," not in name and name == name.strip()
    need(
        plain,
        f"a task cannot be named {shown(name)}: a list of tasks (--name A,B) has no commas or spaces around names",
    )


def _check_new(path: str | Path, tasks: dict[str, TaskRecord], name: str) -> None:
    check_new_name(name)
    _check_free(path, tasks, name, "give another name")


def _check_free(path: str | Path, tasks: dict[str, TaskRecord], name: str, advice: str) -> None:
    need(name not in tasks, f"{path}: has a task {shown(name)} already; {advice}")


def _check_bank(path: str | Path) -> None:
    """Raise InputError, before a folder is made or a lock taken, if there is no bank to change."""
    if not Path(path).is_file():
        read_bank(path)
