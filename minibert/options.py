"""The options of `minibert train`, and the settings that they stand for.

They are made from the fields of the two configs: a new field has an option without anybody thinking of it.
"""

from __future__ import annotations

from dataclasses import fields

from minibert.config import AdapterConfig, TrainConfig

_RENAMED = {"clip_norm": "clip"}

# {option, as it is called in Python: field}
ADAPTER_OPTIONS = {f.name if f.name == "init_std" else f"adapter_{f.name}": f.name for f in fields(AdapterConfig)}
TRAIN_OPTIONS = {_RENAMED.get(f.name, f.name): f.name for f in fields(TrainConfig)}
MODEL_OPTIONS = ("top_k", "freeze_layernorm", "pooled_head")

# Options whose value is a tuple: several layers are one setting, where several sizes are settings to be tried.
TUPLE_OPTIONS = (
    *(f"adapter_{f.name}" for f in fields(AdapterConfig) if f.type.startswith("tuple")),
    *(f.name for f in fields(TrainConfig) if f.type.startswith("tuple")),
    *("columns", "drop_label"),
)
