"""Texts of several tasks in one batch: each sequence goes through its own task's adapters, LayerNorms and head.

    x ── attention ──┬─ rows of task a: adapter a, LayerNorm a ─┬── feed-forward ──┬─ adapter a, LayerNorm a ─┬── x
                     ├─ rows of task b: adapter b, LayerNorm b ─┤                  ├─ adapter b, LayerNorm b ─┤
                     └─ rows of none:              LayerNorm   ─┘                  └─             LayerNorm  ─┘

All of them share the frozen weights, so a product with one of these is computed for all rows at once. A batch is rows
(T, D) without padding, and the sequences of one task stand together: what is the task's own is computed for a range of
rows. (One frozen network for many tasks is the point of the paper's section 1. That requests for different tasks can
share a batch: Sheng et al., 2023, "S-LoRA", and others.)

A task that trained the weights of products itself, by method full or top_k, does not share them: it has a pass of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import kernels
from minibert.attention import attention_forward
from minibert.backbone import Backbone
from minibert.bert import any_adapter_forward, layer_context
from minibert.config import TrainConfig
from minibert.data import Examples
from minibert.data.squad import without_answers
from minibert.errors import list_some, need, readable, shown
from minibert.evaluate import EVAL_BATCH, NonFiniteLoss, Split, tokenize
from minibert.heads import head_forward
from minibert.interrupt import CtrlC
from minibert.layers import Context, add_norm_forward, embeddings_forward, feed_forward_forward
from minibert.methods import group_of
from minibert.model import Model
from minibert.spans import Windows
from minibert.storage import TaskRecord
from minibert.text import Batch
from minibert.trained import max_length

# The task without adapters: its prediction is the last hidden state of [CLS] in the plain backbone, (D,).
PLAIN = "none"
OWN = ("adapters", "LayerNorms", "pooler", "head")  # groups of parameters that tasks in one pass may each have trained


class Share(NamedTuple):
    """One task's share of a layer: its parameters, its rows of the layer's output, and a context with its adapters."""

    p: dict
    rows: slice
    context: Context


def mixed_layer_forward(x_q, x_kv, shares: list[Share], context: Context):
    """bert.layer_forward, line by line, for several tasks, and for no backward.   x_q (R, D), x_kv (T, D) -> (R, D)

    Lines 1 and 4, whose products are with frozen weights, are for all rows; the others for the rows of each task. What
    they give replaces the rows that they were given.
    """
    frozen, eps = shares[0].p, context.config.layernorm_eps

    x, _ = attention_forward(x_q, x_kv, frozen["attention"], None, context.at("attention"))
    for p, rows, here in shares:
        a, _ = any_adapter_forward(x[rows], x_q[rows], p["attention"], None, here)
        x[rows], _ = add_norm_forward(a, x_q[rows], p["attention"]["norm"], None, eps)
    y, _ = feed_forward_forward(x, frozen["feed_forward"], None, context.at("feed_forward"))
    for p, rows, here in shares:
        h, _ = any_adapter_forward(y[rows], x[rows], p["feed_forward"], None, here)
        y[rows], _ = add_norm_forward(h, x[rows], p["feed_forward"]["norm"], None, eps)
    return y


class Part(NamedTuple):
    """One task's sequences in a batch. all_rows: whether it reads every token's hidden state, or each first one's."""

    model: Model
    batch: Batch
    all_rows: bool

    @property
    def computes(self):
        """What decides the hidden states that it reads: parts of which this is equal have the same. A task that trained
        nothing of the encoder has those of the plain backbone."""
        if not self.model.encoder_is_frozen:
            return id(self.model)
        return self.batch.ids.tobytes(), self.batch.segments.tobytes(), self.batch.offsets.tobytes(), self.all_rows

    @property
    def rows_read(self) -> np.ndarray:
        """The rows of its batch whose hidden states it reads."""
        return np.arange(self.batch.n_tokens) if self.all_rows else self.batch.first_rows

    @property
    def offsets_read(self) -> np.ndarray:
        """Where each sequence begins among these, (B + 1,)."""
        return self.batch.offsets if self.all_rows else np.arange(len(self.batch) + 1, dtype=np.int64)


