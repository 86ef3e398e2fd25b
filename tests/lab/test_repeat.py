"""Trials of a ledger run again: the same scores are told from others, and other data from the same."""

import json
import shutil

import pytest
from sweeping import four_seeds, options, rows_of, sweep

from minibert.cli import main
from minibert.errors import InputError
from minibert.lab.executors import InProcess
from minibert.lab.ledger import read_ledger
from minibert.lab.repeat import draw, format_repeated, repeat
from minibert.trial import Trial, grid, make_trial


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


def command(place, ledger, n, *more):
    return ["sweep", "--repeat", str(n), "--ledger", str(ledger), "--backbone", str(place / "tiny.h5"), *more]


def test_all_trials_give_the_same_bits_again_and_the_ledger_stays(place, ledger, tmp_path, capsys):
    before = ledger.read_bytes()
    assert main(command(place, ledger, 3, "--csv", str(tmp_path / "again.csv"))) == 0
    assert ledger.read_bytes() == before
    rows = rows_of(tmp_path / "again.csv")
    assert {row["id"] for row in rows} == {record["id"] for record in read_ledger(ledger)}
    assert all(row["ledger"] == row["again"] and row["verdict"] == "same" for row in rows)
    assert capsys.readouterr().out.splitlines()[-2] == "3 trials: 3 the same, every bit"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("off", "change", "code"),
    [
        (0.004, {"arithmetic": None}, 0),
        (0.1, {"arithmetic": None}, 1),
        (0.004, {"arithmetic": "numba, 64 bits"}, 0),
        (0.004, {"versions": {"numpy": "1.0"}}, 0),
        (0.004, {}, 1),
    ],
)
def test_another_score_is_told(place, ledger, tmp_path, capsys, sign, off, change, code):
    """arithmetic None: a record of an old version, which did not tell; {}: it ran as here."""

    def edit(record):
        record["result"]["dev"]["accuracy"] -= sign * off
        record["result"].update(change)

    assert main(command(place, edited(ledger, tmp_path / "other", edit), 1)) == code
    told = "differs" if code else "near, on other kernels or versions"
    *_, row, last = capsys.readouterr().out.splitlines()
    assert " ".join(row.split()).endswith(f"{100 * sign * off:+.2f} {told}") and last == f"1 trial: 1 {told}"


def test_equal_kernels_of_numpys_blas_promise_nothing(place, ledger, tmp_path, monkeypatch):
    def edit(record):
        record["result"]["arithmetic"] = "numpy, openblas"
        record["result"]["dev"]["accuracy"] -= 0.004

    monkeypatch.setattr("kernels.arithmetic", lambda: "numpy, openblas")
    assert main(command(place, edited(ledger, tmp_path / "numpy", edit), 1)) == 0


def test_scores_on_test_are_compared_too(place, ledger, tmp_path, capsys):
    other = edited(ledger, tmp_path / "other", lambda record: record["result"].update(test={"accuracy": 0.123}))
    assert main(command(place, other, 1)) == 1
    assert "+0.00 differs" in " ".join(capsys.readouterr().out.split())


