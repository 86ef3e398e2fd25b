"""What a method trains, and what a layer keeps for its backward pass."""

from __future__ import annotations


def adapter_parameters(D, M, L, C):
    """How many parameters adapter tuning trains (paper, section 2.1): the adapters, every LayerNorm, and the head."""
    one_adapter = D * M + M + M * D + D
    one_layernorm = D + D
    adapters = 2 * L * one_adapter
    layernorms = (2 * L + 1) * one_layernorm
    head = D * C + C
    return adapters + layernorms + head


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
