"""Hugging Face's names for the tensors of BERT, and ours, as data.

Frameworks store the weights of a linear layer as (out, in); ours are (in, out), so that `x @ W + b` reads like the
formula. Those are transposed. Embeddings are tables of rows in both and stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from minibert.config import BertConfig
from minibert.errors import InputError, list_some, readable, shown
from minibert.storage.hdf5 import check_finite
from weights_convert.tensor_types import FLOATS

TRANSPOSED, AS_IS = True, False

OUTSIDE_LAYERS = (
    ("embeddings.word_embeddings.weight", "embeddings/word/W", AS_IS),
    ("embeddings.position_embeddings.weight", "embeddings/position/W", AS_IS),
    ("embeddings.token_type_embeddings.weight", "embeddings/segment/W", AS_IS),
    ("embeddings.LayerNorm.weight", "embeddings/norm/gamma", AS_IS),
    ("embeddings.LayerNorm.bias", "embeddings/norm/beta", AS_IS),
)
POOLER = (
    ("pooler.dense.weight", "pooler/W", TRANSPOSED),
    ("pooler.dense.bias", "pooler/b", AS_IS),
)
IN_EACH_LAYER = (
    ("attention.self.query.weight", "attention/query/W", TRANSPOSED),
    ("attention.self.query.bias", "attention/query/b", AS_IS),
    ("attention.self.key.weight", "attention/key/W", TRANSPOSED),
    ("attention.self.key.bias", "attention/key/b", AS_IS),
    ("attention.self.value.weight", "attention/value/W", TRANSPOSED),
    ("attention.self.value.bias", "attention/value/b", AS_IS),
    ("attention.output.dense.weight", "attention/output/W", TRANSPOSED),
    ("attention.output.dense.bias", "attention/output/b", AS_IS),
    ("attention.output.LayerNorm.weight", "attention/norm/gamma", AS_IS),
    ("attention.output.LayerNorm.bias", "attention/norm/beta", AS_IS),
    ("intermediate.dense.weight", "feed_forward/intermediate/W", TRANSPOSED),
    ("intermediate.dense.bias", "feed_forward/intermediate/b", AS_IS),
    ("output.dense.weight", "feed_forward/output/W", TRANSPOSED),
    ("output.dense.bias", "feed_forward/output/b", AS_IS),
    ("output.LayerNorm.weight", "feed_forward/norm/gamma", AS_IS),
    ("output.LayerNorm.bias", "feed_forward/norm/beta", AS_IS),
)
# Not part of the encoder: a buffer that only counts 0, 1, 2, ..., the heads of pre-training (cls), of sequences, tokens
# and multiple choice (classifier), of questions (qa_outputs); in checkpoints of TensorFlow also the output layer of a
# fine-tuned model, the step, and what Adam remembers.
LEFT_OUT = re.compile(
    r"embeddings\.position_ids|(cls|classifier|qa_outputs)\..*|output_(weights|bias)|global_step|.*\.adam_[mv]"
)
# How TensorFlow's spelling of LayerNorm came through in the first conversions.
OLD_SPELLING = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def name_map(n_layers: int, pooler: bool = True) -> dict[str, tuple[str, bool]]:
    """{Hugging Face's name: (our flat name, transposed)} of every parameter of an encoder with `n_layers` layers."""
    outside = OUTSIDE_LAYERS + POOLER if pooler else OUTSIDE_LAYERS
    names = {theirs: (ours, transposed) for theirs, ours, transposed in outside}
    for i in range(n_layers):
        for theirs, ours, transposed in IN_EACH_LAYER:
            names[f"encoder.layer.{i}.{theirs}"] = (f"encoder/layers/{i}/{ours}", transposed)
    return names


def plain_name(name: str) -> str:
    """A checkpoint's name without the optional "bert." in front, in today's spelling of LayerNorm."""
    name = name.removeprefix("bert.")
    for old, new in OLD_SPELLING.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    return name


def has_pooler(stored) -> bool:
    """Whether any of a checkpoint's names is one of the pooler."""
    return not {theirs for theirs, _, _ in POOLER}.isdisjoint(map(plain_name, stored))


@dataclass
class Account:
    """What became of every tensor of a checkpoint: (their name, our name or "", shape, transposed, converted from)."""

    rows: list[tuple] = field(default_factory=list)

    def table(self, verbose: bool = False) -> str:
        """A table by group with counts and totals; verbose: before it one line a tensor."""
        lines = [self._row_line(*row) for row in self.rows] + [""] if verbose else []
        lines.append(f"{'group':<12}{'tensors':>9}{'transposed':>12}{'parameters':>14}")
        kept = [row for row in self.rows if row[1]]
        for group in ("embeddings", "encoder", "pooler"):
            lines.append(self._group_line(group, [row for row in kept if row[1].startswith(f"{group}/")]))
        lines.append(self._group_line("mapped", kept))
        left_out = [row for row in self.rows if not row[1]]
        names = list_some(readable(row[0]) for row in left_out)
        lines.append(self._group_line("left out", left_out) + (f"   {names}" if names else ""))
        for dtype, called in FLOATS.items():
            halves = sum(row[4] == dtype for row in kept)
            if halves and dtype != "F32":
                lines.append(
                    f"{halves} tensors were {called} and are now float32 (exactly: every {called} is a float32)"
                )
        return "\n".join(lines)

    @staticmethod
    def _group_line(group: str, rows: list) -> str:
        parameters = sum(int(np.prod(row[2])) for row in rows)
        return f"{group:<12}{len(rows):>9}{sum(row[3] for row in rows):>12}{parameters:>14,}"

    @staticmethod
    def _row_line(theirs: str, ours: str, shape: tuple, transposed: bool, dtype: str) -> str:
        how = "transposed" if transposed else ""
        return f"{readable(theirs):<58} {dtype:<4}{shape!s:<14} {how:<10} -> {ours or '(left out)'}"


def to_ours(read, stored: dict[str, tuple[str, tuple]], config: BertConfig) -> tuple[dict, Account]:
    """Rename and transpose the tensors of a checkpoint.

    stored: {their name: (dtype as safetensors spells it, shape)}; read(name) -> array.
    Returns ({our flat name: float32 array}, Account), in the order of `config.shapes()`.
    Raises InputError if a name is unknown, one is missing or there twice, a shape or dtype is not what it should be, or
    a number is not finite.
    """
    known, shapes, account = name_map(config.n_layers, config.pooler), config.shapes(), Account()
    theirs_of: dict[str, str] = {}
    for theirs, (dtype, shape) in sorted(stored.items()):
        plain = plain_name(theirs)
        if LEFT_OUT.fullmatch(plain):
            account.rows.append((theirs, "", shape, AS_IS, dtype))
            continue
        if plain not in known:
            raise InputError(
                f"tensor {shown(theirs)} is unknown; expected a BERT encoder of {config.n_layers} layers (BertModel), "
                "or one of transformers' models with a head, which is left out (cls., classifier., qa_outputs.)"
            )
        ours, transposed = known[plain]
        if ours in theirs_of:
            raise InputError(
                f"tensors {shown(theirs_of[ours])} and {shown(theirs)} both mean {ours}; expected one of them"
            )
        expected = shapes[ours][::-1] if transposed else shapes[ours]
        if shape != expected:
            raise InputError(f"tensor {shown(theirs)} has shape {shape}, expected {expected} from config.json")
        _check_dtype(theirs, dtype)
        theirs_of[ours] = theirs
        account.rows.append((theirs, ours, shape, transposed, dtype))
    _check_complete(theirs_of, known)
    transposed_of = dict(known.values())
    arrays = {}
    for ours in shapes:
        array = read(theirs_of[ours])
        check_finite(f"tensor {shown(theirs_of[ours])}", array)
        arrays[ours] = np.ascontiguousarray(array.T if transposed_of[ours] else array, dtype=np.float32)
    return arrays, account


def _check_dtype(name: str, dtype: str) -> None:
    if dtype not in FLOATS:
        raise InputError(f"tensor {shown(name)} has dtype {dtype}, expected {' or '.join(FLOATS)}")


def _check_complete(theirs_of: dict, known: dict) -> None:
    for theirs, (ours, _) in known.items():
        if ours not in theirs_of:
            raise InputError(f"tensor {shown(theirs)} is missing; expected one for {ours}")


def to_theirs(arrays: dict[str, np.ndarray], config: BertConfig) -> dict[str, np.ndarray]:
    """The way back, bit for bit: {our flat name: array} -> {Hugging Face's name: array}."""
    return {
        theirs: np.ascontiguousarray(arrays[ours].T if transposed else arrays[ours])
        for theirs, (ours, transposed) in name_map(config.n_layers, config.pooler).items()
    }
