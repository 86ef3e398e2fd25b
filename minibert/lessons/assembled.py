"""A BERT with adapters whose every step is a learner's function: forward, backward, and a step of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tokenizers

from minibert.config import BertConfig, TrainConfig
from minibert.lessons import plain
from minibert.lessons.beside import FORWARD, Wrong, agree, call, pair
from minibert.storage.tokenizer import CLS, SEP

COMPARED_STEPS = 3  # of training: then the optimizer's functions are trusted


class Packed(NamedTuple):
    """Sequences end to end, as a learner's `pack` gives them."""

    ids: np.ndarray
    positions: np.ndarray
    offsets: np.ndarray

    @property
    def segments(self) -> np.ndarray:
        """All are of single texts."""
        return np.zeros_like(self.ids)


def words_of(tokenizer: tokenizers.Tokenizer, text: str) -> list[str]:
    """As BERT cuts a text before WordPiece: in lowercase, without accents, at spaces and around punctuation."""
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


def tokens(functions: dict[str, Callable], words: list[str], vocab: dict[str, int], max_length: int) -> list[int]:
    """The ids of a text, by the learner's wordpiece. Raises Wrong if a word has other pieces than by ours."""
    ids = []
    for word in words:
        found, wanted = call(functions, "wordpiece", word, vocab), plain.wordpiece(word, vocab)
        if not isinstance(found, (list, tuple)) or list(found) != wanted:
            raise Wrong("wordpiece", f"{word!r} is {found}; expected {wanted}")
        ids += [vocab[piece] for piece in wanted]
    return [vocab[CLS], *ids[: max_length - 2], vocab[SEP]]


def packed(functions: dict[str, Callable], sequences: list[list[int]]) -> Packed:
    """Sequences of ids end to end, by the learner's pack. Raises Wrong if they lie elsewhere than by ours."""
    found = call(functions, "pack", sequences)
    wanted = plain.pack(sequences)
    agree("pack", found, wanted, 0.0)
    return Packed(*(np.asarray(array, np.int64) for array in found))


class Assembled:
    """The model. params: {flat name: float32 array} of everything; trained: the names of what is trained."""

    def __init__(self, functions: dict[str, Callable], config: BertConfig, params: dict, trained: set[str]):
        self.functions, self.config, self.params = functions, config, dict(params)
        self.m = {name: np.zeros_like(params[name]) for name in params if name in trained}
        self.v = {name: np.zeros_like(m) for name, m in self.m.items()}
        self.steps = 0

    def layer_params(self, i: int) -> dict[str, np.ndarray]:
        """The parameters of a layer, by their names below it."""
        return plain.below(self.params, f"encoder/layers/{i}")

    def embed(self, batch: Packed) -> tuple:
        """Three tables and a LayerNorm, whose cache is returned: it trains, too."""
        p, f = self.params, self.functions
        rows = {"word": batch.ids, "position": batch.positions, "segment": batch.segments}
        x = sum(pair(f, "embedding", ids, p[f"embeddings/{table}/W"])[0] for table, ids in rows.items())
        return pair(f, "layernorm", x, p["embeddings/norm/gamma"], p["embeddings/norm/beta"])

    def states(self, batch: Packed) -> tuple[list[np.ndarray], list]:
        """Hidden states: the embeddings' and each layer's, (T, D); and their caches."""
        x, cache = self.embed(batch)
        states, caches = [np.asarray(x, np.float32)], [cache]
        for i in range(self.config.n_layers):
            x, cache = pair(
                self.functions, "layer", states[-1], self.layer_params(i), batch.offsets, self.config.n_heads
            )
            states.append(np.asarray(x, np.float32))
            caches.append(cache)
        return states, caches

    def scores(self, batch: Packed) -> tuple[np.ndarray, tuple]:
        """(B, C) from the state of each [CLS]; and what backward needs."""
        states, caches = self.states(batch)
        scores, head = pair(
            self.functions, "linear", states[-1][batch.offsets[:-1]], self.params["head/W"], self.params["head/b"]
        )
        return scores, (states[-1], caches, head)

    def loss_and_grads(self, batch: Packed, labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        """The mean loss, and the gradient with respect to all that is trained."""
        f = self.functions
        scores, (last, caches, head) = self.scores(batch)
        loss, cache = pair(f, "cross_entropy", scores, labels)
        dh, dW, db = call(f, "linear_backward", call(f, "cross_entropy_backward", cache), head)
        grads = {"head/W": dW, "head/b": db}
        dx = np.zeros_like(last)
        dx[batch.offsets[:-1]] = dh
        for i in reversed(range(self.config.n_layers)):
            dx, below = pair(f, "layer_backward", dx, caches[i + 1])
            dx = np.asarray(dx, np.float32)
            grads |= {f"encoder/layers/{i}/{name}": gradient for name, gradient in below.items()}
        _, dgamma, dbeta = call(f, "layernorm_backward", dx, caches[0])
        grads |= {"embeddings/norm/gamma": dgamma, "embeddings/norm/beta": dbeta}
        return float(loss), {name: grads[name] for name in self.m if name in grads}

    def step(self, batch: Packed, labels: np.ndarray, steps: int, config: TrainConfig) -> float:
        """One step of training; its loss. steps: of the whole training."""
        loss, grads = self.loss_and_grads(batch, labels)
        grads = self._optimizer("clip", grads, config.clip_norm)
        rate = self._optimizer("learning_rate", self.steps, steps, config.lr, config.warmup)
        self.steps += 1
        for name, gradient in grads.items():
            decay = config.weight_decay if name.endswith("/W") else 0.0
            now = self.params[name], gradient, self.m[name], self.v[name], self.steps, rate, decay
            moved = self._optimizer("adam_step", *now)
            self.params[name], self.m[name], self.v[name] = (np.asarray(array, np.float32) for array in moved)
        return loss

    def _optimizer(self, name: str, *arguments):
        """The learner's function, in the first steps beside ours."""
        found = call(self.functions, name, *arguments)
        if self.steps < COMPARED_STEPS:
            agree(name, found, getattr(plain, name)(*arguments), FORWARD, f"in step {self.steps}")
        return found

    def predict(self, sequences: list[list[int]], size: int = 64) -> np.ndarray:
        """The class of each sequence."""
        batches = [packed(self.functions, sequences[i : i + size]) for i in range(0, len(sequences), size)]
        return np.concatenate([self.scores(batch)[0].argmax(axis=1) for batch in batches])
