"""BERT with adapters in pure functions: what the lessons build, and what a learner's functions are compared with.

    y, cache = f(x, ...)      dx, ... = f_backward(dy, cache)

Nothing is changed in place, and nothing is needed but NumPy. The forward and the backward of a thing are neighbours;
cache is what backward needs of forward. tests/lessons/test_plain.py shows that these functions compute what the
kernels and the model compute. Each line is a step that a learner may get wrong: catalogue/ lists how.

Letters: B sequences, T tokens of all sequences together, D hidden size, H heads of d_head = D / H, F feed-forward size,
M adapter size, C classes, L layers, V vocabulary. Weights are (in, out).
"""

from __future__ import annotations

import math

import numpy as np

from minibert.lessons.plain_evidence import ablate, paired_interval  # noqa: F401  (further parts of this module)
from minibert.lessons.plain_optimizer import adam_step, clip, learning_rate, train  # noqa: F401

# ------------------------------------------------------------------------------------------------- text to tensors


def wordpiece(word: str, vocab: dict[str, int]) -> list[str]:
    """The pieces of one word: the longest that the vocabulary has, and again in what is left; "##" marks a later one.

    A word with a rest that no piece begins is ["[UNK]"] as a whole.
    """
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start > 0 else ""
        ends = range(len(word), start, -1)  # the longest first
        end = next((end for end in ends if prefix + word[start:end] in vocab), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


def pack(sequences):
    """Sequences end to end: ids (T,), positions (T,), offsets (B + 1,): sequence b is offsets[b]:offsets[b+1]."""
    lengths = [len(sequence) for sequence in sequences]
    ids = np.concatenate([np.asarray(sequence, np.int64) for sequence in sequences])
    positions = np.concatenate([np.arange(length) for length in lengths])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ids, positions, offsets


# ---------------------------------------------------------------------------------------------- linear, embedding


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


# --------------------------------------------------------------------------------------------- GELU and LayerNorm


def normal_cdf(x):
    """Phi(x), the share of a standard normal distribution that lies below x."""
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def gelu(x):
    """y = x Phi(x), element by element."""
    y = x * normal_cdf(x)
    return y, x


def gelu_backward(dy, cache):
    """dx = dy (Phi(x) + x phi(x)), phi the density."""
    x = cache
    density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    dx = dy * (normal_cdf(x) + x * density)
    return dx


def layernorm(x, gamma, beta, eps=1e-12):
    """y = gamma n + beta, n the row with mean 0 and variance 1.   (T, D), (D,), (D,) -> (T, D)"""
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    inverse_std = 1 / np.sqrt(variance + eps)
    n = (x - mean) * inverse_std
    y = gamma * n + beta
    return y, (n, inverse_std, gamma)


def layernorm_backward(dy, cache):
    """dx (T, D), dgamma (D,), dbeta (D,). The mean and the variance depend on x, too: hence the two means."""
    n, inverse_std, gamma = cache
    dgamma = (dy * n).sum(axis=0)
    dbeta = dy.sum(axis=0)
    g = dy * gamma
    mean_g = g.mean(axis=1, keepdims=True)
    mean_gn = (g * n).mean(axis=1, keepdims=True)
    dx = inverse_std * (g - mean_g - n * mean_gn)
    return dx, dgamma, dbeta


# ----------------------------------------------------------------------------------------- softmax, cross-entropy


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


# ------------------------------------------------------------------------------------------------------- attention


def attention(q, k, v, offsets, n_heads):
    """softmax(Q K.T / sqrt(d_head)) V of each head of each sequence.   (T, D) x 3 -> (T, D)"""
    d_head = q.shape[1] // n_heads
    y = np.zeros_like(v)
    weights = {}
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            P, _ = softmax(scores)
            y[rows, head] = P @ v[rows, head]
            weights[b, h] = P
    return y, (q, k, v, offsets, n_heads, weights)


def attention_backward(dy, cache):
    """dq, dk, dv, each (T, D)."""
    q, k, v, offsets, n_heads, weights = cache
    d_head = q.shape[1] // n_heads
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            P = weights[b, h]
            dv[rows, head] = P.T @ dy[rows, head]
            dP = dy[rows, head] @ v[rows, head].T
            dS = softmax_backward(dP, P) / math.sqrt(d_head)
            dq[rows, head] = dS @ k[rows, head]
            dk[rows, head] = dS.T @ q[rows, head]
    return dq, dk, dv


def attention_lse(q, k, v, offsets, n_heads):
    """The same y. The cache holds a number a row and head instead of P: lse = log(sum(exp(scores))) (T, H)."""
    d_head = q.shape[1] // n_heads
    y, lse = np.zeros_like(v), np.zeros((len(q), n_heads))
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            row_max = scores.max(axis=1)
            lse[rows, h] = row_max + np.log(np.exp(scores - row_max[:, None]).sum(axis=1))
            y[rows, head] = np.exp(scores - lse[rows, h, None]) @ v[rows, head]
    return y, (q, k, v, y, lse, offsets, n_heads)


def attention_lse_backward(dy, cache):
    """dq, dk, dv without a stored P: it is computed again from lse (T, H), and the row sums of dP P are those of dy y.

    cache: (q, k, v, y, lse, offsets, n_heads).
    """
    q, k, v, y, lse, offsets, n_heads = cache
    d_head = q.shape[1] // n_heads
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            P = np.exp(scores - lse[rows, h, None])
            dv[rows, head] = P.T @ dy[rows, head]
            dP = dy[rows, head] @ v[rows, head].T
            inner = (dy[rows, head] * y[rows, head]).sum(axis=1, keepdims=True)
            dS = P * (dP - inner) / math.sqrt(d_head)
            dq[rows, head] = dS @ k[rows, head]
            dk[rows, head] = dS.T @ q[rows, head]
    return dq, dk, dv


# --------------------------------------------------------------------------------------------------------- adapter


def adapter(x, p):
    """y = x + gelu(x W_down + b_down) W_up + b_up.   (T, D) -> (T, M) -> (T, D)

    p: {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
    """
    u, down_cache = linear(x, p["down/W"], p["down/b"])
    h, gelu_cache = gelu(u)
    z, up_cache = linear(h, p["up/W"], p["up/b"])
    y = x + z
    return y, (down_cache, gelu_cache, up_cache)


def adapter_backward(dy, cache):
    """dx (T, D), and {name: gradient} of the four parameters."""
    down_cache, gelu_cache, up_cache = cache
    dh, dW_up, db_up = linear_backward(dy, up_cache)
    du = gelu_backward(dh, gelu_cache)
    dx, dW_down, db_down = linear_backward(du, down_cache)
    dx = dy + dx
    return dx, {"down/W": dW_down, "down/b": db_down, "up/W": dW_up, "up/b": db_up}


def adapter_init(D, M, rng, std=1e-2):
    """Near the identity: Gaussian weights, drawn again beyond two standard deviations, and zero biases."""

    def truncated_normal(shape):
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(outside.sum())
        return std * values

    return {
        "down/W": truncated_normal((D, M)),
        "down/b": np.zeros(M),
        "up/W": truncated_normal((M, D)),
        "up/b": np.zeros(D),
    }


# ----------------------------------------------------------------------------------------------------------- layer


def below(p, group):
    """The part of a dict of flat names that is below a group: of "attention/norm/gamma", "gamma" below that norm."""
    return {name.removeprefix(f"{group}/"): a for name, a in p.items() if name.startswith(f"{group}/")}


def adapter_if_any(x, p):
    """The adapter of p's parameters; x itself if p is empty.   (T, D) -> (T, D)"""
    return adapter(x, p) if p else (x, ())


def adapter_if_any_backward(dy, cache):
    """dx (T, D), and the gradients of the adapter's parameters, of which there may be none."""
    return adapter_backward(dy, cache) if cache else (dy, {})


def frozen_backward(dy, cache):
    """dx of a linear step whose W and b are frozen: the first of the three lines of linear_backward."""
    _, W = cache
    return dy @ W.T


def layer(x, p, offsets, n_heads):
    """One layer of BERT: two blocks, each with its adapter (if p has one), its residual and its LayerNorm.

    x (T, D) -> y (T, D). p: {"attention/query/W": (D, D), ...}, the flat names of the program's parameters below a
    layer. The cache holds that of each step, in the order of the steps.
    """
    q, query = linear(x, p["attention/query/W"], p["attention/query/b"])
    k, key = linear(x, p["attention/key/W"], p["attention/key/b"])
    v, value = linear(x, p["attention/value/W"], p["attention/value/b"])
    attended, heads = attention(q, k, v, offsets, n_heads)
    a, out_a = linear(attended, p["attention/output/W"], p["attention/output/b"])
    a, adapter_a = adapter_if_any(a, below(p, "attention/adapter"))
    x, norm_a = layernorm(x + a, p["attention/norm/gamma"], p["attention/norm/beta"])
    u, intermediate = linear(x, p["feed_forward/intermediate/W"], p["feed_forward/intermediate/b"])
    h, activation = gelu(u)
    f, out_f = linear(h, p["feed_forward/output/W"], p["feed_forward/output/b"])
    f, adapter_f = adapter_if_any(f, below(p, "feed_forward/adapter"))
    y, norm_f = layernorm(x + f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])
    return y, (query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f)


