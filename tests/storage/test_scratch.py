"""What killed programs left is removed by the next one, and what a live one is writing never is."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny import environment

from minibert import scratch
from minibert.scratch import LOCK, temporary_file, temporary_folder
from minibert.storage import write_text

HOLD_FILE = """
import sys, time
from pathlib import Path
from minibert.scratch import temporary_file
with temporary_file(Path(sys.argv[1])) as (path, file):
    file.write(b"half"); file.flush()
    print(path.name, flush=True)
    time.sleep(60)
"""
HOLD_FOLDER = """
import sys, time
from minibert.scratch import temporary_folder
with temporary_folder("work-", sys.argv[1]) as path:
    (path / "half").write_text("half")
    print(path.name, flush=True)
    time.sleep(60)
"""
needs_locks = pytest.mark.skipif(scratch.fcntl is None, reason="there are no locks here that end with a process")


def start(code, argument):
    """A process that holds something: itself, and the name of what it holds."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(argument)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    return process, process.stdout.readline().strip()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@needs_locks
def test_a_file_stays_while_its_writer_lives_and_goes_with_the_next_after_it(tmp_path):
    target = tmp_path / "bank.h5"
    process, name = start(HOLD_FILE, target)
    try:
        write_text(target, "new")
        assert names(tmp_path) == sorted([name, "bank.h5"]) and (tmp_path / name).read_bytes() == b"half"
    finally:
        kill(process)
    write_text(tmp_path / "other", "new")
    assert name in names(tmp_path)  # it is of another target
    write_text(target, "newer")
    assert names(tmp_path) == ["bank.h5", "other"] and target.read_text() == "newer"


@needs_locks
def test_a_folder_stays_while_its_maker_lives_and_goes_with_the_next_after_it(tmp_path):
    process, name = start(HOLD_FOLDER, tmp_path)
    try:
        with temporary_folder("work-", tmp_path) as other:
            assert names(tmp_path) == sorted([name, other.name])
        assert names(tmp_path) == [name] and names(tmp_path / name) == [LOCK, "half"]
    finally:
        kill(process)
    with temporary_folder("workshop-", tmp_path):
        assert name in names(tmp_path)
    with temporary_folder("work-", tmp_path) as other:
        assert names(tmp_path) == [other.name]
    assert names(tmp_path) == []


def old(path, days):
    os.utime(path, (time.time() - days * scratch.DAY,) * 2)


@pytest.mark.parametrize(
    ("name", "days", "stays"),
    [
        (".x.{here}12345678.tmp", 0, False),
        (".x.{there}12345678.tmp", 0.9, True),  # another machine may be writing it
        (".x.{there}12345678.tmp", 1.1, False),
        (".x.12345678.tmp", 0.9, True),  # of an older version, which locks nothing
        (".x.12345678.tmp", 1.1, False),
        (".x.notes123.tmp", 9, True),  # no name that we give
        (".y.{here}12345678.tmp", 9, True),
        ("x.{here}12345678.tmp", 9, True),
    ],
)
@needs_locks
def test_which_files_are_abandoned(tmp_path, name, days, stays):
    path = tmp_path / name.format(here=scratch._machine(), there="00000000")
    path.write_text("half")
    old(path, days)
    write_text(tmp_path / "x", "new")
    assert path.exists() == stays


@needs_locks
def test_which_folders_are_abandoned(tmp_path):
    here = f"work-{scratch._machine()}"
    made = {f"{here}0000000{i}": tmp_path / f"{here}0000000{i}" for i in range(2)}
    made |= {name: tmp_path / name for name in ("work-0000000012345678", "work-of-mine", "work-0000000087654321")}
    for folder in made.values():
        folder.mkdir()
    (made[f"{here}00000001"] / "half").write_text("its lock is gone already")
    (made["work-0000000087654321"] / LOCK).write_text("")
    old(made["work-0000000087654321"] / LOCK, 2)
    old(made["work-0000000087654321"], 2)
    with temporary_folder("work-", tmp_path) as new:
        assert names(tmp_path) == sorted(["work-0000000012345678", "work-of-mine", new.name])


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_never_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    link = tmp_path / f"work-{scratch._machine()}12345678"
    link.symlink_to(tmp_path / "mine", target_is_directory=True)
    with temporary_folder("work-", tmp_path):
        pass
    assert (tmp_path / "mine" / "file").read_text() == "x"


def test_where_there_are_no_locks_only_what_is_a_day_old_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "fcntl", None)
    young, aged = (tmp_path / f".x.{scratch._machine()}0000000{i}.tmp" for i in range(2))
    for path, days in ((young, 0), (aged, 1.1)):
        path.write_text("half")
        old(path, days)
    write_text(tmp_path / "x", "new")
    assert names(tmp_path) == sorted([young.name, "x"])


def test_a_folder_that_cannot_hold_its_lock_is_not_left(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(OSError, match="No space"), temporary_folder("work-", tmp_path):
        pass
    assert names(tmp_path) == []


@needs_locks
def test_many_writers_and_removers_at_once_disturb_nobody(tmp_path):
    code = f"""
import sys
from pathlib import Path
from minibert.scratch import temporary_file, temporary_folder
for i in range(150):
    with temporary_file(Path({str(tmp_path / "x")!r})) as (path, file):
        file.write(b"1")
        assert path.exists()
    with temporary_folder("work-", {str(tmp_path)!r}) as folder:
        (folder / "a").write_text("1")
        assert (folder / "a").read_text() == "1"
"""
    workers = [subprocess.Popen([sys.executable, "-c", code], env=environment()) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4 and names(tmp_path) == []
    with temporary_file(tmp_path / "x") as (path, _):
        assert names(tmp_path) == [path.name]
