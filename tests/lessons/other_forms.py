"""Other correct ways to write each exercise: the checker must not refuse one. {exercise: functions}"""

import math

import forms_adapter_init
import forms_backward
import forms_encoder
import forms_kernels_tasks
import forms_training
import numpy as np

from minibert.lessons import plain

PARTS = (forms_adapter_init, forms_encoder, forms_kernels_tasks, forms_training)
FORMS: dict[str, list] = {name: forms for part in PARTS for name, forms in part.FORMS.items()}


def form(name):
    def add(function):
        FORMS.setdefault(name, []).append(function)
        return function

    return add


@form("wordpiece")
def recursive(word, vocab):
    def cut(rest, prefix):
        if not rest:
            return []
        for end in range(len(rest), 0, -1):
            if prefix + rest[:end] in vocab:
                tail = cut(rest[end:], "##")
                return None if tail is None else [prefix + rest[:end], *tail]
        return None

    return cut(word, "") or ["[UNK]"]


@form("wordpiece")
def with_while_loops(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start and ("##" if start else "") + word[start:end] not in vocab:
            end -= 1
        if end == start:
            return ["[UNK]"]
        pieces += [("##" if start else "") + word[start:end]]
        start = end
    return pieces


@form("wordpiece")
def as_a_tuple(word, vocab):
    return tuple(plain.wordpiece(word, vocab))


@form("pack")
def with_lists(sequences):
    ids, positions, offsets = [], [], [0]
    for sequence in sequences:
        ids.extend(sequence)
        positions.extend(range(len(sequence)))
        offsets.append(len(ids))
    return ids, positions, offsets


@form("pack")
def with_repeat(sequences):
    lengths = np.array([len(s) for s in sequences])
    offsets = np.cumsum(np.r_[0, lengths])
    positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return np.concatenate(sequences).astype(np.int32), positions.astype(np.int32), offsets


@form("pack")
def with_sums_of_lists(sequences):
    ids = []
    for sequence in sequences:
        ids += sequence
    positions = [i for sequence in sequences for i in range(len(sequence))]
    return ids, positions, [sum(map(len, sequences[:b])) for b in range(len(sequences) + 1)]


@form("softmax")
def by_log_sum_exp(x):
    top = x.max(1)
    lse = top + np.log(np.exp(x - top[:, None]).sum(1))
    p = np.exp(x - lse[:, None])
    return p, p


@form("softmax")
def row_by_row(x):
    rows = []
    for row in x:
        e = [math.exp(value - max(row)) for value in row]
        rows.append([value / sum(e) for value in e])
    return np.array(rows), None


@form("softmax")
def in_float32(x):
    p = plain.softmax(x.astype(np.float64))[0]
    return p, (x, p)


def _heads(x, n_heads):
    return x.reshape(len(x), n_heads, -1).transpose(1, 0, 2)


@form("attention")
def all_heads_together(q, k, v, offsets, n_heads):
    parts, weights = [], []
    for a, b in zip(offsets[:-1], offsets[1:]):
        Q, K, V = (_heads(x[a:b], n_heads) for x in (q, k, v))
        S = Q @ K.transpose(0, 2, 1) / np.sqrt(Q.shape[-1])
        P = np.exp(S - S.max(-1, keepdims=True))
        P /= P.sum(-1, keepdims=True)
        weights.append(P)
        parts.append((P @ V).transpose(1, 0, 2).reshape(b - a, -1))
    return np.concatenate(parts), (q, k, v, weights)


@form("attention")
def with_a_mask(q, k, v, offsets, n_heads):
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    mask = np.where(sequence[:, None] == sequence[None], 0, -np.inf)
    Q, K, V = (_heads(x, n_heads) for x in (q, k, v))
    S = np.einsum("hid,hjd->hij", Q, K) * Q.shape[-1] ** -0.5 + mask
    P = np.exp(S - S.max(-1, keepdims=True))
    P = P / P.sum(-1, keepdims=True)
    return np.einsum("hij,hjd->ihd", P, V).reshape(q.shape), P


@form("attention")
def token_by_token(q, k, v, offsets, n_heads):
    d, y = q.shape[1] // n_heads, np.zeros(q.shape)
    for a, b in zip(offsets[:-1], offsets[1:]):
        for i in range(a, b):
            for h in range(0, q.shape[1], d):
                scores = np.array([q[i, h : h + d] @ k[j, h : h + d] for j in range(a, b)]) / d**0.5
                e = np.exp(scores - scores.max())
                y[i, h : h + d] = (e / e.sum()) @ v[a:b, h : h + d]
    return y, ()


@form("linear")
def with_einsum(x, W, b):
    return np.einsum("ti,io->to", x, W) + b, (x, W)


@form("linear")
def with_loops(x, W, b):
    y = np.zeros((len(x), W.shape[1]))
    for t in range(len(x)):
        for o in range(W.shape[1]):
            y[t, o] = sum(x[t, i] * W[i, o] for i in range(len(W))) + b[o]
    return y, {"x": x, "W": W}


@form("linear")
def with_a_column_of_ones(x, W, b):
    return np.c_[x, np.ones(len(x))] @ np.r_[W, b[None]], [x, W]


@form("linear_backward")
def by_einsum(dy, cache):
    x, W = cache
    return np.einsum("to,io->ti", dy, W), np.einsum("ti,to->io", x, dy), np.einsum("to->o", dy)


@form("linear_backward")
def sums_of_outer_products(dy, cache):
    x, W = cache
    return (W @ dy.T).T, sum(np.outer(a, g) for a, g in zip(x, dy)), np.ones(len(dy)) @ dy


@form("linear_backward")
def as_a_list(dy, cache):
    x, W = cache
    return [dy @ W.T, (dy.T @ x).T, dy.sum(0)]


@form("embedding")
def by_take(ids, W):
    return np.take(W, ids, axis=0), None


@form("embedding")
def by_one_hot(ids, W):
    return np.eye(len(W))[ids] @ W, (ids, W)


@form("embedding")
def by_a_list(ids, W):
    return np.array([W[i] for i in ids]), len(W)


@form("embedding_backward")
def with_a_loop(dy, cache):
    ids, shape = cache
    dW = np.zeros(shape)
    for i, row in zip(ids, dy):
        dW[i] += row
    return dW


@form("embedding_backward")
def one_hot_backward(dy, cache):
    ids, shape = cache
    return np.eye(shape[0])[ids].T @ dy


@form("embedding_backward")
def by_bincount(dy, cache):
    ids, (V, D) = cache
    return np.stack([np.bincount(ids, dy[:, d], minlength=V) for d in range(D)], axis=1)


@form("cross_entropy")
def by_log_softmax(scores, labels):
    shifted = scores - np.amax(scores, 1)[:, None]
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -log_p[range(len(labels)), labels].mean(), (np.exp(log_p), labels)


@form("cross_entropy")
def by_one_hot_sum(scores, labels):
    p = plain.softmax(scores)[0]
    return -(np.eye(p.shape[1])[labels] * np.log(p)).sum() / len(p), None


@form("cross_entropy")
def a_python_float(scores, labels):
    losses = [max(s) - s[y] + np.log(np.exp(s - max(s)).sum()) for s, y in zip(scores, labels)]
    return float(np.mean(losses)), (scores, labels)


@form("cross_entropy_backward")
def subtract_in_a_copy(cache):
    p, labels = cache
    d = p.copy()
    d[np.arange(len(p)), labels] -= 1
    return d / len(p)


@form("cross_entropy_backward")
def row_by_row_backward(cache):
    p, labels = cache
    return np.array([[(q - (j == y)) / len(p) for j, q in enumerate(row)] for row, y in zip(p, labels)])


@form("cross_entropy_backward")
def with_equal(cache):
    p, labels = cache
    return (p - (np.arange(p.shape[1]) == labels[:, None])) / p.shape[0]


@form("central_difference")
def on_a_flat_copy(f, x, epsilon=1e-5):
    flat, out = np.ravel(x), np.zeros(np.size(x))
    for i in range(flat.size):
        step = np.zeros(flat.size)
        step[i] = epsilon
        out[i] = (f((flat + step).reshape(x.shape)) - f((flat - step).reshape(x.shape))) / (2 * epsilon)
    return out.reshape(x.shape)


@form("central_difference")
def with_another_default(f, x, h=1e-4 / 3):
    return on_a_flat_copy(f, x, h)


@form("central_difference")
def with_unit_arrays(f, x, epsilon=1e-5):
    steps = epsilon * np.eye(x.size).reshape(-1, *x.shape)
    return np.array([(f(x + step) - f(x - step)) / (2 * epsilon) for step in steps]).reshape(x.shape)


_erf = np.vectorize(math.erf)


@form("gelu")
def by_erfc(x):
    return x * np.vectorize(math.erfc)(-x / np.sqrt(2)) / 2, (x,)


@form("gelu")
def half_x(x):
    return 0.5 * x + 0.5 * x * _erf(x / 2**0.5), x


@form("gelu")
def element_by_element(x):
    y = [[v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in row] for row in x]
    return np.array(y), x


@form("gelu_backward")
def in_one_line(dy, x):
    return dy * ((1 + _erf(x / 2**0.5)) / 2 + x * np.exp(-x * x / 2) / (2 * np.pi) ** 0.5)


@form("gelu_backward")
def sum_of_two(dy, x):
    return 0.5 * dy + dy * (0.5 * _erf(x / np.sqrt(2)) + x * np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi))


