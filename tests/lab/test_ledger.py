"""The ledger: nothing that was written is lost, whatever crashes, and one process writes at a time."""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import fields

import pytest
from tiny import environment

from minibert.config import TrainConfig
from minibert.errors import InputError
from minibert.lab.ledger import HEADER, Ledger, latest, measured, read_ledger
from minibert.trial import Trial, make_trial

HOLD = "import sys, time; from minibert.lab.ledger import Ledger; x = Ledger(sys.argv[1]); print(1, flush=True)"
HOLD += "; time.sleep(60)"


TRIAL = make_trial(task="cola").to_dict()


def record(i, status="done"):
    """A record such as a sweep writes."""
    result = {
        "task": "cola",
        "metric": "accuracy",
        "dev": {"accuracy": i / 7},
        "data": "d",
        "backbone": "b",
        "text": "é\n\u2028",
    }
    result |= {"trained_params": 5, "total_params": 100, "train_rows": 9, "wall_seconds": 2.0, "threads": 1}
    outcome = {"result": result} if status == "done" else {"error": "NonFiniteLoss: é\n\u2028"}
    return {"id": f"trial{i}", "status": status, "trial": TRIAL, "work": 10.0, **outcome}


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


def test_wherever_a_crash_tears_the_last_line_the_others_stay(three, capsys):
    whole = three.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for cut in (*range(start, len(whole), 7), len(whole) - 1):
        three.write_bytes(whole[:cut])
        line_is_whole = cut == len(whole) - 1  # only its end is missing
        assert read_ledger(three) == [record(0), record(1)] + [record(2)] * line_is_whole
        assert capsys.readouterr().err.count("line 4: the last line is not whole") == (start < cut < len(whole) - 1)
        assert three.read_bytes() == whole[:cut]  # reading repairs nothing
        write(three, *[record(2)] * (not line_is_whole))
        assert capsys.readouterr().err.count("and is cut off") == (start < cut < len(whole) - 1)
        assert three.read_bytes() == whole


