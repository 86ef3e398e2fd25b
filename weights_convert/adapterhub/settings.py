"""What the library says of the form of an adapter, and what we say: its adapter_config.json and our AdapterConfig.

Its adapter is written with switches. Those that make one of our forms:

    library                              here
    mh_adapter, output_adapter           sublayers
    leave_out                            layers (theirs lists those without)
    original_ln_before                   reads_norm: seq_bn, its default (Pfeiffer et al., 2020)
    is_parallel                          parallel (then original_ln_before is not looked at)
    ln_before                            layernorm, with PyTorch's epsilon of 1e-5
    scaling                              folded into W_up and b_up: s (h W_up + b_up) = h (s W_up) + s b_up
    reduction_factor                     size: M = int(D // reduction_factor)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from minibert.config import AdapterConfig, BertConfig
from minibert.errors import InputError, list_some, need, readable, shown

PYTORCH_EPS = 1e-5  # of every LayerNorm that the library makes

THEIR_ACTIVATION = {"gelu": "gelu", "gelu_tanh": "gelu_new", "swish": "swish", "relu": "relu", "tanh": "tanh"}
OUR_ACTIVATION = {theirs: ours for ours, theirs in THEIR_ACTIVATION.items()}
OUR_ACTIVATION |= {"silu": "swish", "gelu_pytorch_tanh": "gelu_tanh"}
IN_OLD_FILES = {"gelu": "gelu_new", "gelu_orig": "gelu"}  # whose adapter_config.json has no "version"

# What a file of today leaves out, as the library's dataclass has it; "..." must be there.
DEFAULTS = {
    "mh_adapter": ...,
    "output_adapter": ...,
    "reduction_factor": ...,
    "non_linearity": ...,
    "original_ln_before": False,
    "original_ln_after": True,
    "residual_before_ln": True,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "leave_out": [],
    "inv_adapter": None,
    "use_gating": False,
    "phm_layer": False,
    "dropout": 0.0,
    "stochastic_depth": 0.0,
}
# Parts of the formula that we do not have, with the value under which they are not there.
ABSENT = {"original_ln_after": True, "ln_after": False, "inv_adapter": None, "use_gating": False, "phm_layer": False}
# What decides how an adapter begins, or is a detail of a part that is not there.
WITHOUT_EFFECT = {"init_weights", "init_weights_seed", "inv_adapter_reduction_factor", "adapter_residual_before_ln"}
WITHOUT_EFFECT |= {"cross_adapter", "factorized_phm_W", "factorized_phm_rule", "shared_W_phm", "shared_phm_rule"}
WITHOUT_EFFECT |= {"learn_phm", "hypercomplex_nonlinearity", "architecture", "attention_type"}
WITHOUT_EFFECT |= {f"phm_{name}" for name in ("bias", "c_init", "dim", "init_range", "rank")}


def reduction_factor(hidden_size: int, size: int) -> float:
    """D / (M + 0.5), from which the library's int(D // factor) is M again, where D / M gives M - 1 for many a pair."""
    return hidden_size / (size + 0.5)


