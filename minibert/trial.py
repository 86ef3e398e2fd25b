"""A trial: everything that decides what a training run gives, as data.

Trials are what sweeps and the paper's experiments are made of: lists of them go to `run_trials` (sweep.py), and what
they gave is found in the ledger. `minibert train` runs a single one. How one is run stands in run.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path

import numpy as np

from minibert.config import AdapterConfig, TrainConfig, former_default
from minibert.data import CSV_OPTIONS, DEFAULT_MAX_LENGTH
from minibert.errors import InputError, list_some, readable, shown
from minibert.methods import DEFAULTS, check_options, check_pooler
from minibert.options import ADAPTER_OPTIONS, MODEL_OPTIONS, TRAIN_OPTIONS, TUPLE_OPTIONS
from minibert.params import flatten

TRIAL_OPTIONS = (
    "task",
    "data",
    "method",
    "train_rows",
    "dev_rows",
    *MODEL_OPTIONS,
    *ADAPTER_OPTIONS,
    *TRAIN_OPTIONS,
    *CSV_OPTIONS,
)


@dataclass(frozen=True)
class Trial:
    """One training run, but for its backbone. Settings that are not given are those of `minibert train`.

    adapter: for method adapter alone. task_options: those of task csv. Raises InputError if something does not fit.
    """

    task: str
    data: str | None = None
    method: str = "adapter"
    adapter: AdapterConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)
    train_rows: int | None = None
    dev_rows: int | None = None
    top_k: int = 0
    train_layernorm: bool = True
    pooled: bool = False
    train_pooler: bool = False
    task_options: dict = field(default_factory=dict, hash=False)

    def __post_init__(self):
        check_options(self.method, self.adapter, self.top_k, self.train_layernorm)
        check_pooler(self.method, self.pooled, self.train_pooler)
        for name in ("top_k", "train_rows", "dev_rows"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        object.__setattr__(self, "task_options", {name: _plain(value) for name, value in self.task_options.items()})
        if self.method == "adapter" and self.adapter is None:
            object.__setattr__(self, "adapter", AdapterConfig())
        if self.data is not None:
            if not isinstance(self.data, (str, os.PathLike)):
                raise InputError(f"data is {shown(self.data)}, expected a path")
            object.__setattr__(self, "data", str(self.data))

    def to_dict(self) -> dict:
        """All settings, as JSON gives them back."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> Trial:
        """Read back what `to_dict` gave. Raises InputError if a setting is not known here."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown or "task" not in values:
            names = list_some(map(readable, unknown))
            wrong = f"has settings that this version does not know: {names}" if unknown else "has no task"
            raise InputError(f"a trial of the ledger {wrong}")
        adapter, train = values.get("adapter"), TrainConfig.from_dict(values.get("train", {}))
        return cls(**{**values, "adapter": adapter and AdapterConfig.from_dict(adapter), "train": train})

    def with_seed(self, seed: int) -> Trial:
        """The same with another seed."""
        return replace(self, train=replace(self.train, seed=seed))

    def located(self) -> Trial:
        """The same with the absolute path of its data, for a worker that runs in another folder."""
        return self if self.data is None else replace(self, data=os.path.abspath(self.data))

    def changed(self) -> dict:
        """The settings that are not the defaults, without the place of the data: what the trial's name is made of.

        Defaults are left out so that a setting that did not exist yet does not make strangers of old results. So one
        that changed (`former_default`) counts as it was: ten epochs are in a trial's name, and five are not.
        """
        own = _changed(self, Trial)
        del own["task"]
        own.pop("data", None)
        own |= {"adapter": _changed(self.adapter, AdapterConfig)} if self.adapter else {}
        return {"task": self.task, **own, "train": _changed(self.train, TrainConfig)}

    @property
    def label(self) -> str:
        """What to call the task: its name, and the file for the user's own."""
        return f"csv:{Path(self.data).name}" if self.task == "csv" and self.data else self.task

    def describe(self, seed: bool = True) -> str:
        """One line for people: task, method, settings."""
        return f"{self.label} {self.method} {self.describe_settings(seed)}"

    def describe_settings(self, seed: bool = False) -> str:
        """What is usually varied, epochs among it, and whatever else is not the default."""
        varied = {name: value for name, value in flatten(self.changed()).items() if value != {}}
        for name in ("task", "method", "adapter/size", "train/lr", "train/epochs", "train/seed"):
            varied.pop(name, None)
        usual = {"M": self.adapter.size} if self.adapter else {}
        usual |= {"lr": self.train.lr, "epochs": self.train.epochs}
        usual |= {name.split("/")[-1]: v for name, v in varied.items() if not name.startswith("task_options/")}
        usual |= {"seed": self.train.seed} if seed else {}
        joined = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in usual.items()}
        return " ".join(f"{name}={value}" for name, value in joined.items())


