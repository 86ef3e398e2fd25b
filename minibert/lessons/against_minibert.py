"""A learner's BERT beside minibert's, on the same tensors: hidden states and gradients, layer by layer.

Every layer gets minibert's own hidden state, so that an error is found where it is made. What differs is computed once
more step by step (beside.py), to name the function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minibert.lessons import plain
from minibert.lessons.assembled import Assembled, Packed
from minibert.lessons.beside import BACKWARD, FORWARD, TINY, Wrong, agree, call, compared, pair
from minibert.lessons.values import error
from minibert.lessons.watching import watch
from minibert.model import Model
from minibert.text import Batch


def batch_of(packed: Packed) -> Batch:
    """The same, as minibert has it."""
    ids, segments, positions = (array.astype(np.int32) for array in (packed.ids, packed.segments, packed.positions))
    return Batch(ids, segments, positions, packed.offsets)


def _states(model: Model, packed: Packed) -> list[np.ndarray]:
    """minibert's hidden states (T, D): of the embeddings, and of each layer."""
    return list(watch(model, batch_of(packed)).states.values())


def _or_step_by_step(comparison: Callable[[], float], steps: Callable[[], object]) -> float:
    """What the comparison gives. If it raises Wrong, `steps` may raise one that is more exact."""
    try:
        return comparison()
    except Wrong:
        steps()
        raise


def compare_states(assembled: Assembled, model: Model, batch: Packed) -> float:
    """The relative error of the last hidden state of the learner's encoder. Raises Wrong."""
    f, n_heads, n_layers = assembled.functions, assembled.config.n_heads, assembled.config.n_layers
    wanted, steps = _states(model, batch), compared(f)
    tables = plain.below(assembled.params, "embeddings")
    given = batch.ids, batch.segments, batch.positions, tables
    _or_step_by_step(
        lambda: agree("embeddings", pair(f, "embeddings", *given)[0], wanted[0], FORWARD),
        lambda: steps["embeddings"](*given),
    )
    for i in range(n_layers):
        layer = wanted[i], assembled.layer_params(i), batch.offsets, n_heads
        _or_step_by_step(
            lambda layer=layer, i=i: _compare_layer(assembled, layer, wanted[i + 1], i),
            lambda layer=layer: steps["layer"](*layer),
        )
    last, _ = pair(f, "encoder", *given[:3], batch.offsets, assembled.params, n_heads, n_layers)
    error = agree("encoder", last, wanted[-1], FORWARD)
    return max(error, agree("layer", assembled.states(batch)[0][-1], wanted[-1], FORWARD, "after the last layer"))


def _compare_layer(assembled: Assembled, given: tuple, wanted: np.ndarray, i: int) -> float:
    found, _ = pair(assembled.functions, "layer", *given)
    x, p, *rest = given
    bare, _ = plain.layer(x, {name: array for name, array in p.items() if "/adapter/" not in name}, *rest)
    if np.shape(found) == np.shape(bare) and error(found, bare, TINY) <= FORWARD:
        raise Wrong("layer", "it leaves out the adapters, which p has below attention/adapter and feed_forward/adapter")
    return agree("layer", found, wanted, FORWARD, f"of layer {i}")


def compare_gradients(assembled: Assembled, model: Model, batch: Packed, labels: np.ndarray) -> tuple[int, float]:
    """How many gradients the model has, and the largest relative error of the learner's. Raises Wrong."""
    f, states, rng = assembled.functions, _states(model, batch), np.random.default_rng(1)
    _compare_loss(assembled, labels)
    steps = compared(f)
    for i in reversed(range(assembled.config.n_layers)):
        given = states[i], assembled.layer_params(i), batch.offsets, assembled.config.n_heads
        dy = rng.normal(size=states[i].shape).astype(np.float32)
        wanted = plain.layer_backward(dy, plain.layer(*given)[1])
        _or_step_by_step(
            lambda given=given, dy=dy, wanted=wanted, i=i: agree(
                "layer_backward", call(f, "layer_backward", dy, pair(f, "layer", *given)[1]), wanted, BACKWARD, f"{i}"
            ),
            lambda given=given, dy=dy: steps["layer_backward"](dy, steps["layer"](*given)[1]),
        )
    loss, found = assembled.loss_and_grads(batch, labels)
    wanted_loss, wanted = model.loss_and_grads(batch_of(batch), labels)
    agree("cross_entropy", loss, wanted_loss, FORWARD)
    return len(wanted), agree("layer_backward", found, dict(wanted), BACKWARD, "in the whole model")


def _compare_loss(assembled: Assembled, labels: np.ndarray) -> None:
    """The head's end, on scores of the size that training meets."""
    scores = np.random.default_rng(2).normal(scale=3, size=(len(labels), 2)).astype(np.float32)
    loss, cache = pair(assembled.functions, "cross_entropy", scores, labels)
    wanted, wanted_cache = plain.cross_entropy(scores, labels)
    agree("cross_entropy", loss, wanted, FORWARD)
    dscores = call(assembled.functions, "cross_entropy_backward", cache)
    agree("cross_entropy_backward", dscores, plain.cross_entropy_backward(wanted_cache), BACKWARD)
