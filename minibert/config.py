"""Settings of a backbone, an adapter and a training run: frozen dataclasses that check themselves.

Everything that reads a setting can rely on it: a config that exists is a valid one.
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import MISSING, asdict, dataclass, fields
from functools import lru_cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

ACTIVATIONS = ("gelu", "gelu_tanh", "swish", "relu", "tanh")
METHODS = ("adapter", "full", "top_k", "layernorm", "head")
HEADS = {"classify": None, "regress": 1, "span": 2}  # name -> number of outputs; None: one for each class


class InputError(ValueError):
    """Something the user gave cannot be used. The message says what it was, what was expected, and what to do.

    The command line prints it as one line and ends with exit code 2.
    """


_CONTROL = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")


def printable(text: str) -> str:
    """The text with a space for every character that would break a line, or steer the terminal."""
    return text.translate(_CONTROL)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _whole_number(name: str, value, low: int, high: int = 2**31) -> int:
    """The value as Python's own int: NumPy's are numbers, too, and JSON does not take them."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    _need(whole and low <= value <= high, f"{name} must be a whole number from {low} to {high}, got {shown(value)}")
    return int(value)


def _number(name: str, value, low: float, high: float, above: bool = False) -> float:
    """The value as Python's own float."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    inside = number and (low < value if above else low <= value) and value <= high
    _need(inside, f"{name} must be a number {'above' if above else 'from'} {low:g} to {high:g}, got {shown(value)}")
    return float(value)


def _need_one_of(name: str, value, choices: tuple[str, ...]) -> None:
    _need(value in choices, f"{name} must be one of {', '.join(choices)}; got {shown(value)}")


LONGEST_SHOWN = 60  # characters of one text
LONGEST_VALUE = 200  # of a list or an object; of what another library says


def cut(text: str, most: int = LONGEST_SHOWN) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quoted(text: str, written=repr) -> str:
    """A text in quotes, cut short before it is written with escapes, and after that."""
    return cut(written(cut(text)), LONGEST_SHOWN + 20)


class _Short(reprlib.Repr):
    def repr_str(self, text: str, level: int) -> str:
        return quoted(text)

    def repr_int(self, number: int, level: int) -> str:  # Python writes no number of over 4,300 digits
        bits = number.bit_length()
        return repr(number) if bits < 4 * LONGEST_SHOWN else f"a whole number of {bits:,} bits"


_SHORT = _Short()
_SHORT.maxother = LONGEST_SHOWN


def shown(value) -> str:
    """A value from a file, for a message: as Python writes it, on one line, cut short, whatever its size and depth."""
    return cut(_SHORT.repr(value), LONGEST_VALUE)


def readable(text: str, most: int = LONGEST_SHOWN) -> str:
    """A name from a file, for a message: cut short; without quotes and escapes if it can be read without."""
    return cut(text, most) if text.isprintable() else quoted(text)


def one_line(error: BaseException) -> str:
    """What another library says, for a message: on one line, cut short; the kind of error if it says nothing."""
    return readable(" ".join(str(error).split()), LONGEST_VALUE) or type(error).__name__


def parse_json(text: str | bytes, where: str):
    """The value of a JSON text, which stands at `where`. Raises InputError: not JSON, nested too deep for Python, or an
    object with the same key twice (the last would win without a word)."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except RecursionError:
        raise InputError(f"{where}: its lists or objects lie too deep in one another") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except ValueError as error:  # bytes that are no text, a number of thousands of digits
        raise InputError(f"{where}: not valid JSON: {error}") from None


