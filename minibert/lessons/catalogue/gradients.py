"""The first gradients, and how they are checked."""

import numpy as np

from minibert.lessons.exercise import Exercise

SIZES = ((4, 5, 3), (1, 6, 2), (7, 2, 9))  # rows, in, out


def _linear(rng):
    return [(rng.normal(size=(T, i)), rng.normal(size=(i, o)), rng.normal(size=o)) for T, i, o in SIZES]


def _embedding(rng):
    """Rows that are taken twice and three times, and some that are never taken."""
    return [
        (np.array([2, 0, 2, 5, 2]), rng.normal(size=(7, 3))),
        (np.array([1, 1]), rng.normal(size=(3, 4))),
        (np.array([4, 0, 4, 2, 5, 4, 0]), rng.normal(size=(6, 2))),
    ]


def _cross_entropy(rng):
    return [(rng.normal(scale=2, size=(B, C)), rng.integers(0, C, B)) for B, C in ((4, 3), (1, 5), (7, 2))]


def _central_difference(rng):
    """Of functions whose second derivative is not zero, and whose elements are not independent; the last with an
    epsilon whose size can be seen in the result."""
    W = rng.normal(size=(3, 4))
    return [
        (lambda x: float(np.sum(np.exp(x)) + x[0] * x[-1]), rng.normal(size=4)),
        (lambda x: float(np.sum(W * x) ** 2), rng.normal(size=(3, 4))),
        (lambda x: float(np.prod(x)), rng.normal(size=(3, 2))),
        (lambda x: float(np.sum(np.exp(x))), rng.normal(size=(2, 3)), 1e-2),
    ]


_BOTH_SIDES = """x[i] = value - epsilon
        below = f(x)
        x[i] = value
        gradient[i] = (above - below) / (2 * epsilon)"""
_ONE_SIDE = """x[i] = value
        below = f(x)
        gradient[i] = (above - below) / epsilon"""

