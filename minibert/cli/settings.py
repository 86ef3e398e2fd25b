"""The arguments that make a trial, which `train` and `sweep` share. They come from the fields of the configs."""

from __future__ import annotations

import csv
from argparse import ArgumentTypeError
from dataclasses import fields

from minibert.config import ACTIVATIONS, METHODS, SUBLAYERS, AdapterConfig, TrainConfig
from minibert.errors import flag, shown
from minibert.options import ADAPTER_OPTIONS, TRAIN_OPTIONS


def comma_separated(kind: type):
    """A type for argparse: values of that kind, comma-separated."""

    def parse(text: str) -> list:
        return [kind(part.strip()) for part in text.split(",")]

    parse.__name__ = f"{kind.__name__} in a comma-separated list"  # argparse puts it into its message
    return parse


def rows_of_tasks(text: str) -> dict[str | None, int]:
    """A type for argparse: 1000,cola=3000 is {None: 1000, "cola": 3000}, a number of rows for each task that is not
    named, and for one that is."""
    parts = [part.strip().rpartition("=") for part in text.split(",")]
    try:
        found = {name.strip() or None: int(rows) for name, _, rows in parts}
    except ValueError:
        found = {}
    if not found or len(found) < len(parts) or min(found.values()) < 1:
        expected = "expected one number of rows, at least 1, and others for single tasks, as in 1000,cola=3000"
        raise ArgumentTypeError(f"{expected}; got {text!r}")
    return found


def _tuple_of(kind: type):
    """What is one value although it has commas: the layers of one adapter."""

    def parse(text: str) -> tuple:
        return tuple(comma_separated(kind)(text))

    parse.__name__ = comma_separated(kind).__name__
    parse.is_one_value = True
    return parse


def _quoted_list(text: str) -> tuple[str, ...]:
    """Comma-separated texts; one that has a comma or a line end itself is in double quotes."""
    try:
        return tuple(part.strip() for part in next(csv.reader([text], skipinitialspace=True), ()))
    except csv.Error:
        told = "is no comma-separated list: put a name with a line end into double quotes"
        raise ArgumentTypeError(f"{shown(text)} {told}") from None


_quoted_list.is_one_value = True


# What --help says of a setting, and what argparse cannot know from its type.
ADAPTER_HELP = {
    "size": {"metavar": "M", "help": "units of the bottleneck (default 64)"},
    "init_std": {"metavar": "X", "help": "standard deviation of the adapters' initialization (default 0.01)"},
    "activation": {"choices": ACTIVATIONS, "metavar": "NAME", "help": f"{', '.join(ACTIVATIONS)} (default gelu)"},
    "layernorm": {"help": "a LayerNorm on what an adapter reads"},
    "depth": {"metavar": "N", "help": "hidden layers of an adapter (default 1)"},
    "sublayers": {"metavar": "NAMES", "help": f"default {','.join(SUBLAYERS)}"},
    "layers": {"metavar": "I,J,…", "help": "layers that have one (default all)"},
    "parallel": {"help": "adapters read what their sublayer reads"},
    "multiplicative": {"help": "adapters scale what they would be added to"},
    "reads_norm": {"help": "adapters read the LayerNorm of their block, as Pfeiffer et al. have it"},
    "layernorm_eps": {"metavar": "X", "help": "epsilon of --adapter-layernorm (default 1e-12)"},
}
TRAIN_HELP = {
    "lr": {"metavar": "X", "help": "peak learning rate (1e-3; 1e-4 for full and top_k, 3e-2 for head)"},
    "epochs": {"metavar": "N", "help": "default 10; 50 for head"},
    "batch_size": {"metavar": "N", "help": "default 32"},
    "max_length": {"metavar": "N", "help": "tokens of a text or pair; longer ones are cut (128; 384 for squad)"},
    "warmup": {"metavar": "X", "help": "share of steps of rising rate (0.1)"},
    "weight_decay": {"metavar": "X", "help": "default 0.01; 0 for head"},
    "clip_norm": {"metavar": "X", "help": "largest norm of the gradients, 0: any (1.0)"},
    "seed": {"metavar": "N", "help": "default 0"},
    "max_steps": {"metavar": "N", "help": "end the run early"},
    "metric": {
        "metavar": "NAME",
        "help": "decides the best epoch: accuracy, macro_f1, f1:CLASS, … (see docs/tasks.md)",
    },
    "class_weights": {
        "metavar": "W",
        "type": _quoted_list,
        "help": "in the loss: balanced, or NAME=W,… (default 1 each)",
    },
    "patience": {"metavar": "N", "help": "end after N epochs without a better dev score (0: never)"},
}
FROM_TYPE = {
    "int": {"type": int},
    "float": {"type": float},
    "str": {"type": str},
    "bool": {"action": "store_true"},
    "tuple[str, ...]": {"type": _tuple_of(str)},
    "tuple[int, ...] | None": {"type": _tuple_of(int)},
}


def field_arguments(p, config: type, options: dict[str, str], texts: dict[str, dict]) -> None:
    """An argument for every field of a config. options: {option: field}. It is None, or False, if it is not given."""
    types = {field.name: field.type for field in fields(config)}
    for option, name in options.items():
        p.add_argument(flag(option), **FROM_TYPE[types[name]] | texts.get(name, {}))


def method_arguments(p) -> None:
    """What is trained."""
    names = f"{', '.join(METHODS)} (default adapter)"
    p.add_argument("--method", choices=METHODS, default="adapter", metavar="NAME", help=names)
    field_arguments(p, AdapterConfig, ADAPTER_OPTIONS, ADAPTER_HELP)
    p.add_argument("--top-k", type=int, default=0, metavar="K", help="layers to train with --method top_k")
    p.add_argument("--freeze-layernorm", action="store_true", help="adapters without the LayerNorms")
    p.add_argument("--pooled-head", action="store_true", help="the head reads BERT's pooler")
    p.add_argument(
        "--train-pooler", action="store_true", help="with --pooled-head: the task trains a pooler of its own"
    )


def setting_arguments(p) -> None:
    """How it is trained."""
    field_arguments(p, TrainConfig, TRAIN_OPTIONS, TRAIN_HELP)
    p.add_argument("--train-rows", type=int, metavar="N", help="train on this many rows, drawn with seed 0")


class Lists:
    """A group of arguments that each take several values, comma-separated."""

    def __init__(self, group):
        self._group = group

    def add_argument(self, name: str, type=str, choices=None, **rest) -> None:
        """The argument as for one value; the trial itself reports a value that is none of its choices."""
        if "action" in rest:
            self._group.add_argument(name, **rest)
        elif hasattr(type, "is_one_value"):
            self._group.add_argument(name, type=type, **rest)
        elif name == "--seed":
            self._group.add_argument("--seeds", dest="seed", type=comma_separated(type), **rest)
        else:
            self._group.add_argument(name, type=comma_separated(type), **rest)
