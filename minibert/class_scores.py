"""Scores of each class: precision, recall, F1 and support, their averages, and who was taken for whom.

    precision = right / predicted     recall = right / support     F1 = 2 right / (predicted + support)

of the rows that are predicted as a class, those that have it as their label (its support), and those that are both
(right); 0 where nothing is divided by nothing. The numbers are those of scikit-learn's classification_report.

Labels are class numbers (N,), or for several labels a row 0 and 1 (N, C); predictions likewise. A row with an unknown
label (UNKNOWN) counts as wrong wherever a prediction of it is counted, and belongs to no class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCORES = ("precision", "recall", "f1")
AVERAGES = ("micro", "macro", "weighted")
MOST_CLASSES = 20  # of a confusion matrix that one can read


@dataclass(frozen=True)
class ClassCounts:
    """Rows of each class (C,) int64: right, predicted, support; and averaged (C,) bool: which classes a macro average
    is of, those that are predicted or have a label."""

    right: np.ndarray
    predicted: np.ndarray
    support: np.ndarray
    averaged: np.ndarray

    def scores(self) -> dict[str, np.ndarray]:
        """{score: (C,)} for each of SCORES."""
        found = self.predicted, self.support, (self.predicted + self.support) / 2
        return {name: _divided(self.right, total) for name, total in zip(SCORES, found, strict=True)}

    def averages(self) -> dict[str, dict[str, float]]:
        """{average: {score: value}}: macro, each class alike; weighted, each by its support; micro, all rows of all
        classes as if they were of one."""
        scores, all_rows = self.scores(), self.support.sum()
        shares = _divided(self.support, all_rows)
        whole = ClassCounts(*(n.sum(keepdims=True) for n in (self.right, self.predicted, self.support)), self.averaged)
        return {
            "macro": {
                name: float(v[self.averaged].mean()) if self.averaged.any() else 0.0 for name, v in scores.items()
            },
            "weighted": {name: float(shares @ v) for name, v in scores.items()},
            "micro": {name: float(v[0]) for name, v in whole.scores().items()},
        }


def _divided(part, total) -> np.ndarray:
    """part / total, 0 where total is 0."""
    part = np.asarray(part, np.float64)
    return np.divide(part, total, out=np.zeros_like(part), where=np.asarray(total) > 0)


def count_classes(predictions, labels, n_classes: int = 0) -> ClassCounts:
    """The counts of n_classes classes, or, of class numbers, at least of those that occur."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if labels.ndim == 2:
        predictions, labels = predictions.astype(bool), labels.astype(bool)
        counts = [a.sum(axis=0, dtype=np.int64) for a in (predictions & labels, predictions, labels)]
        return ClassCounts(*counts, np.ones(labels.shape[1], bool))  # as scikit-learn: every label is one of the task
    n = max(n_classes, int(max(predictions.max(initial=-1), labels.max(initial=-1))) + 1)
    rows = (predictions[predictions == labels], predictions, labels)
    right, predicted, support = (np.bincount(a[a >= 0], minlength=n) for a in rows)
    return ClassCounts(right, predicted, support, (predicted + support) > 0)


def confusion_matrix(predictions, labels, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each label got each prediction.   (N,), (N,) -> (C, C), rows are labels; and the row of unknown labels
    (C,)"""
    counts = np.zeros((n_classes + 1, n_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)  # UNKNOWN is -1: the last row
    return counts[:-1], counts[-1]


def class_report(predictions, labels, classes: tuple[str, ...]) -> dict:
    """All of it as a JSON object.

    classes: [{class, precision, recall, f1, support, predicted}]; macro, weighted and, for several labels a row, micro:
    {precision, recall, f1}. For one label a row: confusion (C, C), rows are labels, columns predictions;
    confusion_unknown (C,), the predictions of rows with an unknown label; most_frequent: {class, accuracy}, the
    majority-class baseline: the most frequent class of these labels, and the accuracy of predicting it for every row.
    """
    counts = count_classes(predictions, labels, len(classes))
    scores = counts.scores()
    rows = [
        {"class": name, **{score: float(v[i]) for score, v in scores.items()}}
        | {"support": int(counts.support[i]), "predicted": int(counts.predicted[i])}
        for i, name in enumerate(classes)
    ]
    averages = counts.averages()
    if np.ndim(labels) == 2:
        return {"classes": rows, **averages}
    del averages["micro"]  # the accuracy, if no label is unknown
    known, unknown = confusion_matrix(predictions, labels, len(classes))
    often = int(counts.support.argmax())
    most = {"class": classes[often], "accuracy": int(counts.support[often]) / max(1, len(labels))}
    more = {"confusion": known.tolist(), "confusion_unknown": unknown.tolist(), "most_frequent": most}
    return {"classes": rows, **averages, **more}


def score_rows(report: dict) -> tuple[list[tuple], list[tuple]]:
    """The rows of a table of a `class_report`, those of the classes and those of its averages: (name, SCORES …,
    support); averages have no support, ""."""
    classes = [(row["class"], *_formatted(row), row["support"]) for row in report["classes"]]
    averages = [(f"{name} average", *_formatted(report[name]), "") for name in AVERAGES if name in report]
    return classes, averages


def _formatted(scores: dict) -> list[str]:
    return [f"{scores[name]:.4f}" for name in SCORES]
