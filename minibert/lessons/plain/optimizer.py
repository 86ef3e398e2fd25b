"""Adam, the schedule of the learning rate, clipping, and the loop that they make."""

from __future__ import annotations

import math

import numpy as np


def adam_step(p, g, m, v, step, lr, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    """p, m and v after one step of Adam with decoupled weight decay; step is 1 for the first."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    p = p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p, m, v


def learning_rate(step, steps, peak, warmup=0.1):
    """Up in a straight line over the first steps, then down to zero; step is 0 for the first."""
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)


def clip(grads, largest):
    """{name: gradient}, all scaled by one factor, so that their norm together is at most `largest`."""
    norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
    factor = min(1.0, largest / norm)
    return {name: g * factor for name, g in grads.items()}


def train(p, gradients, steps, peak, largest=1.0, weight_decay=0.01, warmup=0.1):
    """The parameters {name: array} after all steps; the given ones stay as they are.

    gradients(p, step) gives {name: gradient} of the batch of a step, 0 the first. Weight decay is for weights alone,
    whose names end in "/W".
    """
    p = dict(p)
    m = {name: np.zeros_like(a) for name, a in p.items()}
    v = {name: np.zeros_like(a) for name, a in p.items()}
    for step in range(steps):
        grads = clip(gradients(p, step), largest)
        lr = learning_rate(step, steps, peak, warmup)
        for name in p:
            decay = weight_decay if name.endswith("/W") else 0.0
            p[name], m[name], v[name] = adam_step(p[name], grads[name], m[name], v[name], step + 1, lr, decay)
    return p
