"""Why a loss or a score is not finite: the learning rate, or what training began with? The model is made again as it
was before step 1, and tried on the same texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from minibert.config import AdapterConfig
from minibert.evaluate import NonFiniteLoss, predict
from minibert.model import Model
from minibert.optim import clip_by_global_norm
from minibert.text import Batch

HUGE = 1e6  # scores of a head that was not trained yet are near 0


def step_is_sound(model: Model, batch: Batch, labels, dropout_step: int | None, weights=None) -> bool:
    """Whether the model gives scores of a usual size, a finite loss and finite gradients."""
    loss, grads = model.loss_and_grads(batch, labels, dropout_step, weights)
    return scores_are_sound(model, batch) and math.isfinite(loss) and math.isfinite(clip_by_global_norm(grads, 0))


def scores_are_sound(model: Model, batch: Batch) -> bool:
    """Whether the model gives scores of a usual size."""
    try:
        predict(model, batch)
    except NonFiniteLoss:
        return False
    return bool(np.abs(model.forward(batch.take(range(min(1, len(batch)))))).max(initial=0) < HUGE)


def advice(model: Model, is_sound: Callable[[Model], bool], labels=()) -> str:
    """What to do about it. is_sound: whether a model does not fail where this one did, with these labels."""
    if is_sound(_untrained(model, model.adapter)):
        return "Try a smaller --lr"
    adapter, usual = model.adapter, AdapterConfig().init_std
    too_large = adapter is not None and adapter.init_std > usual
    if too_large and is_sound(_untrained(model, replace(adapter, init_std=usual))):
        return f"It is so before step 1: try a smaller --init-std than {adapter.init_std:g}"
    if np.abs(labels).max(initial=0) > HUGE:
        return f"It is so before step 1: labels go to {np.abs(labels).max():.2g}, so scale them to numbers near 1"
    return (
        f"It is so before step 1: the weights of the backbone {model.backbone.fingerprint[:12]} give scores that are "
        "not finite or huge, so convert the checkpoint again, or take another one"
    )


def _untrained(model: Model, adapter: AdapterConfig | None) -> Model:
    """The model as it was before step 1, but for its adapters' configuration."""
    return Model(model.backbone, model.head, model.n_out, model.method, adapter, model.seed, **model.options)
