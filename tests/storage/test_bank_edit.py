"""What changes a bank: one thing is done, wholly or not at all, and what it is not about stays bit for bit."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_files import make_record
from tiny import environment

from minibert.errors import InputError
from minibert.storage import (
    RunFolder,
    add_task,
    copy_task,
    extract_tasks,
    read_bank,
    remove_tasks,
    rename_task,
    write_bank,
)

EDIT = """
import sys
from test_files import make_record
from minibert.storage import add_task, copy_task, remove_tasks, rename_task
path, mine, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
for i in range(n):
    add_task(path, make_record(f"{mine}-{i}"), make_record(f"{mine}-{i}-gone"))
    copy_task(path, f"{mine}-{i}", f"{mine}-{i}-copy")
    rename_task(path, f"{mine}-{i}-copy", f"{mine}-{i}-renamed")
    remove_tasks(path, f"{mine}-{i}-gone", f"{mine}-{i}-renamed")
"""
ADD = """
import sys
from test_files import make_record
from minibert.storage import add_task
for i in range(int(sys.argv[3])):
    add_task(sys.argv[1], make_record(f"{sys.argv[2]}-{i}"))
"""


def in_processes(program, path, n_processes, n):
    """Run the program in several processes together; each gets the bank, its own number, and n."""
    own = environment()
    own["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), own["PYTHONPATH"]])
    commands = [[sys.executable, "-c", program, str(path), str(i), str(n)] for i in range(n_processes)]
    workers = [subprocess.Popen(command, env=own) for command in commands]
    assert [worker.wait() for worker in workers] == [0] * n_processes


def same(one, other):
    """Two records hold the same, but for the name."""
    assert one.params.keys() == other.params.keys()
    assert all(one.params[name].tobytes() == other.params[name].tobytes() for name in one.params)
    facts = ("head", "labels", "method", "adapter", "model_options", "training", "dev", "backbone_tokenizer")
    assert all(getattr(one, fact) == getattr(other, fact) for fact in facts)
    assert one.rows.keys() == other.rows.keys()
    assert all(np.array_equal(one.rows[name], other.rows[name]) for name in one.rows)


@pytest.fixture
def path(tmp_path):
    """A bank of three tasks."""
    rows = {"train": np.arange(9, dtype=np.uint64), "dev": np.arange(3, dtype=np.uint64)}
    add_task(tmp_path / "all.h5", make_record("a"), make_record("bb", rows=rows), make_record("ccc"))
    return tmp_path / "all.h5"


def test_a_copy_and_a_new_name_hold_what_the_task_held(path):
    before = read_bank(path)
    copy_task(path, "bb", "other")
    rename_task(path, "a", "first")
    after = read_bank(path)
    assert set(after) == {"first", "bb", "ccc", "other"}
    for new, old in {"first": "a", "bb": "bb", "ccc": "ccc", "other": "bb"}.items():
        assert after[new].name == new
        same(after[new], before[old])
    assert [entry.name for entry in path.parent.iterdir()] == ["all.h5"]


def test_the_space_of_what_is_removed_comes_back(path, tmp_path):
    before, size = read_bank(path), path.stat().st_size
    add_task(path, make_record("large"))
    add_task(path, make_record("larger"))
    assert path.stat().st_size > size
    remove_tasks(path, "large", "larger", "large")
    assert path.stat().st_size == size
    remove_tasks(path, "a", "ccc")
    write_bank(tmp_path / "alone.h5", {"bb": before["bb"]})
    assert path.read_bytes() == (tmp_path / "alone.h5").read_bytes()  # nothing of the others is left in the file


def test_extracted_tasks_stay_and_go_to_a_new_bank(path, tmp_path):
    before = path.read_bytes()
    extract_tasks(path, ["ccc", "a", "a"], tmp_path / "new" / "some.h5")
    assert path.read_bytes() == before
    some, all_of_them = read_bank(tmp_path / "new" / "some.h5"), read_bank(path)
    assert set(some) == {"a", "ccc"}
    for name in some:
        same(some[name], all_of_them[name])


REFUSED = {
    "copy what is not there": (lambda path: copy_task(path, "x", "y"), "has no task 'x'; it has a, bb, ccc"),
    "copy of a mistyped name": (lambda path: copy_task(path, "cc", "y"), "it has a, bb, ccc. Did you mean .ccc.?"),
    "copy over a task": (lambda path: copy_task(path, "a", "bb"), "has a task 'bb' already; give another name$"),
    "copy to no name": (lambda path: copy_task(path, "a", "../b"), "cannot be named '../b'"),
    "copy to a list": (lambda path: copy_task(path, "a", "d,e"), "cannot be named 'd,e': a list of tasks"),
    "rename to a name in spaces": (lambda path: rename_task(path, "a", " d "), "cannot be named ' d ': a list"),
    "rename what is not there": (lambda path: rename_task(path, "x", "y"), "has no task 'x'"),
    "rename to a task": (lambda path: rename_task(path, "a", "ccc"), "has a task 'ccc' already"),
    "rename to itself": (lambda path: rename_task(path, "a", "a"), "has a task 'a' already"),
    "rename to no name": (lambda path: rename_task(path, "a", ""), "cannot be named ''"),
    "remove what is not there": (lambda path: remove_tasks(path, "a", "x"), "has no task 'x'"),
    "remove all": (lambda path: remove_tasks(path, "a", "bb", "ccc"), "no task would be left"),
    "add two of one name": (
        lambda path: add_task(path, make_record("d"), make_record("d"), replace=True),
        "several tasks that are added are called 'd'",
    ),
    "add a known one among others": (lambda path: add_task(path, make_record("d"), make_record("a")), "'a' already"),
    "extract what is not there": (lambda path: extract_tasks(path, ["a", "x"], path.parent / "new.h5"), "no task 'x'"),
    "extract over a file": (lambda path: extract_tasks(path, ["a"], path), "is there already"),
    "extract to a folder": (lambda path: extract_tasks(path, ["a"], path.parent), "is a folder"),
}


@pytest.mark.parametrize(("edit", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_changes_nothing(path, edit, told):
    before = path.read_bytes()
    with pytest.raises(InputError, match=told):
        edit(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["all.h5"]


@pytest.mark.parametrize("edit", [lambda p: copy_task(p, "a", "b"), lambda p: rename_task(p, "a", "b")])
def test_a_bank_that_is_not_there_is_not_made(tmp_path, edit):
    for change in (edit, lambda p: remove_tasks(p, "a"), lambda p: extract_tasks(p, ["a"], tmp_path / "new.h5")):
        with pytest.raises(InputError, match="no such file"):
            change(tmp_path / "folder" / "none.h5")
    assert list(tmp_path.iterdir()) == []


def test_the_bank_of_a_run_in_use_is_refused_and_any_other_there_is_not(tmp_path):
    run = RunFolder(tmp_path / "run")
    add_task(run.bank, make_record("a"), make_record("b"))
    add_task(run.path / "mine.h5", make_record("a"), make_record("b"))
    before = run.bank.read_bytes()
    with run.in_use(), ThreadPoolExecutor(1) as other:
        for edit in (
            lambda: add_task(run.bank, make_record("c")),
            lambda: copy_task(run.bank, "a", "c"),
            lambda: rename_task(run.bank, "a", "c"),
            lambda: remove_tasks(run.bank, "a"),
        ):
            with pytest.raises(
                InputError, match=rf"bank.h5 is the bank of a run that is in use \(process {os.getpid()} "
            ):
                other.submit(edit).result()
        other.submit(rename_task, run.path / "mine.h5", "a", "c").result()
        assert run.bank.read_bytes() == before
    remove_tasks(run.bank, "a")
    assert set(read_bank(run.bank)) == {"b"} and set(read_bank(run.path / "mine.h5")) == {"b", "c"}
    assert sorted(entry.name for entry in run.path.iterdir()) == ["bank.h5", "mine.h5"]


def test_a_run_cannot_begin_where_its_bank_is_being_changed(tmp_path, monkeypatch):
    from minibert.storage import bank_edit

    run, told = RunFolder(tmp_path), []
    add_task(run.bank, make_record("a"), make_record("b"))
    usual = bank_edit.write_bank

    def begin():
        with run.in_use():
            pass

    def write(*arguments):
        with ThreadPoolExecutor(1) as other, pytest.raises(InputError, match="is in use by another run") as refused:
            other.submit(begin).result()
        told.append(refused)
        usual(*arguments)

    monkeypatch.setattr(bank_edit, "write_bank", write)
    remove_tasks(run.bank, "a")
    assert len(told) == 1 and set(read_bank(run.bank)) == {"b"}


def test_processes_that_edit_one_bank_undo_nothing_of_each_other(tmp_path):
    in_processes(EDIT, tmp_path / "bank.h5", 4, 1)
    assert set(read_bank(tmp_path / "bank.h5")) == {f"{i}-0" for i in range(4)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank.h5"]


@pytest.mark.slow
def test_eight_processes_add_ten_tasks_each(tmp_path):
    path = tmp_path / "bank.h5"
    in_processes(ADD, path, 8, 10)
    names = {f"{i}-{j}" for i in range(8) for j in range(10)}
    found = read_bank(path)
    assert set(found) == names
    for name in names:
        same(found[name], make_record(name))
