"""A trained task from Python, in three lines:

task = minibert.load_task("models/minilm-l6.h5", "runs/mine")
task.labels                                   # ('negative', 'positive')
task.predict(["Not bad at all."])             # ['positive']
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.backbone import Backbone, load_backbone
from minibert.data.squad import unlabelled
from minibert.errors import InputError, list_some, need, shown
from minibert.evaluate import predict, tokenize
from minibert.model import Model
from minibert.storage import TaskRecord
from minibert.trained import max_length, open_trained, prediction_key

CHUNK = 4096  # texts that are tokenized together


@dataclass(frozen=True)
class TrainedTask:
    """A task of a bank with its model. `load_task` opens one."""

    model: Model
    record: TaskRecord

    def __repr__(self) -> str:
        labels = f", labels {list_some(map(shown, self.labels))}" if self.labels else ""
        return f"<TrainedTask {shown(self.name)}: method {self.record.method}, head {self.record.head}{labels}>"

    @property
    def name(self) -> str:
        """What the bank calls it."""
        return self.record.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; () for a task without."""
        return self.record.labels

    @property
    def reads_pairs(self) -> bool:
        """Whether it reads two texts a time, as it was trained."""
        return self.record.reads_pairs or self.model.head_record.reads_all_tokens

    def predict(self, texts, pairs=None) -> list:
        """The answer to each text, or to each pair of texts[i] and pairs[i].

        The name of a class; of a regression a float; of a task with several labels a text the list of their names; of
        questions (texts) and paragraphs (pairs) the text of the answer. Raises InputError: no lists of strings, or
        pairs where single texts are read, and the other way round.
        """
        describe = self.model.head_record.describe
        answers = (describe(row, self.labels)[1] for rows in self._predicted(texts, pairs) for row in rows)
        return [answer[prediction_key(answer)] for answer in answers]

    def probabilities(self, texts, pairs=None) -> np.ndarray:
        """The probability of each class, in the order of labels.   (N texts) -> (N, C). Raises InputError as `predict`,
        and if the task has no classes."""
        need(bool(self.labels), f"task {shown(self.name)} has no classes, so no probabilities; call predict")
        return np.concatenate([np.zeros((0, len(self.labels))), *self._predicted(texts, pairs)])

    def _predicted(self, texts, pairs) -> list:
        """What the head makes of the texts, for some thousands at a time."""
        texts, pairs = _strings("texts", texts), None if pairs is None else _strings("pairs", pairs)
        reads = f"task {shown(self.name)} reads {'pairs of texts' if self.reads_pairs else 'single texts'}"
        advice = "give pairs, the second texts: predict(texts, pairs)" if self.reads_pairs else "leave out pairs"
        need((pairs is not None) == self.reads_pairs, f"{reads}: {advice}")
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"pairs must be as many as texts: {len(texts)} texts, {len(pairs)} pairs")
        found = []
        for i in range(0, len(texts), CHUNK):
            part = texts[i : i + CHUNK], pairs and pairs[i : i + CHUNK]
            examples = unlabelled(*part, self.model.head_record.reads_all_tokens)
            split = tokenize(self.model.backbone, examples, max_length(self.record))
            found.append(split.answers(predict(self.model, split.batch)))
        return found


def _strings(name: str, values) -> list[str]:
    """The values as a list. Raises InputError if they are one string, or not all strings."""
    need(not isinstance(values, str), f"{name} must be a list of strings, got one string; write [text]")
    values = list(values)
    other = next((value for value in values if not isinstance(value, str)), None)
    if other is not None or None in values:
        advice = "; the second texts of pairs are a list of their own: predict(texts, pairs)"
        is_pair = isinstance(other, (tuple, list)) and len(other) == 2
        raise InputError(f"{name} must be strings, got {shown(other)}{advice if is_pair else ''}")
    return values


def load_task(backbone: Backbone | str | os.PathLike, bank: str | os.PathLike, name: str | None = None) -> TrainedTask:
    """A trained task, ready to predict.

    backbone: the one it was trained on, or its file; tasks may share one. bank: a run folder or a bank file. name:
    which task of the bank, if it holds several. Raises InputError.
    """
    backbone = backbone if isinstance(backbone, Backbone) else load_backbone(Path(backbone))
    return TrainedTask(*open_trained(backbone, Path(bank), name))
