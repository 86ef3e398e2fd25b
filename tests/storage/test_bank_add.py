"""Several programs add to one bank at the same time, and none loses what another one added."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import pytest
from test_files import make_record
from tiny import environment

from minibert.errors import InputError
from minibert.storage import add_task, bank_edit, read_bank
from minibert.storage.locks import locked

ADD = """
import sys
import numpy as np
from test_files import make_record
from minibert.storage import add_task
head = {"head/W": np.ones((8, 2), np.float32), "head/b": np.zeros(2, np.float32)}
for i in range(4):
    add_task(sys.argv[1], make_record(f"{sys.argv[2]}-{i}", params=head, adapter=None, method="head"))
"""


def test_eight_processes_add_four_tasks_each(tmp_path):
    path, here = tmp_path / "bank.h5", str(Path(__file__).parent)
    own = environment()
    own["PYTHONPATH"] = os.pathsep.join([here, own["PYTHONPATH"]])
    command = [sys.executable, "-c", ADD, str(path)]
    workers = [subprocess.Popen([*command, str(i)], env=own) for i in range(8)]
    assert [worker.wait() for worker in workers] == [0] * 8
    assert set(read_bank(path)) == {f"{i}-{j}" for i in range(8) for j in range(4)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank.h5"]


def test_who_waits_too_long_is_told_for_whom(tmp_path, monkeypatch):
    path = tmp_path / "bank.h5"
    add_task(path, make_record())
    before = path.read_bytes()
    monkeypatch.setattr(bank_edit, "WAIT", 0.2)
    with (
        ThreadPoolExecutor(1) as pool,
        locked(tmp_path / ".bank.h5.lock", path, 0, ""),
        pytest.raises(InputError, match=rf"bank.h5 is being changed by another program \(process {os.getpid()} on "),
    ):
        pool.submit(add_task, path, make_record("mrpc")).result()
    assert path.read_bytes() == before
    add_task(path, make_record("mrpc"))
    assert len(read_bank(path)) == 2


def test_a_lock_that_a_killed_program_left_is_no_lock(tmp_path):
    (tmp_path / ".bank.h5.lock").write_text("process 1 on nowhere")
    add_task(tmp_path / "bank.h5", make_record())
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank.h5"]


def test_an_error_lets_the_others_go_on(tmp_path):
    path = tmp_path / "bank.h5"
    add_task(path, make_record())
    with pytest.raises(InputError, match="has a task 'sst2' already"):
        add_task(path, make_record())
    add_task(path, make_record("mrpc"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank.h5"]


def test_a_folder_without_locks_is_noted(tmp_path, monkeypatch, capsys):
    def refuse(self, *_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    add_task(tmp_path / "bank.h5", make_record())
    assert list(read_bank(tmp_path / "bank.h5")) == ["sst2"]
    assert "no file locks in its folder; let only one program use it" in capsys.readouterr().err