def test_which_trials_are_drawn(place, ledger, tmp_path):
    backbone = place / "tiny.h5"
    records = read_ledger(ledger)
    drawn = [next(iter(draw(records, 1, backbone, seed=seed).values()))["id"] for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
    with pytest.raises(InputError, match="--repeat 1: the ledger has 0 finished trials of cola on this backbone"):
        draw(records, 1, backbone, tasks=["cola"])
    others = edited(ledger, tmp_path / "b", lambda record: record["result"].update(backbone="b" * 64))
    with pytest.raises(InputError, match="the ledger has 0 finished trials on this backbone"):
        draw(read_ledger(others), 1, backbone)


def test_the_built_in_task_needs_no_data(place, tmp_path, capsys):
    path = tmp_path / "opinions.jsonl"
    sweep(
        place, path, [make_trial(task="opinions", train_rows=40, dev_rows=20, epochs=1, max_length=24, adapter_size=2)]
    )
    assert main(command(place, path, 1, "--data", str(tmp_path / "nowhere"), "--tasks", "opinions")) == 0
    assert main(command(place, path, 1, "--tasks", "cola")) == 2
    assert "0 finished trials of cola" in capsys.readouterr().err


def test_a_dry_run_only_tells(place, ledger, capsys, monkeypatch):
    monkeypatch.setattr("minibert.cli.experiments.repeat", lambda *_: pytest.fail("this trains"))
    assert main(command(place, ledger, 2, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert out.count("csv:data.csv") == 2 and "predicted machine time" in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--summary"], "--summary"),
        (["--retry-failed", "--lr", "1e-3,2e-3"], "--retry-failed, --lr"),
        (["--seeds", "1,2"], "--seeds"),
        (["--keep", "x"], "--keep"),
        (["--differences", "x"], "--differences"),
    ],
)
def test_options_that_say_nothing_about_what_is_there(place, ledger, capsys, options, told):
    assert main(command(place, ledger, 1, *options)) == 2
    assert f"leave out {told}" in capsys.readouterr().err


def test_a_summary_refuses_what_would_do_nothing(ledger, capsys):
    summary = ["sweep", "--summary", "--ledger", str(ledger)]
    assert main([*summary, "--tasks", "mrpc", "--lr", "5", "--keep", "x", "--dry-run", "--processes", "2"]) == 2
    told = capsys.readouterr().err
    assert all(option in told for option in ("--tasks", "--lr", "--keep", "--dry-run", "--processes"))
    assert "--summary," not in told and main(summary) == 0


def test_a_backbone_is_needed(ledger, capsys):
    assert main(["sweep", "--repeat", "1", "--ledger", str(ledger)]) == 2
    assert "--repeat needs the --backbone that the trials were run on" in capsys.readouterr().err


@pytest.mark.parametrize("n", [0, 4])
def test_more_trials_than_there_are(place, ledger, capsys, n):
    assert main(command(place, ledger, n)) == 2
    assert f"--repeat {n}: the ledger has 3 finished trials on this backbone" in capsys.readouterr().err


def test_data_may_have_moved_but_not_changed(place, ledger, tmp_path, capsys):
    moved = tmp_path / "moved.csv"
    shutil.copy(place / "data.csv", moved)
    away = edited(ledger, tmp_path / "away", lambda record: record["trial"].update(data=str(tmp_path / "nowhere.csv")))
    assert main(command(place, away, 1)) == 2
    assert main(command(place, away, 1, "--data", str(moved))) == 0
    lines = moved.read_text().splitlines(keepends=True)
    moved.write_text("".join(lines[:-1]))
    capsys.readouterr()
    assert main(command(place, away, 1, "--data", str(moved))) == 2
    assert "the data that are here now are not those that it was run on" in capsys.readouterr().err


def test_a_trial_that_fails_now_leaves_the_others(place, ledger, monkeypatch, capsys):
    from minibert import run

    real = run.prepare

    def fails(trial, *rest, **more):
        if trial.method == "layernorm":
            raise ValueError("no")
        return real(trial, *rest, **more)

    monkeypatch.setattr(run, "prepare", fails)
    assert main(command(place, ledger, 3)) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "3 trials: 2 the same, every bit, 1 failed" and "failed: ValueError: no" in "\n".join(out)


def test_the_record_of_a_failed_trial_is_not_drawn(place, ledger):
    records = read_ledger(ledger)
    records[0] = {**records[0], "status": "failed", "error": "x"}
    assert records[0]["id"] not in {record["id"] for record in draw(records, 2, place / "tiny.h5").values()}


def test_the_table_for_people():
    row = {"trial": "a", "metric": "f1", "ledger": 50.0, "again": 50.25, "difference": 0.25, "error": ""}
    rows = [row | {"verdict": verdict} for verdict in ("near", "same", "near")]
    text = format_repeated(rows).splitlines()
    assert text[1] == "a      f1      50.00   50.25  +0.25       near, on other kernels or versions"
    assert text[-1] == "3 trials: 1 the same, every bit, 2 near, on other kernels or versions"


def test_repeat_takes_what_was_drawn(place, ledger):
    drawn = draw(read_ledger(ledger), 1, place / "tiny.h5", seed=1)
    ((trial, record),) = drawn.items()
    assert isinstance(trial, Trial)
    (row,) = repeat(drawn, InProcess(), place / "tiny.h5")
    assert (row["id"], row["trial"], row["verdict"]) == (record["id"], trial.describe(), "same")
