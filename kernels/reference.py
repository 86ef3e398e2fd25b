"""Every operation in plain NumPy: the formulas to read, and the oracle of all tests.

MINIBERT_KERNELS=numpy runs the whole program on this file, so that each line can be stepped through in a debugger. The
docstrings of the compiled twins (matmul.py, attention.py, layernorm.py, ...) give the shapes of all arguments, and
docs/derivations.md derives the gradients.

Functions return values and leave their arguments as they are. What is changed in place are gradients that are added to
(dW, db, dgamma, dbeta), gradients that `squared_norm` clips, and what the optimizer moves.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

# ---------------------------------------------------------------------------------------------------------- products


def matmul(x, W, b=None, residual=None, dropout=None):
    """y = dropout(x @ W + b + residual)."""
    y = x @ W + (0 if b is None else b) + (0 if residual is None else residual)
    return y if dropout is None else y * _mask(y.shape, y.dtype, dropout)


def matmul_gelu(x, W, b=None):
    """y = gelu(u) with u = x @ W + b, and the derivative gelu'(u)."""
    return gelu(x @ W + (0 if b is None else b))


def matmul_dx(dy, W, dx_accum=None, act_grad=None):
    """dx = (dy @ W.T + dx_accum) act_grad (derivations, eq. (4))."""
    return (dy @ W.T + (0 if dx_accum is None else dx_accum)) * (1 if act_grad is None else act_grad)


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy (derivations, eq. (4))."""
    dW += x.T @ dy


def bias_db(dy, db):
    """db += the sum of dy over its rows (derivations, eq. (4))."""
    db += dy.sum(axis=0)


def matmul_backward(dy, x, W, dW=None, db=None, dx_accum=None, act_grad=None, dropout=None):
    """forward was y = dropout(x @ W + b). dW and db, if they are there, are added to, and dx is returned."""
    dy = dy if dropout is None else dy * _mask(dy.shape, dy.dtype, dropout)
    if dW is not None:
        matmul_dw(x, dy, dW)
    if db is not None:
        bias_db(dy, db)
    return matmul_dx(dy, W, dx_accum, act_grad)


def matmul_each(x, Ws, bs):
    """x @ W + b for each of several weights."""
    return [x @ W + b for W, b in zip(Ws, bs, strict=True)]


def matmul_dx_each(dys, Ws, dx_accum=None):
    """dx = the sum of dy @ W.T over several weights, + dx_accum."""
    return sum(dy @ W.T for dy, W in zip(dys, Ws, strict=True)) + (0 if dx_accum is None else dx_accum)


def freeze(W):
    """W itself: the formulas take a weight that never changes as any other."""
    return W


def freeze_each(Ws):
    """The weights themselves."""
    return list(Ws)


# ------------------------------------------------------------------------------------------------------- activations

_erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has no erf of its own


def gelu(x):
    """y = x cdf(x), and y' = cdf(x) + x pdf(x), of the standard normal distribution (derivations, eq. (12))."""
    cdf = 0.5 * (1.0 + _erf(x.astype(np.float64) / math.sqrt(2.0)).astype(np.float64))
    pdf = np.exp(-0.5 * x.astype(np.float64) ** 2) / math.sqrt(2.0 * math.pi)
    act_grad = cdf + np.where(pdf == 0, pdf, x * pdf)  # infinity * 0 is meant as 0
    return (x * cdf).astype(x.dtype), act_grad.astype(x.dtype)


def gelu_tanh(x):
    """y = x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), and y'."""
    t = np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))
    du = math.sqrt(2.0 / math.pi) * (1.0 + 3 * 0.044715 * x**2)
    dt = 1.0 - t * t
    act_grad = 0.5 * (1.0 + t + np.where(dt == 0, dt, x * dt * du))  # infinity * 0 is meant as 0
    return 0.5 * x * (1.0 + t), act_grad.astype(x.dtype)


def relu(x):
    """y = max(x, 0), and y' = 1 where x is positive, else 0."""
    return np.maximum(x, 0), (x > 0).astype(x.dtype)


