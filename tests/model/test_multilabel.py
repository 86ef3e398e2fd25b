"""Texts with any number of labels: the loss against scikit-learn, from a table to predictions, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss
from small_models import TEXTS, encode, make_model
from tiny import write_csv, write_tiny_backbone
from training_runs import CONFIG

from minibert.cli import main
from minibert.data import load_task
from minibert.data.checks import check_task
from minibert.data.labels import class_counts
from minibert.errors import InputError
from minibert.heads import RECORDS
from minibert.lab.baseline import no_bert
from minibert.losses import binary_cross_entropy, sigmoid
from minibert.model import Model
from minibert.storage import read_bank
from minibert.train import Training

OPTIONS = {"text_column": "words", "label_column": "tags", "label_separator": "|"}
ROWS = [
    ("tea film", "tea|film"),
    ("tea", "tea"),
    ("film", "film"),
    ("nothing here", ""),
    ("book", " book "),
    ("tea book", "book|tea"),
]


def put(path, rows):
    texts, labels = zip(*rows, strict=True)
    return write_csv(path, {"words": texts, "tags": labels})


def read(tmp_path, rows, **options):
    return load_task("csv", put(tmp_path / "data.csv", rows), **OPTIONS | options)


# ------------------------------------------------------------------------------------------------------------ the head


def test_the_loss_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels, weights = 4 * rng.standard_normal((30, 5)), rng.integers(0, 2, (30, 5)), rng.random(30)
    for given in (None, weights):
        loss, _ = binary_cross_entropy(scores, labels, None, given)
        each = [log_loss(labels[:, c], sigmoid(scores[:, c]), sample_weight=given, labels=[0, 1]) for c in range(5)]
        assert loss == pytest.approx(np.mean(each), rel=1e-12)


def test_scores_of_any_size_have_a_finite_loss():
    scores = np.array([[1e4, -1e4], [-1e4, 1e4]])
    loss, dscores = binary_cross_entropy(scores, np.array([[1, 0], [1, 0]]), None)
    assert loss == 5e3 and dscores.tolist() == [[0, 0], [-0.25, 0.25]]
    assert sigmoid(scores).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "wrong", [np.zeros(4, int), np.zeros((4, 2), int), np.full((4, 3), 2), np.full((4, 3), 0.5), np.zeros((3, 3), int)]
)
def test_labels_that_do_not_fit(backbone, wrong):
    model = make_model(backbone, head="multilabel", n_out=3)
    with pytest.raises(InputError, match="labels must be"):
        model.loss_and_grads(encode(backbone, TEXTS), wrong)


def test_a_label_is_given_above_one_half():
    columns, answer = RECORDS["multilabel"].describe(np.array([0.5, 0.51, 0.9]), ("a", "b", "c"))
    assert columns == ["b|c", "0.5100|0.9000"]
    assert answer == {"labels": ["b", "c"], "probabilities": {"a": 0.5, "b": 0.51, "c": 0.9}}
    assert RECORDS["multilabel"].describe(np.array([0.1, 0.2]), ("a", "b"))[0] == ["", ""]


# ------------------------------------------------------------------------------------------------------------ the data


def test_a_table_with_several_labels_a_cell(tmp_path):
    task = read(tmp_path, ROWS * 5)
    assert (task.head, task.labels, task.n_out, task.label_shape) == ("multilabel", ("book", "film", "tea"), 3, (3,))
    assert task.metrics == ("micro_f1", "macro_f1", "subset_accuracy")
    rows = {}
    for split in (task.train, task.dev["dev"], task.test):
        rows |= dict(zip(split.texts, split.labels.tolist(), strict=True))
    assert rows["tea film"] == [0, 1, 1] and rows["nothing here"] == [0, 0, 0] and rows["tea book"] == [1, 0, 1]
    assert any("split at random with seed 0: train 24, dev 3, test 3" in note for note in task.notes)
    counts = class_counts(task)
    n = task.train.labels.sum(axis=0)
    assert counts[0] == f"labels: book ({n[0]}), film ({n[1]}), tea ({n[2]})"
    none = (task.train.labels.sum(axis=1) == 0).sum()
    assert counts[1] == f"labels of a training row: {n.sum() / 24:.2f} on average; {none} of 24 rows have none"


def test_odd_cells_are_told(tmp_path):
    task = read(tmp_path, [*ROWS * 5, ("x", "tea|tea"), ("y", "tea||film"), ("z", "|")])
    told = "\n".join(task.notes)
    assert "1 of 33 label cells name a label twice; it counts once (first on line 32)" in told
    assert "2 of 33 label cells have nothing between two separators (first on line 33)" in told
    assert "no row has two labels" not in told
    assert "no label cell has the separator ';': no row has two labels" in "\n".join(
        read(tmp_path, [("a", "x"), ("b", "y")] * 9, label_separator=";").notes
    )
    assert "differ only in upper and lower case" in "\n".join(read(tmp_path, [*ROWS * 5, ("x", "Tea|film")]).notes)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"label_separator": "ab"}, "expected one character"),
        ({"label_separator": "x"}, "expected one character"),
        ({"regress": True}, "leave out one"),
    ],
)
def test_separators_that_cannot_be_used(tmp_path, options, told):
    with pytest.raises(InputError, match=told):
        read(tmp_path, ROWS * 5, **options)


def test_tasks_that_cannot_be_trained_on(tmp_path):
    with pytest.raises(InputError, match="only one class"):
        read(tmp_path, [("a", "tea"), ("b", "")] * 9)
    with pytest.raises(InputError, match="all training rows have the same labels"):
        read(tmp_path, [("a", "tea|film")] * 20)
    task = read(tmp_path, ROWS * 5)
    wrong = replace(task.train, labels=task.train.labels + 1)
    with pytest.raises(InputError, match="labels of the train set are not all 0 or 1"):
        check_task(replace(task, train=wrong))
    with pytest.raises(InputError, match="several labels a text"):
        no_bert(task, 1, 0)


# ---------------------------------------------------------------------------------------------------- from end to end


@pytest.mark.parametrize("method", ["adapter", "head"])
def test_it_is_learned_by_heart(backbone, tmp_path, method):
    task = read(tmp_path, ROWS * 5)
    task = replace(task, dev={"dev": task.train})
    config = replace(CONFIG, lr=0.02, epochs=60, metric="f1:tea")
    training = Training(Model(backbone, "multilabel", 3, method), task, config, tmp_path / "run", quiet=True)
    result = training.run()
    assert list(result["dev"]) == ["f1:tea", "micro_f1", "macro_f1", "subset_accuracy"]
    assert result["dev"]["f1:tea"] > 0.8
    given = training.best_model().predict(training.tokenized(task.train).batch) > 0.5
    assert result["dev"]["micro_f1"] == pytest.approx(f1_score(task.train.labels, given, average="micro"), abs=1e-12)
    record = read_bank(tmp_path / "run" / "bank.h5")["csv"]
    assert (record.head, record.labels, record.n_out) == ("multilabel", ("book", "film", "tea"), 3)


def test_from_the_command_line(tmp_path, capsys):
    backbone, data = str(write_tiny_backbone(tmp_path / "tiny.h5")), str(put(tmp_path / "data.csv", ROWS * 5))
    files = ["--backbone", backbone, "--data", data, "--out", str(tmp_path / "run"), "--task", "csv"]
    columns = ["--text-column", "words", "--label-column", "tags", "--label-separator", "|", "--max-length", "16"]
    assert main(["train", *files, *columns, "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "labels: book (" in out and "dev micro_f1 " in out
    run = ["--backbone", backbone, "--bank", str(tmp_path / "run")]
    assert main(["eval", *run, "--data", data, "--split", "test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("csv test (3): micro_f1 ") and "majority class" not in lines[1]
    assert [line.split()[0] for line in lines[1:]] == ["class", "book", "film", "tea", "micro", "macro", "weighted"]
    put(tmp_path / "new.csv", [("tea", "tea|milk"), ("film", "film")])
    assert main(["eval", *run, "--data", str(tmp_path / "new.csv"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "1 of 2 rows have labels that the task does not know ('milk'): they are left out" in err
    assert [row["support"] for row in json.loads(out)["report"]["classes"]] == [0, 1, 1]
    put(tmp_path / "other.csv", [("tea", "milk")])
    assert main(["eval", *run, "--data", str(tmp_path / "other.csv")]) == 2
    assert "no row has one of the labels" in capsys.readouterr().err
    assert main(["predict", *run, "--json", "tea film"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == [name for name, p in found["probabilities"].items() if p > 0.5]
    assert list(found["probabilities"]) == ["book", "film", "tea"]
    files[5] = str(tmp_path / "other")
    assert main(["train", *files, *columns, "--class-weights", "balanced"]) == 2
    assert (
        "--class-weights: a row of task csv may have several labels; they cannot be weighted" in capsys.readouterr().err
    )


def test_predicted_labels_stand_in_a_cell_as_those_of_the_training_did(tmp_path, capsys):
    data = str(
        put(tmp_path / "data.csv", [("tea film", "tea;film"), *[("film tea", "tea;film")] * 8, ("a", "tea")] * 4)
    )
    files = ["--backbone", str(write_tiny_backbone(tmp_path / "tiny.h5")), "--data", data]
    columns = ["--text-column", "words", "--label-column", "tags", "--label-separator", ";", "--max-length", "16"]
    train = [
        "train",
        *files,
        "--task",
        "csv",
        "--out",
        str(tmp_path / "run"),
        *columns,
        "--epochs",
        "6",
        "--lr",
        "0.01",
    ]
    assert main([*train, "--quiet"]) == 0
    out = str(tmp_path / "out.csv")
    assert main(["predict", *files, "--bank", str(tmp_path / "run"), "--out", out]) == 0
    assert "film tea,tea;film,film;tea," in (tmp_path / "out.csv").read_text("utf-8")
