"""The task bank: what each task trained, and nothing of the backbone that all of them share.

    /tasks/NAME/params/...   adapters, LayerNorms, head; the task's settings are attributes of /tasks/NAME
    /tasks/NAME/rows/...     hashes of the rows that were trained on (train), and that chose the epoch (dev); what they
                             are hashes of is the attribute rows_of

One bank belongs to one backbone: its fingerprint and its config are attributes of the file. What changes a bank stands
in bank_edit.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import h5py
import numpy as np

from minibert.config import HEADS, METHODS, AdapterConfig, BertConfig
from minibert.errors import InputError, did_you_mean, list_some, readable, shown
from minibert.storage import hdf5
from minibert.storage.tokenizer import differences, sha256_of_text

ROWS = ("train", "dev")
TEXTS, TOKENS = "texts", "tokens"  # what hashes of rows are of: texts in banks that do not say it
DROPOUTS = ("hidden_dropout", "attention_dropout")  # settings of a backbone that change no score
GET_BANK = "train a task: minibert train ... --out RUN writes RUN/bank.h5"


@dataclass(frozen=True)
class TaskRecord:
    """One trained task. It checks itself: a record that exists fits its backbone's config. Raises InputError if not.

    labels: names of the C classes in order, empty where the outputs are no classes. params: {flat name: float32 array},
    trained parameters only, "head/W" (D, C) and "head/b" (C,) among them. backbone_fingerprint, backbone_config: of the
    backbone they belong to; backbone_tokenizer: its tokenizer's fingerprint, "" if that is unknown. model_options,
    training: settings of plain Python types. dev: {metric: value}. rows: {"train": uint64 (N,), "dev": uint64 (n,)},
    hashes of the rows that were trained on, and of those that chose the epoch (data/rows.py); {} if they are not known.
    rows_of: what they are hashes of.
    """

    name: str
    head: str
    labels: tuple[str, ...]
    method: str
    params: dict[str, np.ndarray] = field(repr=False)
    backbone_fingerprint: str
    backbone_config: BertConfig
    adapter: AdapterConfig | None = None
    model_options: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    dev: dict[str, float] = field(default_factory=dict)
    backbone_tokenizer: str = ""
    rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    rows_of: str = TEXTS  # also of records that were pickled before it was kept

    def __post_init__(self):
        check_task_name(self.name)
        where = f"task {shown(self.name)}"
        if self.head not in HEADS:
            raise InputError(f"{where}: head is {shown(self.head)}, expected one of {', '.join(HEADS)}")
        if self.method not in METHODS:
            raise InputError(f"{where}: method is {shown(self.method)}, expected one of {', '.join(METHODS)}")
        if not all(isinstance(label, str) for label in self.labels):
            raise InputError(f"{where}: labels are {shown(self.labels)}, expected names")
        weight = self.params.get("head/W")
        if weight is None or np.ndim(weight) != 2:
            raise InputError(f"{where}: array head/W is missing or not a matrix; expected (hidden size, outputs)")
        if HEADS[self.head] is None and len(self.labels) != self.n_out:
            raise InputError(f"{where}: has {len(self.labels)} labels for a head with {self.n_out} outputs")
        shapes = _known_shapes(self.backbone_config, self.adapter, self.n_out)
        needed = [name for name in shapes if name in self.params or name.startswith("head/")]
        hdf5.check_arrays(where, self.params, {name: shapes[name] for name in needed})
        if self.rows and set(self.rows) != set(ROWS):
            raise InputError(f"{where}: has rows of {', '.join(self.rows)}, expected those of {' and '.join(ROWS)}")
        for name, hashes in self.rows.items():
            if not isinstance(hashes, np.ndarray) or hashes.dtype != np.uint64 or hashes.ndim != 1:
                raise InputError(f"{where}: rows of {name} must be an array of uint64 with one dimension")

    @property
    def reads_pairs(self) -> bool:
        """Whether it reads two texts a time, as it was trained."""
        return bool(self.training.get("pairs"))

    def settings(self, name: str) -> dict:
        """A group of the training's settings; a task put into a bank by hand need not have one."""
        found = self.training.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def n_out(self) -> int:
        """C, the outputs of the head."""
        return self.params["head/W"].shape[1]

    @property
    def n_params(self) -> int:
        """How many numbers are its own: those that its training changed."""
        return sum(array.size for array in self.params.values())

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by their names in the file without "params/": what the fingerprint is of."""
        return self.params | {f"rows/{name}": hashes for name, hashes in self.rows.items()}

    @property
    def tokens_seen(self) -> dict[str, np.ndarray]:
        """`rows`, if they are hashes of tokens; {} if it is not known which tokens the training saw."""
        return self.rows if self.rows_of == TOKENS else {}


def _known_shapes(bert: BertConfig, adapter: AdapterConfig | None, n_out: int) -> dict[str, tuple]:
    """Every parameter that a task can have trained."""
    D = bert.hidden_size
    head = {"head/W": (D, n_out), "head/b": (n_out,), "pooler/W": (D, D), "pooler/b": (D,)}  # a task's own pooler
    return bert.shapes() | (adapter.shapes(bert) if adapter else {}) | head


def check_task_name(name: str) -> None:
    """Raise InputError unless `name` can name a group of the file: text, not empty, without "/"."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise InputError(f"a task cannot be named {shown(name)}; expected a word without '/'")


