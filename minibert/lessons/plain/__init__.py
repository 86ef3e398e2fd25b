"""BERT with adapters in pure functions: what the lessons build, and what a learner's functions are compared with.

    y, cache = f(x, ...)      dx, ... = f_backward(dy, cache)

Nothing is changed in place, and nothing is needed but NumPy. The forward and the backward of a thing are neighbours;
cache is what backward needs of forward. tests/lessons/test_plain.py shows that these functions compute what the
kernels and the model compute. Each line is a step that a learner may get wrong: catalogue/ lists how.

Letters: B sequences, T tokens of all sequences together, D hidden size, H heads of d_head = D / H, F feed-forward size,
M adapter size, C classes, L layers, V vocabulary. Weights are (in, out).
"""

from __future__ import annotations

from minibert.lessons.plain.activations import gelu, gelu_backward, layernorm, layernorm_backward, normal_cdf
from minibert.lessons.plain.block import (
    adapter_if_any,
    adapter_if_any_backward,
    below,
    frozen_backward,
    layer,
    layer_backward,
)
from minibert.lessons.plain.bottleneck import adapter, adapter_backward, adapter_init
from minibert.lessons.plain.counts import adapter_parameters, cache_sizes, is_trained
from minibert.lessons.plain.evidence import ablate, paired_interval, share_interval
from minibert.lessons.plain.gradients import (
    central_difference,
    cross_entropy,
    cross_entropy_backward,
    embedding,
    embedding_backward,
    linear,
    linear_backward,
    softmax,
    softmax_backward,
)
from minibert.lessons.plain.optimizer import adam_step, clip, learning_rate, train
from minibert.lessons.plain.packed_attention import attention, attention_backward, attention_lse, attention_lse_backward
from minibert.lessons.plain.stack import embeddings, encoder
from minibert.lessons.plain.tasks import mixed_adapter, mixed_gradients
from minibert.lessons.plain.text import pack, wordpiece
from minibert.lessons.plain.tiles import fetched, intensity, roof, tiled_matmul

__all__ = [
    "ablate",
    "adam_step",
    "adapter",
    "adapter_backward",
    "adapter_if_any",
    "adapter_if_any_backward",
    "adapter_init",
    "adapter_parameters",
    "attention",
    "attention_backward",
    "attention_lse",
    "attention_lse_backward",
    "below",
    "cache_sizes",
    "central_difference",
    "clip",
    "cross_entropy",
    "cross_entropy_backward",
    "embedding",
    "embedding_backward",
    "embeddings",
    "encoder",
    "fetched",
    "frozen_backward",
    "gelu",
    "gelu_backward",
    "intensity",
    "is_trained",
    "layer",
    "layer_backward",
    "layernorm",
    "layernorm_backward",
    "learning_rate",
    "linear",
    "linear_backward",
    "mixed_adapter",
    "mixed_gradients",
    "normal_cdf",
    "pack",
    "paired_interval",
    "roof",
    "share_interval",
    "softmax",
    "softmax_backward",
    "tiled_matmul",
    "train",
    "wordpiece",
]
