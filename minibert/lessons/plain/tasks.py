"""A batch of several tasks."""

from __future__ import annotations

import numpy as np

from minibert.lessons.plain.bottleneck import adapter, adapter_backward


def mixed_adapter(x, offsets, tasks, adapters):
    """Each sequence through the adapter of its own task.   (T, D) -> (T, D)

    tasks: the name of each sequence's task, B of them. adapters: {task: parameters of `adapter`}.
    """
    y = np.zeros_like(x)
    for b, task in enumerate(tasks):
        rows = slice(offsets[b], offsets[b + 1])
        y[rows], _ = adapter(x[rows], adapters[task])
    return y


def mixed_gradients(dy, x, offsets, tasks, adapters):
    """The gradients of `mixed_adapter`: dx (T, D), and {"task/name": gradient}, a sum over the task's sequences."""
    dx, gradients = np.zeros_like(x), {}
    for b, task in enumerate(tasks):
        rows = slice(offsets[b], offsets[b + 1])
        _, cache = adapter(x[rows], adapters[task])
        dx[rows], own = adapter_backward(dy[rows], cache)
        for name, gradient in own.items():
            key = f"{task}/{name}"
            gradients[key] = gradients.get(key, 0) + gradient
    return dx, gradients