def _unique_keys(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise InputError(f"{shown(twice)} is there twice in one object")
    return found


def check_fields(cls: type, values, where: str, complete: bool = False) -> dict:
    """`values`, such as a file gives them, if they are fields of a dataclass: lists may stand for tuples, and whole
    numbers for float. complete: those with a default must be there, too.

    Raises InputError, which begins with `where`, if one is missing, unknown, or of another type.
    """
    _need(isinstance(values, dict), f"{where}: expected an object, got {shown(values)}")
    known = {field.name: field for field in fields(cls)}
    for name in values:
        _need(name in known, f"{where}: {shown(name)} is unknown")
    for name, kind in get_type_hints(cls).items():
        if name not in values:
            default = known[name].default is not MISSING or known[name].default_factory is not MISSING
            _need(default and not complete, f"{where}: {name!r} is missing")
        else:
            _need(_is_of(values[name], kind), f"{where}: {name} is {shown(values[name])}, expected {_named(kind)}")
    return values


def _is_of(value, kind) -> bool:
    if get_origin(kind) is UnionType:
        return any(_is_of(value, one) for one in get_args(kind))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    if get_origin(kind) is tuple:  # of the same type all through: tuple[X, ...]
        return isinstance(value, (tuple, list)) and all(_is_of(one, get_args(kind)[0]) for one in value)
    return isinstance(value, get_origin(kind) or kind)


def _named(kind) -> str:
    """The type, in the words of JSON."""
    words = {dict: "an object", str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    words |= {NoneType: "null", tuple: "a list", list: "a list"}
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    return " or ".join(words.get(get_origin(one) or one, getattr(one, "__name__", str(one))) for one in kinds)


class _Settings:
    """Fields that are checked when they are set, to and from JSON, for the attributes of the HDF5 files."""

    def _check_int(self, field: str, low: int, high: int = 2**31, called: str = "") -> None:
        object.__setattr__(self, field, _whole_number(called or field, getattr(self, field), low, high))

    def _check_float(self, field: str, low: float, high: float, above: bool = False, called: str = "") -> None:
        object.__setattr__(self, field, _number(called or field, getattr(self, field), low, high, above))

    def to_json(self) -> str:
        """The settings as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str):
        """Read back what `to_json` wrote. Raises InputError if a setting is unknown, missing or out of range."""
        return cls.from_dict(parse_json(text, cls.__name__))

    @classmethod
    def from_dict(cls, values: dict):
        """The settings {name: value}. Raises InputError if one is unknown, missing or out of range."""
        _need(isinstance(values, dict), f"{cls.__name__} must be a JSON object, got {shown(values)}")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        _need(not unknown, f"{cls.__name__} has no setting named {', '.join(map(readable, unknown[:10]))}")
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in values]
        _need(not missing, f"{cls.__name__} is incomplete: {', '.join(missing)} must be given")
        return cls(**values)


def _linear_shapes(name: str, n_in: int, n_out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/W": (n_in, n_out), f"{name}/b": (n_out,)}


def _norm_shapes(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/norm/gamma": (size,), f"{name}/norm/beta": (size,)}


# Far above every BERT there is, and small enough that a file that lies about its shape costs no time.
MOST = {"vocab_size": 2**24, "hidden_size": 2**16, "n_layers": 1024, "n_heads": 2**16, "feed_forward_size": 2**20}
MOST |= {"max_positions": 2**20, "n_segments": 2**16}


@dataclass(frozen=True)
class BertConfig(_Settings):
    """The shape of a BERT encoder (Devlin et al., 2018). The letters are those of layers.py."""

    vocab_size: int  # V
    hidden_size: int  # D
    n_layers: int  # L
    n_heads: int  # H; d_head is D / H
    feed_forward_size: int  # F
    max_positions: int = 512
    n_segments: int = 2
    layernorm_eps: float = 1e-12
    activation: str = "gelu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1

    def __post_init__(self):
        for name, most in MOST.items():
            self._check_int(name, 2 if name == "max_positions" else 1, most)  # [CLS] and [SEP] are always there
        _need(
            self.hidden_size % self.n_heads == 0,
            f"hidden_size ({self.hidden_size}) must be a multiple of n_heads ({self.n_heads})",
        )
        self._check_float("layernorm_eps", 0.0, 1.0, above=True)
        _need_one_of("activation", self.activation, ("gelu", "gelu_tanh"))
        self._check_float("hidden_dropout", 0.0, 0.9)
        self._check_float("attention_dropout", 0.0, 0.9)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Flat name and shape of every parameter of the backbone; weights are (in, out)."""
        V, D, F = self.vocab_size, self.hidden_size, self.feed_forward_size
        shapes = {
            "embeddings/word/W": (V, D),
            "embeddings/position/W": (self.max_positions, D),
            "embeddings/segment/W": (self.n_segments, D),
            **_norm_shapes("embeddings", D),
        }
        for i in range(self.n_layers):
            attention, feed_forward = f"encoder/layers/{i}/attention", f"encoder/layers/{i}/feed_forward"
            for projection in ("query", "key", "value", "output"):
                shapes |= _linear_shapes(f"{attention}/{projection}", D, D)
            shapes |= _norm_shapes(attention, D)
            shapes |= _linear_shapes(f"{feed_forward}/intermediate", D, F)
            shapes |= _linear_shapes(f"{feed_forward}/output", F, D)
            shapes |= _norm_shapes(feed_forward, D)
        return shapes | _linear_shapes("pooler", D, D)


PRESETS = {
    "minilm-l6": BertConfig(30522, hidden_size=384, n_layers=6, n_heads=12, feed_forward_size=1536),
    "bert-base": BertConfig(30522, hidden_size=768, n_layers=12, n_heads=12, feed_forward_size=3072),
    "bert-large": BertConfig(30522, hidden_size=1024, n_layers=24, n_heads=16, feed_forward_size=4096),
}


SUBLAYERS = ("attention", "feed_forward")


@dataclass(frozen=True)
class AdapterConfig(_Settings):
    """The bottleneck adapter of Houlsby et al. (2019), section 2.1. The defaults are the paper's.

    size is M, in units. init_std is the standard deviation of the truncated Gaussian that the weights start from.
    sublayers and layers say where adapters are. The others are variants that the paper tried (end of section 3.6):
    adapter_variants.py tells what they compute.
    """

    size: int = 64
    init_std: float = 1e-2
    sublayers: tuple[str, ...] = SUBLAYERS  # where in a layer
    layers: tuple[int, ...] | None = None  # which layers, counted from 0; None: all
    activation: str = "gelu"
    layernorm: bool = False  # a LayerNorm on what the bottleneck reads
    depth: int = 1  # hidden layers of M units
    parallel: bool = False
    multiplicative: bool = False

    def __post_init__(self):
        self._check_int("size", 1, 65536, called="adapter size")
        self._check_float("init_std", 0.0, 10.0, above=True, called="adapter init_std")
        _need_one_of("adapter activation", self.activation, ACTIVATIONS)
        self._check_int("depth", 1, 64, called="adapter depth")
        for name in ("layernorm", "parallel", "multiplicative"):
            _need(isinstance(getattr(self, name), bool), f"adapter {name} must be true or false")
        for name in ("sublayers", "layers"):
            if isinstance(getattr(self, name), list):  # as JSON gives it
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _need(
            isinstance(self.sublayers, tuple)
            and len(self.sublayers) > 0
            and all(s in SUBLAYERS for s in self.sublayers),
            f"adapter sublayers must be among {', '.join(SUBLAYERS)}; got {shown(self.sublayers)}",
        )
        if self.layers is not None:
            _need(
                isinstance(self.layers, tuple) and len(self.layers) > 0,
                "adapter layers must be a list of their numbers",
            )
            most = MOST["n_layers"] - 1
            numbers = tuple(_whole_number("adapter layers: each", layer, 0, most) for layer in self.layers)
            object.__setattr__(self, "layers", numbers)

    @property
    def is_variant(self) -> bool:
        """Whether the adapter computes something else than the paper's form, adapter.py."""
        return _is_variant(self)

    def shapes(self, bert: BertConfig) -> dict[str, tuple[int, ...]]:
        """Flat name and shape of every adapter parameter.

        In the paper's form two adapters a layer, 2MD + D + M parameters each. Raises InputError if `layers` names one
        that the backbone does not have.
        """
        D, M = bert.hidden_size, self.size
        layers = range(bert.n_layers) if self.layers is None else self.layers
        _need(max(layers) < bert.n_layers, f"adapter layers go from 0 to {bert.n_layers - 1}; got {max(layers)}")
        shapes = {}
        for i in sorted(set(layers)):
            for sublayer in SUBLAYERS:
                adapter = f"encoder/layers/{i}/{sublayer}/adapter"
                if sublayer not in self.sublayers:
                    continue
                shapes |= _norm_shapes(adapter, D) if self.layernorm else {}
                shapes |= _linear_shapes(f"{adapter}/down", D, M)
                for j in range(self.depth - 1):
                    shapes |= _linear_shapes(f"{adapter}/hidden/{j}", M, M)
                shapes |= _linear_shapes(f"{adapter}/up", M, D)
        return shapes


@lru_cache(maxsize=64)  # every layer asks
def _is_variant(config: AdapterConfig) -> bool:
    same = {name: getattr(config, name) for name in ("size", "init_std", "sublayers", "layers")}
    return config != AdapterConfig(**same)


@dataclass(frozen=True)
class TrainConfig(_Settings):
    """One training run. Defaults are those of the paper's section 3.1 where it states one."""

    lr: float = 1e-3
    epochs: int = 5
    batch_size: int = 32
    max_length: int = 128  # tokens of one sequence, special tokens included
    warmup: float = 0.1  # share of all steps over which the learning rate rises linearly
    weight_decay: float = 0.01  # decoupled (AdamW)
    clip_norm: float = 1.0  # largest global norm of the gradients; 0 switches clipping off
    seed: int = 0
    max_steps: int = 0  # ends a run early; 0: no limit

    def __post_init__(self):
        self._check_float("lr", 0.0, 10.0, above=True, called="learning rate (lr)")
        self._check_int("epochs", 1, 100_000)
        self._check_int("batch_size", 1, 65536)
        self._check_int("max_length", 3, 65536)
        self._check_float("warmup", 0.0, 1.0)
        self._check_float("weight_decay", 0.0, 10.0)
        self._check_float("clip_norm", 0.0, 1e9)
        self._check_int("seed", 0, 2**31 - 1)
        self._check_int("max_steps", 0)