def anywhere(trial: Trial) -> Trial:
    """The trial whatever folder its data is in, by which the same settings are found again. Which data it was, the
    fingerprint in its result tells."""
    return replace(trial, data=None)


def _plain(value):
    """A number of NumPy, such as a grid search gives, as one of Python, which JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


def _changed(settings, kind: type) -> dict:
    found = {}
    for f in fields(kind):
        value, default = getattr(settings, f.name), former_default(f)
        if f.name not in ("adapter", "train") and value != default and value != {}:
            found[f.name] = float(value) if f.type == "float" else value  # 1 and 1.0 are the same setting
    return found


def make_trial(**options) -> Trial:
    """A trial from the options of `minibert train`, by their names (adapter_size=64, lr=1e-3, …); None: not given."""
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    unknown = sorted(set(given) - set(TRIAL_OPTIONS))
    if unknown:
        raise InputError(f"a trial has no option {', '.join(unknown)}; it has {', '.join(TRIAL_OPTIONS)}")
    method = given.get("method", "adapter")
    adapter = {setting: given[name] for name, setting in ADAPTER_OPTIONS.items() if name in given}
    train = {setting: given[name] for name, setting in TRAIN_OPTIONS.items() if name in given}
    usual = dict(DEFAULTS.get(method, {}))
    usual["max_length"] = DEFAULT_MAX_LENGTH.get(given.get("task"), TrainConfig.max_length)
    return Trial(
        task=given.get("task"),
        data=given.get("data"),
        method=method,
        adapter=AdapterConfig(**adapter) if adapter else None,
        train=TrainConfig(**usual | train),
        train_rows=given.get("train_rows"),
        dev_rows=given.get("dev_rows"),
        top_k=given.get("top_k", 0),
        train_layernorm="freeze_layernorm" not in given,
        pooled="pooled_head" in given,
        train_pooler="train_pooler" in given,
        task_options={name: _as_json(given[name]) for name in CSV_OPTIONS if name in given},
    )


def _as_json(value):
    """The value as JSON gives it back, so that settings which were read are equal to those that were given."""
    return list(value) if isinstance(value, tuple) else value


def grid(**options) -> list[Trial]:
    """Every combination of the options of `make_trial`, each a value or a list of values.

    An option that only one method has (adapter_size, top_k, …) is left out of the trials of the other methods, and
    data of those of the built-in task. A tuple of layers or sublayers is one value.
    """
    lists = {}
    for name, value in options.items():
        several = list if name in TUPLE_OPTIONS else (list, tuple)
        lists[name] = list(value) if isinstance(value, several) else [value]
    of_one = {"adapter": (*ADAPTER_OPTIONS, "freeze_layernorm"), "top_k": ("top_k",)}
    trials = []
    for values in product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        for method, names in of_one.items():
            if chosen.get("method", "adapter") != method and method in lists.get("method", ()):
                chosen = {name: value for name, value in chosen.items() if name not in names}
        if chosen.get("task") == "opinions" and len(lists["task"]) > 1:
            chosen["data"] = None
        trials.append(make_trial(**chosen))
    return list(dict.fromkeys(trials))


def trial_id(trial: Trial, data: str, backbone: str) -> str:
    """The trial's name: a hash over its settings and the fingerprints of its data and of the backbone.

    Where the data lie is not part of it, and what they hold is: so a folder may be moved, and a file that was changed
    makes another trial. Method head is marked, as it once computed with dropout in the encoder.
    """
    changed = trial.changed() | ({"features": True} if trial.method == "head" else {})
    canonical = json.dumps([changed, data, backbone], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
