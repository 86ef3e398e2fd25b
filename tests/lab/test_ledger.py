"""The ledger: nothing that was written is lost, whatever crashes, and one process writes at a time."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
from tiny import environment

from minibert.config import InputError
from minibert.lab.ledger import HEADER, Ledger, latest, read_ledger

HOLD = "import sys, time; from minibert.lab.ledger import Ledger; x = Ledger(sys.argv[1]); print(1, flush=True)"
HOLD += "; time.sleep(60)"


def record(i, status="done"):
    return {"id": f"trial{i}", "status": status, "result": {"dev": {"accuracy": i / 7}, "text": "é\n\u2028"}}


def write(path, *records):
    with Ledger(path) as ledger:
        for one in records:
            ledger.append(one)
    return path


@pytest.fixture
def three(tmp_path):
    return write(tmp_path / "deep" / "ledger.jsonl", *map(record, range(3)))


def test_what_is_appended_is_read_by_others_and_after_reopening(three):
    assert read_ledger(three) == [record(0), record(1), record(2)]
    with Ledger(three) as ledger:
        assert ledger.records == [record(0), record(1), record(2)]
        ledger.append(record(3))
        assert read_ledger(three) == ledger.records == [record(i) for i in range(4)]
    lines = three.read_text().split("\n")
    assert (lines[0], lines[-1], len(lines)) == (HEADER, "", 6)


def test_a_line_is_on_the_disk_when_append_returns(three, monkeypatch):
    synced = []
    with Ledger(three) as ledger:
        monkeypatch.setattr(os, "fsync", lambda number: synced.append(three.read_bytes().endswith(b"}\n")))
        ledger.append(record(3))
    assert synced == [True]


def test_wherever_a_crash_tears_the_last_line_the_others_stay(three):
    whole = three.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for cut in (*range(start, len(whole), 7), len(whole) - 1):
        three.write_bytes(whole[:cut])
        assert read_ledger(three) == [record(0), record(1)]
        assert three.read_bytes() == whole[:cut]  # reading repairs nothing
        write(three, record(2))
        assert three.read_bytes() == whole


def test_a_torn_first_line_is_written_anew(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for cut in (0, 1, len(HEADER)):
        path.write_bytes(HEADER.encode()[:cut])
        assert read_ledger(path) == []
        assert read_ledger(write(path, record(0))) == [record(0)]


@pytest.mark.parametrize("content", ["# Notes", "# Notes\nmore\n", "{}\n", HEADER.replace("1", "2") + "\n"])
def test_another_file_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "notes.md"
    path.write_text(content)
    for act in (Ledger, read_ledger):
        with pytest.raises(InputError, match=r"notes\.md is not a ledger"):
            act(path)
    assert path.read_text() == content


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"id": 3, "status": "done"}', ""])
def test_a_damaged_line_is_named_and_nothing_is_changed(three, line):
    lines = three.read_text().split("\n")
    lines[2] = line
    three.write_text("\n".join(lines))
    before = three.read_bytes()
    for act in (Ledger, read_ledger):
        with pytest.raises(InputError, match="line 3"):
            act(three)
    assert three.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced there")
@pytest.mark.parametrize("replaced", [True, False])
def test_a_ledger_that_is_replaced_while_it_is_open_loses_nothing(tmp_path, replaced):
    path, older = tmp_path / "ledger.jsonl", tmp_path / "older"
    with Ledger(path) as ledger:
        ledger.append({"id": "a", "status": "done"})
        older.write_bytes(path.read_bytes())
        ledger.append({"id": "b", "status": "done"})
        if replaced:
            os.replace(older, path)
        else:
            path.unlink()
        ledger.append({"id": "c", "status": "done"})
        ledger.append({"id": "d", "status": "done"})
        with pytest.raises(InputError, match="another sweep"):
            Ledger(path)
    assert [record["id"] for record in read_ledger(path)] == ["a", "b", "c", "d"]


def test_a_full_disk_leaves_no_part_of_a_line(three):
    """Ten bytes of the line fit, as if the disk were full after them."""
    before, limits = three.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(three) as ledger:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(InputError, match="cannot be written"):
                ledger.append(record(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert three.read_bytes() == before
        ledger.append(record(4))
    assert read_ledger(three)[3:] == [record(4)]


def test_a_number_that_json_does_not_have_is_not_written(three):
    before = three.read_bytes()
    with Ledger(three) as ledger, pytest.raises(ValueError, match="JSON"):
        ledger.append({"id": "x", "status": "done", "value": float("nan")})
    assert three.read_bytes() == before


def test_two_writers_at_once_are_refused_and_readers_are_not(three):
    with Ledger(three):
        with pytest.raises(InputError, match="another sweep is writing"):
            Ledger(three)
        assert len(read_ledger(three)) == 3
    write(three, record(3))


def test_the_lock_of_a_killed_process_is_gone(three):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, three], stdout=subprocess.PIPE, env=environment())
    try:
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(InputError, match="another sweep is writing"):
            Ledger(three)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    write(three, record(3))
    assert len(read_ledger(three)) == 4


def test_the_record_that_counts():
    records = [record(0, "failed"), record(1), record(0), record(1, "failed"), record(2, "failed")]
    counts = {name: found["status"] for name, found in latest(records).items()}
    assert counts == {"trial0": "done", "trial1": "done", "trial2": "failed"}


def test_places_that_cannot_be_used_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Ledger(tmp_path / "file" / "ledger.jsonl")
    with pytest.raises(InputError, match="cannot be written"):
        Ledger(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_ledger(tmp_path / "none.jsonl")
    assert json.loads(HEADER)["version"] == 1
