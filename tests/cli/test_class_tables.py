"""What `eval` prints of classes, and the options that choose how a run is scored, from the command line."""

import json

import pytest
from tiny import write_csv, write_tiny_backbone

from minibert.class_scores import class_report
from minibert.cli import main
from minibert.cli.class_tables import class_lines


def report(classes, labels, predictions):
    import numpy as np

    return class_report(np.array(predictions), np.array(labels), classes)


def test_a_report_to_look_at():
    lines = class_lines(report(("no", "yes, sir"), [0, 0, 0, 1, -1], [0, 0, 1, 1, 1]))
    assert lines == [
        "  majority class (no): accuracy 0.6000",
        "  class             precision   recall       F1  support",
        "  no                   1.0000   0.6667   0.8000        3",
        "  'yes, sir'           0.3333   1.0000   0.5000        1",
        "  macro average        0.6667   0.8333   0.6500",
        "  weighted average     0.8333   0.7500   0.7250",
        "  confusion matrix: a row for each label, a column for each prediction",
        "              no  'yes, sir'",
        "  no           2           1",
        "  'yes, sir'   0           1",
        "  (unknown)    0           1",
    ]
    assert class_lines(None) == []


def test_many_classes_have_numbers_for_columns_and_too_many_no_matrix():
    names = tuple(f"class of texts {i}" for i in range(20))
    lines = class_lines(report(names, range(20), range(20)))
    assert lines[-20].split() == ["0", "class", "of", "texts", "0", "1", *["0"] * 19]
    assert lines[-21].split() == [str(i) for i in range(20)] and max(map(len, lines)) <= 100
    lines = class_lines(report((*names, "one more"), range(21), range(21)))
    assert lines[-1] == "  21 classes: the confusion matrix is in --json alone"


def test_long_names_are_cut():
    lines = class_lines(report(("x" * 200, "y"), [0, 1], [0, 1]))
    assert max(map(len, lines)) < 80 and "x" * 29 + "…" in lines[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    write_tiny_backbone(place / "tiny.h5")
    texts = [
        f"the {word} was {mood}" for word in ("tea", "film", "book") for mood in ("good", "bad", "fine", "dull")
    ] * 3
    write_csv(place / "data.csv", {"words": texts, "side": [("up", "down", "up", "flat")[i % 4] for i in range(36)]})
    return place


def train(place, run, *more):
    files = ["--backbone", place / "tiny.h5", "--data", place / "data.csv", "--out", place / run, "--task", "csv"]
    columns = ["--text-column", "words", "--label-column", "side", "--max-length", 16, "--epochs", 3]
    return main([str(a) for a in ["train", *files, *columns, *more]])


def test_from_training_to_the_report(place, capsys):
    assert train(place, "run", "--metric", "macro_f1", "--class-weights", "balanced", "--patience", 1) == 0
    out = capsys.readouterr().out
    assert "class weights: down 1.333, flat 1.333, up 0.6667" in out
    assert out.index("class weights") < out.index("epoch 1/3") and "dev macro_f1 " in out
    evaluate = ["eval", "--backbone", str(place / "tiny.h5"), "--bank", str(place / "run")]
    evaluate += ["--data", str(place / "data.csv"), "--split", "all"]
    assert main(evaluate) == 0
    out = capsys.readouterr().out
    assert out.startswith("csv all (36): macro_f1 ") and ", accuracy " in out.splitlines()[0]
    assert "  majority class (up): accuracy 0.5000" in out and "  class " in out
    assert main([*evaluate, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found)[3:5] == ["macro_f1", "accuracy"]
    assert found["report"]["macro"]["f1"] == found["macro_f1"]
    assert sum(map(sum, found["report"]["confusion"])) == 36
    right = sum(row[i] for i, row in enumerate(found["report"]["confusion"]))
    assert found["accuracy"] == pytest.approx(right / 36)


def test_patience_is_told_at_the_end(place, capsys):
    assert train(place, "patient", "--patience", 1, "--epochs", 40, "--lr", 1e-7) == 0
    assert "ended after epoch 2 of 40: no better dev score than in epoch 1 (--patience)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more, told",
    [
        (["--metric", "bleu"], "it has accuracy, macro_f1, weighted_f1, matthews, f1:CLASS"),
        (["--metric", "f1:sideways"], "there is no such class"),
        (["--class-weights", "heavy"], "must be balanced, or NAME=W"),
        (["--class-weights", "a, b=2"], "got 'a'; if a name has a comma, enclose it and its weight in double quotes"),
        (["--class-weights", '"a,b=2",up=1'], "there is no class 'a,b'"),
        (["--patience", "-1"], "patience must be a whole number from 0"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_refused_before_work(place, capsys, more, told):
    assert train(place, "never", *more) == 2
    out, err = capsys.readouterr()
    assert told in err and err.count("\n") == 1 and "epoch" not in out and not (place / "never").exists()