@form("gelu_backward")
def element_by_element_backward(dy, x):
    def slope(v):
        return 0.5 * math.erfc(-v / math.sqrt(2)) + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi)

    return dy * np.array([[slope(v) for v in row] for row in x])


@form("layernorm")
def by_var(x, gamma, beta, eps=1e-12):
    n = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return n * gamma + beta, (n, x.var(-1), gamma)


@form("layernorm")
def by_rows(x, gamma, beta, eps):
    rows = [(r - np.mean(r)) / (np.mean((r - np.mean(r)) ** 2) + eps) ** 0.5 for r in x]
    return np.array(rows) * gamma[None] + beta[None], None


@form("layernorm")
def centred_first(x, gamma, beta, eps):
    c = x - x @ np.ones((x.shape[1], 1)) / x.shape[1]
    return beta + gamma * c * ((c * c).sum(1, keepdims=True) / c.shape[1] + eps) ** -0.5, c


@form("layernorm_backward")
def over_D(dy, cache):
    n, s, gamma = cache
    D, g = n.shape[1], dy * gamma
    dx = s / D * (D * g - g.sum(1, keepdims=True) - n * (g * n).sum(1, keepdims=True))
    return dx, np.einsum("td,td->d", dy, n), np.einsum("td->d", dy)


@form("layernorm_backward")
def by_the_jacobian(dy, cache):
    n, s, gamma = cache
    D = n.shape[1]
    rows = [(np.eye(D) - 1 / D - np.outer(a, a) / D) @ (g * gamma) * v for a, g, v in zip(n, dy, s[:, 0])]
    return np.array(rows), sum(dy * n), sum(dy)