def layer_backward(dy, cache):
    """dx (T, D), and {name: gradient} of what adapter tuning trains in a layer: the LayerNorms and the adapters.

    The other weights are frozen: gradients cross them, and theirs are not computed. cache: those of the steps of layer,
    (query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f).
    """
    query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f = cache
    dsum, dgamma_f, dbeta_f = layernorm_backward(dy, norm_f)
    df, of_adapter_f = adapter_if_any_backward(dsum, adapter_f)
    dh = frozen_backward(df, out_f)
    du = gelu_backward(dh, activation)
    dx = dsum + frozen_backward(du, intermediate)
    dsum, dgamma_a, dbeta_a = layernorm_backward(dx, norm_a)
    da, of_adapter_a = adapter_if_any_backward(dsum, adapter_a)
    dattended = frozen_backward(da, out_a)
    dq, dk, dv = attention_backward(dattended, heads)
    dx = dsum + frozen_backward(dq, query) + frozen_backward(dk, key) + frozen_backward(dv, value)
    grads = {"feed_forward/norm/gamma": dgamma_f, "feed_forward/norm/beta": dbeta_f}
    grads |= {"attention/norm/gamma": dgamma_a, "attention/norm/beta": dbeta_a}
    grads |= {f"feed_forward/adapter/{name}": gradient for name, gradient in of_adapter_f.items()}
    grads |= {f"attention/adapter/{name}": gradient for name, gradient in of_adapter_a.items()}
    return dx, grads