def tanh(x):
    """y = tanh(x), and y' = 1 - y^2."""
    y = np.tanh(x)
    return y, 1 - y**2


def swish(x):
    """y = x sigmoid(x), and y' = sigmoid(x) (1 + x (1 - sigmoid(x)))."""
    s = 0.5 * (1 + np.tanh(0.5 * x))  # the sigmoid; cannot overflow
    return x * s, s * (1 + x * (1 - s))


# --------------------------------------------------------------------------------------------------------- LayerNorm


def layernorm(x, residual, gamma, beta, eps):
    """y = gamma n + beta, n = (s - mean(s)) / sqrt(var(s) + eps), s = x + residual; n; and 1 / sqrt(var(s) + eps)."""
    s = x if residual is None else x + residual
    centred = s - s.mean(axis=1, keepdims=True)
    inverse_std = 1.0 / np.sqrt((centred**2).mean(axis=1) + x.dtype.type(eps))
    normalized = centred * inverse_std[:, None]
    return gamma * normalized + beta, normalized, inverse_std


def layernorm_backward(dy, normalized, inverse_std, gamma, dgamma=None, dbeta=None):
    """ds = inverse_std (g - mean(g) - n mean(g n)) with g = dy gamma; dgamma += sum of dy n, dbeta += sum of dy.

    (derivations, eqs. (14) to (16))
    """
    if dgamma is not None:
        dgamma += (dy * normalized).sum(axis=0)
    if dbeta is not None:
        dbeta += dy.sum(axis=0)
    g = dy * gamma
    mean_g, mean_gn = g.mean(axis=1, keepdims=True), (g * normalized).mean(axis=1, keepdims=True)
    return inverse_std[:, None] * (g - mean_g - normalized * mean_gn)


# ----------------------------------------------------------------------------------------------------------- dropout


def random_bits(key, first, count):
    """32 random bits for each of the positions first, first + 1, ...: the hash of dropout.py on whole arrays."""
    h = (np.arange(first, first + count, dtype=np.uint64) & 0xFFFFFFFF).astype(np.uint32) ^ np.uint32(key[0])
    for half in (np.uint32(key[1]), np.uint32(0)):
        h = h ^ (h >> np.uint32(16))
        h = h * np.uint32(0x7FEB352D)  # uint32 wraps around, as is meant
        h = h ^ (h >> np.uint32(15))
        h = h * np.uint32(0x846CA68B)
        h = h ^ (h >> np.uint32(16))
        h = h ^ half
    return h


def _mask(shape, dtype, dropout, first=0):
    """1 / (1 - rate) where an element is kept, 0 where it is dropped."""
    if dropout is None:
        return np.ones(shape, dtype)
    rate, key = dropout
    threshold = min(int(rate * 2**32), 2**32 - 1)
    kept = random_bits(key, first, math.prod(shape)) >= threshold
    return np.where(kept, dtype.type(1.0 / (1.0 - rate)), dtype.type(0)).reshape(shape)


def dropout(x, dropout):
    """y = x m, where m is 0 or 1 / (1 - rate) and depends on the key and the position only."""
    return x * _mask(x.shape, x.dtype, dropout)


# --------------------------------------------------------------------------------------------------------- attention


def _slices(offsets):
    return [slice(start, stop) for start, stop in pairwise(offsets)]


def _heads(x, rows, n_heads):
    """Some rows of (T, D), one matrix a head.   -> (H, n, d_head)"""
    return x[rows].reshape(rows.stop - rows.start, n_heads, -1).transpose(1, 0, 2)