@form("layernorm_backward")
def by_the_chain_rule(dy, cache):
    n, s, gamma = cache
    dn = dy * gamma
    dvar = (-0.5 * s**2 * dn * n).sum(1, keepdims=True)
    dmean = (-s * dn).sum(1, keepdims=True)
    return s * dn + 2 * dvar * n / s / n.shape[1] + dmean / n.shape[1], (dy * n).sum(0), dy.sum(0)


@form("softmax_backward")
def by_jacobians(dp, p):
    return np.array([(np.diag(q) - np.outer(q, q)) @ d for q, d in zip(p, dp)])


@form("softmax_backward")
def expanded(dp, p):
    return dp * p - p * np.einsum("ij,ij->i", dp, p)[:, None]


@form("softmax_backward")
def with_centred_gradients(dp, p):
    centred = dp - dp.mean(1, keepdims=True)  # a constant in a row changes nothing
    return p * (centred - (centred * p).sum(1, keepdims=True))


@form("attention_backward")
def all_heads_backward(dy, cache):
    q, k, v, offsets, n_heads, weights = cache
    out = [np.empty(q.shape) for _ in range(3)]
    for b, (s, e) in enumerate(zip(offsets[:-1], offsets[1:])):
        Q, K, V, G = (_heads(x[s:e], n_heads) for x in (q, k, v, dy))
        P = np.stack([weights[b, h] for h in range(n_heads)])
        dP = G @ V.transpose(0, 2, 1)
        dS = P * (dP - (dP * P).sum(-1, keepdims=True)) / np.sqrt(Q.shape[-1])
        for target, part in zip(out, (dS @ K, dS.transpose(0, 2, 1) @ Q, P.transpose(0, 2, 1) @ G)):
            target[s:e] = part.transpose(1, 0, 2).reshape(e - s, -1)
    return tuple(out)


@form("attention_backward")
def without_stored_weights(dy, cache):
    q, k, v, offsets, n_heads, _ = cache
    _, again = plain.attention(q, k, v, offsets, n_heads)
    return plain.attention_backward(dy, again)


@form("attention_backward")
def with_the_inner_product_of_y(dy, cache):
    """sum(dP P) = dy . y: what FlashAttention computes from the output."""
    q, k, v, offsets, n_heads, weights = cache
    d, out = q.shape[1] // n_heads, [np.zeros_like(q) for _ in range(3)]
    for b in range(len(offsets) - 1):
        r = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            c, P = slice(h * d, h * d + d), weights[b, h]
            inner = (dy[r, c] * (P @ v[r, c])).sum(1)[:, None]
            dS = P * (dy[r, c] @ v[r, c].T - inner) * d**-0.5
            out[0][r, c], out[1][r, c], out[2][r, c] = dS @ k[r, c], dS.T @ q[r, c], P.T @ dy[r, c]
    return out


