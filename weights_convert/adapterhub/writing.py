"""Write a task of a bank as a folder of the library.

    adapter_config.json, head_config.json                what the adapter and the head are
    pytorch_adapter.bin, pytorch_model_head.bin          their tensors: what `load_adapter(DIR)` reads
    adapter.safetensors, model_head.safetensors          the same tensors: `load_adapter(DIR, use_safetensors=True)`
    README.md                                            how it is loaded, and what to know

What the library has no place for stands under "minibert" in adapter_config.json: it passes over keys that it does not
know, and reading.py reads them again.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minibert.errors import InputError, need, shown
from minibert.storage import TaskRecord, cannot_be_written, temporary_folder
from weights_convert.adapterhub import heads, names, readme, settings
from weights_convert.adapterhub.names import ADAPTER, HEAD, README, WEIGHTS
from weights_convert.tensors import safetensors
from weights_convert.torch_file import write_torch_file

VERSION = "adapters.1.3.0"  # whose format is written
MODEL_CLASS = "BertAdapterModel"


@dataclass(frozen=True)
class Exported:
    """What was written. name: of the task in the library; files: their names; notes: to print."""

    name: str
    files: list[str]
    notes: list[str]


def export(record: TaskRecord, folder: Path) -> Exported:
    """Write a task into a folder, which is made; one that is there must be empty.

    Raises InputError: the library cannot hold the task; safetensors is not installed; the folder cannot be written.
    """
    where, task = f"task {shown(record.name)}", names.library_name(record.name)
    if record.method != "adapter":
        raise InputError(
            f"{where} was tuned by method {record.method} and has no adapters, so there is nothing for the AdapterHub "
            "library to load; export a task of --method adapter"
        )
    need(record.head in heads.TYPES, f"{where} has a head {record.head}, which cannot be exported")
    adapter_config = settings.to_theirs(record.adapter, record.backbone_config, where)
    head_config, head_tensors = heads.to_theirs(record, task)
    parts = {
        ADAPTER: (_file(task, record, adapter_config) | {"minibert": _own(record)}, _adapter_tensors(record, task)),
        HEAD: (_file(task, record, head_config), head_tensors),
    }
    in_use = folder.is_dir() and any(folder.iterdir())
    need(not in_use, f"{folder}: is not empty; give a new folder, or an empty one")
    files = _write(folder, parts, readme.text(record, task))
    told = f"the task is called {task} there: the library cannot load the name {record.name}"
    return Exported(task, files, [told] * (task != record.name))


def _write(folder: Path, parts: dict[str, tuple[dict, dict]], text: str) -> list[str]:
    """Write the configs with their tensors, {name: (config, tensors)}, and the README. Returns the files' names."""
    package = safetensors()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(".writing-", folder) as work:
            for name, (config, tensors) in parts.items():
                text_of_config = json.dumps(config, indent=2, sort_keys=True) + "\n"
                (work / name).write_text(text_of_config, encoding="utf-8", newline="\n")
                torch_name, safe_name = WEIGHTS[name]
                arrays = {key: np.ascontiguousarray(array, np.float32) for key, array in tensors.items()}
                write_torch_file(work / torch_name, arrays)
                package.numpy.save_file(arrays, work / safe_name, metadata={"format": "pt"})
                shutil.copymode(work / name, work / safe_name)  # safetensors lets only the owner read
            (work / README).write_text(text, encoding="utf-8", newline="\n")
            files = [file for name in parts for file in (name, *WEIGHTS[name])] + [README]
            for name in files:
                os.replace(work / name, folder / name)
    except (OSError, package.SafetensorError) as error:
        raise cannot_be_written(folder, error) from error
    return files


def _file(task: str, record: TaskRecord, config: dict) -> dict:
    return {
        "config": config,
        "hidden_size": record.backbone_config.hidden_size,
        "model_class": MODEL_CLASS,
        "model_name": None,  # a bank does not keep where its backbone came from
        "model_type": "bert",
        "name": task,
        "version": VERSION,
    }


def _adapter_tensors(record: TaskRecord, task: str) -> dict[str, np.ndarray]:
    """The adapters, and the LayerNorms if the task trained them."""
    bert, tensors = record.backbone_config, {}
    for theirs, (ours, transposed) in names.adapter_names(task, record.adapter, bert.n_layers).items():
        tensors[f"bert.{theirs}"] = record.params[ours].T if transposed else record.params[ours]
    for theirs, ours in names.layernorm_names(bert).items():
        if ours in record.params:
            tensors[f"bert.{theirs}"] = record.params[ours]
    return tensors


def _own(record: TaskRecord) -> dict:
    """What the library has no place for."""
    own = {"name": record.name, "backbone_fingerprint": record.backbone_fingerprint, "dev": dict(record.dev)}
    own["backbone_config"] = asdict(record.backbone_config)
    return own | {"pairs": record.reads_pairs, "max_length": record.settings("train").get("max_length")}
