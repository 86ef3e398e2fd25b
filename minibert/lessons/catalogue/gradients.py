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
            (
                "np.add.at(dW, ids, dy)",
                "np.add.at(dW, ids[:1], dy[:1])",
                "only the first token adds to dW: is the return inside the loop?",
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
        "central_difference",
        4,
        outputs=("gradient",),
        cases=_central_difference,
        put_back=(("x", "x is not what it was: put each element back before the next one is changed, x[i] = value"),),
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
            (
                "(above - below) / (2 * epsilon)",
                "above - below / (2 * epsilon)",
                "a bracket is missing: the difference is divided, (f(x + eps) - f(x - eps)) / (2 eps)",
            ),
            (
                "gradient[i] = (above - below) / (2 * epsilon)",
                "gradient[i] = (above - below) / (2 * epsilon); return gradient",
                "only the first element is differentiated: is the return inside the loop?",
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