def mixed_encoder_forward(parts: list[Part]) -> list[np.ndarray]:
    """The hidden states that each task reads.   -> [(T, D) or (B, D) of its batch, ...]"""
    config, last = parts[0].model.config, parts[0].model.config.n_layers - 1
    tokens, offsets = _end_to_end([part.batch.offsets for part in parts])
    read, offsets_read = _end_to_end([part.offsets_read for part in parts])
    rows_read = np.concatenate([part.rows_read + rows.start for part, rows in zip(parts, tokens, strict=True)])
    context = Context(config, offsets_read, offsets)
    x = np.concatenate([embeddings_forward(p.batch, p.model.tree["embeddings"], None, context)[0] for p in parts])
    for i in range(config.n_layers):
        here = layer_context(context, i)
        x_q = x if here.all_rows else x[rows_read]
        shares = [
            Share(part.model.tree["encoder"]["layers"][str(i)], rows, here._replace(adapter=part.model.adapter))
            for part, rows in zip(parts, read if i == last else tokens, strict=True)
        ]
        x = mixed_layer_forward(x_q, x, shares, here)
    return [x[rows] for rows in read]


def _end_to_end(offsets: list[np.ndarray]) -> tuple[list[slice], np.ndarray]:
    """The rows of each batch if they stand one after another, and the offsets (B + 1,) of all their sequences."""
    ends = np.cumsum([0] + [int(own[-1]) for own in offsets], dtype=np.int64)
    rows = [slice(int(begin), int(end)) for begin, end in pairwise(ends)]
    return rows, np.concatenate([[0], *(own[1:] + begin for own, begin in zip(offsets, ends, strict=False))])


