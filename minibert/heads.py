"""What reads the encoder's output: a linear layer on the first token, [CLS] (paper, section 3.1), or, for answer spans,
on every token (section 3.5).

Each kind of task is one record, a Head. Nothing else in minibert/ asks which one it is: the model, the gradient check
and the command line use what the record says. A new kind is a new record here, and its number of outputs in
config.HEADS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minibert.config import HEADS as N_OUTPUTS
from minibert.config import THRESHOLD
from minibert.errors import InputError, shown
from minibert.layers import (
    NO_DROPOUT,
    Context,
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
    subtree,
)
from minibert.losses import (
    binary_cross_entropy,
    cross_entropy,
    sigmoid,
    softmax,
    span_cross_entropy,
    squared_error,
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


# ----------------------------------------------------------------------------------------------------------- records


def _class_labels(labels, n_out: int, lengths) -> np.ndarray:
    return _whole_numbers(labels, (len(lengths),), n_out, f"{n_out - 1}")


def _span_labels(labels, n_out: int, lengths) -> np.ndarray:
    return _whole_numbers(labels, (len(lengths), 2), lengths[:, None], "the last token")


def _label_sets(labels, n_out: int, lengths) -> np.ndarray:
    if labels.shape != (len(lengths), n_out):
        raise InputError(
            f"labels must be {n_out} a sequence, 0 or 1 each: {len(lengths)} sequences, labels of shape {labels.shape}"
        )
    if labels.dtype.kind not in "iub" or not np.isin(labels, (0, 1)).all():
        raise InputError("labels must be 0 or 1, one for each label of the task")
    return labels.astype(np.int64, copy=False)


def _target_scores(labels, n_out: int, lengths) -> np.ndarray:
    _check_shape(labels, (len(lengths),))
    if labels.dtype.kind not in "iuf" or not np.isfinite(labels).all():
        raise InputError(f"labels must be finite numbers, the scores to be predicted; got {_example(labels)!r}")
    return labels.astype(np.float64)


def check_weights(weights, n: int) -> np.ndarray | None:
    """Weights of n examples as float64, or None as it is. Raises InputError unless they are n finite numbers from 0."""
    if weights is None:
        return None
    weights = np.asarray(weights)
    if weights.shape != (n,):
        raise InputError(f"weights must be one an example: {n} examples, weights of shape {weights.shape}")
    if weights.dtype.kind not in "iuf" or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError("weights must be finite numbers from 0 on")
    return weights.astype(np.float64, copy=False)


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


def _describe_labels(probabilities, names) -> tuple[list[str], dict]:
    each = dict(zip(names, map(float, probabilities), strict=True))
    given = {name: p for name, p in each.items() if p > THRESHOLD}
    columns = ["|".join(given), "|".join(f"{p:.4f}" for p in given.values())]
    return columns, {"labels": list(given), "probabilities": each}


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
    loss              (scores, labels, offsets[, weights (B,)]) -> (loss, dscores)
    to_labels         (labels, n_out, lengths) -> the array that the loss takes; InputError if they do not fit
    to_prediction     scores -> what `Model.predict` returns
    describe          (row of predictions, class names) -> (columns to print, the same as a JSON object)
    metrics           names of the metrics that it can be scored by, beside those of a task and f1:CLASS
    example_labels    n_out -> labels for three sequences of 5, 3 and 4 tokens, for checks
    """

    name: str
    loss: Callable
    to_labels: Callable
    to_prediction: Callable
    describe: Callable
    example_labels: Callable
    metrics: tuple[str, ...] = ()
    reads_all_tokens: bool = False
    has_dropout: bool = True
    shift_invariant: bool = False

    def check_outputs(self, n_out: int) -> None:
        """Raise InputError if it cannot have n_out outputs."""
        wanted = N_OUTPUTS[self.name]
        fits, needs = (n_out >= 2, "2 or more") if wanted is None else (n_out == wanted, f"exactly {wanted}")
        if not fits:
            raise InputError(f"head {self.name} needs {needs} outputs, got {n_out}")

    def mean_loss(self, scores, labels, offsets, weights=None):
        """The loss as it is, or weighted: a record that knows no weights is one without them."""
        return self.loss(scores, labels, offsets, *(() if weights is None else (weights,)))

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
    metrics=("accuracy", "macro_f1", "weighted_f1", "f1", "matthews"),
)
REGRESS = Head(
    "regress",
    loss=squared_error,
    to_labels=_target_scores,
    to_prediction=lambda scores: scores[:, 0],
    describe=_describe_score,
    example_labels=lambda n_out: np.array([0.5, -1.0, 2.0]),
    metrics=("pearson", "spearman", "r2"),
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
MULTILABEL = Head(
    "multilabel",
    loss=binary_cross_entropy,
    to_labels=_label_sets,
    to_prediction=sigmoid,
    describe=_describe_labels,
    example_labels=lambda n_out: (np.arange(3)[:, None] + np.arange(n_out)) % 3 % 2,
    metrics=("micro_f1", "macro_f1", "weighted_f1", "subset_accuracy"),
)
RECORDS = {head.name: head for head in (CLASSIFY, REGRESS, SPAN, MULTILABEL)}


def head_record(name: str) -> Head:
    """The record of a head by its name. Raises InputError if there is none."""
    if name not in RECORDS:
        raise InputError(f"head must be one of {', '.join(RECORDS)}; got {shown(name)}")
    return RECORDS[name]
