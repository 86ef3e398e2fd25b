"""A backbone: a pre-trained BERT, shared by the models of any number of tasks and changed by none."""

from __future__ import annotations

import numpy as np

from minibert import check_kernels

check_kernels()  # first: another package of that name, which PyPI has, is reported before it is imported

import kernels
from minibert.attention import PROJECTIONS
from minibert.bert import context_of, encoder_forward
from minibert.config import BertConfig
from minibert.errors import InputError
from minibert.params import FlatParams, flatten, unflatten
from minibert.storage import fingerprint as fingerprint_of
from minibert.storage import read_backbone
from minibert.text import Batch, Tokenizer


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


class Backbone:
    """A pre-trained BERT, shared by models and changed by none.

    config; params, a tree of read-only arrays; tokenizer (None for a random backbone); fingerprint of the parameters,
    tokenizer_fingerprint ("" without one); dtype. The arrays of flat, {flat name: array} of the shapes of
    `config.shapes()`, are copied.
    """

    def __init__(self, config: BertConfig, flat: dict[str, np.ndarray], tokenizer: Tokenizer | None, fingerprint: str):
        self.config, self.tokenizer, self.fingerprint = config, tokenizer, fingerprint
        self.tokenizer_fingerprint = "" if tokenizer is None else tokenizer.fingerprint
        # Private, as they can be written: kernels are compiled for such arrays alone. Nobody must write them, for what
        # `kernels.freeze` keeps of a weight would not follow. What is given out are views that refuse it.
        self._arrays = FlatParams.copy_of(flat)
        self.dtype = self._arrays.all.dtype
        self.params = unflatten(self.parameters())
        self._frozen = frozen_weights(self._arrays, config.n_layers)

    def tree(self, flat: dict[str, np.ndarray]) -> dict:
        """The tree that layers compute with: the arrays of flat, but where it has the backbone's own weights, what
        `kernels.freeze` gives; all models share it. (That is for speed alone: what trains is decided by grads.)"""
        frozen = {name: weight for name, weight in self._frozen.items() if flat.get(name) is self._arrays[name]}
        return unflatten({**flat, **frozen})

    def __deepcopy__(self, memo) -> Backbone:
        """Itself, with its arrays and frozen weights: copies of a model share them, too."""
        memo |= {id(shared): shared for shared in (*self._arrays.values(), *self._frozen.values())}
        return self

    def parameters(self) -> dict[str, np.ndarray]:
        """Flat name -> array, read-only; `params` is the same as a tree."""
        return {name: read_only(a) for name, a in self._arrays.items()}

    def encode(self, texts, pairs=None, max_length: int = 128) -> Batch:
        """Texts, or pairs of texts, to a packed batch of at most max_length tokens a sequence. Raises InputError."""
        self.check_inputs(max_length, pairs is not None)
        return self.tokenizer.encode(texts, pairs, max_length)

    def check_inputs(self, max_length: int, pairs: bool) -> None:
        """Raise InputError if sequences of max_length tokens, or pairs of texts, are not for this backbone."""
        if max_length > self.config.max_positions:
            raise InputError(f"max_length is {max_length}, but this backbone has {self.config.max_positions} positions")
        if pairs and self.config.n_segments < 2:
            raise InputError(
                "pairs of texts need a backbone with two segments, one for each text, and this backbone has "
                f"{self.config.n_segments}; take another backbone, or a task of single texts"
            )

    def forward(self, batch: Batch) -> np.ndarray:
        """Hidden states of the last layer, without dropout.   -> (T, D)"""
        with kernels.computing(self.dtype):
            return encoder_forward(batch, self.tree(self._arrays), None, context_of(batch, self.config))[0]

    def astype(self, dtype) -> Backbone:
        """The same backbone in another precision: float64 to check gradients."""
        flat = {name: a.astype(dtype) for name, a in self._arrays.items()}
        return Backbone(self.config, flat, self.tokenizer, self.fingerprint)


def frozen_weights(arrays: dict[str, np.ndarray], n_layers: int) -> dict[str, object]:
    """Every weight of a product as `kernels.freeze` gives it: told not to change, so that kernels may keep what they
    need of it from one call to the next. The three projections that read the same x are frozen together."""
    frozen = {name: kernels.freeze(a) for name, a in arrays.items() if _is_multiplied(name)}
    for i in range(n_layers):
        names = [f"encoder/layers/{i}/attention/{projection}/W" for projection in PROJECTIONS]
        frozen |= zip(names, kernels.freeze_each([arrays[name] for name in names]), strict=True)
    return frozen


def _is_multiplied(name: str) -> bool:
    return name.endswith("/W") and not name.startswith("embeddings/")


def load_backbone(path) -> Backbone:
    """Read a backbone file. Raises InputError if it is missing, damaged, or something else."""
    file = read_backbone(path)
    try:
        tokenizer = Tokenizer(file.tokenizer)
    except InputError as error:
        raise InputError(f"{path}: tokenizer: {error}") from None
    return Backbone(file.config, flatten(file.params), tokenizer, file.fingerprint)


def random_backbone(config: BertConfig, seed: int = 0, dtype=np.float32, std: float = 0.02) -> Backbone:
    """A backbone that was never trained, for gradient checks and timings; it has no tokenizer."""
    rng = np.random.default_rng(seed)
    flat = {}
    for name, shape in config.shapes().items():
        values = std * rng.standard_normal(shape)
        flat[name] = (1.0 + values if name.endswith("gamma") else values).astype(dtype)
    return Backbone(config, flat, None, fingerprint_of(flat))