# --------------------------------------------------------------------------------------------------------- encoder


def embeddings(ids, segments, positions, p):
    """The sum of three rows for each token, of its word piece, position and segment; then LayerNorm.

    (T,) x 3 -> (T, D). p: {"word/W": (V, D), "position/W": (512, D), "segment/W": (2, D), "norm/gamma", "norm/beta"}
    """
    word, word_cache = embedding(ids, p["word/W"])
    position, position_cache = embedding(positions, p["position/W"])
    segment, segment_cache = embedding(segments, p["segment/W"])
    x = word + position + segment
    y, norm_cache = layernorm(x, p["norm/gamma"], p["norm/beta"])
    return y, (word_cache, position_cache, segment_cache, norm_cache)


def encoder(ids, segments, positions, offsets, p, n_heads, n_layers):
    """Hidden states y (T, D) of the last layer, and those on the way: {"embeddings": (T, D), "layer 0": (T, D), ...}

    p: all parameters, by the program's flat names.
    """
    x, _ = embeddings(ids, segments, positions, below(p, "embeddings"))
    states = {"embeddings": x}
    for i in range(n_layers):
        x, _ = layer(x, below(p, f"encoder/layers/{i}"), offsets, n_heads)
        states[f"layer {i}"] = x
    return x, states


def adapter_parameters(D, M, L, C):
    """How many parameters adapter tuning trains (paper, section 2.1): the adapters, every LayerNorm, and the head."""
    one_adapter = D * M + M + M * D + D
    one_layernorm = D + D
    adapters = 2 * L * one_adapter
    layernorms = (2 * L + 1) * one_layernorm
    head = D * C + C
    return adapters + layernorms + head


# ---------------------------------------------------------------------------------------------------------- frozen


def is_trained(name, method, n_layers, top_k):
    """Whether a method of tuning trains the parameter of that flat name.

    full: everything. adapter: adapters, every LayerNorm, the head. layernorm: every LayerNorm, the head. top_k: the
    highest top_k of the layers 0 to n_layers - 1, the head; with all layers everything. head: the head.
    """
    in_layer = int(name.split("/")[2]) if name.startswith("encoder/layers/") else -1
    if name.startswith("head/") or method == "full":
        return True
    if method == "top_k":
        return top_k == n_layers or in_layer >= n_layers - top_k
    if method == "adapter":
        return "/adapter/" in name or "/norm/" in name
    return method == "layernorm" and "/norm/" in name


def cache_sizes(trained, D, F, H, M):
    """{tensor: how many of its elements a layer that the gradient crosses keeps, for each token}; 0 if it keeps none.

    trained: the names below the layer that train; there may be none. The input of a product is kept for dW alone. What
    dx needs is kept in any case: softmax, GELU and LayerNorm are not linear. The tensors: "attention input" (one for
    q, k and v), "q, k, v", "lse", "attended", "attention adapter" (its input, derivative of gelu, and h), "attention
    norm" (n and inverse_std), "feed-forward input", "derivative of gelu", "h", "feed-forward adapter" and "feed-forward
    norm". An adapter is there if its names train.
    """
    return {
        "attention input": D * any(f"attention/{name}/W" in trained for name in ("query", "key", "value")),
        "q, k, v": 3 * D,
        "lse": H,
        "attended": D * ("attention/output/W" in trained),
        "attention adapter": (D + 2 * M) * ("attention/adapter/up/b" in trained),
        "attention norm": D + 1,
        "feed-forward input": D * ("feed_forward/intermediate/W" in trained),
        "derivative of gelu": F,
        "h": F * ("feed_forward/output/W" in trained),
        "feed-forward adapter": (D + 2 * M) * ("feed_forward/adapter/up/b" in trained),
        "feed-forward norm": D + 1,
    }
