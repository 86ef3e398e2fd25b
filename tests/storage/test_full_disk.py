"""A disk that is full, or a quota: one line, exit code 2, nothing left behind, and what was there stays.

A limit on the size of files stands for it: what is beyond cannot be written, as on a full disk.
"""

import json
import shutil
import subprocess
import sys

import pytest
from checkpoint import write_checkpoint
from test_files import make_record
from tiny import environment, random_texts, write_csv, write_tiny_backbone

from minibert.storage import add_task
from minibert.trial import make_trial

pytest.importorskip("resource", reason="there is no limit on the size of files here")

LIMITED = """
import resource, runpy, sys
limit, module, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = module
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def run(limit, module, *arguments):
    """A command whose files can have so many bytes at most."""
    command = [sys.executable, "-c", LIMITED, limit, module, *arguments]
    # The reference kernels: compiled ones would be written to their cache, and that is not what is tested.
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=environment(MINIBERT_KERNELS="numpy")
    )


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_refused(done, words="cannot be written"):
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ") and words in done.stderr, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the commands read."""
    place = tmp_path_factory.mktemp("given")
    write_tiny_backbone(place / "tiny.h5")
    texts, labels = random_texts(40)
    write_csv(place / "data.csv", {"text": texts, "label": labels})
    add_task(place / "bank.h5", make_record())
    write_checkpoint(place / "model")
    return place


@pytest.mark.parametrize("limit", [0, 5_000])
@pytest.mark.parametrize("there", [True, False])
def test_a_task_is_added(place, tmp_path, limit, there):
    bank = tmp_path / "fs.h5"
    if there:
        add_task(bank, make_record("mrpc"))
    before = contents(tmp_path)
    assert_refused(run(limit, "minibert", "bank", bank, "--add", place / "bank.h5"), "free some space")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("limit", [0, 60_000])
def test_a_task_is_trained(place, tmp_path, limit):
    (tmp_path / "run").mkdir()
    data = "--task", "csv", "--data", place / "data.csv", "--text-column", "text", "--label-column", "label"
    settings = "--max-length", 24, "--epochs", 1, "--out", tmp_path / "run"
    done = run(limit, "minibert", "train", "--backbone", place / "tiny.h5", *data, *settings)
    assert done.returncode == 2 and "cannot be written" in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    left = contents(tmp_path)
    assert all(len(content) <= limit for content in left.values())
    assert {name.rpartition("/")[2] for name in left} <= {"result.json", "history.csv", "bank.h5", "state.h5"}


@pytest.mark.parametrize("limit", [3_000])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("command", ["to-hdf5", "to-hf"])
def test_a_checkpoint_is_converted(place, tmp_path, command, limit, there):
    source, out = {"to-hdf5": (place / "model", "out.h5"), "to-hf": (place / "tiny.h5", "folder")}[command]
    if there:
        assert run(1 << 30, "weights_convert", command, source, "--out", tmp_path / out).returncode == 0
    before = contents(tmp_path)
    done = run(limit, "weights_convert", command, source, "--out", tmp_path / out, "--force")
    assert_refused(done, "cannot be written")
    assert contents(tmp_path) == before


def test_a_backbone_is_fetched(place, tmp_path):
    """The registry knows only real models, so it is the unpacking of one that fails: no file of it can be that long."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
from pathlib import Path
from weights_convert import cli
def obtain(entry, work, given):
    (work / "model.safetensors").write_bytes(bytes(1000))
cli.obtain = obtain
raise SystemExit(cli.main(["fetch", "minilm-l6", "--out", {str(tmp_path / "new" / "b.h5")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert_refused(done, "b.h5: cannot be written (File too large)")
    assert contents(tmp_path) == {} and list((tmp_path / "new").iterdir()) == []


def test_a_ledger_and_its_table(place, tmp_path):
    ledger, table = tmp_path / "ledger.jsonl", tmp_path / "table.csv"
    command = ["minibert", "sweep", "--backbone", place / "tiny.h5", "--tasks", "csv", "--data", place / "data.csv"]
    command += ["--text-column", "text", "--label-column", "label", "--max-length", 24, "--epochs", 1, "--ledger"]
    done = run(0, *command, ledger)
    assert_refused(done)
    assert contents(tmp_path) == {"ledger.jsonl": b""}
    result = {
        "task": "cola",
        "metric": "accuracy",
        "dev": {"accuracy": 0.5},
        "data": "d",
        "backbone": "b",
        "threads": 1,
    }
    result |= {"trained_params": 5, "total_params": 100, "train_rows": 9, "wall_seconds": 2.0}
    record = {"id": "a", "status": "done", "work": 1.0, "trial": make_trial(task="cola").to_dict(), "result": result}
    ledger.write_text('{"format": "minibert-ledger", "version": 1}\n' + json.dumps(record) + "\n")
    before = contents(tmp_path)
    done = run(10, "minibert", "sweep", "--ledger", ledger, "--summary", "--csv", table)
    assert_refused(done, "table.csv: cannot be written")
    assert contents(tmp_path) == before


def test_the_bank_that_was_there_stays(place, tmp_path):
    """In a run that is written again."""
    shutil.copy(place / "bank.h5", tmp_path / "fs.h5")
    for limit in range(0, 12_000, 3_000):
        assert_refused(run(limit, "minibert", "bank", tmp_path / "fs.h5", "--add", place / "bank.h5", "--replace"))
    assert contents(tmp_path) == {"fs.h5": (place / "bank.h5").read_bytes()}
