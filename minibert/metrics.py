"""Scores of predictions. Each takes (predictions (N,), labels (N,)) and returns a number, 1 being the best.

Where a row has several labels, both are (N, C) of 0 and 1: macro_f1, weighted_f1, micro_f1 and subset_accuracy.

Answers to questions (SQuAD) are texts, and have scores of their own: `exact_match` and `answer_f1` for one answer,
`squad_scores` for all.
"""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np

from minibert.class_scores import count_classes
from minibert.errors import InputError, list_some, shown


def accuracy(predictions, labels) -> float:
    """Share of the predictions that are right."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def f1(predictions, labels) -> float:
    """Harmonic mean of precision and recall for class 1; 0 if class 1 is neither there nor predicted."""
    predictions, labels = np.asarray(predictions) == 1, np.asarray(labels) == 1
    wrong = np.sum(predictions != labels)
    both = np.sum(predictions & labels)
    return float(2 * both / (2 * both + wrong)) if both + wrong else 0.0


def macro_f1(predictions, labels) -> float:
    """The mean of the classes' F1, of those that are there or predicted: each counts alike, rare or not."""
    return count_classes(predictions, labels).averages()["macro"]["f1"]


def weighted_f1(predictions, labels) -> float:
    """The mean of the classes' F1, each weighted by how many labels it has."""
    return count_classes(predictions, labels).averages()["weighted"]["f1"]


def micro_f1(predictions, labels) -> float:
    """The F1 of all labels of all rows together."""
    return count_classes(predictions, labels).averages()["micro"]["f1"]


def subset_accuracy(predictions, labels) -> float:
    """Share of the rows (N, C) whose labels are all right."""
    return float(np.mean((np.asarray(predictions) == np.asarray(labels)).all(axis=1)))


def f1_of(number: int):
    """The metric that is the F1 of one class; 0 if it is neither there nor predicted."""
    return lambda predictions, labels: float(count_classes(predictions, labels, number + 1).scores()["f1"][number])


def matthews(predictions, labels) -> float:
    """Matthews correlation for any number of classes (Gorodkin, 2004); 0 where it is undefined, as for a constant
    guess."""
    classes, number = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    truth, guess = np.split(number.reshape(-1), 2)
    confusion = np.zeros((len(classes), len(classes)))
    np.add.at(confusion, (truth, guess), 1)
    total, right = confusion.sum(), np.trace(confusion)
    truth, guess = confusion.sum(axis=1), confusion.sum(axis=0)
    spread = np.sqrt((total**2 - truth @ truth) * (total**2 - guess @ guess))
    return float((right * total - truth @ guess) / spread) if spread > 0 else 0.0


def pearson(predictions, labels) -> float:
    """Linear correlation; 0 where it is undefined, as for a constant guess; NaN if a number is NaN or infinite."""
    x, y = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    if x.min() == x.max() or y.min() == y.max():  # checked before the mean is subtracted: it leaves a rounding error
        return 0.0
    x, y = _centred(x), _centred(y)
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))  # rounding alone goes beyond 1


def _centred(x: np.ndarray) -> np.ndarray:
    """x minus its mean, times a power of two that brings the largest deviation near 1: no square is 0 or infinite."""
    for _ in range(2):  # scaled before the mean is taken, as a sum may overflow; and after it
        _, exponent = np.frexp(np.abs(x).max())
        x = np.ldexp(x, -exponent)
        x = x - x.mean()
    return x


def r2(predictions, labels) -> float:
    """Coefficient of determination: 1 minus the squared errors over those of always guessing the labels' mean, which
    scores 0; without a lower end. Of equal labels 1 if all are hit, else 0. NaN if a number is NaN or infinite.

    Unlike a correlation it sees whether the predictions are on the scale of the labels.
    """
    x, y = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    errors = np.sum((y - x) ** 2)
    if y.min() == y.max():
        return float(errors == 0)
    return float(1 - errors / np.sum((y - y.mean()) ** 2))


def spearman(predictions, labels) -> float:
    """Linear correlation of the ranks; equal values share the mean of their ranks. 0 and NaN as for `pearson`, but
    that infinite numbers have ranks as others."""
    if np.isnan(predictions).any() or np.isnan(labels).any():
        return float("nan")
    return pearson(_ranks(predictions), _ranks(labels))


def _ranks(values) -> np.ndarray:
    _, group, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts, dtype=np.int64)  # the ranks of a group of equals end here
    return (last - (counts - 1) / 2)[group.reshape(-1)]


_DROPPED = str.maketrans("", "", string.punctuation)  # ASCII alone: a full-width comma stays
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """What is compared of an answer: lower case, without punctuation, then without articles, single spaces."""
    text = text.lower().translate(_DROPPED)  # first punctuation, then articles: "the-man" is one word, and stays
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, truth: str) -> float:
    """1 if the two answers are the same once they are normalized, else 0."""
    return float(normalize_answer(prediction) == normalize_answer(truth))


def answer_f1(prediction: str, truth: str) -> float:
    """Harmonic mean of precision and recall of an answer's words, each counted as often as it occurs; 0 if none is
    shared, two empty answers included."""
    found, wanted = normalize_answer(prediction).split(), normalize_answer(truth).split()
    shared = sum((Counter(found) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def squad_scores(predictions: dict[str, str], ids: list[str], answers: list[tuple[str, ...]]) -> dict[str, float]:
    """Exact match and F1 in percent of all questions, as SQuAD v1.1's own scorer counts them.

    predictions: {id: answer}; ids (N) and answers (N), the right answers to each question, of which the best fitting
    counts. A question without a prediction counts 0.
    """
    totals = {"exact_match": 0.0, "f1": 0.0}
    for name, truths in zip(ids, answers, strict=True):
        if name in predictions:
            totals["exact_match"] += max(exact_match(predictions[name], truth) for truth in truths)
            totals["f1"] += max(answer_f1(predictions[name], truth) for truth in truths)
    return {metric: 100.0 * total / len(ids) for metric, total in totals.items()}


OF_CLASSES = (accuracy, f1, macro_f1, weighted_f1, micro_f1, subset_accuracy, matthews)
METRICS = {f.__name__: f for f in (*OF_CLASSES, pearson, spearman, r2)}
F1_OF = "f1:"  # before the name of a class


def metric_of(name: str, classes: tuple[str, ...] = ()):
    """The function of a metric's name: one of METRICS, or f1:CLASS for one of these classes."""
    return f1_of(classes.index(name.removeprefix(F1_OF))) if name.startswith(F1_OF) else METRICS[name]


def chosen_metrics(wanted: str, fitting: tuple[str, ...], usual: tuple[str, ...], classes: tuple[str, ...]):
    """The names of a task's metrics, the wanted one first, which chooses the best epoch; "": the usual ones.

    fitting: those that its kind of task has, beside the usual ones; f1:CLASS is among them if there are classes, and
    f1, which is that of class 1, is for two classes alone. Raises InputError, with those that fit, if wanted does not.
    """
    if not wanted:
        return usual
    names = [name for name in dict.fromkeys((*usual, *fitting)) if name != "f1" or name in usual or len(classes) == 2]
    if wanted.startswith(F1_OF) and classes:
        if wanted.removeprefix(F1_OF) not in classes:
            there = list_some(map(shown, classes))
            raise InputError(f"--metric {shown(wanted)}: there is no such class; the classes are {there}")
    elif wanted not in names:
        names += ["f1:CLASS"] * bool(classes)
        raise InputError(f"--metric {shown(wanted)} is none of this task's; it has {', '.join(names)}")
    return (wanted, *(name for name in usual if name != wanted))
