"""What is trained: the five methods as sets of parameter names, and the table that tells it before step 1.

adapter     adapters, every LayerNorm, the head: the paper's method
full        everything
top_k       the highest k layers, the head, and the pooler if the head reads it; with k = L everything (the paper's
            variable fine-tuning, sections 3.3 and 3.4)
layernorm   every LayerNorm and the head (section 3.4)
head        the head alone: a linear classifier on the features of a frozen backbone
"""

from __future__ import annotations

import math
from numbers import Integral

from minibert.config import METHODS
from minibert.errors import InputError, shown

ONLY_FOR = {"adapter": "adapter", "train_layernorm": "adapter", "top_k": "top_k"}  # option: the one method that uses it
# Of the options that a bank keeps; the last one only if it is set: earlier versions do not know it.
KINDS = {"top_k": int, "pooled": bool, "train_layernorm": bool, "train_pooler": bool}
FLAGS = {"adapter": "--init-std, --freeze-layernorm and all --adapter options need", "top_k": "--top-k needs"}


def check_options(method: str, adapter=None, top_k: int = 0, train_layernorm: bool = True) -> None:
    """Raise InputError if the method is unknown, or if an option is given that it does not use.

    adapter: an AdapterConfig or None; the defaults of all stand for "not given".
    """
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}; got {shown(method)}")
    given = {"adapter": adapter is not None, "train_layernorm": not train_layernorm, "top_k": bool(top_k)}
    for option, only in ONLY_FOR.items():
        if given[option] and method != only:
            raise InputError(f"{option} is given: {FLAGS[only]} --method {only}, not {method}")


def used_options(method: str, options: dict) -> dict:
    """Those of a bank's options that the method uses: earlier versions kept others, too.

    Raises InputError if one is not known here, or of another kind.
    """
    for name, value in options.items():
        if type(value) is not KINDS.get(name):
            known = ", ".join(KINDS)
            raise InputError(f"has the option {name}={value!r}, which this version does not know; it knows {known}")
    return {name: value for name, value in options.items() if ONLY_FOR.get(name, method) == method}


def check_pooler(method: str, pooled: bool, train_pooler: bool) -> None:
    """Raise InputError if a pooler is to be trained where there is none, or where it is trained anyway."""
    if train_pooler and not pooled:
        raise InputError("train_pooler is given, and the head reads no pooler: --train-pooler needs --pooled-head")
    if train_pooler and method in ("full", "top_k"):
        raise InputError(f"method {method} trains a pooler that the head reads: leave out train_pooler")


def trained_names(
    names, method: str, n_layers: int, top_k: int = 0, train_layernorm: bool = True, train_pooler: bool = False
) -> set[str]:
    """Those of the flat parameter names that the method trains.

    top_k: the number of layers for method top_k. train_layernorm False leaves the LayerNorms frozen in method adapter.
    train_pooler: the pooler trains, whatever the method. Raises InputError if the method is unknown, does not use an
    option that is given, or top_k does not fit.
    """
    check_options(method, None, top_k, train_layernorm)
    if method == "top_k" and not (isinstance(top_k, Integral) and 1 <= top_k <= n_layers):
        raise InputError(f"method top_k needs the number of layers to train, from 1 to {n_layers}; got {top_k}")
    chosen = {
        "adapter": lambda name: "/adapter/" in name or (train_layernorm and "/norm/" in name),
        "full": lambda name: True,
        "top_k": lambda name: top_k == n_layers or name.startswith("pooler/") or _layer(name) >= n_layers - top_k,
        "layernorm": lambda name: "/norm/" in name,
        "head": lambda name: False,
    }[method]
    always = ("head/", "pooler/") if train_pooler else ("head/",)
    return {name for name in names if name.startswith(always) or chosen(name)}


def _layer(name: str) -> int:
    """The layer that a parameter belongs to; -1 below the first."""
    return int(name.split("/")[2]) if name.startswith("encoder/layers/") else -1


DEFAULT_LR = {"adapter": 1e-3, "full": 1e-4, "top_k": 1e-4, "layernorm": 1e-3, "head": 3e-2}
DEFAULTS = {method: {"lr": lr} for method, lr in DEFAULT_LR.items()}  # of TrainConfig, where a method has its own
DEFAULTS["head"] |= {"epochs": 50, "weight_decay": 0.0}  # of a linear classifier whose epochs cost almost nothing

GROUPS = ("embeddings", "attention", "feed-forward", "LayerNorms", "adapters", "pooler", "head")


def group_of(name: str) -> str:
    """The row of the table that a parameter is counted in."""
    if "/adapter/" in name:
        return "adapters"
    if "/norm/" in name:
        return "LayerNorms"
    if name.startswith("encoder/"):
        return "attention" if "/attention/" in name else "feed-forward"
    return name.split("/")[0]


def parameter_table(shapes: dict[str, tuple[int, ...]], trained: set[str]) -> list[tuple[str, int, int]]:
    """(group, parameters, of which trained) for each group that has any, and a last row "total"."""
    counts = {group: [0, 0] for group in GROUPS}
    for name, shape in shapes.items():
        size = math.prod(shape)
        counts[group_of(name)][0] += size
        counts[group_of(name)][1] += size if name in trained else 0
    rows = [(group, total, used) for group, (total, used) in counts.items() if total]
    return [*rows, ("total", sum(r[1] for r in rows), sum(r[2] for r in rows))]


def percent(part: float, whole: float) -> str:
    """part / whole in percent, with two decimals, or with the first digit that is not 0, as in 0.003."""
    share = 100 * part / whole
    return f"{share:.2f}" if share == 0 or share >= 0.01 else f"{share:.1g}"


def format_table(rows: list[tuple[str, int, int]]) -> str:
    """The table as text; the last column is the share of all parameters that the group's trained ones make up."""
    total = rows[-1][1]
    lines = [f"{'group':<14}{'parameters':>13}{'trained':>13}{'percent':>10}"]
    lines += [f"{g:<14}{n:>13,}{t:>13,}{percent(t, total):>9}%" for g, n, t in rows]
    return "\n".join([lines[0], "-" * 50, *lines[1:-1], "-" * 50, lines[-1]])
