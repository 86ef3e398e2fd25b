"""Sweeps over processes and a Dask cluster: workers die, and every trial is still run and recorded once."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
from sweeping import (
    command,
    dies_for_seed_1,
    dies_once_for_seed_1,
    four_seeds,
    options,
    started_and_ended,
    statuses,
    sweep,
)

from minibert.cli import main
from minibert.errors import InputError
from minibert.lab.executors import Dask, Processes
from minibert.lab.ledger import read_ledger
from minibert.run import _folder, run_trial
from minibert.trial import Trial, grid

pytestmark = pytest.mark.usefixtures("runs")

# ---------------------------------------------------------------------------------------------------------- processes

HOLD = """
import time
from minibert.lab.executors import Processes
from minibert.run import _folder
pool = Processes(2)
with _folder(None):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks that end with a process")
def test_folders_of_a_killed_sweep_are_removed_by_the_next(tmp_path, monkeypatch):
    killed = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, env=tiny.environment(TMPDIR=str(tmp_path))
    )
    assert killed.stdout.readline() == b"ready\n"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = sorted(tmp_path.iterdir())
    assert [folder.name[:15] for folder in left] == ["minibert-sweep-", "minibert-trial-"]
    with Processes(1), _folder(None):
        assert len(list(tmp_path.iterdir())) == 4  # it is still alive
    assert sorted(tmp_path.iterdir()) == left
    killed.kill()
    killed.communicate()
    with Processes(1), _folder(None):
        assert len(list(tmp_path.iterdir())) == 2 and not set(left) & set(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_processes_share_the_cores_and_give_the_same_scores(place, tmp_path):
    trials = grid(**options(place, lr=2e-2, epochs=2, adapter_size=[4, 8], seed=[0, 1]))
    alone = sweep(place, tmp_path / "one.jsonl", trials)
    shared = sweep(place, tmp_path / "two.jsonl", trials, Processes(2, threads=1), keep=tmp_path / "kept")
    assert [r["id"] for r in shared] == [r["id"] for r in alone]
    for key in ("dev", "test", "best_epoch"):
        assert [r["result"][key] for r in shared] == [r["result"][key] for r in alone]
    assert {r["result"]["threads"] for r in shared} == {1}
    assert all((tmp_path / "kept" / r["id"] / "bank.h5").exists() for r in shared)


def test_a_process_that_dies_is_replaced_and_only_its_trial_suffers(place, tmp_path, runs):
    path = tmp_path / "ledger.jsonl"
    records = sweep(place, path, four_seeds(place), Processes(2), run=dies_for_seed_1)
    assert statuses(records) == ["done", "failed", "done", "done"]
    assert records[1]["error"].startswith("its worker died 3 times") and records[1]["deaths"] == 3
    assert sorted(runs()) == [0, 1, 1, 1, 2, 3] and len(read_ledger(path)) == 4


def test_a_trial_whose_process_died_once_is_run_again(place, tmp_path, runs):
    records = sweep(place, tmp_path / "l.jsonl", four_seeds(place), Processes(1), run=dies_once_for_seed_1)
    assert statuses(records) == ["done"] * 4 and [r["deaths"] for r in records] == [0, 1, 0, 0]
    assert runs() == [0, 1, 2, 3, 1]


def test_no_scheduler_is_told():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no scheduler answers there"):
        Dask("tcp://127.0.0.1:1", timeout=0.3)


def test_after_an_error_nobody_waits_for_what_still_runs():
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Processes(2) as executor:
        pids = [executor.submit(os.getpid).result(), executor.submit(os.getpid).result()]
        sleeping = [executor.submit(time.sleep, 100) for _ in pids]
        raise KeyboardInterrupt
    assert time.monotonic() - start < 50 and all(future.exception() for future in sleeping)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc")
def test_a_process_does_not_outlive_the_one_that_started_it(tmp_path):
    """That one is killed, and so has no chance to end the other."""
    lines = ["import os, time", "from minibert.lab.executors import Processes", "if __name__ == '__main__':"]
    lines += ["    executor = Processes(1)", "    print(executor.submit(os.getpid).result(), flush=True)"]
    (tmp_path / "parent.py").write_text("\n".join([*lines, "    executor.submit(time.sleep, 100).result()"]))
    command = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not is_running(child), 10)