def _rows(x):
    """The inverse of `_heads`.   (H, n, d_head) -> (n, D)"""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def attention(q, k, v, offsets_q, offsets_kv, n_heads, dropout=None):
    """context = dropout(P) V with P = softmax(Q K.T / sqrt(d_head)), and lse = log(sum(exp(S))) of each row of S."""
    context, lse, position = np.empty_like(q), np.empty((q.shape[0], n_heads), q.dtype), 0
    root = q.dtype.type(math.sqrt(q.shape[1] // n_heads))
    for queries, keys in zip(_slices(offsets_q), _slices(offsets_kv), strict=True):
        Q, K, V = _heads(q, queries, n_heads), _heads(k, keys, n_heads), _heads(v, keys, n_heads)
        S = Q @ K.transpose(0, 2, 1) / root  # (H, m, n)
        row_max = S.max(axis=2, keepdims=True)
        E = np.exp(S - row_max)
        row_sum = E.sum(axis=2, keepdims=True)
        context[queries] = _rows((E / row_sum * _mask(S.shape, S.dtype, dropout, position)) @ V)
        lse[queries] = (row_max + np.log(row_sum))[:, :, 0].T
        position += S.size
    return context, lse


def attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv, dropout=None):
    """dq, dk and dv. Forward was context = (P m) V with m the mask of dropout, so now, with dA the gradient of context,

    dV = (P m).T dA,  dP = (dA V.T) m,  dS = P (dP - row_sum(dP P)),
    dQ = dS K / sqrt(d_head),  dK = dS.T Q / sqrt(d_head)

    (derivations, eqs. (18) to (20)).
    """
    dq, dk, dv, position = np.empty_like(q), np.empty_like(k), np.empty_like(v), 0
    n_heads = lse.shape[1]
    root = q.dtype.type(math.sqrt(q.shape[1] // n_heads))
    for queries, keys in zip(_slices(offsets_q), _slices(offsets_kv), strict=True):
        Q, K, V = _heads(q, queries, n_heads), _heads(k, keys, n_heads), _heads(v, keys, n_heads)
        dA = _heads(dcontext, queries, n_heads)
        P = np.exp(Q @ K.transpose(0, 2, 1) / root - lse[queries].T[:, :, None])
        m = _mask(P.shape, P.dtype, dropout, position)
        dP = (dA @ V.transpose(0, 2, 1)) * m
        dS = P * (dP - (dP * P).sum(axis=2, keepdims=True))
        dq[queries] = _rows(dS @ K / root)
        dk[keys] = _rows(dS.transpose(0, 2, 1) @ Q / root)
        dv[keys] = _rows((P * m).transpose(0, 2, 1) @ dA)
        position += P.size
    return dq, dk, dv


# ---------------------------------------------------------------------------------- embedding, loss, optimizer


def embedding(ids, segments, positions, word, segment, position):
    """x[t] = word[ids[t]] + segment[segments[t]] + position[positions[t]]."""
    if any((rows < 0).any() for rows in (ids, segments, positions)):  # NumPy would count from the end
        raise IndexError("an index is not that of a row in its table")
    return word[ids] + segment[segments] + position[positions]


def embedding_backward(dx, index, dW):
    """dW[index[t]] += dx[t] (derivations, eq. (5))."""
    np.add.at(dW, index, dx)


def softmax_cross_entropy(logits, labels):
    """Mean of -log softmax(logits)[label], and (softmax(logits) - one_hot(labels)) / B (derivations, eq. (10))."""
    rows = np.arange(len(labels))
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dlogits = np.exp(log_softmax)
    dlogits[rows, labels] -= 1.0
    return -log_softmax[rows, labels].mean(), (dlogits / len(labels)).astype(logits.dtype)


def adam(p, g, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One step of Adam with decoupled weight decay; p, m and v change in place (derivations, eqs. (25) to (27))."""
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g**2
    p *= 1 - lr * weight_decay
    p -= lr / (1 - beta1**step) * m / (np.sqrt(v / (1 - beta2**step)) + eps)


def squared_norm(x, largest=0.0) -> float:
    """The sum of squares, in float64. If its root is above a positive `largest`, x is scaled in place to that norm."""
    total = float(np.sum(x.astype(np.float64) ** 2))
    if 0 < largest < total**0.5 < np.inf:
        x *= x.dtype.type(largest / total**0.5)
    return total
