"""The exercises: for each function of plain.py that a learner writes, the inputs it is tried on and the hints.

An exercise is named after its function. Inputs are random, in float64, and of sizes that all differ, so that a
transposed matrix or a mean over the wrong axis cannot pass. Those of one seed are always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minibert.lessons import plain

Cases = Callable[[np.random.Generator], list[tuple]]


@dataclass(frozen=True)
class Exercise:
    """One function to write.

    outputs   the names of what it returns: a tuple, in which a tuple stands for a tuple, such as ("y", ("x", "W"));
              the arrays of a dict are called by its keys
    cases     a random generator -> the lists of arguments it is tried on
    order     names of outputs in the order in which they are computed, to find the first that is wrong
    hints     from a question to nearly the line
    cases     None for a backward function: those of its forward function serve
    """

    name: str
    lesson: int
    outputs: tuple
    cases: Cases | None
    hints: tuple[str, ...]
    order: tuple[str, ...] = ()

    @property
    def solution(self) -> Callable:
        """The function of plain.py."""
        return getattr(plain, self.name)

    @property
    def forward(self) -> str:
        """Of a backward function: the name of the function that makes its cache; else ""."""
        return self.name.removesuffix("_backward") if self.name.endswith("_backward") else ""

    def arguments(self, rng: np.random.Generator, forward: Callable | None = None) -> list[tuple]:
        """The arguments it is tried on. Those of a backward function are the gradient of a forward function's output,
        and that function's cache; forward: the learner's own. A loss is the end: its gradient is 1, and is not given.
        """
        if not self.forward:
            return self.cases(rng)
        found = []
        for given in EXERCISES[self.forward].cases(rng):
            y, cache = (forward or getattr(plain, self.forward))(*given)
            found.append((rng.normal(size=np.shape(y)), cache) if np.ndim(y) else (cache,))
        return found


SIZES = ((4, 5, 3), (1, 6, 2), (7, 2, 9))  # rows, in, out


def _linear(rng):
    return [(rng.normal(size=(T, i)), rng.normal(size=(i, o)), rng.normal(size=o)) for T, i, o in SIZES]


def _embedding(rng):
    """Rows that are taken twice and three times, and some that are never taken."""
    return [
        (np.array([2, 0, 2, 5, 2]), rng.normal(size=(7, 3))),
        (np.array([1, 1]), rng.normal(size=(3, 4))),
        (np.array([4]), rng.normal(size=(6, 2))),
    ]


def _gelu(rng):
    return [(rng.normal(scale=2, size=shape),) for shape in ((4, 5), (1, 7))] + [(np.linspace(-6, 6, 25)[None],)]


def _layernorm(rng):
    """The second has a tiny variance, where the place of eps can be seen."""

    def arguments(T, D, scale, eps):
        x = rng.normal(3, scale, size=(T, D))
        return x, rng.normal(1, 0.3, size=D), rng.normal(size=D), eps

    return [arguments(4, 5, 2.0, 1e-12), arguments(3, 6, 1e-3, 1e-5), arguments(1, 3, 1.0, 0.1)]


def _softmax(rng):
    """The last one overflows where the largest element is not subtracted."""
    return [(rng.normal(scale=3, size=shape),) for shape in ((4, 5), (6, 2))] + [(rng.normal(scale=900, size=(3, 4)),)]


def _cross_entropy(rng):
    return [(rng.normal(scale=2, size=(B, C)), rng.integers(0, C, B)) for B, C in ((4, 3), (1, 5), (7, 2))]


def _central_difference(rng):
    """Of functions whose second derivative is not zero, and whose elements are not independent."""
    W = rng.normal(size=(3, 4))
    return [
        (lambda x: float(np.sum(np.exp(x)) + x[0] * x[-1]), rng.normal(size=4)),
        (lambda x: float(np.sum(W * x) ** 2), rng.normal(size=(3, 4))),
        (lambda x: float(np.prod(x)), rng.normal(size=(2, 2))),
    ]


def _attention(rng):
    """Sequences of different lengths, one of a single token; heads of several columns."""

    def arguments(offsets, n_heads, d_head):
        q, k, v = (rng.normal(scale=1.5, size=(offsets[-1], n_heads * d_head)) for _ in range(3))
        return q, k, v, np.array(offsets), n_heads

    return [arguments([0, 3, 8], 2, 3), arguments([0, 4, 5, 7], 3, 2), arguments([0, 6], 1, 5)]


def _adapter(rng):
    """Away from the identity: near it every gradient is near zero, and hides what is wrong."""

    def arguments(T, D, M):
        shapes = {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
        return rng.normal(size=(T, D)), {name: rng.normal(scale=0.8, size=shape) for name, shape in shapes.items()}

    return [arguments(4, 5, 3), arguments(1, 3, 2), arguments(3, 4, 6)]


def _adam_step(rng):
    """The last has gradients as small as eps, which shows where it stands."""

    def arguments(shape, step, decay, scale=1.0):
        p, g, m = (rng.normal(size=shape) * scale for scale in (1.0, scale, scale))
        return p, g, m, rng.uniform(0.1, 2, size=shape) * scale**2, step, 0.03, decay

    return [arguments((3, 4), 1, 0.0), arguments((5,), 3, 0.1), arguments((2, 3), 40, 0.5, 1e-7)]


def _learning_rate(rng):
    return [(step, steps, 1e-3, warmup) for steps, warmup in ((20, 0.1), (7, 0.3), (5, 0.0)) for step in range(steps)]


def _clip(rng):
    def arguments(largest, scale):
        return {"a": scale * rng.normal(size=(3, 2)), "b": scale * rng.normal(size=4)}, largest

    return [arguments(1.0, 2.0), arguments(1.0, 0.01), arguments(0.5, 1.0)]


def _pack(rng):
    return [([rng.integers(0, 99, n) for n in lengths],) for lengths in ((3, 5, 1), (4,), (2, 2, 6, 1))]


def _wordpiece(rng):
    begin, go_on = ["un", "unaff", "film", "fil", "play", "a", "b", "able", "aff"], ["aff", "able", "a", "b", "s", "ms"]
    go_on += ["ing", "i", "ab", "ff"]
    vocab = {piece: i for i, piece in enumerate([*begin, *(f"##{piece}" for piece in go_on)])}
    words = ["unaffable", "films", "filmsing", "playing", "abab", "able", "xable", "playx", "film", "a", "ab", "unable"]
    return [(word, vocab) for word in words]


_LIST = (
    Exercise(
        "wordpiece",
        2,
        ("pieces",),
        _wordpiece,
        (
            "Which piece is taken first: the shortest that fits, or the longest?",
            'Begin with end = len(word) and go down until word[start:end] is in vocab; "##" is put before it if '
            "start > 0.",
            'If no end is found, the whole word is ["[UNK]"], and not only its rest.',
        ),
    ),
    Exercise(
        "pack",
        2,
        ("ids", "positions", "offsets"),
        _pack,
        (
            "How many numbers does it take to say where B sequences begin and where the last one ends?",
            "Positions begin again at 0 in each sequence.",
            "offsets = [0] and then the cumulative sum of the lengths: B + 1 numbers.",
        ),
    ),
    Exercise(
        "softmax",
        3,
        ("p", "p"),
        _softmax,
        (
            "What is exp(900)? What may be subtracted from all scores of a row without changing the result?",
            "Each row is normalized by itself: axis=1, and keepdims=True lets the division broadcast.",
            "e = np.exp(x - x.max(axis=1, keepdims=True)); p = e / e.sum(axis=1, keepdims=True)",
        ),
    ),
    Exercise(
        "attention",
        3,
        ("y", ("q", "k", "v", "offsets", "n_heads", "weights")),
        _attention,
        (
            "Which rows may a token look at? Which columns belong to one head?",
            "For each sequence b and head h: rows offsets[b]:offsets[b+1], columns h d_head:(h+1) d_head.",
            "scores = q[rows, head] @ k[rows, head].T / sqrt(d_head); weights by rows of softmax; y = weights @ v.",
        ),
        order=("weights", "y"),
    ),
    Exercise(
        "linear",
        4,
        ("y", ("x", "W")),
        _linear,
        ("Weights are stored (in, out): which of x @ W and W @ x has fitting shapes?", "y = x @ W + b"),
    ),
    Exercise(
        "linear_backward",
        4,
        ("dx", "dW", "db"),
        None,
        (
            "A gradient has the shape of what it is the gradient of. Which products of dy, x and W have these shapes?",
            "One b is added to all T rows: its gradient is a sum over them, not a mean.",
            "dx = dy @ W.T, dW = x.T @ dy, db = dy.sum(axis=0)",
        ),
    ),
    Exercise(
        "embedding",
        4,
        ("y", ("ids", "shape")),
        _embedding,
        ("A table with one row for each word: NumPy takes rows by an array of their numbers.", "y = W[ids]"),
    ),
    Exercise(
        "embedding_backward",
        4,
        ("dW",),
        None,
        (
            "What is the gradient of a row that was taken twice?",
            "dW[ids] += dy writes each row once, however often ids has it. Which function of NumPy adds every time?",
            "np.add.at(dW, ids, dy)",
        ),
    ),
    Exercise(
        "cross_entropy",
        4,
        ("loss", ("p", "labels")),
        _cross_entropy,
        (
            "Which of the C probabilities of a row matters for its loss?",
            "p[np.arange(B), labels] takes one element of each row.",
            "loss = -np.log(p[np.arange(B), labels]).mean()",
        ),
        order=("p", "loss"),
    ),
    Exercise(
        "cross_entropy_backward",
        4,
        ("dscores",),
        None,
        (
            "What is the sum of a row of dscores? (Add 1 to all scores of a row: the loss does not change.)",
            "(p - one_hot), and the loss was a mean over B rows.",
            "dscores = p.copy(); dscores[np.arange(B), labels] -= 1; dscores /= B",
        ),
    ),
    Exercise(
        "central_difference",
        4,
        ("gradient",),
        _central_difference,
        (
            "Two values of f on both sides of x: how far apart are they?",
            "Change one element, call f, and put the element back before the next one.",
            "gradient[i] = (f(x with x[i] + eps) - f(x with x[i] - eps)) / (2 eps)",
        ),
    ),
    Exercise(
        "gelu",
        5,
        ("y", "x"),
        _gelu,
        (
            "BERT's GELU has the normal distribution in it, not the sigmoid, and not the tanh that approximates it.",
            "Phi(x) = (1 + erf(x / sqrt(2))) / 2; math.erf takes one number, np.vectorize(math.erf) an array.",
            "y = x * Phi(x)",
        ),
    ),
    Exercise(
        "gelu_backward",
        5,
        ("dx",),
        None,
        (
            "y = x Phi(x) is a product of two functions of x.",
            "The derivative of Phi is the density phi(x) = exp(-x^2 / 2) / sqrt(2 pi).",
            "dx = dy * (Phi(x) + x * phi(x))",
        ),
    ),
    Exercise(
        "layernorm",
        5,
        ("y", ("n", "inverse_std", "gamma")),
        _layernorm,
        (
            "Mean and variance of what: of a row, of a column, or of all? Divided by D, or by D - 1?",
            "eps is added to the variance, before the square root is taken.",
            "n = (x - mean) / sqrt(variance + eps), y = gamma * n + beta",
        ),
        order=("inverse_std", "n", "y"),
    ),
    Exercise(
        "layernorm_backward",
        5,
        ("dx", "dgamma", "dbeta"),
        None,
        (
            "gamma and beta are as in a linear layer, element by element. With g = dy gamma, what is left is n -> x.",
            "x acts on n in three ways: itself, by the mean, and by the variance. Two of them are means over the row.",
            "dx = inverse_std * (g - mean(g) - n * mean(g * n)), means over axis 1 with keepdims",
        ),
    ),
    Exercise(
        "softmax_backward",
        6,
        ("dx",),
        None,
        (
            "Each p of a row depends on every x of that row: how do they meet again?",
            "dp_i / dx_j = p_i (1[i = j] - p_j). Multiply by dp_i and sum over i.",
            "dx = p * (dp - (dp * p).sum(axis=1, keepdims=True))",
        ),
    ),
    Exercise(
        "attention_backward",
        6,
        ("dq", "dk", "dv"),
        None,
        (
            "y = P v is a product: what is the gradient of each of its two factors?",
            "dP = dy v.T, then through the softmax, then through scores = q k.T / sqrt(d_head).",
            "dv = P.T dy; dS = softmax_backward(dP, P) / sqrt(d_head); dq = dS k; dk = dS.T q",
        ),
        order=("dv", "dq", "dk"),
    ),
    Exercise(
        "adapter",
        8,
        ("y", (("x", "down/W"), "u", ("h", "up/W"))),
        _adapter,
        (
            "What must y be if W_up and b_up are zero?",
            "Three steps: to M, the nonlinearity, back to D. Then the skip connection.",
            "u = x W_down + b_down; h = gelu(u); y = x + h W_up + b_up",
        ),
        order=("u", "h", "y"),
    ),
    Exercise(
        "adapter_backward",
        8,
        ("dx", "gradients"),
        None,
        (
            "x has two consumers in y = x + f(x): what becomes of their two gradients?",
            "From the last line to the first: up, gelu at u (not at h), down; and dy itself, which the skip passes on.",
            "dh, dW_up, db_up = linear_backward(dy, up_cache); du = gelu_backward(dh, gelu_cache); ...; dx = dy + ...",
        ),
        order=("up/b", "up/W", "down/b", "down/W", "dx"),
    ),
    Exercise(
        "adam_step",
        10,
        ("p", "m", "v"),
        _adam_step,
        (
            "m and v begin at zero, so they are too small at first: by which factor?",
            "Decoupled: weight decay moves p itself, and does not enter g. eps stands outside the square root.",
            "m_hat = m / (1 - beta1**step); p = p - lr * weight_decay * p - lr * m_hat / (sqrt(v_hat) + eps)",
        ),
        order=("m", "v", "p"),
    ),
    Exercise(
        "learning_rate",
        10,
        ("rate",),
        _learning_rate,
        (
            "The first step, number 0, must move something. When is the peak reached?",
            "rising = round(warmup * steps); while step < rising: peak * (step + 1) / rising",
            "After that peak * (steps - step) / (steps - rising)",
        ),
    ),
    Exercise(
        "clip",
        10,
        ("clipped",),
        _clip,
        (
            "The direction of the whole gradient must stay: one factor for all tensors.",
            "The norm of all elements of all tensors together; smaller gradients stay as they are.",
            "factor = min(1, largest / norm)",
        ),
    ),
)
EXERCISES = {exercise.name: exercise for exercise in _LIST}