def check_backbone(
    record: TaskRecord,
    backbone_fingerprint: str,
    config: BertConfig,
    path: str | Path,
    tokenizer: str = "",
    advice: str = "give the backbone it was trained on",
) -> None:
    """Raise InputError if a task of the bank `path` was trained on another backbone, or with another tokenizer.

    backbone_fingerprint: of the weights; config: how they are computed with, which the weights do not tell (the number
    of heads, …); tokenizer: its canonical JSON. A tokenizer that is not known ("") is not compared. advice: what to do.
    """
    if record.backbone_fingerprint != backbone_fingerprint:
        raise InputError(
            f"{path}: task {shown(record.name)} was trained on the backbone "
            f"{readable(record.backbone_fingerprint[:12])}, this one is "
            f"{backbone_fingerprint[:12]} (fingerprints); {advice}"
        )
    if other := config_difference(record.backbone_config, config):
        raise InputError(
            f"{path}: task {shown(record.name)} was trained on a backbone of the same weights with another config: "
            f"{other}; {advice}"
        )
    found = sha256_of_text(tokenizer)
    if tokenizer and record.backbone_tokenizer and record.backbone_tokenizer != found:
        raise InputError(
            f"{path}: task {shown(record.name)} was trained with another tokenizer than this backbone file has "
            f"({differences(tokenizer, record.backbone_tokenizer)}fingerprints {record.backbone_tokenizer[:12]} there, "
            f"{found[:12]} here); the weights are the same; give the backbone file it was trained with"
        )


def config_difference(there: BertConfig, here: BertConfig) -> str:
    """The settings that give other scores, as "n_heads is 4 there, 8 here"; "" if there are none."""
    names = [f.name for f in fields(BertConfig) if f.name not in DROPOUTS]
    both = [(name, getattr(there, name), getattr(here, name)) for name in names]
    return ", ".join(f"{name} is {one} there, {other} here" for name, one, other in both if one != other)


def write_bank(path: str | Path, tasks: dict[str, TaskRecord]) -> None:
    """Write a bank with these tasks, {name: record}. Raises InputError if they do not share one backbone."""
    if not tasks:
        raise InputError(f"{path}: there is no task to write")
    first = next(iter(tasks.values()))
    for name, record in tasks.items():
        if name != record.name:
            raise InputError(f"{path}: task {shown(record.name)} is filed as {shown(name)}; expected the same name")
        advice = "a bank is for one backbone: give the task another bank file"
        check_backbone(record, first.backbone_fingerprint, first.backbone_config, path, advice=advice)
    _check_one_tokenizer(path, tasks)
    with hdf5.write_file(path, "minibert-bank") as file:
        hdf5.write_text(file, "backbone_fingerprint", first.backbone_fingerprint)
        hdf5.write_text(file, "backbone_config", first.backbone_config.to_json())
        group = file.create_group("tasks")
        for name, record in tasks.items():
            _write_task(group.create_group(name), record)


def _check_one_tokenizer(path: str | Path, tasks: dict[str, TaskRecord]) -> None:
    known = {record.backbone_tokenizer: record for record in tasks.values() if record.backbone_tokenizer}
    if len(known) > 1:
        (one, first), (other, second) = list(known.items())[:2]
        raise InputError(
            f"{path}: tasks {shown(first.name)} and {shown(second.name)} were trained with different tokenizers "
            f"(fingerprints {readable(one[:12])}, {readable(other[:12])}); give the second one a bank of its own"
        )


