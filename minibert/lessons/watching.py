"""What happens inside a model, layer by layer: `lessons.watch(model, batch)`. Nothing in the model is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minibert.errors import InputError, shown

if TYPE_CHECKING:
    from minibert.backbone import Backbone
    from minibert.model import Model
    from minibert.text import Batch

PLACES = ("attention", "feed_forward")


@dataclass(frozen=True, repr=False)
class Watched:
    """states: the hidden states (T, D) by name, "embeddings", then "layer 0" and so on. adapters: what each adapter
    reads and what it gives, both (T, D), by name, "layer 0 attention" and so on; empty of a model without adapters."""

    states: dict[str, np.ndarray]
    adapters: dict[str, tuple[np.ndarray, np.ndarray]]

    def __repr__(self) -> str:
        n_tokens, n_hidden = self.states["embeddings"].shape
        lines = [f"{len(self.states)} hidden states ({n_tokens}, {n_hidden}): {', '.join(self.states)}"]
        lines += [f"{name}: |y - x| / |x| = {share:.3f}" for name, share in self.changes().items()]
        return "\n".join(lines)

    def changes(self) -> dict[str, float]:
        """How much each adapter changes: the norm of y - x by that of x. 0 is the identity."""
        return {name: float(np.linalg.norm(y - x) / np.linalg.norm(x)) for name, (x, y) in self.adapters.items()}


def watch(model: Model | Backbone, batch: Batch) -> Watched:
    """Run the encoder on a batch, without dropout, and keep what passes. All rows are computed in each layer, of the
    last one, too, of which a model needs the first row of a sequence alone.

    Raises InputError for adapters that are not of the paper's form, and for texts in place of a batch.
    """
    import kernels  # not before: lessons that need no Numba import this file, too
    from minibert.bert import context_of, layer_context, layer_forward
    from minibert.layers import embeddings_forward
    from minibert.model import Model
    from minibert.text import Batch

    if not isinstance(batch, Batch):
        raise InputError(f"lessons.watch needs a batch, got {shown(batch)}: give backbone.encode(texts)")
    is_model = isinstance(model, Model)
    backbone = model.backbone if is_model else model
    tree, adapter = (model.tree, model.adapter) if is_model else (model.params, None)
    if adapter is not None and adapter.is_variant:
        raise InputError("lessons.watch shows adapters of the paper's form; this model has a variant of it")
    context = context_of(batch, model.config, adapter)
    states, adapters = {}, {}
    with kernels.computing(backbone.dtype):
        x, _ = embeddings_forward(batch, tree["embeddings"], None, context.at("embeddings"))
        states["embeddings"] = x
        for i in range(model.config.n_layers):
            p = tree["encoder"]["layers"][str(i)]
            kept = {place: {"adapter": {}} for place in PLACES if "adapter" in p[place]}
            x, cache = layer_forward(x, x, p, kept or None, layer_context(context, i))
            states[f"layer {i}"] = x
            if kept:
                _, of_attention, _, _, of_feed_forward, _ = cache
                seen = {"attention": of_attention, "feed_forward": of_feed_forward}
                adapters |= {f"layer {i} {place}": _seen(seen[place], p[place]["adapter"]) for place in kept}
    return Watched(states, adapters)


def _seen(cache: tuple, p: dict) -> tuple[np.ndarray, np.ndarray]:
    """What an adapter read, which its cache holds first, and what it gives for that."""
    from minibert.adapter import adapter_forward

    return cache[0], adapter_forward(cache[0], p, None)[0]
