"""A task that was tuned without adapters, as one of transformers' models with a head.

    regress, classify, multilabel   BertForSequenceClassification
    span                            BertForQuestionAnswering

Theirs reads a text through the pooler, tanh(x W + b). Ours does so with --pooled-head; without, it reads x itself. Then
the folder's pooler is x times 2**-k, b = 0, and its classifier takes 2**k times our weights: k is so large that tanh(u)
is u, as |u| <= 2**-12, where they differ by u**3 / 3, less than half of float32's last digit. Powers of two are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil, log2, sqrt

import numpy as np

from minibert.config import BertConfig
from minibert.errors import InputError, readable, shown
from minibert.params import flatten
from minibert.storage import BackboneFile, TaskRecord

PROBLEMS = {
    "classify": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regress": "regression",
}
SMALL = 12  # |u| <= 2**-12


@dataclass(frozen=True)
class TheirModel:
    """params: the encoder's arrays by our flat names; head: the head's by their names, weights (out, in).

    settings: what config.json says beyond the encoder; notes: to print.
    """

    architecture: str
    config: BertConfig
    params: dict[str, np.ndarray]
    head: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def encoder_alone(backbone: BackboneFile) -> TheirModel:
    """BertModel, which has a pooler unless it is told otherwise."""
    note = (
        "note: this backbone has no pooler: load it with BertModel.from_pretrained(DIR, add_pooling_layer=False); "
        "otherwise transformers makes a random one"
    )
    notes = () if backbone.config.pooler else (note,)
    return TheirModel("BertModel", backbone.config, flatten(backbone.params), notes=notes)


def with_head(backbone: BackboneFile, record: TaskRecord) -> TheirModel:
    """The backbone with what a task trained, and its head. Raises InputError if transformers' BERT cannot hold it."""
    where = f"task {shown(record.name)}"
    if record.method == "adapter" or any("/adapter/" in name for name in record.params):
        raise InputError(
            f"{where} was tuned with adapters, which transformers' BERT does not have; write them with: minibert bank "
            "export RUN --to adapterhub DIR"
        )
    trained = {name: array for name, array in record.params.items() if not name.startswith("head/")}
    params, head = flatten(backbone.params) | trained, record.params["head/W"].T
    if record.head == "span":
        if "pooler/W" in record.params:
            raise InputError(f"{where} reads tokens through a pooler of its own; BertForQuestionAnswering has none")
        return _span(backbone.config, params, head, record)
    if record.head not in PROBLEMS:
        raise InputError(f"{where} has the head {readable(record.head)}, which transformers' BERT does not have")
    notes: tuple[str, ...] = ()
    if not record.model_options.get("pooled"):
        pooler, head, k = _unpooled(params, head, backbone.config, where)
        params |= pooler
        notes = (
            f"note: this head reads [CLS] itself, transformers' tanh of a pooler: the pooler written is x / 2**{k}, "
            "where tanh changes nothing, and the classifier multiplies by as much. The scores are the same; to train on"
            " with transformers, train with --pooled-head here first",
        )
    return TheirModel(
        "BertForSequenceClassification",
        replace(backbone.config, pooler=True),
        params,
        {"classifier.weight": head, "classifier.bias": record.params["head/b"]},
        {"problem_type": PROBLEMS[record.head], **_labels(record)},
        notes,
    )


def _span(config: BertConfig, params: dict, head: np.ndarray, record: TaskRecord) -> TheirModel:
    """Both read every token, without a pooler: theirs has none."""
    params = {name: array for name, array in params.items() if not name.startswith("pooler/")}
    names = {"qa_outputs.weight": head, "qa_outputs.bias": record.params["head/b"]}
    return TheirModel("BertForQuestionAnswering", replace(config, pooler=False), params, names)


def _labels(record: TaskRecord) -> dict:
    """The names of the classes as config.json has them; num_labels is how many id2label has."""
    labels = record.labels or ("score",)
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def _unpooled(params: dict, head: np.ndarray, config: BertConfig, where: str) -> tuple[dict, np.ndarray, int]:
    """The pooler that changes nothing, the classifier's weights that go with it, and k.

    A LayerNorm of D numbers gives none above gamma sqrt(D - 1) + beta.
    """
    norm = f"encoder/layers/{config.n_layers - 1}/feed_forward/norm"
    gamma, beta = (np.abs(params[f"{norm}/{name}"].astype(np.float64)) for name in ("gamma", "beta"))
    largest = float((gamma * sqrt(config.hidden_size) + beta).max())
    k = SMALL + (ceil(log2(largest)) if largest > 1 else 0)
    weights = head.astype(np.float64) * 2.0**k
    if k > 100 or not np.isfinite(weights.astype(np.float32)).all():
        raise InputError(f"{where}: its numbers are too large for a pooler that changes nothing; train --pooled-head")
    D = config.hidden_size
    pooler = {"pooler/W": np.eye(D, dtype=np.float32) * np.float32(2.0**-k), "pooler/b": np.zeros(D, np.float32)}
    return pooler, weights.astype(np.float32), k
