"""The head: their head_config.json with its tensors, and our "head" and "pooler".

    library                                                  here
    one layer                                                head
    one layer, use_pooler                                    --pooled-head: BERT's own pooler, tanh, head
    two layers with tanh between, its default                --pooled-head --train-pooler: a pooler of the task's own
    classification, num_labels above 1                       classify
    classification, num_labels 1                             regress
    multilabel_classification                                multilabel
    question_answering, num_labels 2                         span

The tensors are heads.NAME.1.* for the first layer, and heads.NAME.4.* for the second: dropout and tanh are between.
Models whose head is fixed, such as BertForSequenceClassification, have no "config": what they are is in FIXED.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minibert.config import HEADS
from minibert.errors import InputError, need, readable, shown
from minibert.storage import TaskRecord

TYPES = {
    "classify": "classification",
    "multilabel": "multilabel_classification",
    "regress": "classification",
    "span": "question_answering",
}
FIXED = {  # {model_class: (head_type, use_pooler, what its tensors are called)}
    "BertForSequenceClassification": ("classification", True, "classifier"),
    "BertForQuestionAnswering": ("question_answering", False, "qa_outputs"),
}
MOST_LABELS = 1 << 16
FLEXIBLE = ("BertAdapterModel", "BertModelWithHeads")


def own_pooler(record: TaskRecord) -> bool:
    """Whether the task has a pooler of its own."""
    return "pooler/W" in record.params


def to_theirs(record: TaskRecord, task: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The "config" of head_config.json, and the tensors of the head."""
    layers = {"1": "head"} if not own_pooler(record) else {"1": "pooler", "4": "head"}
    labels = record.labels if record.head != "span" else ("LABEL_0", "LABEL_1")  # as the library calls start and end
    config = {
        "head_type": TYPES[record.head],
        "num_labels": record.n_out,
        "layers": len(layers),
        "activation_function": "tanh" if len(layers) == 2 else None,
        "label2id": {label: i for i, label in enumerate(labels)} or None,
        "dropout_prob": None,
    }
    if record.head != "span":  # which knows neither
        pooled = bool(record.model_options.get("pooled")) and not own_pooler(record)
        config |= {"use_pooler": pooled, "bias": True}
    tensors = {}
    for index, ours in layers.items():
        tensors[f"heads.{task}.{index}.weight"] = record.params[f"{ours}/W"].T
        tensors[f"heads.{task}.{index}.bias"] = record.params[f"{ours}/b"]
    return config, tensors


@dataclass(frozen=True)
class TheirHead:
    """A head in our words. options: those of a model; names: {their tensor: our flat name}, weights transposed.

    has_bias: whether the last layer has one; without, ours is zero.
    """

    head: str
    labels: tuple[str, ...]
    options: dict
    names: dict[str, str]
    notes: tuple[str, ...]
    has_bias: bool = True


def to_ours(file: dict, where: str) -> TheirHead:
    """Read head_config.json. Raises InputError, which begins with `where`, if we have no such head."""
    config, prefix = _config_of(file, where)
    kind, n_out, n_layers = config.get("head_type"), config.get("num_labels"), config.get("layers")
    whole = type(n_out) is int and 1 <= n_out <= MOST_LABELS
    need(whole, f"{where}: num_labels is {shown(n_out)}, expected how many, at most {MOST_LABELS:,}")
    head = _our_head(kind, n_out, where)
    pooled, activation = bool(config.get("use_pooler")), config.get("activation_function")
    need(
        type(n_layers) is int and n_layers in (1, 2),
        f"{where}: the head has {shown(n_layers)} layers; minibert's have 1, or 2 with tanh between",
    )
    is_tanh = isinstance(activation, str) and activation.lower() == "tanh"
    if n_layers == 2 and not is_tanh:
        raise InputError(f"{where}: activation_function is {shown(activation)} between two layers, expected 'tanh'")
    if n_layers == 2 and pooled:
        raise InputError(f"{where}: use_pooler with two layers is three layers; minibert's heads have 1 or 2")
    need(not (pooled and head == "span"), f"{where}: use_pooler, and a head that reads every token")
    layers = {"1": "head"} if n_layers == 1 else {"1": "pooler", "4": "head"}
    if prefix.endswith("."):
        names = {f"{prefix}{index}": ours for index, ours in layers.items()}
    else:
        names = {prefix: "head"}
    tensors = {f"{theirs}.weight": f"{ours}/W" for theirs, ours in names.items()}
    tensors |= {f"{theirs}.bias": f"{ours}/b" for theirs, ours in names.items()}
    options = {"pooled": pooled or n_layers == 2} | ({"train_pooler": True} if n_layers == 2 else {})
    labels, notes = _labels(config.get("label2id"), n_out, where) if HEADS[head] is None else ((), ())
    return TheirHead(head, labels, options, tensors, notes, config.get("bias", True) is not False)


def _config_of(file: dict, where: str) -> tuple[dict, str]:
    """What the head is, and what the names of its tensors begin with."""
    model, config = file.get("model_class"), file.get("config")
    if model in FLEXIBLE:  # a tuple: it may be anything, as JSON gives it
        need(isinstance(config, dict), f"{where}: config is {shown(config)}, expected an object")
        name = file.get("name")
        need(isinstance(name, str) and name != "", f"{where}: name is {shown(name)}, expected that of the head")
        return config, f"heads.{name}."
    known = ", ".join([*FLEXIBLE, *FIXED])
    need(
        isinstance(model, str) and model in FIXED, f"{where}: model_class is {shown(model)}; heads are read of {known}"
    )
    kind, pooled, tensors = FIXED[model]
    label2id = file.get("label2id")
    n_out = file.get("num_labels") or (len(label2id) if isinstance(label2id, dict) else 2)
    fixed = {"head_type": kind, "num_labels": n_out, "layers": 1, "use_pooler": pooled, "label2id": label2id}
    return fixed, tensors


def _our_head(kind, n_out: int, where: str) -> str:
    """The kind of our head. A classification of one label is a regression: so the library takes it."""
    for head, theirs in TYPES.items():
        if kind == theirs and head in HEADS and (HEADS[head] == n_out or (HEADS[head] is None and n_out > 1)):
            return head
    raise InputError(f"{where}: a head of type {shown(kind)} with num_labels {n_out} is none of {', '.join(HEADS)}")


def _labels(label2id, n_out: int, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes in order, and what to tell of them."""
    if not label2id:
        labels = tuple(f"LABEL_{i}" for i in range(n_out))
        return labels, (f"label2id names no classes; they are called {labels[0]} to {labels[-1]}",)
    need(isinstance(label2id, dict), f"{where}: label2id is {shown(label2id)}, expected {{label: number}}")
    of_id = {}
    for label, number in label2id.items():
        whole = type(number) is int or (isinstance(number, str) and number.isdecimal() and len(number) < 10)
        need(whole, f"{where}: label2id gives {readable(label)} the number {shown(number)}")
        of_id[int(number)] = label
    need(
        len(label2id) == n_out and set(of_id) == set(range(n_out)),
        f"{where}: label2id has the numbers {shown(sorted(label2id.values(), key=str))}, expected 0 to {n_out - 1}",
    )
    return tuple(of_id[i] for i in range(n_out)), ()
