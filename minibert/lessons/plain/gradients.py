"""The first gradients: linear, embedding, softmax with cross-entropy; and their check."""

from __future__ import annotations

import numpy as np


def linear(x, W, b):
    """y = x W + b.   (T, in) @ (in, out) -> (T, out)"""
    y = x @ W + b
    return y, (x, W)


def linear_backward(dy, cache):
    """dx (T, in), dW (in, out), db (out,)."""
    x, W = cache
    dx = dy @ W.T
    dW = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dW, db


def embedding(ids, W):
    """Row ids[t] of the table for each token.   (T,), (V, D) -> (T, D)"""
    y = W[ids]
    return y, (ids, W.shape)


def embedding_backward(dy, cache):
    """dW (V, D). A row that was taken more than once has the sum of its gradients."""
    ids, shape = cache
    dW = np.zeros(shape)
    np.add.at(dW, ids, dy)
    return dW


def softmax(x):
    """Each row to numbers above 0 that sum to 1.   (T, n) -> (T, n)"""
    shifted = x - x.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    p = e / e.sum(axis=1, keepdims=True)
    return p, p


def softmax_backward(dp, cache):
    """dx = p (dp - sum(dp p)) row by row: every output of a row depends on every input of it."""
    p = cache
    inner = (dp * p).sum(axis=1, keepdims=True)
    dx = p * (dp - inner)
    return dx


def cross_entropy(scores, labels):
    """The mean over rows of -log softmax(scores)[label].   (B, C), (B,) -> a number"""
    p, _ = softmax(scores)
    right = p[np.arange(len(labels)), labels]
    loss = -np.log(right).mean()
    return loss, (p, labels)


def cross_entropy_backward(cache):
    """dscores = (p - one_hot(labels)) / B.   -> (B, C)"""
    p, labels = cache
    one_hot = np.eye(p.shape[1])[labels]
    dscores = (p - one_hot) / len(labels)
    return dscores


def central_difference(f, x, epsilon=1e-5):
    """The gradient of f(x), a number, by two values of f for each element of x.   -> the shape of x"""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + epsilon
        above = f(x)
        x[i] = value - epsilon
        below = f(x)
        x[i] = value
        gradient[i] = (above - below) / (2 * epsilon)
    return gradient
