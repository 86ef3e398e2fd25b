"""A run folder is one run's at a time, and nothing is left of the lock or of files that were half written."""

import re
import subprocess
import sys
import threading
import time

import pytest
from tiny import environment

from minibert import scratch
from minibert.errors import InputError
from minibert.storage import RunFolder
from minibert.storage.run_folder import LOCK

IN_USE = r"{} is in use by another run \(process \d+ on .*\); wait for its end, or give another --out"
HOLD = """
import sys, time
from minibert.storage import RunFolder
with RunFolder(sys.argv[1]).in_use():
    print("in use", flush=True)
    time.sleep(60)
"""


def refused(path):
    """Whether another one has it."""
    try:
        with RunFolder(path).in_use():
            return False
    except InputError as error:
        assert re.fullmatch(IN_USE.format(re.escape(str(path))), str(error))
        return True


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder RUN in use."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "RUN")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout.readline() == "in use\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_refused_until_the_first_was_killed(tmp_path, holder):
    assert refused(tmp_path / "RUN")
    assert refused(tmp_path / "RUN" / ".." / "RUN")
    assert not refused(tmp_path / "OTHER")
    holder.kill()
    holder.wait()
    assert (tmp_path / "RUN" / LOCK).exists()
    assert not refused(tmp_path / "RUN")
    assert list((tmp_path / "RUN").iterdir()) == []


def test_another_thread_is_refused_until_the_first_has_left_as_often_as_it_came(tmp_path):
    def refused_elsewhere():
        found = []
        thread = threading.Thread(target=lambda: found.append(refused(tmp_path / "run")))
        thread.start()
        thread.join()
        return found[0]

    with RunFolder(tmp_path / "run").in_use():
        with RunFolder(tmp_path / "run").in_use():
            assert refused_elsewhere()
        assert refused_elsewhere() and (tmp_path / "run" / LOCK).exists()
    assert not refused_elsewhere()


def test_exactly_one_of_many_that_start_together(tmp_path):
    """Over and over, as the file of the lock goes with each that ends."""
    inside, most, entered, ready = [], [], [], threading.Barrier(8)

    def work():
        ready.wait()
        for _ in range(50):
            try:
                with RunFolder(tmp_path / "run").in_use():
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.0005)
                    inside.pop()
                    entered.append(1)
            except InputError:
                time.sleep(0.0003)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(entered) >= 10
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("fails", [False, True])
def test_folders_that_were_made_go_if_they_stay_empty(tmp_path, fails):
    (tmp_path / "mine").mkdir()
    folder = RunFolder(tmp_path / "mine" / "deep" / "run")
    try:
        with folder.in_use():
            assert folder.path.is_dir()
            if fails:
                raise ArithmeticError
    except ArithmeticError:
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"] and list((tmp_path / "mine").iterdir()) == []
    with folder.in_use():
        folder.write_history([{"epoch": 1}])
    assert list(folder.path.iterdir()) == [folder.history]


def test_half_written_files_of_a_killed_run_are_removed_and_nothing_else(tmp_path):
    for name in ("bank.h5", "state.h5", "result.json"):
        (tmp_path / f".{name}.{scratch._machine()}0123abcd.tmp").write_text("half")
    mine = {f".other.h5.{scratch._machine()}0123abcd.tmp", "notes.txt", "bank.h5", ".bank.h5.mine"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    with RunFolder(tmp_path).in_use():
        pass
    assert {file.name for file in tmp_path.iterdir()} == mine


@pytest.mark.parametrize("text", ["", "{torn", "[]", "1", '{"finished": true}', '{"settings": 1}', "[" * 100_000])
def test_a_result_that_is_damaged_is_none(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    assert RunFolder(tmp_path).read_result() == {}
