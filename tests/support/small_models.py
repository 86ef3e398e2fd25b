"""What tests of the model share: a few texts with labels, and models of a tiny backbone."""

import numpy as np
from tiny import CONFIG

from minibert import AdapterConfig, Model

TEXTS = ["a good film, was it not?", "awful", "the tea was very fine", "dull book . dull film ! poor tea"]
LABELS = np.array([1, 0, 1, 0])


def encode(backbone, texts, pairs=None):
    return backbone.encode(texts, pairs, max_length=CONFIG.max_positions)


def make_model(backbone, method="adapter", **options):
    options = {"adapter": AdapterConfig(size=4), "top_k": 1} | options
    return Model(backbone, method=method, **options)
