"""What reads the encoder's output: a linear layer on the first token, [CLS] (paper, section 3.1), and the losses.

Each kind of task is one record, a Head. Nothing elsewhere asks which one it is: the model, the gradient check and the
command line use what the record says. A new kind is a new record here, and its number of outputs in config.HEADS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import kernels
from minibert.config import HEADS as N_OUTPUTS
from minibert.errors import InputError
from minibert.layers import (
    NO_DROPOUT,
    Context,
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
    subtree,
)
from minibert.params import truncated_normal

HEAD_STD = 0.02  # BERT's own initialization of new weights


def head_init(hidden_size: int, n_out: int, seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    """Flat name -> initial value: a truncated Gaussian of standard deviation 0.02, and zero biases."""
    return {
        "head/W": truncated_normal("head/W", (hidden_size, n_out), HEAD_STD, seed, dtype),
        "head/b": np.zeros(n_out, dtype),
    }


def pooler_init(hidden_size: int, seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    """The same of a pooler, where the backbone has none that a task's own could start from."""
    return {
        "pooler/W": truncated_normal("pooler/W", (hidden_size, hidden_size), HEAD_STD, seed, dtype),
        "pooler/b": np.zeros(hidden_size, dtype),
    }


def head_forward(x, params, grads, context: Context):
    """Scores from the hidden state of each sequence's first token, or of every token.   (B, D) or (T, D) -> (same, C)

    With a "pooler" in params, BERT's tanh layer stands between the two, as in the authors' published code.
    """
    pooler_cache, pooled = None, None
    if "pooler" in params:
        u, pooler_cache = linear_forward(x, params["pooler"], subtree(grads, "pooler"))
        x = pooled = np.tanh(u)
    x = dropout_forward(x, context.dropout.hidden)
    scores, head_cache = linear_forward(x, params["head"], subtree(grads, "head"))  # (B, D) @ (D, C) -> (B, C)
    return scores, None if grads is None else (pooler_cache, pooled, head_cache)


def head_backward(dscores, params, cache, grads, context: Context):
    """The gradient of the hidden states that were read.   (B, C) -> (B, D), (T, 2) -> (T, D)"""
    pooler_cache, pooled, head_cache = cache
    dx = linear_backward(dscores, params["head"], head_cache, subtree(grads, "head"))
    dx = dropout_backward(dx, context.dropout.hidden)
    if "pooler" in params:
        du = dx * (1 - pooled**2)  # the pooler's activation is tanh
        dx = linear_backward(du, params["pooler"], pooler_cache, subtree(grads, "pooler"))
    return dx


# ------------------------------------------------------------------------------------------------------------ losses
# All have the same arguments; only span_cross_entropy needs to know where sequences begin and end.


def cross_entropy(scores, labels, offsets):
    """Mean of -log softmax(scores)[label].   (B, C), (B,) -> (loss, dscores (B, C))"""
    return kernels.softmax_cross_entropy(scores, labels)


def squared_error(scores, targets, offsets):
    """Mean of (score - target)^2.   (B, 1), (B,) -> (loss, dscores (B, 1))"""
    difference = scores[:, 0].astype(np.float64) - targets
    dscores = (2 / len(targets) * difference).astype(scores.dtype)[:, None]
    return float(np.mean(difference**2)), dscores


def span_cross_entropy(logits, targets, offsets):
    """-log p[target], p = softmax of each column over the tokens of a sequence; mean over start and end, and sequences.

    (T, 2), targets (B, 2): positions of the answer's first and last token in its sequence -> (loss, dlogits (T, 2))

    forward was loss = -sum(log p[target]) / (2 B), so now dlogits = (p - one_hot(target)) / (2 B). Two columns are
    little work beside the encoder's hundreds: NumPy is enough.
    """
    first, lengths = offsets[:-1], np.diff(offsets)
    shifted = logits.astype(np.float64)
    shifted -= np.repeat(np.maximum.reduceat(shifted, first), lengths, axis=0)  # no exp overflows
    exps = np.exp(shifted)
    totals = np.add.reduceat(exps, first)  # (T, 2) -> (B, 2)
    rows, columns = first[:, None] + targets, [0, 1]
    loss = np.mean(np.log(totals) - shifted[rows, columns])
    dlogits = exps / np.repeat(totals, lengths, axis=0)
    dlogits[rows, columns] -= 1
    return float(loss), (dlogits / targets.size).astype(logits.dtype)


def softmax(scores):
    """Probabilities of the classes, each row summing to 1.   (B, C) -> (B, C)"""
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ----------------------------------------------------------------------------------------------------------- records


def _class_labels(labels, n_out: int, lengths) -> np.ndarray:
    return _whole_numbers(labels, (len(lengths),), n_out, f"{n_out - 1}")


