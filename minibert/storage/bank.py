"""The task bank: what each task trained, and nothing of the backbone that all of them share.

    /tasks/NAME/params/...   adapters, LayerNorms, head; the task's settings are attributes of /tasks/NAME

One bank belongs to one backbone: its fingerprint and its config are attributes of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from minibert.config import HEADS, METHODS, AdapterConfig, BertConfig, InputError, shown
from minibert.storage import hdf5
from minibert.storage.atomic import one_at_a_time

GET_BANK = "train a task first: minibert train ... --out RUN writes RUN/bank.h5"


@dataclass(frozen=True)
class TaskRecord:
    """One trained task. It checks itself: a record that exists fits its backbone's config. Raises InputError if not.

    labels: names of the C classes in order, empty where the outputs are no classes. params: {flat name: float32 array},
    trained parameters only, "head/W" (D, C) and "head/b" (C,) among them. backbone_fingerprint, backbone_config: of the
    backbone they belong to. model_options, training: settings of plain Python types. dev: {metric: value}.
    """

    name: str
    head: str
    labels: tuple[str, ...]
    method: str
    params: dict[str, np.ndarray]
    backbone_fingerprint: str
    backbone_config: BertConfig
    adapter: AdapterConfig | None = None
    model_options: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    dev: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        check_task_name(self.name)
        where = f"task {self.name!r}"
        if self.head not in HEADS:
            raise InputError(f"{where}: head is {self.head!r}, expected one of {', '.join(HEADS)}")
        if self.method not in METHODS:
            raise InputError(f"{where}: method is {self.method!r}, expected one of {', '.join(METHODS)}")
        if not all(isinstance(label, str) for label in self.labels):
            raise InputError(f"{where}: labels are {self.labels!r}, expected names")
        weight = self.params.get("head/W")
        if weight is None or np.ndim(weight) != 2:
            raise InputError(f"{where}: array head/W is missing or not a matrix; expected (hidden size, outputs)")
        if HEADS[self.head] is None and len(self.labels) != self.n_out:
            raise InputError(f"{where}: has {len(self.labels)} labels for a head with {self.n_out} outputs")
        shapes = _known_shapes(self.backbone_config, self.adapter, self.n_out)
        needed = [name for name in shapes if name in self.params or name.startswith("head/")]
        hdf5.check_arrays(where, self.params, {name: shapes[name] for name in needed})

    @property
    def n_out(self) -> int:
        """C, the outputs of the head."""
        return self.params["head/W"].shape[1]


def _known_shapes(bert: BertConfig, adapter: AdapterConfig | None, n_out: int) -> dict[str, tuple]:
    """Every parameter that a task can have trained."""
    head = {"head/W": (bert.hidden_size, n_out), "head/b": (n_out,)}
    return bert.shapes() | (adapter.shapes(bert) if adapter else {}) | head


def check_task_name(name: str) -> None:
    """Raise InputError unless `name` can name a group of the file: text, not empty, without "/"."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise InputError(f"a task cannot be named {name!r}; expected a word without '/'")


def check_backbone(record: TaskRecord, backbone_fingerprint: str, path: str | Path) -> None:
    """Raise InputError if a task of the bank `path` was trained on another backbone than the one given."""
    if record.backbone_fingerprint != backbone_fingerprint:
        raise InputError(
            f"{path}: task {record.name!r} was trained on the backbone {record.backbone_fingerprint[:12]}, this one is "
            f"{backbone_fingerprint[:12]} (fingerprints); give the backbone it was trained on"
        )


def write_bank(path: str | Path, tasks: dict[str, TaskRecord]) -> None:
    """Write a bank with these tasks, {name: record}. Raises InputError if they do not share one backbone."""
    if not tasks:
        raise InputError(f"{path}: there is no task to write")
    first = next(iter(tasks.values()))
    for name, record in tasks.items():
        if name != record.name:
            raise InputError(f"{path}: task {record.name!r} is filed as {name!r}; expected the same name")
        check_backbone(record, first.backbone_fingerprint, path)
    with hdf5.write_file(path, "minibert-bank") as file:
        hdf5.write_text(file, "backbone_fingerprint", first.backbone_fingerprint)
        hdf5.write_text(file, "backbone_config", first.backbone_config.to_json())
        group = file.create_group("tasks")
        for name, record in tasks.items():
            _write_task(group.create_group(name), record)