class MixedModel:
    """The tasks of a bank on one backbone, for scoring texts of all of them together.

    models: {task: its Model}, and the plain backbone as task "none", unless the bank has a task of that name. alone:
    the tasks that have passes of their own, as they trained frozen weights, too.

    Raises InputError as `Model.from_record` does.
    """

    def __init__(self, backbone: Backbone, records: dict[str, TaskRecord], path="the bank"):
        self.backbone, self.records = backbone, dict(records)
        self.models = {name: Model.from_record(backbone, record, path) for name, record in records.items()}
        self.models.setdefault(PLAIN, Model(backbone, method="head"))  # whose head nobody asks
        self.alone = {name for name, model in self.models.items() if not set(map(group_of, model.trained())) <= {*OWN}}

    def is_plain(self, task: str) -> bool:
        """Whether it is the task without adapters, and none of the bank's."""
        return task not in self.records

    def predict(self, texts: list[str], tasks: list[str], pairs: list[str | None] | None = None) -> list:
        """One prediction a text, each by its own task: probabilities of the classes (C,), a score, a `spans.Answer`;
        for task "none" the last hidden state of [CLS], (D,).

        pairs: the second texts, None where the task reads single ones. Raises InputError.
        """
        found = {task: iter(rows) for task, rows in self.answers(self.tokenize(texts, tasks, pairs)).items()}
        return [next(found[task]) for task in tasks]

    def tokenize(self, texts, tasks, pairs=None) -> dict[str, Split | Windows]:
        """{task: its texts, tokenized as for its training}. Arguments and errors as for `predict`."""
        pairs = [None] * len(texts) if pairs is None else pairs
        need(
            len(texts) == len(tasks) == len(pairs),
            f"a text needs a task, and all of them pairs or none: {len(texts)} texts, {len(tasks)} tasks, "
            f"{len(pairs)} pairs",
        )
        rows: dict[str, list[int]] = {}
        for row, task in enumerate(tasks):
            rows.setdefault(task, []).append(row)
        unknown = [task for task in rows if task not in self.models]
        if unknown:
            known = list_some(map(readable, self.models))
            need(False, f"there is no task {shown(unknown[0])}; there are {known}")
        return {task: self._split(task, [texts[i] for i in own], [pairs[i] for i in own]) for task, own in rows.items()}

    def _split(self, task: str, texts: list[str], pairs: list[str | None]) -> Split | Windows:
        given = sum(pair is not None for pair in pairs)
        if self.is_plain(task):
            need(given in (0, len(texts)), f"task {task}: {given} of {len(texts)} texts have a second one; all or none")
            longest = min(TrainConfig.max_length, self.backbone.config.max_positions)
        else:
            record = self.records[task]
            reads = "pairs" if record.reads_pairs else "single texts"
            fits = given == (len(texts) if reads == "pairs" else 0)
            need(fits, f"task {readable(task)} reads {reads}, but {given} of {len(texts)} texts have a second one")
            longest = max_length(record)
        second = pairs if given else None
        if self._reads_all_tokens(task):
            return tokenize(self.backbone, without_answers(texts, second), longest)
        return tokenize(self.backbone, Examples(texts, second, None), longest)

    def _reads_all_tokens(self, task: str) -> bool:
        return not self.is_plain(task) and self.models[task].head_record.reads_all_tokens

    def answers(self, splits: dict[str, Split | Windows]) -> dict[str, list]:
        """{task: one prediction an example}, as `predict` gives them. Raises NonFiniteLoss."""
        found: dict[str, list[np.ndarray]] = {task: [] for task in splits}
        with CtrlC() as ctrl_c:
            for batches in _portions({task: split.batch for task, split in splits.items()}):
                for task, predictions in self.predict_batches(batches).items():
                    found[task].append(predictions)
                ctrl_c.check()
        outputs = {task: np.concatenate(parts) for task, parts in found.items()}
        for task, predictions in outputs.items():
            if not np.isfinite(predictions).all():
                raise NonFiniteLoss(f"task {task} gives scores that are NaN or infinite")
        return {task: splits[task].answers(predictions) for task, predictions in outputs.items()}

    def predict_batches(self, batches: dict[str, Batch]) -> dict[str, np.ndarray]:
        """What `Model.predict` gives of each task's batch, {task: predictions}; of task "none" hidden states (B, D).

        One pass for all but those that are `alone`. Tasks that trained a head alone and read the same sequences have
        these in it once.
        """
        parts = {
            task: Part(self.models[task], batch, self._reads_all_tokens(task))
            for task, batch in batches.items()
            if task not in self.alone
        }
        found = {task: self.models[task].predict(batches[task]) for task in batches if task in self.alone}
        once = {part.computes: part for part in parts.values()}
        with kernels.computing(self.backbone.dtype):
            states = dict(zip(once, mixed_encoder_forward([*once.values()]) if once else (), strict=True))
            for task, part in parts.items():
                x = states[part.computes]
                found[task] = x if self.is_plain(task) else self._read(part, x)
        return {task: found[task] for task in batches}

    def _read(self, part: Part, states: np.ndarray) -> np.ndarray:
        """What a task's head makes of the hidden states that it reads."""
        head, context = part.model.head_record, Context(part.model.config, part.offsets_read, part.batch.offsets)
        return head.to_prediction(head_forward(states, part.model.tree, None, head.context(context))[0])


def _portions(batches: dict[str, Batch]) -> Iterator[dict[str, Batch]]:
    """The sequences in portions of about EVAL_BATCH, each with its share of every task."""
    n = max(1, -(-sum(map(len, batches.values())) // EVAL_BATCH))
    for i in range(n):
        yield {
            task: batch.take(range(len(batch) * i // n, len(batch) * (i + 1) // n)) for task, batch in batches.items()
        }