def _span_labels(labels, n_out: int, lengths) -> np.ndarray:
    return _whole_numbers(labels, (len(lengths), 2), lengths[:, None], "the last token")


def _target_scores(labels, n_out: int, lengths) -> np.ndarray:
    _check_shape(labels, (len(lengths),))
    if labels.dtype.kind not in "iuf" or not np.isfinite(labels).all():
        raise InputError(f"labels must be finite numbers, the scores to be predicted; got {_example(labels)!r}")
    return labels.astype(np.float64)


def _example(labels) -> object:
    """The first label that is no finite number."""
    wrong = labels if labels.dtype.kind not in "iuf" else labels[~np.isfinite(labels)]
    return wrong.tolist()[0]


def _check_shape(labels, shape) -> None:
    if labels.shape != shape:
        n = "two (first and last token)" if len(shape) == 2 else "one"
        raise InputError(f"labels must be {n} a sequence: {shape[0]} sequences, labels of shape {labels.shape}")


def _whole_numbers(labels, shape, limit, last: str) -> np.ndarray:
    """Labels from 0 on, each below its limit."""
    _check_shape(labels, shape)
    if labels.dtype.kind not in "iu" or labels.min() < 0 or (labels >= limit).any():
        raise InputError(f"labels must be whole numbers from 0 to {last}")
    return labels.astype(np.int64, copy=False)


def _describe_class(probabilities, names) -> tuple[list[str], dict]:
    best = int(probabilities.argmax())
    answer = {"label": names[best], "probability": float(probabilities[best])}
    answer["probabilities"] = dict(zip(names, map(float, probabilities), strict=True))
    return [answer["label"], f"{answer['probability']:.4f}"], answer


def _describe_score(score, names) -> tuple[list[str], dict]:
    return [f"{score:.4f}"], {"score": float(score)}


def _describe_answer(answer, names) -> tuple[list[str], dict]:
    """A spans.Answer; its score is minus infinity where the paragraph is empty, which JSON cannot say."""
    score = answer.score if np.isfinite(answer.score) else None
    found = {"answer": answer.text, "start": answer.start, "end": answer.end, "score": score}
    return [answer.text, f"{answer.score:.4f}"], found


@dataclass(frozen=True)
class Head:
    """One kind of task.

    reads_all_tokens  whether it reads every token's hidden state, or the first of each sequence
    has_dropout       whether dropout is applied to what it reads: BERT has it before a classifier, not before spans
    shift_invariant   whether adding a number to all scores of a sequence changes nothing: then some gradients are zero
    loss              (scores, labels, offsets) -> (loss, dscores)
    to_labels         (labels, n_out, lengths) -> the array that the loss takes; InputError if they do not fit
    to_prediction     scores -> what `Model.predict` returns
    describe          (row of predictions, class names) -> (columns to print, the same as a JSON object)
    example_labels    n_out -> labels for three sequences of 5, 3 and 4 tokens, for checks
    """

    name: str
    loss: Callable
    to_labels: Callable
    to_prediction: Callable
    describe: Callable
    example_labels: Callable
    reads_all_tokens: bool = False
    has_dropout: bool = True
    shift_invariant: bool = False

    def check_outputs(self, n_out: int) -> None:
        """Raise InputError if it cannot have n_out outputs."""
        wanted = N_OUTPUTS[self.name]
        fits, needs = (n_out >= 2, "2 or more") if wanted is None else (n_out == wanted, f"exactly {wanted}")
        if not fits:
            raise InputError(f"head {self.name} needs {needs} outputs, got {n_out}")

    def context(self, context: Context) -> Context:
        """The context that the head's layers see."""
        return context.at("head") if self.has_dropout else context._replace(dropout=NO_DROPOUT)


CLASSIFY = Head(
    "classify",
    loss=cross_entropy,
    to_labels=_class_labels,
    to_prediction=softmax,
    describe=_describe_class,
    example_labels=lambda n_out: np.arange(3) % n_out,
)
REGRESS = Head(
    "regress",
    loss=squared_error,
    to_labels=_target_scores,
    to_prediction=lambda scores: scores[:, 0],
    describe=_describe_score,
    example_labels=lambda n_out: np.array([0.5, -1.0, 2.0]),
)
SPAN = Head(
    "span",
    loss=span_cross_entropy,
    to_labels=_span_labels,
    to_prediction=np.asarray,
    describe=_describe_answer,
    example_labels=lambda n_out: np.array([[1, 3], [0, 0], [2, 2]]),
    reads_all_tokens=True,
    has_dropout=False,
    shift_invariant=True,
)
RECORDS = {head.name: head for head in (CLASSIFY, REGRESS, SPAN)}


def head_record(name: str) -> Head:
    """The record of a head by its name. Raises InputError if there is none."""
    if name not in RECORDS:
        raise InputError(f"head must be one of {', '.join(RECORDS)}; got {name!r}")
    return RECORDS[name]