@form("adapter")
def in_one_expression(x, p):
    u = x @ p["down/W"] + p["down/b"]
    return x + (u * plain.normal_cdf(u)) @ p["up/W"] + p["up/b"], ((x, p["down/W"]), u, (u, p["up/W"]))


@form("adapter")
def with_own_cache(x, p):
    u = x @ p["down/W"] + p["down/b"]
    h = half_x(u)[0]
    return h @ p["up/W"] + p["up/b"] + x, {"x": x, "u": u, "h": h}


@form("adapter")
def skip_by_identity(x, p):
    h, _ = plain.gelu(plain.linear(x, p["down/W"], p["down/b"])[0])
    return np.hstack([x, h]) @ np.vstack([np.eye(x.shape[1]), p["up/W"]]) + p["up/b"], None


@form("adapter_backward")
def written_out(dy, cache):
    (x, W_down), u, (h, W_up) = cache
    du = in_one_line(dy @ W_up.T, u)
    grads = {"up/W": h.T @ dy, "up/b": dy.sum(0), "down/W": x.T @ du, "down/b": du.sum(0)}
    return du @ W_down.T + dy, grads


@form("adapter_backward")
def with_more_gradients(dy, cache):
    dx, grads = plain.adapter_backward(dy, cache)
    return dx, dict(sorted(grads.items())) | {"note": 1}


@form("adapter_backward")
def recomputed(dy, cache):
    (x, W_down), u, (_, W_up) = cache
    h = plain.gelu(u)[0]
    du = plain.gelu_backward(dy @ W_up.T, u)
    down, up = plain.linear_backward(du, (x, W_down)), plain.linear_backward(dy, (h, W_up))
    return dy + down[0], {"down/W": down[1], "down/b": down[2], "up/W": up[1], "up/b": up[2]}


@form("adam_step")
def with_a_corrected_rate(p, g, m, v, step, lr, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = m + (1 - beta1) * (g - m), v + (1 - beta2) * (g * g - v)
    root = np.sqrt(1 - beta2**step)
    return p * (1 - lr * weight_decay) - lr / (1 - beta1**step) * m * root / (np.sqrt(v) + eps * root), m, v


@form("adam_step")
def element_by_element_step(p, g, m, v, step, lr, weight_decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * np.square(g)
    update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + weight_decay * p
    return p - lr * update, m, v


@form("adam_step")
def on_copies(p, g, m, v, step, lr, weight_decay):
    p, m, v = p.copy(), m.copy(), v.copy()
    m *= 0.9
    m += 0.1 * g
    v *= 0.999
    v += 0.001 * g * g
    p *= 1 - lr * weight_decay
    p -= lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
    return [p, m, v]


@form("learning_rate")
def as_a_minimum(step, steps, peak, warmup=0.1):
    rising = round(steps * warmup)
    up = (step + 1) / rising if rising else 1.0
    return (
        peak * min(up, (steps - step) / max(1, steps - rising))
        if step < rising
        else peak * (steps - step) / (steps - rising)
    )


@form("learning_rate")
def by_interp(step, steps, peak, warmup):
    rising = round(warmup * steps)
    return (
        float(np.interp(step, [-1, rising - 1, rising, steps], [0, peak, peak, 0]))
        if rising
        else peak * (1 - step / steps)
    )


@form("learning_rate")
def a_numpy_number(step, steps, peak, warmup):
    return np.float64(plain.learning_rate(step, steps, peak, warmup))


@form("clip")
def by_flat_norm(grads, largest):
    norm = np.linalg.norm(np.concatenate([g.ravel() for g in grads.values()]))
    return {k: g * (largest / norm) if norm > largest else g for k, g in grads.items()}


@form("clip")
def divided(grads, largest):
    norm = np.sqrt(np.sum([np.sum(g * g) for g in grads.values()]))
    return {k: g / max(1, norm / largest) for k, g in grads.items()}


@form("clip")
def copied(grads, largest):
    out = {k: g.copy() for k, g in grads.items()}
    norm = np.hypot.reduce([np.linalg.norm(g) for g in out.values()])
    if norm > largest:
        for g in out.values():
            g *= largest / norm
    return out


FORMS |= forms_backward.FORMS
