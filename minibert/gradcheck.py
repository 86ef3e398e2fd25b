"""Is every gradient right? Finite differences in float64, tensor by tensor, index by index.

The derivative of the loss with respect to one element w is measured with four points around it. The error is of the
order of epsilon^4 (derivations, eq. (31)):

    dL/dw ~ (8 (L(w + e) - L(w - e)) - (L(w + 2e) - L(w - 2e))) / 12e

What makes the check able to fail: a model so small that every index is tried; sequences of different lengths;
adapters away from the identity, where gradients would vanish; dropout with a fixed mask; and the demand that each
gradient is well above the error of the measurement. Tensors whose true gradient is zero are told apart and checked to
be zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minibert.backbone import random_backbone
from minibert.config import HEADS, AdapterConfig, BertConfig
from minibert.heads import head_record
from minibert.model import Model
from minibert.text import Batch, pack

TOLERANCE = 1e-6  # largest relative error
EPSILON = 1e-3
SMALLEST = 1e-6  # a gradient below this could hide an error of TOLERANCE in the rounding of the loss


@dataclass(frozen=True)
class Check:
    """One tensor: largest |exact - measured|, that over the largest |measured|, and whether it passes."""

    name: str
    largest_gradient: float
    largest_difference: float
    relative_error: float
    zero: bool  # the true gradient is zero
    passed: bool


def true_gradient_is_zero(name: str, model: Model | None = None) -> bool:
    """Whether the loss does not depend on a parameter: softmax gives the same if a number is added to a whole row.

    The bias b of the keys adds q.b to every score of query q: to a whole row of scores. A head whose softmax runs over
    the tokens of a sequence (Head.shift_invariant) adds its own bias to every token's logit, and so does what the
    last LayerNorm's beta gives, if nothing that is not linear reads it: a pooler, or an adapter before it.
    """
    if model is not None and model.head_record.shift_invariant:
        block = f"encoder/layers/{model.config.n_layers - 1}/feed_forward"
        has_adapter = f"{block}/adapter/up/W" in model.parameters()
        is_read = model.options["pooled"] or (has_adapter and model.adapter.reads_norm)
        if name == "head/b" or (name == f"{block}/norm/beta" and not is_read):
            return True
    return name.endswith("attention/key/b")


def numerical_gradient(function, array: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    """The derivative of function() by every element of array (float64), which is changed and put back."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value, loss = array[index], {}
        for step in (1, -1, 2, -2):
            array[index] = value + step * epsilon
            loss[step] = function()
        array[index] = value
        gradient[index] = (8 * (loss[1] - loss[-1]) - (loss[2] - loss[-2])) / (12 * epsilon)
    return gradient


def compare(name: str, exact: np.ndarray, measured: np.ndarray, model: Model | None = None) -> Check:
    """Judge one tensor of a model (given, if its head is not one of [CLS])."""
    size, difference = np.abs(measured).max(), np.abs(exact - measured).max()
    if true_gradient_is_zero(name, model):
        worst = max(np.abs(exact).max(), size)
        return Check(name, size, difference, 0.0, True, bool(worst <= 1e-10))
    relative = difference / size if size > 0 else np.inf
    return Check(name, size, difference, relative, False, bool(size >= SMALLEST and relative <= TOLERANCE))


def check_gradients(model: Model, batch: Batch, labels, dropout_step: int | None = None, weights=None) -> list[Check]:
    """Compare every trained tensor of a float64 model with finite differences.

    dropout_step: None, or the number of a training step whose dropout masks stay fixed while the numbers are moved.
    weights: as for `Model.loss_and_grads`.
    """
    given = (batch, labels, dropout_step, weights)
    _, grads = model.loss_and_grads(*given)
    trained = model.trained()
    return [
        compare(name, grad, numerical_gradient(lambda: model.loss(*given), trained[name]), model)
        for name, grad in grads.items()
    ]


def away_from_identity(model: Model, std: float = 0.3, seed: int = 7) -> None:
    """Move all trained numbers by Gaussian noise: at the start adapters are the identity and biases zero, which hides
    mistakes."""
    rng = np.random.default_rng(seed)
    for array in model.trained().values():
        array += (std * rng.standard_normal(array.shape)).astype(array.dtype)


def tiny_model(method: str, head: str, dtype=np.float64, variant: dict | None = None, **options) -> Model:
    """A two-layer BERT of a few hundred numbers, moved away from its start.

    variant: settings of AdapterConfig. options: pooled and train_pooler, of Model.
    """
    config = BertConfig(
        vocab_size=11, hidden_size=6, n_layers=2, n_heads=2, feed_forward_size=7, max_positions=5, hidden_dropout=0.2
    )
    backbone = random_backbone(config, seed=1, dtype=dtype, std=0.5)
    n_out = HEADS[head] or 3
    own = {"adapter": {"adapter": AdapterConfig(**{"size": 3} | (variant or {}))}, "top_k": {"top_k": 1}}
    model = Model(backbone, head, n_out, method, **own.get(method, {}), **options)
    away_from_identity(model)
    return model


def tiny_batch(config: BertConfig, head: str, n_classes: int = 3, seed: int = 3) -> tuple[Batch, np.ndarray]:
    """Sequences of 5, 3 and 4 tokens, each a pair of texts, with labels."""
    rng = np.random.default_rng(seed)
    lengths = (5, 3, 4)
    ids = [rng.integers(0, config.vocab_size, n).tolist() for n in lengths]
    segments = [[0] * (n - 2) + [1] * 2 for n in lengths]
    return pack(ids, segments), head_record(head).example_labels(n_classes)
