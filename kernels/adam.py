"""Adam (Kingma & Ba, 2014) with decoupled weight decay (Loshchilov & Hutter, 2019), in place."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .runtime.compiling import parallel_kernel
from .runtime.threads import share

BLOCK = 4096


def adam(p, g, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One step for one parameter tensor; p, m and v, in C order, change in place. step counts from 1.

    m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
    p = p - lr weight_decay p - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)

    Raises ValueError if the four have not one shape, or if p, m or v could not be changed in place.
    """
    if not p.shape == g.shape == m.shape == v.shape:
        raise ValueError(f"p, g, m and v must have one shape, got {p.shape}, {g.shape}, {m.shape} and {v.shape}")
    if not (p.flags.c_contiguous and m.flags.c_contiguous and v.flags.c_contiguous):
        raise ValueError("p, m and v must be in C order: others would be copied, and the copies changed")
    step_size = lr / (1.0 - beta1**step)
    root_correction = 1.0 / math.sqrt(1.0 - beta2**step)
    flat = [a.reshape(-1) for a in (p, g, m, v)]
    share(ns=0.3 * p.size)
    _adam(*flat, step_size, beta1, beta2, eps, root_correction, 1.0 - lr * weight_decay)


@parallel_kernel
def _adam(p, g, m, v, step_size, beta1, beta2, eps, root_correction, decay):
    number = p.dtype.type
    b1, b2, rest1, rest2 = number(beta1), number(beta2), number(1.0 - beta1), number(1.0 - beta2)
    rate, tiny, correction, keep = number(step_size), number(eps), number(root_correction), number(decay)
    for block in prange((p.size + BLOCK - 1) // BLOCK):
        start, stop = block * BLOCK, min((block + 1) * BLOCK, p.size)
        ps, gs, ms, vs = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
        for i in range(ps.size):
            grad = gs[i]
            ms[i] = b1 * ms[i] + rest1 * grad
            vs[i] = b2 * vs[i] + rest2 * grad * grad
            ps[i] = keep * ps[i] - rate * ms[i] / (np.sqrt(vs[i]) * correction + tiny)


def squared_norm(x, largest=0.0) -> float:
    """The sum of the squares of all elements, in float64; block by block, so that it does not depend on the threads.

    largest above 0: a norm, the root of this sum, that is larger but finite is made `largest`; x is scaled in place.
    Raises ValueError if x could not be changed in place.
    """
    if largest > 0 and not x.flags.c_contiguous:
        raise ValueError(f"x must be in C order, got shape {x.shape} with strides {x.strides}")
    share(ns=0.1 * x.size)
    return _squared_norm(x.reshape(-1), largest)


@parallel_kernel
def _squared_norm(x, largest):
    sums = np.empty((x.size + BLOCK - 1) // BLOCK, np.float64)
    for block in prange(sums.size):
        part = x[block * BLOCK : (block + 1) * BLOCK]
        total = 0.0
        for i in range(part.size):
            total += np.float64(part[i]) * np.float64(part[i])
        sums[block] = total
    total = 0.0
    for block in range(sums.size):
        total += sums[block]
    norm = np.sqrt(total)
    scale = x.dtype.type(largest / norm)
    for block in prange(sums.size if 0 < largest < norm < np.inf else 0):
        part = x[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            part[i] *= scale
    return total
