"""Every operation once more in plain NumPy, under the same names: the formulas to read, and the oracle in tests.

MINIBERT_KERNELS=numpy runs the whole program on this file, so that each line can be stepped through in a debugger.
Shapes and meanings stand in the docstrings of the fast versions: matmul.py, gelu.py, layernorm.py, attention.py, ...
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .activations import relu, swish, tanh  # noqa: F401

NO_KEY = (np.uint32(0), np.uint32(0))


def matmul(x, W, b=None, strips=None, plus=None, rate=0.0, key=NO_KEY):
    """y = dropout(x @ W + b + plus)."""
    y = x @ W + (0 if b is None else b) + (0 if plus is None else plus)
    return dropout(y, rate, key) if rate > 0 else y


def matmul_gelu(x, W, b=None, strips=None):
    """y = gelu(u) with u = x @ W + b, and the slope gelu'(u)."""
    return gelu(matmul(x, W, b))


def matmul_dx(dy, W, strips=None, plus=None, times=None):
    """dx = (dy @ W.T + plus) times."""
    return (dy @ W.T + (0 if plus is None else plus)) * (1 if times is None else times)


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy."""
    dW += x.T @ dy


def matmul_backward(dy, x, W, dW=None, db=None, strips=None, plus=None, times=None, rate=0.0, key=NO_KEY):
    """Forward was y = dropout(x @ W + b). dW and db, if they are there, are added to, and dx is returned."""
    dy = dropout(dy, rate, key) if rate > 0 else dy
    if dW is not None:
        matmul_dw(x, dy, dW)
    if db is not None:
        bias_db(dy, db)
    return matmul_dx(dy, W, strips, plus, times)


def prepare(W):
    """Nothing: the formulas take W as it is."""
    return None, None


def prepare_each(Ws, bs):
    """Nothing, for each."""
    return [prepare(W) for W in Ws]


def matmul_each(x, Ws, bs, prepared, first=0):
    """x @ W + b for each of several weights."""
    return [matmul(x, W, b) for W, b in zip(Ws, bs, strict=True)]


def matmul_dx_each(dys, Ws, prepared, first=0, plus=None):
    """dx = the sum of dy @ W.T over several weights, + plus."""
    return sum(dy @ W.T for dy, W in zip(dys, Ws, strict=True)) + (0 if plus is None else plus)


def bias_db(dy, db):
    """db += the sum of dy over its rows."""
    db += dy.sum(axis=0)


_erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has no erf of its own


def _normal(x):
    below = 0.5 * (1.0 + _erf(x.astype(np.float64) / math.sqrt(2.0)).astype(np.float64))
    density = np.exp(-0.5 * x.astype(np.float64) ** 2) / math.sqrt(2.0 * math.pi)
    return below, density


def gelu(x):
    """y = x Phi(x), and x = y' = Phi(x) + x phi(x)."""
    below, density = _normal(x)
    y = (x * below).astype(x.dtype)
    x[...] = below + np.where(density == 0, density, x * density)  # infinity * 0 is meant as 0
    return y, x


def gelu_tanh(x):
    """y = x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), and x = y'."""
    t = np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))
    du = math.sqrt(2.0 / math.pi) * (1.0 + 3 * 0.044715 * x**2)
    flat = 1.0 - t * t
    y = 0.5 * x * (1.0 + t)
    x[...] = 0.5 * (1.0 + t + np.where(flat == 0, flat, x * flat * du))  # infinity * 0 is meant as 0
    return y, x


def layernorm(x, residual, gamma, beta, eps):
    """y = gamma (s - mean(s)) / sqrt(var(s) + eps) + beta with s = x + residual; x becomes the fraction."""
    s = x if residual is None else x + residual
    centred = s - s.mean(axis=1, keepdims=True)
    inverse_std = 1.0 / np.sqrt((centred**2).mean(axis=1) + x.dtype.type(eps))
    x[...] = centred * inverse_std[:, None]
    return gamma * x + beta, x, inverse_std


def layernorm_backward(dy, normalized, inverse_std, gamma, dgamma=None, dbeta=None):
    """ds = inverse_std (g - mean(g) - n mean(g n)) with g = dy gamma; dgamma += sum of dy n, dbeta += sum of dy."""
    if dgamma is not None:
        dgamma += (dy * normalized).sum(axis=0)
        dbeta += dy.sum(axis=0)
    g = dy * gamma
    mean_g, mean_gn = g.mean(axis=1, keepdims=True), (g * normalized).mean(axis=1, keepdims=True)
    return inverse_std[:, None] * (g - mean_g - normalized * mean_gn)


def random_bits(key, first, count):
    """32 random bits for each of the places first, first + 1, ...: the mixer of scalar.py on whole arrays (uint32
    wraps)."""
    h = (np.arange(first, first + count, dtype=np.uint64) & 0xFFFFFFFF).astype(np.uint32) ^ np.uint32(key[0])
    for half in (np.uint32(key[1]), np.uint32(0)):
        h = h ^ (h >> np.uint32(16))
        h = h * np.uint32(0x7FEB352D)
        h = h ^ (h >> np.uint32(15))
        h = h * np.uint32(0x846CA68B)
        h = h ^ (h >> np.uint32(16))
        h = h ^ half
    return h


