"""Trials of a ledger run again: the same scores are told from others, and other data from the same."""

import json
import shutil

import pytest
from sweeping import four_seeds, options, rows_of, sweep

from minibert.cli import main
from minibert.errors import InputError
from minibert.lab.executors import InProcess
from minibert.lab.ledger import read_ledger
from minibert.lab.repeat import format_repeated, repeat
from minibert.trial import grid


@pytest.fixture(scope="module")
def ledger(place, tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    sweep(place, path, [*four_seeds(place)[:2], *grid(**options(place, method="layernorm"))])
    return path


def edited(path, out, change):
    header, *lines = path.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        change(record)
    out.write_text("\n".join([header, *map(json.dumps, records), ""]))
    return out


def test_all_trials_give_the_same_bits_again_and_the_ledger_stays(place, ledger, tmp_path, capsys):
    before = ledger.read_bytes()
    command = ["sweep", "--repeat", "3", "--ledger", str(ledger), "--backbone", str(place / "tiny.h5")]
    assert main([*command, "--csv", str(tmp_path / "again.csv")]) == 0
    assert ledger.read_bytes() == before
    rows = rows_of(tmp_path / "again.csv")
    assert {row["id"] for row in rows} == {record["id"] for record in read_ledger(ledger)}
    assert all(row["ledger"] == row["again"] and row["same_bits"] == row["same_arithmetic"] == "True" for row in rows)
    told = capsys.readouterr().out
    assert "3 of 3 trials gave the same scores on dev, bit for bit, and 3 had to" in told
    assert "largest difference 0.00 points" in told


@pytest.mark.parametrize(
    ("off", "arithmetic", "code"), [(0.004, None, 0), (0.1, None, 1), (0.004, "numba, 64 bits", 0), (0.004, "", 1)]
)
def test_another_score_is_told(place, ledger, tmp_path, capsys, off, arithmetic, code):
    """None: of an old version, which did not tell; "": as here."""

    def change(record):
        record["result"]["dev"]["accuracy"] -= off
        if arithmetic is None:
            del record["result"]["arithmetic"]
        elif arithmetic:
            record["result"]["arithmetic"] = arithmetic

    other = edited(ledger, tmp_path / "other", change)
    command = ["sweep", "--repeat", "1", "--ledger", str(other), "--backbone", str(place / "tiny.h5")]
    assert main(command) == code
    printed = capsys.readouterr().out
    assert f"+{100 * off:.2f}" in printed and "0 of 1 trials gave the same scores" in printed


def test_which_trials_are_drawn(place, ledger):
    records, backbone = read_ledger(ledger), place / "tiny.h5"
    drawn = [repeat(records, 1, InProcess(), backbone, seed=seed)[0]["id"] for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
    with pytest.raises(InputError, match="--repeat 1: the ledger has 0 finished trials of cola on this backbone"):
        repeat(records, 1, InProcess(), backbone, tasks=["cola"])


@pytest.mark.parametrize("n", [0, 4])
def test_more_trials_than_there_are(place, ledger, capsys, n):
    command = ["sweep", "--repeat", str(n), "--ledger", str(ledger), "--backbone", str(place / "tiny.h5")]
    assert main(command) == 2
    assert f"--repeat {n}: the ledger has 3 finished trials on this backbone" in capsys.readouterr().err


def test_data_may_have_moved_but_not_changed(place, ledger, tmp_path, capsys):
    moved = tmp_path / "moved.csv"
    shutil.copy(place / "data.csv", moved)
    away = edited(ledger, tmp_path / "away", lambda record: record["trial"].update(data=str(tmp_path / "nowhere.csv")))
    command = ["sweep", "--repeat", "1", "--ledger", str(away), "--backbone", str(place / "tiny.h5")]
    assert main(command) == 2
    assert main([*command, "--data", str(moved)]) == 0
    lines = moved.read_text().splitlines(keepends=True)
    moved.write_text("".join(lines[:-1]))
    capsys.readouterr()
    assert main([*command, "--data", str(moved)]) == 2
    assert "the data that are here now are not those that it was run on" in capsys.readouterr().err


def test_a_trial_that_fails_now(place, ledger, monkeypatch):
    def fails(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr("minibert.run.prepare", fails)
    with pytest.raises(InputError, match="done in the ledger, and now it failed: ValueError: no"):
        repeat(read_ledger(ledger), 1, InProcess(), place / "tiny.h5")


def test_the_table_tells_bits_from_equal_scores():
    row = {"trial": "a", "metric": "f1", "ledger": 50.0, "again": 50.0, "difference": 0.0, "same_arithmetic": False}
    text = format_repeated([row | {"same_bits": True}, row | {"same_bits": False}])
    assert [line.split()[4:] for line in text.splitlines()[1:3]] == [["0,", "every", "bit"], ["+0.00"]]
    assert text.splitlines()[3].startswith("1 of 2 trials")
