"""Test rows are test rows: `eval` and `ablate` know what was trained on, and what the bank keeps is asked for by none.

The labels are coin flips, so a model that has learned them by heart is right on rows that it saw, and on no others.
"""

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest
from tiny import WORDS, write_csv, write_tiny_backbone

from minibert import train
from minibert.cli import main
from minibert.data import Examples, Task, data_fingerprint, training_fingerprint
from minibert.storage import read_bank, write_bank

EPOCHS = 24


def run(capsys, *arguments):
    """(exit code, standard output, standard error) of a command in this process."""
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def coin_flips(n, seed):
    """n different texts with labels that do not depend on them."""
    rng = random.Random(seed)
    texts = dict.fromkeys(" ".join(rng.choices(WORDS[:17], k=rng.randint(5, 9))) for _ in range(2 * n))
    return [(text, rng.choice(["heads", "tails"])) for text in list(texts)[:n]]


def put(path, rows):
    texts, labels = zip(*rows, strict=True)
    return write_csv(path, {"words": texts, "side": labels})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run that has learned the train rows of coin.csv by heart. Tests only read."""
    place = tmp_path_factory.mktemp("place")
    rows = coin_flips(80, seed=1)
    write_tiny_backbone(place / "tiny.h5")
    put(place / "coin.csv", rows)
    put(place / "sorted.csv", sorted(rows))
    put(place / "first_gone.csv", rows[1:])
    put(place / "relabelled.csv", [(rows[0][0], "tails" if rows[0][1] == "heads" else "heads"), *rows[1:]])
    put(place / "other_case.csv", [(text.upper().replace(" ", "  "), label) for text, label in rows])
    put(place / "new.csv", coin_flips(60, seed=4))
    put(place / "heads.csv", [(text, "heads") for text, _ in coin_flips(30, seed=2)])
    put(place / "one.csv", [("the tea was not the tea", "tails")])
    put(place / "neutral.csv", [(text, "neutral" if i % 4 == 0 else side) for i, (text, side) in enumerate(rows[:20])])
    columns = ["--text-column", "words", "--label-column", "side", "--test-share", "0.25", "--max-length", "16"]
    by_heart = ["--method", "full", "--lr", "3e-3", "--epochs", str(EPOCHS), "--batch-size", "8", "--quiet"]
    files = ["--backbone", str(place / "tiny.h5"), "--data", str(place / "coin.csv"), "--out", str(place / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "evaluate_all", _last_epoch_wins(train.evaluate_all))
        assert main(["train", "--task", "csv", *files, *columns, *by_heart]) == 0
    record = read_bank(place / "run" / "bank.h5")["csv"]
    training = {name: value for name, value in record.training.items() if name != "data_whole"}
    write_bank(place / "older.h5", {"csv": _changed(record, rows={}, training=training)})
    write_bank(place / "unscored.h5", {"csv": _changed(record, dev={})})
    return place


def _last_epoch_wins(evaluate_all):
    """Whatever chance says on a few dev rows."""
    epochs = iter(range(1, EPOCHS + 1))
    return lambda *arguments: evaluate_all(*arguments) if next(epochs) == EPOCHS else {"accuracy": 0.0}


def _changed(record, **values):
    return type(record)(**{**vars(record), **values})


def bank(place, name="run"):
    return "--backbone", place / "tiny.h5", "--bank", place / name


def evaluate(capsys, place, data, *more, name="run"):
    return run(capsys, "eval", *bank(place, name), "--data", place / data, *more)


def first_line(out):
    return out.split("\n", 1)[0]


def accuracy_by_hand(capsys, place, rows):
    """From what predict prints, one text at a time."""
    texts = [text for text, _ in rows]
    code, out, _ = run(capsys, "predict", *bank(place), *texts)
    assert code == 0
    right = [line.split("\t")[0] == label for line, (_, label) in zip(out.splitlines(), rows, strict=True)]
    return sum(right) / len(right)


def rows_of(path):
    return [tuple(line.rsplit(",", 1)) for line in path.read_text().splitlines()[1:]] if path.exists() else []


# ------------------------------------------------------------------------------------------------ the three situations


def test_the_trained_file_has_the_splits_of_the_training(place, capsys):
    """Only --data is given; the rest is in the bank."""
    result = json.loads((place / "run" / "result.json").read_text())
    for split, n in (("dev", 8), ("test", 20)):
        code, out, err = evaluate(capsys, place, "coin.csv", "--split", split)
        assert (code, first_line(out)) == (0, f"csv {split} ({n}): accuracy {result[split]['accuracy']:.4f}")
        note = "note: coin.csv has no split of its own; split by class with seed 0: train 52, dev 8, test 20\n"
        assert err == note
    assert evaluate(capsys, place, "coin.csv")[1].startswith("csv dev (8): ")
    (place / "copy.csv").write_bytes((place / "coin.csv").read_bytes())
    assert evaluate(capsys, place, "copy.csv")[1].startswith("csv dev (8): ")  # what counts is what a file holds


@pytest.mark.parametrize("data", ["sorted.csv", "first_gone.csv", "relabelled.csv", "other_case.csv", "coin.csv"])
def test_rows_of_the_training_are_told_and_the_others_scored_alone(place, capsys, data):
    """The same file in another order, changed or cut is scored whole; the trained file if that is wanted."""
    more = ["--split", "all"] * (data == "coin.csv")
    code, out, err = evaluate(capsys, place, data, *more)
    trained, n = (51, 79) if data == "first_gone.csv" else (52, 80)
    found = re.fullmatch(
        rf"csv all \({n}\): accuracy (0\.\d{{4}})\ncsv all, not in training \(20\): accuracy (0\.\d{{4}})\n"
        r"  majority class (?s:.*)",
        out,
    )
    assert code == 0 and found, out
    told = f"note: of the {n} rows {trained} were trained on and 8 chose the best epoch: their score says nothing"
    assert f"{told} about new texts" in err.splitlines()
    other = f"note: {data} is not the data that task csv was trained on: all its rows are scored"
    assert (other in err.splitlines()) == (data != "coin.csv")
    assert "no split of its own" not in err
    result = json.loads((place / "run" / "result.json").read_text())
    assert float(found[2]) == pytest.approx(result["test"]["accuracy"], abs=1e-4)  # the test rows, wherever they stand
    if data in ("coin.csv", "sorted.csv"):
        whole = accuracy_by_hand(capsys, place, rows_of(place / "coin.csv"))
        assert float(found[1]) == pytest.approx(whole, abs=1e-4) and whole > 0.75 > result["test"]["accuracy"]


@pytest.mark.parametrize("data, n", [("new.csv", 60), ("heads.csv", 30), ("one.csv", 1)])
def test_a_new_file_is_scored_whole(place, capsys, data, n):
    code, out, err = evaluate(capsys, place, data)
    expected = accuracy_by_hand(capsys, place, rows_of(place / data))
    assert (code, first_line(out)) == (0, f"csv all ({n}): accuracy {expected:.4f}")
    assert err.splitlines() == [
        f"note: {data} is not the data that task csv was trained on: all its rows are scored",
        f"note: none of the {n} rows was trained on or chose the best epoch",
    ]
    assert evaluate(capsys, place, data, "--split", "all")[:2] == (code, out)


def test_a_split_of_another_file_is_refused(place, capsys):
    for data in ("sorted.csv", "new.csv", "one.csv"):
        for split in ("train", "dev", "test"):
            code, out, err = evaluate(capsys, place, data, "--split", split)
            assert (code, out) == (2, "")
            assert err.startswith(f"error: --split {split}: {data} is not the data that task csv was trained on")
            assert err.endswith("--split all\n") and err.count("\n") == 1
    code, _, err = evaluate(capsys, place, "new.csv", "--dev-rows", 5)
    assert code == 2 and "--dev-rows is for the dev split, and all is scored here" in err


def test_another_split_of_the_trained_file_is_another_file(place, capsys):
    code, out, _ = evaluate(capsys, place, "coin.csv", "--split-seed", 1)
    assert code == 0 and out.startswith("csv all (80): ")


def test_unknown_labels_are_errors_and_told(place, capsys):
    code, out, err = evaluate(capsys, place, "neutral.csv", "--json")
    rows = rows_of(place / "neutral.csv")
    assert (
        "note: neutral.csv: 5 of 20 rows have labels that the task does not know ('neutral'): counted as wrong" in err
    )
    found = json.loads(out)
    assert code == 0 and found["unknown_labels"] == 5 and found["examples"] == 20
    assert found["accuracy"] == pytest.approx(accuracy_by_hand(capsys, place, rows)) and found["accuracy"] <= 0.75


def test_json_has_the_same_facts(place, capsys):
    def facts(data, *more, name="run"):
        return json.loads(evaluate(capsys, place, data, "--json", *more, name=name)[1])

    names = ("split", "examples", "is_trained_data", "trained_on", "chose_epoch")
    assert [facts("coin.csv")[name] for name in names] == ["dev", 8, True, 0, 8]
    assert [facts("coin.csv", "--split", "train")[name] for name in names] == ["train", 52, True, 52, 0]
    other = facts("sorted.csv")
    assert [other[name] for name in names] == ["all", 80, False, 52, 8]
    test = facts("coin.csv", "--split", "test")
    assert other["not_in_training"] == {"examples": 20, "accuracy": test["accuracy"]} and "not_in_training" not in test
    assert [facts("coin.csv", name="older.h5")[name] for name in names] == ["dev", 8, None, None, None]


def test_a_bank_that_does_not_know_its_rows_says_so(place, capsys):
    for data, first in (("coin.csv", "csv dev (8): "), ("sorted.csv", "csv dev (8): "), ("one.csv", "csv all (1): ")):
        code, out, err = evaluate(capsys, place, data, name="older.h5")
        assert code == 0 and out.startswith(first)
        assert "the bank does not keep which rows task csv was trained on: some of these may be among them" in err
        assert "not in training" not in out


# --------------------------------------------------------------------------------------------- what the bank knows


def test_options_that_are_given_go_before_those_of_the_bank(place, tmp_path, capsys):
    texts, labels = zip(*rows_of(place / "new.csv"), strict=True)
    (tmp_path / "new.txt").write_text("".join(f"{t};{s}\n" for t, s in [("a", "b"), *zip(texts, labels, strict=True)]))
    columns = ["--text-column", "a", "--label-column", "b", "--delimiter", "semicolon"]
    code, out, _ = run(capsys, "eval", *bank(place), "--data", tmp_path / "new.txt", *columns)
    assert (code, out) == (0, evaluate(capsys, place, "new.csv")[1])
    code, _, err = run(capsys, "eval", *bank(place), "--data", tmp_path / "new.txt", *columns[:4])
    assert code == 2 and "new.txt" in err


def test_the_built_in_task_needs_not_even_data(place, tmp_path, capsys):
    files = ["--backbone", place / "tiny.h5", "--out", tmp_path / "run", "--quiet", "--max-length", 16]
    assert run(capsys, "train", "--task", "opinions", *files, "--train-rows", 32, "--epochs", 1)[0] == 0
    model = ["--backbone", place / "tiny.h5", "--bank", tmp_path / "run"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for split in ("dev", "test"):
        code, out, _ = run(capsys, "eval", *model, "--split", split, "--json")
        found = json.loads(out)
        assert code == 0 and found["accuracy"] == result[split]["accuracy"] and found["is_trained_data"] is True
    code, out, _ = run(capsys, "ablate", tmp_path / "run", "--backbone", place / "tiny.h5")
    assert code == 0 and f"accuracy {result['dev']['accuracy']:.4f} with all adapters" in out


def test_a_task_with_splits_of_its_own_is_scored_as_it_is_divided(place, tmp_path, capsys):
    """A folder, and the same folder with another dev set, half of it trained on."""
    rows = coin_flips(40, seed=3)
    put(tmp_path / "train.csv", rows[:20])
    put(tmp_path / "dev.csv", [rows[0], *rows[21:30]])  # a row that trained is told as that alone
    put(tmp_path / "test.csv", [*rows[:3], *rows[30:37]])
    options = ["--text-column", "words", "--label-column", "side", "--max-length", 16, "--epochs", 1]
    files = ["--backbone", place / "tiny.h5", "--out", tmp_path / "run", "--data", tmp_path]
    code, out, _ = run(capsys, "train", "--task", "csv", *files, *options)
    assert code == 0 and "note: 3 of 10 test texts are also in train, as the model reads them\n" in out
    evaluate = ["eval", "--backbone", place / "tiny.h5", "--bank", tmp_path / "run", "--data", tmp_path]
    code, out, err = run(capsys, *evaluate, "--split", "test")
    assert code == 0 and "note: 3 of 10 test texts are also in train, as the model reads them\n" in err
    assert re.match(r"csv test \(10\): .*\ncsv test, not in training \(7\): ", out)
    put(tmp_path / "dev.csv", [*rows[:4], *rows[36:40]])
    code, out, err = run(capsys, *evaluate)
    assert code == 0 and re.match(r"csv dev \(8\): .*\ncsv dev, not in training \(4\): ", out)
    assert "note: the data are not those that task csv was trained on\n" in err
    assert "note: of the 8 dev rows 4 were trained on: their score says nothing about new texts\n" in err


def test_a_task_that_was_never_scored_is_told(place, capsys):
    note = "note: task csv has no score in the bank: its weights may be those of a first epoch that was not finished\n"
    assert note in evaluate(capsys, place, "coin.csv", name="unscored.h5")[2]
    assert run(capsys, "predict", *bank(place, "unscored.h5"), "good tea")[2] == note
    assert run(capsys, "bank", place / "unscored.h5")[2] == note
    assert run(capsys, "predict", *bank(place), "good tea")[2] == ""


def test_ablate_scores_the_rows_that_eval_scores(place, tmp_path, capsys):
    files = ["--backbone", place / "tiny.h5", "--data", place / "coin.csv", "--out", tmp_path / "run", "--quiet"]
    options = ["--text-column", "words", "--label-column", "side", "--max-length", 16, "--epochs", 1]
    assert run(capsys, "train", "--task", "csv", *files, *options)[0] == 0
    ablate = ["ablate", tmp_path / "run", "--backbone", place / "tiny.h5", "--data"]
    code, out, err = run(capsys, *ablate, place / "coin.csv", "--csv", tmp_path / "spans.csv")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert code == 0 and out.startswith(f"csv dev (8): accuracy {result['dev']['accuracy']:.4f} with all adapters")
    code, out, err = run(capsys, *ablate, place / "sorted.csv")
    assert (
        code == 0
        and out.startswith("csv all (80): accuracy ")
        and "64 were trained on and 8 chose the best epoch" in err
    )
    assert run(capsys, *ablate, place / "sorted.csv", "--split", "test")[0] == 2
    header, first = (tmp_path / "spans.csv").read_text().splitlines()[:2]
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(row["change"]) == pytest.approx(100 * (float(row["accuracy"]) - float(row["full"])))


def test_another_spelling_of_a_class_is_refused(place, capsys, tmp_path):
    put(tmp_path / "new.csv", [("good tea", "heads"), ("bad tea", "Tails")])
    code, out, err = evaluate(capsys, place, tmp_path / "new.csv")
    assert (code, out) == (2, "") and "line 3" in err and "'Tails'; there it is written 'tails'" in err


def test_a_new_folder_is_scored_on_its_test_file(place, capsys, tmp_path):
    put(tmp_path / "train.csv", coin_flips(20, seed=7))
    put(tmp_path / "test.csv", coin_flips(12, seed=8))
    code, out, err = evaluate(capsys, place, tmp_path)
    assert code == 0 and out.startswith("csv test (12): accuracy ")
    assert "note: the data are not those that task csv was trained on\n" in err
    (tmp_path / "test.csv").unlink()
    code, out, err = evaluate(capsys, place, tmp_path)
    assert code == 0 and out.startswith("csv all (20): accuracy ") and "all its rows are scored" in err


def test_a_test_file_that_came_later_makes_no_other_data():
    train, dev, test = (Examples([text], None, np.array([0])) for text in ("a", "b", "c"))
    task = Task("x", "classify", ("no", "yes"), ("accuracy",), train, {"dev": dev})
    later = replace(task, test=test)
    assert training_fingerprint(later) == training_fingerprint(task)
    assert data_fingerprint(later) != data_fingerprint(task)
    assert training_fingerprint(replace(task, dev={"dev": test})) != training_fingerprint(task)