def test_a_torn_first_line_is_written_anew(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for cut in (0, 1, len(HEADER)):
        path.write_bytes(HEADER.encode()[:cut])
        assert read_ledger(path) == []
        assert read_ledger(write(path, record(0))) == [record(0)]


def test_a_last_line_that_is_whole_but_damaged_is_not_taken_for_torn(three):
    """A key that is there twice makes no line shorter."""
    content = three.read_bytes() + b'{"id": "a", "id": "b"}'
    three.write_bytes(content)
    for act in (Ledger, read_ledger):
        with pytest.raises(InputError, match="line 5: this is no record"):
            act(three)
    assert three.read_bytes() == content


@pytest.mark.parametrize("content", ["# Notes", "# Notes\nmore\n", "{}\n", HEADER.replace("1", "2") + "\n"])
def test_another_file_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "notes.md"
    path.write_text(content)
    for act in (Ledger, read_ledger):
        with pytest.raises(InputError, match=r"notes\.md is not a ledger"):
            act(path)
    assert path.read_text() == content


DEEP = "[" * 100_000


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"id": 3, "status": "done"}', "", DEEP, "\udcff", '{"id":' + DEEP])
def test_a_damaged_line_is_named_and_nothing_is_changed(three, line):
    lines = three.read_text().split("\n")
    lines[2] = line
    three.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    before = three.read_bytes()
    for act in (Ledger, read_ledger):
        with pytest.raises(InputError, match="line 3"):
            act(three)
    assert three.read_bytes() == before


def without(name, part=None):
    """A record without one of its fields, or without one of its result."""
    found = record(2)
    del (found[part] if part else found)[name]
    return found


def deep_list(depth):
    """One that is read, and that Python may fail to print."""
    found = []
    for _ in range(depth):
        found = [found]
    return found


def with_result(**changes):
    return record(2) | {"result": record(2)["result"] | changes}


FIELDS = [*(field.name for field in fields(Trial) if field.name not in ("train", "adapter"))]
TRAIN = [field.name for field in fields(TrainConfig)]


@pytest.mark.parametrize(("part", "name"), [*((None, n) for n in FIELDS), *(("train", n) for n in TRAIN)])
@pytest.mark.parametrize("value", [deep_list(300), {"a": "x" * 100_000}, "y" * 100_000], ids=["deep", "wide", "long"])
def test_a_huge_value_makes_no_huge_message(three, part, name, value):
    lines, trial = three.read_text().split("\n"), {"task": "cola"}
    trial |= {part: {name: value}} if part else {name: value}
    lines[2] = json.dumps(record(2) | {"trial": trial})
    three.write_text("\n".join(lines))
    try:
        read_ledger(three)
    except InputError as error:
        assert str(error).startswith(f"{three}, line 3") and len(str(error)) < 1000
    else:
        assert isinstance(value, str) or name == "task_options"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        *[(without(name), f"'{name}' is missing") for name in ("trial", "work")],
        *[
            (without(name, "result"), f"'{name}' is missing")
            for name in ("task", "metric", "dev", "train_rows", "threads", "wall_seconds")
        ],
        (without("result"), "result: expected an object"),
        (without("status"), "no record of a trial"),
        (record(2) | {"status": "dnoe"}, "status is 'dnoe'"),
        (record(2, "failed") | {"error": None}, "status is 'failed', expected"),
        (record(2) | {"work": "10"}, "work is '10', expected a number"),
        (record(2) | {"trial": [1]}, "trial is [1], expected an object"),
        (record(2) | {"trial": {"task": 3}}, "task is 3, expected a text"),
        (record(2) | {"trial": {"task": "cola", "train": [1]}}, "TrainConfig must be a JSON object"),
        (record(2) | {"trial": {"task": "cola", "train": {"lr": deep_list(400)}}}, "learning rate (lr) must be"),
        (record(2) | {"work": deep_list(400)}, "work is [["),
        (record(2) | {"trial": {"task": "cola", "adapter": 7}}, "AdapterConfig must be a JSON object"),
        (record(2) | {"trial": {"task": "cola", "top_k": "x"}}, ""),
        (with_result(dev={"f1": 1.0}), "dev has no 'accuracy'"),
        (with_result(test={"f1": 1.0}), "test has no 'accuracy'"),
        (with_result(test={}), "test has no 'accuracy'"),
        (with_result(dev={"accuracy": "1"}), "the scores of dev are not all numbers"),
        (with_result(test={"accuracy": None}), "the scores of test are not all numbers"),
        (with_result(test=[1]), "test is [1], expected an object or null"),
        (with_result(threads=True), "threads is True, expected a whole number"),
        (with_result(wall_seconds=0), "wall_seconds is not above 0"),
    ],
)
def test_a_record_that_lacks_something_is_named_with_its_line(three, wrong, words):
    lines = three.read_text().split("\n")
    lines[2] = json.dumps(wrong)
    three.write_text("\n".join(lines))
    for act in (Ledger, read_ledger):
        with pytest.raises(InputError) as caught:
            act(three)
        message = str(caught.value)
        assert message.startswith(f"{three}, line 3") and words in message and "\n" not in message


def test_what_could_not_be_read_again_is_not_written(three):
    before = three.read_bytes()
    with Ledger(three) as ledger, pytest.raises(InputError, match=r"line 5.*'metric' is missing"):
        ledger.append(without("metric", "result"))
    assert three.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced there")
@pytest.mark.parametrize("replaced", [True, False])
def test_a_ledger_that_is_replaced_while_it_is_open_loses_nothing(tmp_path, replaced):
    path, older = tmp_path / "ledger.jsonl", tmp_path / "older"
    with Ledger(path) as ledger:
        ledger.append(record(0))
        older.write_bytes(path.read_bytes())
        ledger.append(record(1))
        if replaced:
            os.replace(older, path)
        else:
            path.unlink()
        ledger.append(record(2))
        ledger.append(record(3))
        with pytest.raises(InputError, match="another sweep"):
            Ledger(path)
    assert read_ledger(path) == [record(i) for i in range(4)]


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
        ledger.append(record(3) | {"value": float("nan")})
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


def test_a_measurement_stands_on_the_very_trials_it_was_made_with(tmp_path):
    def of(*trials, rows):
        name = "-".join(trials)
        return {"id": name, "status": "measured", "what": "spans", "trials": list(trials), "rows": [{"rows": rows}]}

    with Ledger(tmp_path / "l.jsonl") as ledger:
        for one in (record(0), of("a", rows=1), of("b", rows=2), of("a", "b", rows=3)):
            ledger.append(one)
        with pytest.raises(InputError, match="rows"):
            ledger.append(of("c", rows=4) | {"rows": 5})
    records = read_ledger(tmp_path / "l.jsonl")
    assert [measured(records, "spans", trials) for trials in (["b"], ["a", "b"], ["b", "a"])] == [
        [{"rows": 2}],
        [{"rows": 3}],
        None,
    ]
    assert measured(records, "stream", ["a"]) is None
    assert list(latest(records)) == [record(0)["id"]], "it is no trial"