def library_size(hidden_size: int, factor: float) -> int:
    """M, as the library computes it."""
    return max(1, int(hidden_size // factor))


def is_number(value) -> bool:
    """Whether it is a number that a float holds: JSON has whole numbers of any size, and infinities."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def to_theirs(adapter: AdapterConfig, bert: BertConfig, where: str) -> dict:
    """The "config" of adapter_config.json. Raises InputError if the library has no such adapter."""
    no_depth = f"{where} has adapters of depth {adapter.depth}, and the library's have one hidden layer"
    need(adapter.depth == 1, f"{no_depth}: it cannot be exported")
    need(not adapter.multiplicative, f"{where} has multiplicative adapters, and the library has none: not exported")
    if adapter.layernorm and adapter.layernorm_eps != PYTORCH_EPS:
        raise InputError(
            f"{where} has a LayerNorm in its adapters with the epsilon {adapter.layernorm_eps:g}, and the library's "
            f"have {PYTORCH_EPS:g}: train with --adapter-layernorm-eps {PYTORCH_EPS:g} to export it"
        )
    layers = range(bert.n_layers) if adapter.layers is None else adapter.layers
    return DEFAULTS | {
        "mh_adapter": "attention" in adapter.sublayers,
        "output_adapter": "feed_forward" in adapter.sublayers,
        "reduction_factor": reduction_factor(bert.hidden_size, adapter.size),
        "non_linearity": THEIR_ACTIVATION[adapter.activation],
        "original_ln_before": adapter.reads_norm,
        "ln_before": adapter.layernorm,
        "is_parallel": adapter.parallel,
        "leave_out": [i for i in range(bert.n_layers) if i not in layers],
    }


@dataclass(frozen=True)
class TheirSettings:
    """What adapter_config.json says. adapter: its size is not known before the tensors are looked at, and is 1 here.

    scaling: a number, "learned" or "channel"; notes: to print.
    """

    adapter: AdapterConfig
    scaling: float | str
    notes: tuple[str, ...]


def to_ours(file: dict, n_layers: int, where: str) -> TheirSettings:
    """Read adapter_config.json. Raises InputError, which begins with `where`, if we have no such adapter."""
    config = file.get("config")
    need(isinstance(config, dict), f"{where}: config is {shown(config)}, expected an object")
    architecture = config.get("architecture")
    need(architecture is None, f"{where}: architecture is {shown(architecture)}, and only bottleneck adapters are read")
    missing = [name for name, default in DEFAULTS.items() if default is ... and name not in config]
    need(not missing, f"{where}: config has no {list_some(missing)}")
    config, notes = _without_unused_inverse(file, config)
    _check_known(config, where)
    found = DEFAULTS | {name: value for name, value in config.items() if name in DEFAULTS}
    _check_absent(found, where)
    parallel, reads_norm = bool(found["is_parallel"]), bool(found["original_ln_before"]) and not found["is_parallel"]
    if reads_norm and found["residual_before_ln"] is not True:
        residual = shown(found["residual_before_ln"])
        raise InputError(
            f"{where}: residual_before_ln is {residual} with original_ln_before: its skip connection starts after the "
            "LayerNorm or the sum, and ours at the sublayer's output"
        )
    adapter = AdapterConfig(
        size=1,
        sublayers=_sublayers(found, where),
        layers=_layers(found["leave_out"], n_layers, where),
        activation=_activation(found["non_linearity"], "version" not in file, where),
        layernorm=bool(found["ln_before"]),
        layernorm_eps=PYTORCH_EPS if found["ln_before"] else AdapterConfig.layernorm_eps,
        parallel=parallel,
        reads_norm=reads_norm,
    )
    scaling = found["scaling"]
    known = is_number(scaling) or scaling in ("learned", "channel")
    need(known, f"{where}: scaling is {shown(scaling)}, which is not known")
    return TheirSettings(adapter, float(scaling) if is_number(scaling) else scaling, (*notes, *_training_notes(found)))


def _without_unused_inverse(file: dict, config: dict) -> tuple[dict, list[str]]:
    """Old releases wrote of every adapter that it has an invertible one, also of a task, which never has. Should there
    be one after all, its tensors have no place here, and are refused."""
    inverse = {"inv_adapter", "invertible_adapter"} & {name for name, value in config.items() if value}
    if not inverse or file.get("type") != "text_task":
        return config, []
    rest = {name: value for name, value in config.items() if name not in inverse}
    return rest, [f"{inverse.pop()} is left out: an adapter of type text_task has no invertible adapter"]


def _check_known(config: dict, where: str) -> None:
    """A setting that is not known here may be part of the formula, unless it says that something is not there."""
    for name, value in config.items():
        if name not in DEFAULTS and name not in WITHOUT_EFFECT:
            need(not value, f"{where}: has the setting {readable(name)}={shown(value)}, which is not known here")


def _check_absent(found: dict, where: str) -> None:
    for name, absent in ABSENT.items():
        value = found[name]
        if value != absent and (value or absent):
            raise InputError(f"{where}: {name} is {shown(value)}, and minibert has no adapters with that")


def _sublayers(found: dict, where: str) -> tuple[str, ...]:
    placed = {"attention": found["mh_adapter"], "feed_forward": found["output_adapter"]}
    sublayers = tuple(name for name, there in placed.items() if there)
    need(sublayers, f"{where}: neither mh_adapter nor output_adapter is set, so there is no adapter")
    return sublayers


def _layers(leave_out, n_layers: int, where: str) -> tuple[int, ...] | None:
    numbers = isinstance(leave_out, list) and all(type(i) is int for i in leave_out)
    need(numbers, f"{where}: leave_out is {shown(leave_out)}, expected numbers of layers")
    layers = tuple(i for i in range(n_layers) if i not in leave_out)
    need(layers, f"{where}: leave_out leaves no layer of {n_layers} with an adapter")
    return None if len(layers) == n_layers else layers


def _activation(name, is_old: bool, where: str) -> str:
    known = name.lower() if isinstance(name, str) else None
    ours = OUR_ACTIVATION.get(IN_OLD_FILES.get(known, known) if is_old else known)
    need(ours is not None, f"{where}: non_linearity is {shown(name)}; minibert has {', '.join(OUR_ACTIVATION)}")
    return ours


def _training_notes(found: dict) -> tuple[str, ...]:
    """What the library does while it trains, and is not kept."""
    names = [name for name in ("dropout", "stochastic_depth") if found[name]]
    return tuple(f"{name} {shown(found[name])} in the adapter is for training alone, and is not kept" for name in names)
