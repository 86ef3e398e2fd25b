"""Read a folder of the library as a task of a bank. What cannot be held is refused by its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minibert.config import AdapterConfig, BertConfig, TrainConfig
from minibert.errors import InputError, list_some, need, readable, shown
from minibert.params import flatten
from minibert.storage import BackboneFile, TaskRecord, config_difference
from weights_convert.adapterhub import heads, names, settings
from weights_convert.adapterhub.names import ADAPTER, HEAD, WEIGHTS
from weights_convert.tensor_types import FLOATS
from weights_convert.tensors import Tensors, open_tensors
from weights_convert.tokenizer_files import read_json

LONGEST_NAME = 150  # characters of a tensor's name in a message
SPAN_LENGTH = 384  # tokens of a question with its paragraph, where a file does not say


def import_(
    folder: Path, backbone: BackboneFile, name: str | None = None, pairs: bool | None = None
) -> tuple[TaskRecord, list[str]]:
    """The task of a folder, and what to tell of it. backbone: the model that it was trained on.

    name: what to call the task (None: as in the folder). pairs: whether it reads pairs of texts (None: as the folder
    says, if it was exported here; else if its head finds answers). Raises InputError that names the file.
    """
    bert, path, head_path = backbone.config, folder / ADAPTER, folder / HEAD
    need(path.is_file(), f"{folder}: has no {ADAPTER}; expected a folder as the AdapterHub library saves it")
    need(head_path.is_file(), f"{folder}: has no {HEAD}; save the adapter with its head: a task here has one")
    file, head_file = read_json(path), read_json(head_path)
    task = file.get("name")
    need(isinstance(task, str) and task != "", f"{path}: name is {shown(task)}, expected a text")
    for where, values in ((path, file), (head_path, head_file)):
        _check_model(values, bert, str(where))
    theirs = settings.to_ours(file, bert.n_layers, str(path))
    head = heads.to_ours(head_file, str(head_path))
    if head.options["pooled"] and "pooler/W" not in head.names.values() and not bert.pooler:
        raise InputError(
            f"{head_path}: the head reads BERT's own pooler, and this backbone has none: its checkpoint was saved "
            "without one; give a backbone with a pooler, the one that the task was trained on"
        )
    own = _read_own(file, backbone, str(path), head.head == "span")
    adapter, params, notes = _read_adapter(_open(folder, ADAPTER), task, theirs, backbone)
    has_norms = bool(set(names.layernorm_names(bert).values()) & set(params))
    imported = {key: file[key] for key in ("model_name", "version") if isinstance(file.get(key), str)}
    record = TaskRecord(
        name=name or own.name or task,
        head=head.head,
        labels=head.labels,
        method="adapter",
        params=params | _read_head(_open(folder, HEAD), head),
        adapter=adapter,
        model_options={"top_k": 0, "pooled": False, "train_layernorm": has_norms} | head.options,
        training={
            "imported": imported,
            "pairs": own.pairs if pairs is None else pairs,
            "train": {"max_length": min(own.max_length, bert.max_positions)},
        },
        dev=own.dev,
        backbone_fingerprint=backbone.fingerprint,
        backbone_tokenizer=backbone.tokenizer_fingerprint,
        backbone_config=bert,
    )
    return record, [*own.notes, *theirs.notes, *notes, *head.notes]


def _check_model(file: dict, bert: BertConfig, where: str) -> None:
    kind, size = file.get("model_type", "bert"), file.get("hidden_size", bert.hidden_size)
    need(kind == "bert", f"{where}: model_type is {shown(kind)}, expected 'bert'")
    need(
        size == bert.hidden_size,
        f"{where}: hidden_size is {shown(size)}, and the backbone's is {bert.hidden_size}: it belongs to another model",
    )


@dataclass(frozen=True)
class _Own:
    """What writing.py adds to a folder, or what is assumed of one from elsewhere."""

    name: str | None
    dev: dict[str, float]
    pairs: bool
    max_length: int
    notes: list[str]


def _read_own(file: dict, backbone: BackboneFile, where: str, is_span: bool) -> _Own:
    """Raises InputError if the folder says that it is of another backbone."""
    own = file.get("minibert", {})
    need(isinstance(own, dict), f"{where}: minibert is {shown(own)}, expected an object")
    name, fingerprint, dev = own.get("name"), own.get("backbone_fingerprint"), own.get("dev", {})
    need(name is None or isinstance(name, str), f"{where}: minibert's name is {shown(name)}, expected a text")
    numbers = isinstance(dev, dict) and all(map(settings.is_number, dev.values()))
    need(numbers, f"{where}: minibert's dev is {shown(dev)}, expected {{metric: number}}")
    length = own.get("max_length")
    fits = length is None or (type(length) is int and 3 <= length <= 65536)
    need(fits, f"{where}: minibert's max_length is {shown(length)}, expected a number of tokens")
    pairs = own.get("pairs", is_span)
    need(isinstance(pairs, bool), f"{where}: minibert's pairs is {shown(pairs)}, expected true or false")
    if fingerprint not in (None, backbone.fingerprint):
        raise InputError(
            f"{where}: was exported from the backbone {readable(str(fingerprint)[:12])}, this one is "
            f"{backbone.fingerprint[:12]} (fingerprints); give the backbone it was trained on"
        )
    if (config := own.get("backbone_config")) is not None:
        there = _config_of(config, where)
        if other := config_difference(there, backbone.config):
            raise InputError(f"{where}: was exported from a backbone of the same weights with another config: {other}")
    notes, model = [], file.get("model_name")
    if fingerprint is None:
        trained_on = f"says that it was trained on {shown(model)}" if model else "does not say what it was trained on"
        notes = [f"the folder keeps no fingerprint of its model; it {trained_on}: is the backbone that model?"]
    return _Own(name, dev, pairs, length or (SPAN_LENGTH if is_span else TrainConfig.max_length), notes)


def _config_of(values, where: str) -> BertConfig:
    try:
        return BertConfig.from_dict(values)
    except InputError as error:
        raise InputError(f"{where}: minibert's backbone_config: {error}") from None


def _open(folder: Path, config: str) -> Tensors:
    """The tensors of the adapter or the head: the .bin, which the library takes by default, or safetensors."""
    for name in WEIGHTS[config]:
        if (folder / name).is_file():
            return open_tensors(folder / name)
    raise InputError(f"{folder}: has neither {' nor '.join(WEIGHTS[config])}")


def _floats(tensors: Tensors, name: str) -> np.ndarray:
    """One tensor; its dtype is looked at before it is read."""
    dtype, _ = tensors.stored[name]
    known = (*FLOATS, "F64")
    need(dtype in known, f"{_tensor(tensors, name)} has dtype {dtype}, expected one of {', '.join(known)}")
    return tensors.read(name)


def _tensor(tensors: Tensors, name: str) -> str:
    """What a message on one tensor begins with."""
    return f"{tensors.path}: tensor {readable(name, LONGEST_NAME)}"


# ------------------------------------------------------------------------------------------------------------- adapter


def _read_adapter(
    tensors: Tensors, task: str, theirs: settings.TheirSettings, backbone: BackboneFile
) -> tuple[AdapterConfig, dict[str, np.ndarray], list[str]]:
    """The adapter with its size, its parameters with the LayerNorms that were trained, and what to tell."""
    known = names.adapter_names(task, theirs.adapter, backbone.config.n_layers)
    norms = names.layernorm_names(backbone.config)
    params, scalings = {}, {}
    for stored in tensors.stored:
        name = names.todays_name(stored)
        if name in known:
            ours, transposed = known[name]
            array = _floats(tensors, stored)
            array = array.T if transposed else array
            if ours in params and not np.array_equal(params[ours], array):
                raise InputError(f"{_tensor(tensors, stored)} is there twice, with other numbers")
            params[ours] = array
        elif name in norms:
            params[norms[name]] = _floats(tensors, stored)
        elif name.endswith(".scaling") and isinstance(theirs.scaling, str):
            scalings[name.removesuffix("scaling")] = _floats(tensors, stored)
        else:
            raise InputError(f"{_tensor(tensors, stored)} has no place in {_form(theirs.adapter)}")
    missing = [readable(f"bert.{name}", LONGEST_NAME) for name, (ours, _) in known.items() if ours not in params]
    need(not missing, f"{tensors.path}: has no tensor {list_some(missing, 3)}")
    adapter = replace(theirs.adapter, size=_common_size(params, tensors.path))
    notes = _fold(params, scalings, theirs.scaling, task, tensors.path)
    if set(norms.values()) & set(params):  # those that are not in the file are still the backbone's
        backbones = flatten(backbone.params)
        params = {ours: backbones[ours] for ours in norms.values()} | params
    with np.errstate(over="ignore"):  # an infinity is refused, as any in a task
        return adapter, {ours: np.ascontiguousarray(array, np.float32) for ours, array in params.items()}, notes


def _form(adapter: AdapterConfig) -> str:
    """What the config says, for the message on a tensor that does not fit it."""
    kinds = {"original_ln_before": adapter.reads_norm, "is_parallel": adapter.parallel, "ln_before": adapter.layernorm}
    placed = {"mh_adapter": "attention" in adapter.sublayers, "output_adapter": "feed_forward" in adapter.sublayers}
    there = [name for name, said in (placed | kinds).items() if said]
    return f"adapters with {', '.join(there)}, which is what {ADAPTER} says"


def _common_size(params: dict[str, np.ndarray], path: Path) -> int:
    """M of all adapters."""
    sizes = sorted({a.shape[-1] for name, a in params.items() if name.endswith("adapter/down/W") and a.ndim == 2})
    if len(sizes) > 1:
        raise InputError(
            f"{path}: has adapters of several sizes ({list_some(map(str, sizes))}), as a reduction_factor of its own "
            "for some layers gives; the adapters of a task here have one"
        )
    need(sizes, f"{path}: no adapter has a matrix adapter_down")
    return sizes[0]


def _fold(params: dict, scalings: dict, scaling: float | str, task: str, path: Path) -> list[str]:
    """Take the scaling into W_up and b_up: s (h W_up + b_up) is h (s W_up) + s b_up. Returns what to tell."""
    if scaling == 1.0:
        return []
    for ours in [name for name in params if name.endswith("adapter/up/W")]:
        scale = scaling if isinstance(scaling, float) else _scaling(scalings, params[ours], scaling, ours, task, path)
        for name in (ours, ours.removesuffix("W") + "b"):
            with np.errstate(over="ignore", invalid="ignore"):  # an infinity is refused, as any in a task
                params[name] = params[name].astype(np.float64) * scale
    others = [readable(f"{name}scaling", LONGEST_NAME) for name in scalings]
    need(not others, f"{path}: has a tensor {list_some(others, 1)} without an adapter")
    return [f"the scaling ({scaling}) is folded into W_up and b_up: the scores are the same"]


def _scaling(scalings: dict, W_up: np.ndarray, kind: str, ours: str, task: str, path: Path) -> np.ndarray:
    """The tensor by which one adapter is scaled; it is taken out of scalings."""
    _, _, layer, sublayer, *_ = ours.split("/")
    scale = scalings.pop(names.adapter_prefix(task, int(layer), sublayer), None)
    need(scale is not None, f"{path}: scaling is {kind}, but layer {layer} has no tensor scaling")
    wanted = (1,) if kind == "learned" else W_up.shape[1:]
    need(scale.shape == wanted, f"{path}: a tensor scaling has the shape {scale.shape}, expected {wanted}")
    return scale


# ---------------------------------------------------------------------------------------------------------------- head


def _read_head(tensors: Tensors, head: heads.TheirHead) -> dict[str, np.ndarray]:
    params = {}
    for stored in tensors.stored:
        if stored not in head.names:
            raise InputError(f"{_tensor(tensors, stored)} has no place in the head that {HEAD} says")
        with np.errstate(over="ignore"):
            params[head.names[stored]] = np.ascontiguousarray(_floats(tensors, stored).T, np.float32)
    if not head.has_bias and "head/W" in params:
        params.setdefault("head/b", np.zeros(params["head/W"].shape[-1:], np.float32))
    missing = [readable(stored, LONGEST_NAME) for stored, ours in head.names.items() if ours not in params]
    need(not missing, f"{tensors.path}: has no tensor {list_some(missing)}")
    return params