def _mask(shape, dtype, rate, key, first=0):
    """1 / (1 - rate) where kept, 0 where dropped."""
    if rate == 0.0:
        return np.ones(shape, dtype)
    least = min(int(rate * 2**32), 2**32 - 1)
    keep = random_bits(key, first, int(np.prod(shape))) >= least
    return np.where(keep, dtype.type(1.0 / (1.0 - rate)), dtype.type(0)).reshape(shape)


def dropout(x, rate, key):
    """x *= m, where m is 0 or 1 / (1 - rate) and depends on the key and the place only."""
    x *= _mask(x.shape, x.dtype, rate, key)
    return x


def _slices(offsets):
    return [slice(start, stop) for start, stop in pairwise(offsets)]


def _heads(x, rows, n_heads):
    """Some rows of (T, D), one matrix a head.   -> (H, n, head size)"""
    return x[rows].reshape(rows.stop - rows.start, n_heads, -1).transpose(1, 0, 2)


def _rows(x):
    """The inverse of `_heads`.   (H, n, head size) -> (n, D)"""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def attention(q, k, v, q_offsets, offsets, n_heads, rate=0.0, key=NO_KEY):
    """context = dropout(P) V with P = softmax(Q K.T / sqrt(head size)), and log(sum(exp(S)))."""
    context, log_sum, place = np.empty_like(q), np.empty((q.shape[0], n_heads), q.dtype), 0
    scale = q.dtype.type(math.sqrt(q.shape[1] // n_heads))
    for asked, rows in zip(_slices(q_offsets), _slices(offsets), strict=True):
        Q, K, V = _heads(q, asked, n_heads), _heads(k, rows, n_heads), _heads(v, rows, n_heads)
        S = Q @ K.transpose(0, 2, 1) / scale  # (H, m, n)
        largest = S.max(axis=2, keepdims=True)
        E = np.exp(S - largest)
        total = E.sum(axis=2, keepdims=True)
        context[asked] = _rows((E / total * _mask(S.shape, S.dtype, rate, key, place)) @ V)
        log_sum[asked] = (largest + np.log(total))[:, :, 0].T
        place += S.size
    return context, log_sum


def attention_backward(dcontext, q, k, v, log_sum, q_offsets, offsets, rate=0.0, key=NO_KEY):
    """dV = (P m).T dcontext; dP = (dcontext V.T) m; dS = P (dP - rowsum(dP P)); dQ = dS K / sqrt(head size); dK
    alike."""
    (dq, dk, dv), place = (np.empty_like(a) for a in (q, k, v)), 0
    n_heads = log_sum.shape[1]
    scale = q.dtype.type(math.sqrt(q.shape[1] // n_heads))
    for asked, rows in zip(_slices(q_offsets), _slices(offsets), strict=True):
        Q, K, V = _heads(q, asked, n_heads), _heads(k, rows, n_heads), _heads(v, rows, n_heads)
        dC = _heads(dcontext, asked, n_heads)
        P = np.exp(Q @ K.transpose(0, 2, 1) / scale - log_sum[asked].T[:, :, None])
        m = _mask(P.shape, P.dtype, rate, key, place)
        dP = (dC @ V.transpose(0, 2, 1)) * m
        dS = P * (dP - (dP * P).sum(axis=2, keepdims=True))
        dq[asked] = _rows(dS @ K / scale)
        dk[rows] = _rows(dS.transpose(0, 2, 1) @ Q / scale)
        dv[rows] = _rows((P * m).transpose(0, 2, 1) @ dC)
        place += P.size
    return np.stack((dq, dk, dv)) if len(q) == len(k) else (dq, dk, dv)


def softmax_cross_entropy(logits, labels):
    """Mean of -log softmax(logits)[label], and (softmax(logits) - one_hot(labels)) / B."""
    rows = np.arange(len(labels))
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dlogits = np.exp(log_softmax)
    dlogits[rows, labels] -= 1.0
    return -log_softmax[rows, labels].mean(), (dlogits / len(labels)).astype(logits.dtype)


def embedding(ids, segments, positions, word, segment, position):
    """x[t] = word[ids[t]] + segment[segments[t]] + position[positions[t]]."""
    if any((rows < 0).any() for rows in (ids, segments, positions)):  # NumPy would count from the end
        raise IndexError("a number is not that of a row in its table")
    return word[ids] + segment[segments] + position[positions]


def embedding_backward(dx, index, dW):
    """dW[index[t]] += dx[t]."""
    np.add.at(dW, index, dx)


def adam(p, g, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One step of Adam with decoupled weight decay, in place."""
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g**2
    p *= 1 - lr * weight_decay
    p -= lr / (1 - beta1**step) * m / (np.sqrt(v / (1 - beta2**step)) + eps)


def squared_norm(x, largest=0.0) -> float:
    """The sum of the squares of all elements, in float64; if its root is above a `largest` above 0, x is scaled."""
    total = float(np.sum(x.astype(np.float64) ** 2))
    if 0 < largest < total**0.5 < np.inf:
        x *= x.dtype.type(largest / total**0.5)
    return total
