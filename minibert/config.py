"""Settings of a backbone, an adapter and a training run: frozen dataclasses that check themselves.

Everything that reads a setting can rely on it: a config that exists is a valid one.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from functools import lru_cache
from numbers import Integral, Real

from minibert.errors import list_some, need, readable, shown
from minibert.json_values import parse_json

ACTIVATIONS = ("gelu", "gelu_tanh", "swish", "relu", "tanh")
BALANCED = "balanced"  # weights of classes by which all classes count alike
LAYERNORM_EPS = 1e-12  # of BERT
METHODS = ("adapter", "full", "top_k", "layernorm", "head")
# name -> number of outputs; None: one for each class
HEADS = {"classify": None, "regress": 1, "span": 2, "multilabel": None}
THRESHOLD = 0.5  # where a text may have several labels, one is given if its probability is above


def _whole_number(name: str, value, low: int, high: int = 2**31) -> int:
    """The value as Python's own int: NumPy's are numbers, too, and JSON does not take them."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    need(whole and low <= value <= high, f"{name} must be a whole number from {low} to {high}, got {shown(value)}")
    return int(value)


def _number(name: str, value, low: float, high: float, above: bool = False) -> float:
    """The value as Python's own float."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    inside = number and (low < value if above else low <= value) and value <= high
    need(inside, f"{name} must be a number {'above' if above else 'from'} {low:g} to {high:g}, got {shown(value)}")
    return float(value)


def _need_one_of(name: str, value, choices: tuple[str, ...]) -> None:
    need(value in choices, f"{name} must be one of {', '.join(choices)}; got {shown(value)}")


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
        need(isinstance(values, dict), f"{cls.__name__} must be a JSON object, got {shown(values)}")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        need(not unknown, f"{cls.__name__} has no setting named {list_some(map(readable, unknown))}")
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in values]
        need(not missing, f"{cls.__name__} is incomplete: {', '.join(missing)} must be given")
        return cls(**values)


def former_default(setting: Field):
    """What a setting is where an older file, or the name of a trial, leaves it out: its default, or the one that was
    the default then (metadata `former`)."""
    return setting.metadata.get("former", setting.default)


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
    layernorm_eps: float = LAYERNORM_EPS
    activation: str = "gelu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    pooler: bool = True  # whether there is one: pre-trained for masked words alone, a BERT has none

    def __post_init__(self):
        for name, most in MOST.items():
            self._check_int(name, 2 if name == "max_positions" else 1, most)  # [CLS] and [SEP] are always there
        need(
            self.hidden_size % self.n_heads == 0,
            f"hidden_size ({self.hidden_size}) must be a multiple of n_heads ({self.n_heads})",
        )
        self._check_float("layernorm_eps", 0.0, 1.0, above=True)
        _need_one_of("activation", self.activation, ("gelu", "gelu_tanh"))
        self._check_float("hidden_dropout", 0.0, 0.9)
        self._check_float("attention_dropout", 0.0, 0.9)
        need(isinstance(self.pooler, bool), f"pooler must be true or false, got {shown(self.pooler)}")

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
        return shapes | (_linear_shapes("pooler", D, D) if self.pooler else {})


PRESETS = {
    "minilm-l6": BertConfig(30522, hidden_size=384, n_layers=6, n_heads=12, feed_forward_size=1536),
    "bert-base": BertConfig(30522, hidden_size=768, n_layers=12, n_heads=12, feed_forward_size=3072),
    "bert-large": BertConfig(30522, hidden_size=1024, n_layers=24, n_heads=16, feed_forward_size=4096),
}


SUBLAYERS = ("attention", "feed_forward")


@dataclass(frozen=True)
class AdapterConfig(_Settings):
    """The bottleneck adapter of Houlsby et al. (2019), section 2.1. The defaults are the paper's, with GELU, as in its
    authors' code: the paper names no nonlinearity.

    size is M, in units. init_std is the standard deviation of the truncated Gaussian that the weights start from.
    sublayers and layers say where adapters are. The others are variants, most of the kinds that the paper tried (end of
    section 3.6): adapter_variants.py tells what they compute.
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
    reads_norm: bool = False  # reads the LayerNorm of the block, as Pfeiffer et al. (2020) have it
    layernorm_eps: float = LAYERNORM_EPS  # of the LayerNorm on what the bottleneck reads

    def __post_init__(self):
        self._check_int("size", 1, 65536, called="adapter size")
        self._check_float("init_std", 0.0, 10.0, above=True, called="adapter init_std")
        _need_one_of("adapter activation", self.activation, ACTIVATIONS)
        self._check_int("depth", 1, 64, called="adapter depth")
        for name in ("layernorm", "parallel", "multiplicative", "reads_norm"):
            need(isinstance(getattr(self, name), bool), f"adapter {name} must be true or false")
        self._check_float("layernorm_eps", 0.0, 1.0, above=True, called="adapter layernorm_eps")
        own_eps = self.layernorm_eps != LAYERNORM_EPS
        need(self.layernorm or not own_eps, "adapter layernorm_eps is for an adapter with a LayerNorm: set layernorm")
        need(
            not (self.parallel and self.reads_norm),
            "an adapter cannot be parallel, which reads what the sublayer reads, and have reads_norm, which reads "
            "what it gives: choose one",
        )
        for name in ("sublayers", "layers"):
            if isinstance(getattr(self, name), list):  # as JSON gives it
                object.__setattr__(self, name, tuple(getattr(self, name)))
        need(
            isinstance(self.sublayers, tuple)
            and len(self.sublayers) > 0
            and all(s in SUBLAYERS for s in self.sublayers),
            f"adapter sublayers must be among {', '.join(SUBLAYERS)}; got {shown(self.sublayers)}",
        )
        if self.layers is not None:
            need(
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
        need(max(layers) < bert.n_layers, f"adapter layers go from 0 to {bert.n_layers - 1}; got {max(layers)}")
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
    epochs: int = field(default=10, metadata={"former": 5})  # see `former_default`
    batch_size: int = 32
    max_length: int = 128  # tokens of one sequence, special tokens included
    warmup: float = 0.1  # share of all steps over which the learning rate rises linearly
    weight_decay: float = 0.01  # decoupled (AdamW)
    clip_norm: float = 1.0  # largest global norm of the gradients; 0 switches clipping off
    seed: int = 0
    max_steps: int = 0  # ends a run early; 0: no limit
    metric: str = ""  # decides the best epoch; "": the task's first one
    class_weights: tuple[str, ...] = ()  # of classes in the loss: ("balanced",), or each as "NAME=W"; (): 1 each
    patience: int = 0  # ends a run after so many epochs without a better dev score; 0: no limit

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
        need(isinstance(self.metric, str), f"metric must be a name, got {shown(self.metric)}")
        given = self.class_weights
        given = (given,) if isinstance(given, str) else given  # "balanced"
        need(
            isinstance(given, (tuple, list)) and all(isinstance(text, str) for text in given),  # a list: as JSON has it
            f"class_weights must be {BALANCED!r}, or a list of texts NAME=W; got {shown(given)}",
        )
        object.__setattr__(self, "class_weights", tuple(given))
        self._check_int("patience", 0)