def _write_task(group: h5py.Group, record: TaskRecord) -> None:
    hdf5.write_text(group, "head", record.head)
    hdf5.write_text(group, "method", record.method)
    hdf5.write_text(group, "backbone_tokenizer", record.backbone_tokenizer)
    hdf5.write_text(group, "adapter", record.adapter.to_json() if record.adapter else "")
    hdf5.write_json(group, "labels", list(record.labels))
    hdf5.write_json(group, "n_out", record.n_out)
    for name in ("model_options", "training", "dev"):
        hdf5.write_json(group, name, getattr(record, name))
    hdf5.write_json(group, "names", list(record.params))
    hdf5.write_text(group, "fingerprint", hdf5.fingerprint(record.arrays))
    hdf5.write_arrays(group.create_group("params"), record.params)
    if record.rows:
        hdf5.write_json(group, "rows", {name: len(hashes) for name, hashes in record.rows.items()})
        hdf5.write_text(group, "rows_of", record.rows_of)
        hdf5.write_arrays(group.create_group("rows"), record.rows)


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
    knows_tokenizer = tasks.file.attrs["version"] >= 2
    hdf5.check_children(group, ("params", "rows"), path)
    has_adapter = hdf5.read_text(group, "adapter", path) != ""
    adapter = hdf5.read_settings(AdapterConfig, group, "adapter", path) if has_adapter else None
    try:
        shapes = _known_shapes(config, adapter, hdf5.read_json(group, "n_out", path, int))
    except InputError as error:  # an adapter in a layer that the backbone does not have
        raise hdf5.in_file(path, error) from None
    expected = {}
    for array in hdf5.read_json(group, "names", path, list):
        if not isinstance(array, str) or array not in shapes:
            raise InputError(
                f"{path}: task {shown(name)} lists {shown(array)}, which its backbone and adapter do not have"
            )
        expected[array] = (shapes[array], "float32")
    params = hdf5.read_arrays(hdf5.child(group, "params", h5py.Group, path), expected, path)
    rows = _read_rows(group, path)
    try:
        record = TaskRecord(
            name=name,
            head=hdf5.read_text(group, "head", path),
            labels=tuple(hdf5.read_json(group, "labels", path, list)),
            method=hdf5.read_text(group, "method", path),
            params=params,
            backbone_fingerprint=fingerprint,
            backbone_config=config,
            backbone_tokenizer=hdf5.read_text(group, "backbone_tokenizer", path) if knows_tokenizer else "",
            adapter=adapter,
            rows=rows,
            rows_of=hdf5.read_text(group, "rows_of", path) if "rows_of" in group.attrs else TEXTS,
            **{key: hdf5.read_json(group, key, path, dict) for key in ("model_options", "training", "dev")},
        )
    except InputError as error:
        raise hdf5.in_file(path, error) from None
    stored = hdf5.read_text(group, "fingerprint", path)
    hdf5.check_sha256(path, f"task {shown(name)}", stored, hdf5.fingerprint(record.arrays), GET_BANK)
    return record


def choose(records: dict[str, TaskRecord], path: Path, name: str | None) -> TaskRecord:
    """The task called name, or the only one. Raises InputError if there is no such task, or if there are several."""
    if name is not None:
        _check_one(path, records, name)
        return find_task(path, records, name)
    if len(records) != 1:
        names = list_some(map(readable, records))
        raise InputError(f"{path} holds {len(records)} tasks; choose one with --name (in Python: name=…): {names}")
    (only,) = records.values()
    return only


def _check_one(path: str | Path, tasks: dict[str, TaskRecord], name: str) -> None:
    """Raise InputError if the name is a list of tasks, A,B."""
    several = [part.strip() for part in name.split(",")]
    if name not in tasks and len(several) > 1 and all(part in tasks for part in several):
        told = f"{shown(name)} lists {len(several)}; choose one of {', '.join(several)}"
        raise InputError(f"{path}: one task is read here, {told}")


def find_task(path: str | Path, tasks: dict[str, TaskRecord], name: str, more: str = "") -> TaskRecord:
    """The task of that name. Raises InputError if the bank has none. more: what could be named besides."""
    if name not in tasks:
        names = list_some([*map(readable, tasks), *([more] if more else [])])
        raise InputError(
            f"{path} has no task {shown(name)}; it has {names}.{did_you_mean(name, tasks)}".removesuffix(".")
        )
    return tasks[name]


def _read_rows(group: h5py.Group, path: str | Path) -> dict[str, np.ndarray]:
    """The hashes of rows that a task's group holds; none in files of version 1."""
    if "rows" not in group and "rows" not in group.attrs:
        return {}
    sizes = hdf5.read_json(group, "rows", path, dict)
    for name, size in sizes.items():
        if name not in ROWS or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InputError(
                f"{path}: {readable(group.name)} says {shown(size)} of rows {shown(name)}, expected how many they are"
            )
    expected = {name: ((size,), "uint64") for name, size in sizes.items()}
    return hdf5.read_arrays(hdf5.child(group, "rows", h5py.Group, path), expected, path)