def is_running(pid):
    """Whether there is such a process, and not only what is left of it until somebody asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def environment(temporary):
    """For processes that import minibert and these tests; what they leave when they are killed goes to `temporary`."""
    return tiny.environment(TMPDIR=str(temporary))


@pytest.mark.parametrize("where", [[], pytest.param(["--processes", "2"], marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_sweep_at_once_and_the_same_command_goes_on(place, tmp_path, where):
    ledger = tmp_path / "l.jsonl"
    arguments = command(place, ledger, "--epochs", 30, "--seeds", "0,1,2,3,4,5", *where)  # seconds, not one
    starting = {"env": environment(tmp_path), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-m", "minibert", *arguments], **starting)
    wait_until(lambda: n_records(ledger) >= 1 or process.poll() is not None)
    process.send_signal(signal.SIGINT)  # to this process alone: the others are ended by it
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "the same command goes on" in err, err
    before = read_ledger(ledger)
    assert 1 <= len(before) < 6
    assert main(arguments) == 0
    after = read_ledger(ledger)
    assert after[: len(before)] == before and len({record["id"] for record in after}) == len(after) == 6


# --------------------------------------------------------------------------------------------------------------- Dask


def n_records(ledger):
    return len(read_ledger(ledger)) if ledger.exists() else 0


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path):
    """start("scheduler" or "worker", arguments): a process of the cluster, ended after the test."""
    processes = []

    def start(role, *arguments):
        with open(tmp_path / f"{role}{len(processes)}.log", "wb") as log:
            module = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--host", "127.0.0.1", "--no-dashboard"]
            command = [*module, *map(str, arguments)]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment(tmp_path), cwd=tmp_path))
        return processes[-1]

    yield start
    for process in reversed(processes):
        process.kill()
        process.wait()


def cluster(start, tmp_path):
    """The address of a new scheduler, and its two workers."""
    file = tmp_path / "scheduler.json"
    start("scheduler", "--port", 0, "--scheduler-file", file)
    wait_until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
    address = json.loads(file.read_text())["address"]
    own = ["--nthreads", 1, "--no-nanny", "--local-directory", tmp_path]  # a nanny would raise the dead
    return address, [start("worker", address, *own) for _ in range(2)]


def kill_in_mid_trial(worker, ledger, log):
    """Kill a worker that is well inside a trial, when the ledger has two records."""

    def begun():
        lines = [line for line in log.read_text().splitlines() if f" {worker.pid} " in line]
        return lines[-1] if lines and lines[-1].startswith("start") else None

    wait_until(lambda: n_records(ledger) >= 2)
    trial = None
    while trial is None or trial != begun():  # that it began a moment ago, and has not ended
        wait_until(begun)
        trial = begun()
        time.sleep(0.1)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    return int(trial.split()[2])


@pytest.mark.slow
def test_a_dask_worker_is_killed_in_mid_sweep_and_every_trial_is_recorded_once(place, tmp_path, start, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.chdir(place)  # workers run elsewhere
    address, workers = cluster(start, tmp_path)
    ledger, log = tmp_path / "ledger.jsonl", tmp_path / "runs"
    trials = grid(**options(Path(), epochs=100, lr=2e-2, adapter_size=8, seed=list(range(10))))
    with Dask(address) as executor, ThreadPoolExecutor(1) as beside:
        wait_until(lambda: executor.at_once == 2)
        killing = beside.submit(kill_in_mid_trial, workers[0], ledger, log)
        records = sweep(Path(), ledger, trials, executor, run=started_and_ended)
        killed = killing.result()
    assert [worker.poll() for worker in workers] == [-signal.SIGKILL, None]
    assert [Trial.from_dict(record["trial"]) for record in records] == trials and statuses(records) == ["done"] * 10
    assert sorted(r["id"] for r in read_ledger(ledger)) == sorted({r["id"] for r in records})
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {pid for _, pid, _ in lines} == {str(worker.pid) for worker in workers}
    begun, ended = ([int(seed) for what, _, seed in lines if what == moment] for moment in ("start", "end"))
    assert set(ended) == set(range(10)) and begun.count(killed) == 2 and ended.count(killed) == 1
    assert {record["result"]["threads"] for record in records} == {1}
    here = run_trial(trials[9], place / "tiny.h5")
    assert [here[key] for key in ("id", "dev", "test")] == [records[9]["result"][key] for key in ("id", "dev", "test")]