EXERCISES = (
    Exercise(
        "linear",
        4,
        outputs=("y",),
        cache=("x", "W"),
        cases=_linear,
        hints=("Weights are stored (in, out): which of x @ W and W @ x has fitting shapes?", "y = x @ W + b"),
        mistakes=(
            ("y = x @ W + b", "y = x @ W", "the bias is missing"),
            ("y = x @ W + b", "y = x @ W - b", "the bias is subtracted"),
            (
                "y = x @ W + b",
                "y = np.maximum(x @ W + b, 0)",
                "a linear layer has no nonlinearity: that is another function",
            ),
            ("y = x @ W + b", "y = x @ (W + b)", "b is added to W: it belongs to the product x W"),
            ("y = x @ W + b", "y = (x @ W + b) / x.shape[1]", "the product is a sum over the inputs, not a mean"),
        ),
    ),
    Exercise(
        "linear_backward",
        4,
        outputs=("dx", "dW", "db"),
        cases=None,
        hints=(
            "A gradient has the shape of what it is the gradient of. Which products of dy, x and W have these shapes?",
            "One b is added to all T rows: its gradient is a sum over them, not a mean.",
            "dx = dy @ W.T, dW = x.T @ dy, db = dy.sum(axis=0)",
        ),
        mistakes=(
            ("dW = x.T @ dy", "dW = (x.T @ dy).T", "dW is transposed: it has the shape of W, (in, out)"),
            ("db = dy.sum(axis=0)", "db = dy.mean(axis=0)", "db is a mean over the rows; every row adds to it: a sum"),
            ("dW = x.T @ dy", "dW = x.T @ dy / len(dy)", "dW is a mean over the rows; every row adds to it: a sum"),
            (
                "db = dy.sum(axis=0)",
                "db = dy.sum(axis=1)",
                "db is summed over the columns; b has one element for each of them",
            ),
            (
                "db = dy.sum(axis=0)",
                "db = dy",
                "db has a row for each token; one b is shared by all, so they are summed",
            ),
            ("db = dy.sum(axis=0)", "db = dy.sum()", "db is one number; b has an element for each output"),
            (
                "dW = x.T @ dy\n    db = dy.sum(axis=0)",
                "dW = x.T @ dy / len(dy)\n    db = dy.mean(axis=0)",
                "dW and db are means over the rows; every row adds to them: sums",
            ),
            ("dx = dy @ W.T", "dx = dy", "dx does not go through W"),
            ("dx = dy @ W.T", "dx = -(dy @ W.T)", "dx has the wrong sign"),
        ),
    ),
    Exercise(
        "embedding",
        4,
        outputs=("y",),
        cache=("ids", "shape"),
        cases=_embedding,
        hints=("A table with one row for each word: NumPy takes rows by an array of their numbers.", "y = W[ids]"),
        mistakes=(
            (
                "y = W[ids]",
                "y = W[:, ids].T if W.shape[1] > ids.max() else W[: len(ids)]",
                "columns are taken, not rows",
            ),
            ("y = W[ids]", "y = W[: len(ids)]", "the first rows are taken, whatever ids says"),
            ("y = W[ids]", "y = W[ids - 1]", "the row before is taken: ids count from 0"),
            ("y = W[ids]", "y = W[np.unique(ids)]", "a row that is asked for twice must be given twice"),
            ("y = W[ids]", "y = W[np.sort(ids)]", "the rows are sorted; token t has row ids[t]"),
        ),
    ),
    Exercise(
        "embedding_backward",
        4,
        outputs=("dW",),
        cases=None,
        hints=(
            "What is the gradient of a row that was taken twice?",
            "dW[ids] += dy writes each row once, however often ids has it. Which function of NumPy adds every time?",
            "np.add.at(dW, ids, dy)",
        ),
        mistakes=(
            (
                "np.add.at(dW, ids, dy)",
                "dW[ids] += dy",
                "dW[ids] += dy, or = dy, writes a row that was taken several times once: its last gradient is kept",
            ),
            (
                "np.add.at(dW, ids, dy)",
                "np.add.at(dW, ids, dy); dW /= np.maximum(np.bincount(ids, minlength=len(dW)), 1)[:, None]",
                "the gradients of a row that was taken several times are averaged; they must be added",
            ),
            (
                "dW = np.zeros(shape)",
                "dW = np.ones(shape)",
                "rows that were never taken have no gradient: they are zero",
            ),
            ("np.add.at(dW, ids, dy)", "np.add.at(dW, ids, dy / len(ids))", "dW is a mean over the tokens, not a sum"),
            (
                "np.add.at(dW, ids, dy)",
                "np.add.at(dW, np.arange(len(ids)), dy)",
                "the gradients go to the first rows, not to ids",
            ),
        ),
    ),
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
    Exercise(
        "central_difference",
        4,
        outputs=("gradient",),
        cases=_central_difference,
        hints=(
            "Two values of f on both sides of x: how far apart are they?",
            "Change one element, call f, and put the element back before the next one.",
            "gradient[i] = (f(x with x[i] + eps) - f(x with x[i] - eps)) / (2 eps)",
        ),
        mistakes=(
            (
                _BOTH_SIDES,
                _ONE_SIDE,
                "this is the one-sided difference: its error falls with epsilon, not with its square",
            ),
            ("/ (2 * epsilon)", "/ 2 * epsilon", "/ 2 * epsilon multiplies by epsilon: write / (2 * epsilon)"),
            (
                "for i in np.ndindex(x.shape):\n        value = x[i]",
                "for i in range(len(x)):\n        value = x[i].copy()",
                "range(len(x)) goes over rows, and moves a whole row; np.ndindex(x.shape) goes over single elements",
            ),
            ("/ (2 * epsilon)", "/ epsilon", "the two values are 2 epsilon apart: the gradient is twice too large"),
            (
                "        x[i] = value\n        gradient",
                "        gradient",
                "the element is not put back: later elements are differentiated at another x",
            ),
            ("(above - below)", "(below - above)", "the sign is wrong: f(x + eps) - f(x - eps)"),
            ("below = f(x)", "below = 0", "f below x is not subtracted"),
            (
                "x[i] = value - epsilon",
                "x[i] = value",
                "only one side is moved: the points are one epsilon apart, the error is larger. Move x to both sides",
            ),
            ("x[i] = value + epsilon", "x += epsilon", "all elements are moved, not one at a time"),
            (
                "gradient[i] = (above - below)",
                "gradient[i] += value + (above - below)",
                "the value of x is added to the gradient",
            ),
            (
                "x = np.array(x, np.float64)",
                "epsilon = 1e-5; x = np.array(x, np.float64)",
                "epsilon is not used: it is 1e-5, whatever is given",
            ),
        ),
    ),
)
