"""What tests of the model share: a few texts with labels, and models of a tiny backbone."""

import numpy as np
from tiny import CONFIG

from minibert import AdapterConfig, Model

TEXTS = ["a good film, was it not?", "awful", "the tea was very fine", "dull book . dull film ! poor tea"]
LABELS = np.array([1, 0, 1, 0])


def encode(backbone, texts, pairs=None):
    return backbone.encode(texts, pairs, max_length=CONFIG.max_positions)


def make_model(backbone, method="adapter", **options):
    return Model(backbone, method=method, **options_of(method) | options)


def options_of(method, size=4, top_k=1):
    """What a method needs, and others refuse: adapters of that size, or that many layers."""
    return {"adapter": {"adapter": AdapterConfig(size)}, "top_k": {"top_k": top_k}}.get(method, {})
