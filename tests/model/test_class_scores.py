"""Scores by class are scikit-learn's, for random and degenerate cases; and which metrics a task may be scored by."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as theirs

from minibert.class_scores import class_report, confusion_matrix, count_classes
from minibert.data.task import UNKNOWN
from minibert.errors import InputError
from minibert.metrics import METRICS, chosen_metrics, macro_f1, metric_of, micro_f1, subset_accuracy, weighted_f1

NAMES = tuple("abcdefghijklmnopqrst")
CLASSES = ("accuracy", "macro_f1", "weighted_f1", "f1", "matthews")


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def check_report(predictions, labels, n):
    """Against scikit-learn, whose `labels` are the classes that occur: those are averaged."""
    report = class_report(predictions, labels, NAMES[:n])
    options = {"labels": range(n), "zero_division": 0}
    expected = theirs.precision_recall_fscore_support(labels, predictions, **options)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        close([row[name] for row in report["classes"]], values)
    assert [row["class"] for row in report["classes"]] == list(NAMES[:n])
    options["labels"] = present = np.setdiff1d(np.union1d(labels, predictions), [UNKNOWN])
    for average in ("macro", "weighted"):
        expected = theirs.precision_recall_fscore_support(labels, predictions, average=average, **options)
        close(list(report[average].values()), expected[:3])
        mine = {"macro": macro_f1, "weighted": weighted_f1}[average]
        close(mine(predictions, labels), expected[2])
    matrix = theirs.confusion_matrix(labels, predictions, labels=[*range(n), UNKNOWN])
    assert report["confusion"] == matrix[:n, :n].tolist() and report["confusion_unknown"] == matrix[n, :n].tolist()
    for i in present[:3]:
        close(
            metric_of(f"f1:{NAMES[i]}", NAMES)(predictions, labels),
            theirs.f1_score(labels == i, predictions == i, zero_division=0),
        )
    counts = np.bincount(labels[labels >= 0], minlength=n)
    assert report["most_frequent"]["accuracy"] == counts.max() / len(labels)
    assert report["most_frequent"]["class"] == NAMES[counts.argmax()]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


SEEDS = [range(60), pytest.param(range(60, 500), marks=pytest.mark.slow)]
random_cases = pytest.mark.parametrize("seeds", SEEDS, ids=["60", "440 more"])


@random_cases
def test_random_cases(seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        n, rows = int(rng.integers(2, 20)), int(rng.integers(1, 200))
        lowest = UNKNOWN if seed % 3 == 0 else 0  # some labels are unknown
        labels, predictions = rng.integers(lowest, n, rows), rng.integers(0, rng.integers(1, n + 1), rows)
        if (labels >= 0).any():
            check_report(predictions, labels, n)


@pytest.mark.parametrize(
    "predictions, labels",
    [([0], [0]), ([1], [0]), ([0, 0, 0], [1, 1, 1]), ([2, 2], [2, 2]), ([0, 0, 0], [0, 1, 2]), ([0, 1, 2], [0, 0, 0])],
    ids=str,
)
def test_degenerate_cases(predictions, labels):
    check_report(np.array(predictions), np.array(labels), 3)


def test_rows_with_an_unknown_label_are_wrong_and_of_no_class():
    predictions, labels = np.array([0, 0, 1]), np.array([0, UNKNOWN, 1])
    report = class_report(predictions, labels, ("no", "yes"))
    assert report["classes"][0] == {
        "class": "no", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1, "predicted": 2
    }  # fmt: skip
    assert report["confusion"] == [[1, 0], [0, 1]] and report["confusion_unknown"] == [1, 0]
    known, unknown = confusion_matrix(predictions, labels, 2)
    assert known.sum() + unknown.sum() == 3


def check_several(predictions, labels):
    """Rows with several labels."""
    report = class_report(predictions, labels, NAMES[: labels.shape[1]])
    for average in ("micro", "macro", "weighted"):
        options = {"average": average, "zero_division": 0}
        expected = theirs.precision_recall_fscore_support(labels, predictions, **options)
        close(list(report[average].values()), expected[:3])
        close(METRICS[f"{average}_f1"](predictions, labels), expected[2])
    expected = theirs.precision_recall_fscore_support(labels, predictions, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        close([row[name] for row in report["classes"]], values)
    close(subset_accuracy(predictions, labels), theirs.accuracy_score(labels, predictions))
    assert "confusion" not in report and "most_frequent" not in report


@random_cases
def test_random_cases_of_several_labels_a_row(seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        shape = int(rng.integers(1, 60)), int(rng.integers(2, 9))
        check_several(rng.random(shape) < rng.random(), (rng.random(shape) < rng.random()).astype(np.int64))


@pytest.mark.parametrize("predicted", [0, 1])
@pytest.mark.parametrize("label", [0, 1])
def test_degenerate_cases_of_several_labels_a_row(predicted, label):
    check_several(np.full((4, 3), predicted), np.full((4, 3), label))


def test_counts_of_no_rows_are_zero():
    counts = count_classes(np.zeros(0, int), np.zeros(0, int), 3)
    assert counts.averages()["macro"] == {"precision": 0, "recall": 0, "f1": 0}
    assert micro_f1(np.zeros((0, 2)), np.zeros((0, 2))) == 0


# ---------------------------------------------------------------------------------------------------- which metrics


def test_the_wanted_metric_comes_first():
    def chosen(wanted, usual=("accuracy",), classes=("no", "yes")):
        return chosen_metrics(wanted, CLASSES, usual, classes)

    assert chosen("") == ("accuracy",) and chosen("accuracy") == ("accuracy",)
    assert chosen("macro_f1") == ("macro_f1", "accuracy")
    assert chosen("f1:yes") == ("f1:yes", "accuracy")
    assert chosen("f1", ("accuracy", "f1")) == ("f1", "accuracy")
    assert chosen_metrics("spearman", ("pearson", "spearman"), ("pearson",), ()) == ("spearman", "pearson")


@pytest.mark.parametrize(
    "wanted, classes, told",
    [
        ("f2", ("no", "yes"), "it has accuracy, macro_f1, weighted_f1, f1, matthews, f1:CLASS"),
        ("pearson", ("no", "yes"), "it has accuracy, macro_f1, weighted_f1, f1, matthews, f1:CLASS"),
        ("f1", ("a", "b", "c"), "it has accuracy, macro_f1, weighted_f1, matthews, f1:CLASS"),
        ("f1:maybe", ("no", "yes"), "there is no such class; the classes are 'no', 'yes'"),
        ("f1:yes", (), "it has accuracy, macro_f1, weighted_f1, matthews"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(wanted, classes, told):
    with pytest.raises(InputError, match="--metric") as error:
        chosen_metrics(wanted, CLASSES, ("accuracy",), classes)
    assert str(error.value).endswith(told)
