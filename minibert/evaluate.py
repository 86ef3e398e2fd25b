"""From a model to scores: a split is tokenized, predicted in batches, and scored by its task's metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from minibert.backbone import Backbone
from minibert.class_scores import class_report
from minibert.config import THRESHOLD
from minibert.data.rows import token_hashes
from minibert.data.squad import Questions
from minibert.data.task import Examples
from minibert.interrupt import CtrlC
from minibert.metrics import metric_of
from minibert.model import Model
from minibert.spans import Windows, cut_windows
from minibert.text import Batch, Features

EVAL_BATCH = 64


class NonFiniteLoss(ArithmeticError):
    """A loss, a gradient or a score was NaN or infinite. What is on disk is as it was after the last epoch."""


@dataclass
class Split:
    """A tokenized split: one packed batch of all its sequences, cut to max_length tokens, their labels, their
    weights in the loss (N,) or None, and the names of the classes, if the labels are classes.

    spans.Windows is the same for questions; a new kind of task is a new class with batch, labels, weights, n_examples,
    hashes, answers, score, report and notes.
    """

    batch: Batch
    labels: np.ndarray
    max_length: int
    weights: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    @property
    def n_examples(self) -> int:
        """How many are scored."""
        return len(self.labels)

    def hashes(self, ordered: bool = False) -> np.ndarray:
        """`token_hashes` of its rows, (N,) uint64."""
        batch = self.batch
        return token_hashes(batch.ids, batch.segments, batch.offsets, ordered, batch.cut)

    def answers(self, predictions: np.ndarray) -> np.ndarray:
        """One prediction an example, as `Head.describe` takes it."""
        return predictions

    def predicted(self, outputs: np.ndarray) -> np.ndarray:
        """What is compared with the labels: the class or the score (N,), or for several labels a text which (N, C).

        outputs: what `predict` gave, probabilities (N, C) or scores (N,).
        """
        if outputs.ndim == 1:
            return outputs
        return outputs > THRESHOLD if self.labels.ndim == 2 else outputs.argmax(axis=1)

    def score(self, outputs: np.ndarray, metrics: tuple[str, ...], rows=slice(None)) -> dict[str, float]:
        """{metric: value} of what `predict` gave; rows: of these examples alone, a mask (N,) bool."""
        found = self.predicted(outputs)
        return {name: metric_of(name, self.classes)(found[rows], self.labels[rows]) for name in metrics}

    def report(self, outputs: np.ndarray) -> dict | None:
        """`class_report` of what `predict` gave; None if there are no classes."""
        return class_report(self.predicted(outputs), self.labels, self.classes) if self.classes else None

    def notes(self, name: str = "") -> list[str]:
        """What to print of the split called `name` before it is used."""
        cut, texts = self.batch.truncated, f"{name} texts".strip()
        return [f"{cut} of {len(self.batch)} {texts} are cut to {self.max_length} tokens"] if cut else []


def tokenize(backbone: Backbone, examples: Examples, max_length: int, classes=()) -> Split | Windows:
    """All texts of a split as one packed batch. classes: names, needed to score by class."""
    if isinstance(examples, Questions):
        backbone.check_inputs(max_length, pairs=True)
        return cut_windows(backbone.tokenizer, examples, max_length)
    batch = backbone.encode(examples.texts, examples.pairs, max_length)
    return Split(batch, examples.labels, max_length, examples.weights, tuple(classes))


def features(model: Model, batch: Batch, bar: Callable[[], object] = lambda: None) -> Features:
    """What the head of a frozen encoder reads of each sequence, computed in the same batches as by `predict`: so the
    scores have the same bits. bar() is called after each. Memory: (N, D) numbers of the backbone's precision."""
    states = np.empty((len(batch), model.config.hidden_size), model.backbone.dtype)
    with CtrlC() as ctrl_c:
        for i, part in enumerate(batch.parts(EVAL_BATCH)):
            states[i * EVAL_BATCH : (i + 1) * EVAL_BATCH] = model.features(part).states
            bar()
            ctrl_c.check()
    return Features(states, batch.truncated)


def predict(model: Model, batch: Batch | Features, name: str = "") -> np.ndarray:
    """Class probabilities (N, C), scores (N,), or logits of start and end of each token (T, 2), for any number of
    sequences, also none. name: of the bar on a terminal, if it takes longer than a second; "" is none. Raises
    NonFiniteLoss."""
    parts, shown = [], bool(name) and sys.stderr.isatty()
    options = {"total": len(batch), "desc": name, "unit": " texts", "leave": False, "delay": 1, "disable": not shown}
    with CtrlC() as ctrl_c, tqdm(**options) as bar:
        for part in batch.parts(EVAL_BATCH) if len(batch) else [batch]:
            parts.append(model.predict(part))
            bar.update(len(part))
            ctrl_c.check()
    scores = np.concatenate(parts)
    if not np.isfinite(scores).all():
        raise NonFiniteLoss("the model gives scores that are NaN or infinite")
    return scores


def evaluate(model: Model, split: Split | Windows, metrics: tuple[str, ...]) -> dict[str, float]:
    """{metric: value} on a split. Raises NonFiniteLoss."""
    return split.score(predict(model, split.batch), metrics)


def evaluate_all(model: Model, splits: dict[str, Split | Windows], metrics: tuple[str, ...]) -> dict[str, float]:
    """{metric: value} on the first split; those of further ones are named metric_split, as in accuracy_mismatched."""
    return named_by_split({name: evaluate(model, split, metrics) for name, split in splits.items()})


def named_by_split(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """{metric: value} of the first split; those of further ones are named metric_split, as in accuracy_mismatched."""
    return {
        metric if i == 0 else f"{metric}_{name}": value
        for i, (name, of_split) in enumerate(scores.items())
        for metric, value in of_split.items()
    }


def format_scores(scores: dict[str, float]) -> str:
    """The scores for people: accuracy 0.9000, f1 0.8800."""
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