def _write_task(group: h5py.Group, record: TaskRecord) -> None:
    hdf5.write_text(group, "head", record.head)
    hdf5.write_text(group, "method", record.method)
    hdf5.write_text(group, "adapter", record.adapter.to_json() if record.adapter else "")
    hdf5.write_json(group, "labels", list(record.labels))
    hdf5.write_json(group, "n_out", record.n_out)
    for name in ("model_options", "training", "dev"):
        hdf5.write_json(group, name, getattr(record, name))
    hdf5.write_json(group, "names", list(record.params))
    hdf5.write_text(group, "fingerprint", hdf5.fingerprint(record.params))
    hdf5.write_arrays(group.create_group("params"), record.params)


def read_bank(path: str | Path) -> dict[str, TaskRecord]:
    """Read all tasks of a bank and check all of it. Raises InputError that names the first thing that is wrong."""
    with hdf5.read_file(path, "minibert-bank", GET_BANK) as file:
        hdf5.check_children(file, ("tasks",), path)
        fingerprint = hdf5.read_text(file, "backbone_fingerprint", path)
        config = hdf5.read_settings(BertConfig, file, "backbone_config", path)
        tasks = hdf5.child(file, "tasks", h5py.Group, path)
        return {name: _read_task(tasks, name, fingerprint, config, path) for name in tasks}


def _read_task(tasks: h5py.Group, name: str, fingerprint: str, config: BertConfig, path: str | Path) -> TaskRecord:
    group = hdf5.child(tasks, name, h5py.Group, path)
    hdf5.check_children(group, ("params",), path)
    has_adapter = hdf5.read_text(group, "adapter", path) != ""
    adapter = hdf5.read_settings(AdapterConfig, group, "adapter", path) if has_adapter else None
    try:
        shapes = _known_shapes(config, adapter, hdf5.read_json(group, "n_out", path, int))
    except InputError as error:  # an adapter in a layer that the backbone does not have
        raise hdf5.in_file(path, error) from None
    expected = {}
    for array in hdf5.read_json(group, "names", path, list):
        if not isinstance(array, str) or array not in shapes:
            raise InputError(f"{path}: task {name!r} lists {shown(array)}, which its backbone and adapter do not have")
        expected[array] = (shapes[array], "float32")
    params = hdf5.read_arrays(hdf5.child(group, "params", h5py.Group, path), expected, path)
    stored = hdf5.read_text(group, "fingerprint", path)
    hdf5.check_sha256(path, f"task {name!r}", stored, hdf5.fingerprint(params), GET_BANK)
    try:
        return TaskRecord(
            name=name,
            head=hdf5.read_text(group, "head", path),
            labels=tuple(hdf5.read_json(group, "labels", path, list)),
            method=hdf5.read_text(group, "method", path),
            params=params,
            backbone_fingerprint=fingerprint,
            backbone_config=config,
            adapter=adapter,
            **{key: hdf5.read_json(group, key, path, dict) for key in ("model_options", "training", "dev")},
        )
    except InputError as error:
        raise hdf5.in_file(path, error) from None


def add_task(path: str | Path, *records: TaskRecord, replace: bool = False) -> None:
    """Add tasks to a bank, or make a bank with them. The other tasks stay as they are, bit for bit.

    All are added or none: raises InputError if the bank belongs to another backbone, or has a task of that name and
    `replace` is False. Of several that add at once each waits for those before it.
    """
    with one_at_a_time(path):
        tasks = read_bank(path) if Path(path).exists() else {}
        for record in records:
            if record.name in tasks and not replace:
                raise InputError(f"{path}: has a task {record.name!r} already; give it another name, or replace it")
            tasks[record.name] = record
        write_bank(path, tasks)
