"""Other correct ways to write the exercises of the lessons 6 and 9."""

import itertools

import numpy as np

from minibert.lessons import plain

FORMS: dict[str, list] = {}


def form(name):
    def add(function):
        FORMS.setdefault(name, []).append(function)
        return function

    return add


@form("attention_lse_backward")
def by_softmax_again(dy, cache):
    q, k, v, _, _, offsets, n_heads = cache
    return plain.attention_backward(dy, plain.attention(q, k, v, offsets, n_heads)[1])


@form("attention_lse_backward")
def with_the_sum_of_dp_p(dy, cache):
    q, k, v, _, lse, offsets, n_heads = cache
    grads = [np.zeros(q.shape) for _ in range(3)]
    for h, columns in enumerate(np.split(np.arange(q.shape[1]), n_heads)):
        scale = len(columns) ** -0.5
        for begin, end in itertools.pairwise(offsets):
            Q, K, V, dY = (a[begin:end, columns] for a in (q, k, v, dy))
            P = np.exp(scale * Q @ K.T - lse[begin:end, [h]])
            dP = dY @ V.T
            dS = scale * (P * dP - P * (P * dP).sum(1)[:, None])
            for gradient, value in zip(grads, (dS @ K, dS.T @ Q, P.T @ dY), strict=True):
                gradient[begin:end, columns] = value
    return tuple(grads)


@form("attention_lse_backward")
def all_heads_at_once(dy, cache):
    q, k, v, y, lse, offsets, n_heads = cache
    parts = [[], [], []]
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        Q, K, V, dY = (a[rows].reshape(len(a[rows]), n_heads, -1) for a in (q, k, v, dy))
        root = Q.shape[2] ** 0.5
        P = np.exp(np.einsum("ihd,jhd->hij", Q, K) / root - lse[rows].T[:, :, None])
        inner = (dY * y[rows].reshape(dY.shape)).sum(2).T[:, :, None]
        dS = P * (np.einsum("ihd,jhd->hij", dY, V) - inner) / root
        found = np.einsum("hij,jhd->ihd", dS, K), np.einsum("hij,ihd->jhd", dS, Q), np.einsum("hij,ihd->jhd", P, dY)
        for part, gradient in zip(parts, found, strict=True):
            part.append(gradient.reshape(len(gradient), -1))
    return [np.concatenate(part) for part in parts]


@form("layer_backward")
def with_all_three_of_linear_backward(dy, cache):
    query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f = cache
    grads = {}

    def block_above(d, norm, adapter, name):
        d, grads[f"{name}/norm/gamma"], grads[f"{name}/norm/beta"] = plain.layernorm_backward(d, norm)
        below, more = plain.adapter_backward(d, adapter)
        grads.update({f"{name}/adapter/{leaf}": gradient for leaf, gradient in more.items()})
        return d, below

    residual, d = block_above(dy, norm_f, adapter_f, "feed_forward")
    d = plain.gelu_backward(plain.linear_backward(d, out_f)[0], activation)
    residual, d = block_above(residual + plain.linear_backward(d, intermediate)[0], norm_a, adapter_a, "attention")
    dqkv = plain.attention_backward(plain.linear_backward(d, out_a)[0], heads)
    for d, projection in zip(dqkv, (query, key, value), strict=True):
        residual = residual + plain.linear_backward(d, projection)[0]
    return residual, grads


@form("layer_backward")
def q_k_v_as_one_product(dy, cache):
    query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f = cache
    d, gamma_f, beta_f = plain.layernorm_backward(dy, norm_f)
    below, grads_f = plain.adapter_backward(d, adapter_f)
    d = d + plain.gelu_backward(below @ out_f[1].T, activation) @ intermediate[1].T
    d, gamma_a, beta_a = plain.layernorm_backward(d, norm_a)
    below, grads_a = plain.adapter_backward(d, adapter_a)
    dqkv = np.hstack(plain.attention_backward(below @ out_a[1].T, heads))
    grads = {f"attention/adapter/{name}": g for name, g in grads_a.items()}
    grads.update({f"feed_forward/adapter/{name}": g for name, g in grads_f.items()})
    grads.update({"attention/norm/gamma": gamma_a, "attention/norm/beta": beta_a})
    grads.update({"feed_forward/norm/gamma": gamma_f, "feed_forward/norm/beta": beta_f})
    return d + dqkv @ np.hstack([query[1], key[1], value[1]]).T, grads


@form("layer_backward")
def with_the_frozen_gradients_too(dy, cache):
    dx, grads = plain.layer_backward(dy, cache)
    return [dx, grads | {"attention/query/b": np.zeros(dx.shape[1])}]


@form("is_trained")
def by_parts_of_the_name(name, method, n_layers, top_k):
    parts = name.split("/")
    layer = int(parts[2]) if "layers" in parts else None
    if parts[0] == "head" or method == "full":
        return 1
    if method == "top_k":
        return layer in range(n_layers - top_k, n_layers) or n_layers == top_k
    kinds = {"adapter": {"adapter", "norm"}, "layernorm": {"norm"}}.get(method, set())
    return bool(kinds & set(parts))


@form("is_trained")
def by_ends_of_the_name(name, method, n_layers, top_k):
    if method == "top_k" and top_k < n_layers:
        return name.startswith(("head/", *(f"encoder/layers/{i}/" for i in range(n_layers - top_k, n_layers))))
    is_norm = name.endswith(("/gamma", "/beta"))
    return {
        "head": name.startswith("head/"),
        "layernorm": is_norm or name.startswith("head/"),
        "adapter": is_norm or "adapter" in name or name.startswith("head/"),
    }.get(method, True)


@form("is_trained")
def as_a_numpy_bool(name, method, n_layers, top_k):
    return np.bool_(plain.is_trained(name, method, n_layers, top_k))


def sizes_of(trained, D, F, H, M, adapter):
    def learns(*names):
        return any(f"{name}/W" in trained for name in names)

    return {
        "attention input": D if learns("attention/query", "attention/key", "attention/value") else 0,
        "q, k, v": D + D + D,
        "lse": H,
        "attended": D if learns("attention/output") else 0,
        "attention adapter": adapter("attention/adapter/"),
        "attention norm": 1 + D,
        "feed-forward input": D if learns("feed_forward/intermediate") else 0,
        "derivative of gelu": F,
        "h": F if learns("feed_forward/output") else 0,
        "feed-forward adapter": adapter("feed_forward/adapter/"),
        "feed-forward norm": 1 + D,
    }


@form("cache_sizes")
def with_conditions(trained, D, F, H, M):
    return sizes_of(trained, D, F, H, M, lambda p: D + M + M if any(name.startswith(p) for name in trained) else 0)


@form("cache_sizes")
def by_tensor(trained, D, F, H, M):
    def adapter(prefix):
        return D * (f"{prefix}down/W" in trained) + M * (f"{prefix}up/W" in trained) + M * (f"{prefix}up/b" in trained)

    return dict(reversed(sizes_of(trained, D, F, H, M, adapter).items()))


@form("cache_sizes")
def as_floats(trained, D, F, H, M):
    return {name: np.float64(size) for name, size in plain.cache_sizes(trained, D, F, H, M).items()}
