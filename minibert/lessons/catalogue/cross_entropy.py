"""Cross-entropy."""

import numpy as np

from minibert.lessons.exercise import Exercise


def _cross_entropy(rng):
    """The last overflows where the largest score of a row is not subtracted; it is exact in float32."""
    usual = [(rng.normal(scale=2, size=(B, C)), rng.integers(0, C, B)) for B, C in ((4, 3), (1, 5), (7, 2))]
    large = rng.integers(-40, 40, size=(3, 4)) / 16 + np.array([[1000], [0], [-1000]])
    return [*usual, (large, rng.integers(0, 4, 3))]


EXERCISES = (
    Exercise(
        "cross_entropy",
        4,
        outputs=("loss",),
        cache=("p", "labels"),
        cases=_cross_entropy,
        hints=(
            "Which of the C probabilities of a row matters for its loss?",
            "p[np.arange(B), labels] takes one element of each row.",
            "loss = -np.log(p[np.arange(B), labels]).mean()",
        ),
        order=("p", "loss"),
        mistakes=(
            (
                "p, _ = softmax(scores)",
                "p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)",
                "exp overflows for large scores: subtract the largest score of the row first",
            ),
            (
                "loss = -np.log(right).mean()",
                "loss = -np.log(right).sum()",
                "the loss is a sum over the rows, not a mean",
            ),
            ("loss = -np.log(right).mean()", "loss = np.log(right).mean()", "the sign is missing: the loss is above 0"),
            ("loss = -np.log(right).mean()", "loss = 1 - right.mean()", "the logarithm is missing"),
            ("loss = -np.log(right).mean()", "loss = -np.log(right.mean())", "the mean is inside the logarithm"),
            (
                "loss = -np.log(right).mean()",
                "loss = -np.log(p).mean()",
                "all classes are counted; the loss of a row is that of its own label alone",
            ),
            (
                "loss = -np.log(right).mean()",
                "loss = -np.log(p[:, labels]).mean()",
                "p[:, labels] takes a column for each label; p[np.arange(B), labels] takes one element of each row",
            ),
            (
                "right = p[np.arange(len(labels)), labels]",
                "right = p[labels]",
                "p[labels] takes whole rows; p[np.arange(B), labels] takes one element of each row",
            ),
            (
                "loss = -np.log(right).mean()",
                "loss = -np.log(right).sum() / p.size",
                "divided by B C, as by mean() of all elements; the mean is over B rows",
            ),
            ("loss = -np.log(right).mean()", "loss = -np.log2(right).mean()", "this is the logarithm to base 2"),
            (
                "loss = -np.log(right).mean()",
                "loss = -scores[np.arange(len(labels)), labels].mean()",
                "the softmax is missing",
            ),
            (
                "loss = -np.log(right).mean()",
                "loss = -(np.log(right).sum() + np.log(1 - p).sum() - np.log(1 - right).sum()) / len(labels)",
                "this is the loss of C independent yes-or-no questions; the classes exclude each other",
            ),
        ),
    ),
    Exercise(
        "cross_entropy_backward",
        4,
        outputs=("dscores",),
        cases=None,
        hints=(
            "What is the sum of a row of dscores? (Add 1 to all scores of a row: the loss does not change.)",
            "(p - one_hot), and the loss was a mean over B rows.",
            "dscores = p.copy(); dscores[np.arange(B), labels] -= 1; dscores /= B",
        ),
        mistakes=(
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = p - one_hot",
                "the loss is a mean over B rows: divide by B",
            ),
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = (one_hot - p) / len(labels)",
                "the sign is wrong: p - one_hot",
            ),
            ("dscores = (p - one_hot) / len(labels)", "dscores = p / len(labels)", "1 is not subtracted at the label"),
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = (p - one_hot) / p.size",
                "divided by B C; the mean is over B rows",
            ),
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = (p - one_hot) / p.shape[1]",
                "divided by the number of classes C; the mean is over B rows",
            ),
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = (p - labels[:, None]) / len(labels)",
                "the label's number is subtracted from a whole row; subtract 1 at the label alone",
            ),
            (
                "one_hot = np.eye(p.shape[1])[labels]",
                "one_hot = np.zeros_like(p); one_hot[:, labels] = 1",
                "[:, labels] takes whole columns; [np.arange(B), labels] takes one element of each row",
            ),
            (
                "one_hot = np.eye(p.shape[1])[labels]",
                "one_hot = np.zeros_like(p); one_hot[labels] = 1",
                "[labels] takes whole rows; [np.arange(B), labels] takes one element of each row",
            ),
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = -one_hot / p / len(labels)",
                "this is the gradient with respect to p; the softmax before it is missing",
            ),
            (
                "dscores = (p - one_hot) / len(labels)",
                "dscores = (p - one_hot) * p * (1 - p) / len(labels)",
                "p (1 - p) is there once too often: it has cancelled already",
            ),
        ),
    ),
)
