"""A layer whose weights are frozen, what the five methods train, and what a layer keeps for backward."""

import numpy as np

from minibert.lessons import plain
from minibert.lessons.exercise import Exercise


def _layer_backward(rng):
    """Layers with two adapters, away from the initialization: near it the adapters' gradients are near zero."""

    def parameters(D, F, M):
        linear = {f"attention/{name}": (D, D) for name in ("query", "key", "value", "output")}
        linear |= {"feed_forward/intermediate": (D, F), "feed_forward/output": (F, D)}
        for block in ("attention", "feed_forward"):
            linear |= {f"{block}/adapter/down": (D, M), f"{block}/adapter/up": (M, D)}
        p = {}
        for name, (n_in, n_out) in linear.items():
            p |= {f"{name}/W": rng.normal(scale=0.6, size=(n_in, n_out)), f"{name}/b": rng.normal(size=n_out)}
        for block in ("attention", "feed_forward"):
            p |= {f"{block}/norm/gamma": rng.normal(1, 0.3, size=D), f"{block}/norm/beta": rng.normal(size=D)}
        return p

    def arguments(offsets, n_heads, D, F, M):
        x, dy = rng.normal(size=(offsets[-1], D)), rng.normal(size=(offsets[-1], D))
        return dy, plain.layer(x, parameters(D, F, M), np.array(offsets), n_heads)[1]

    return [arguments([0, 3, 7], 2, 6, 5, 4), arguments([0, 4, 5], 1, 4, 7, 3)]


def _names(layers, with_adapters: bool) -> list[str]:
    leaves = ["query/W", "output/b", "norm/gamma", "norm/beta"]
    leaves += ["adapter/down/W", "adapter/up/b"] if with_adapters else []
    names = ["embeddings/word/W", "embeddings/position/W", "embeddings/norm/gamma", "embeddings/norm/beta"]
    for i in layers:
        names += [f"encoder/layers/{i}/attention/{leaf}" for leaf in leaves]
        names += [f"encoder/layers/{i}/feed_forward/{leaf.replace('query', 'intermediate')}" for leaf in leaves]
    return [*names, "head/W", "head/b"]


def _is_trained(_):
    """Every method, on names of a model of three layers; and of twelve, some of which have two digits."""
    cases = []
    for method, top_k in (("adapter", 0), ("full", 0), ("top_k", 1), ("top_k", 3), ("layernorm", 0), ("head", 0)):
        cases += [(name, method, 3, top_k) for name in _names(range(3), method == "adapter")]
    return cases + [(name, "top_k", 12, 4) for name in _names((1, 7, 8, 10, 11), False)]


def _cache_sizes(rng):
    """Layers of different sizes, whose names train in different ways."""
    norms = {"attention/norm/gamma", "attention/norm/beta", "feed_forward/norm/gamma", "feed_forward/norm/beta"}
    adapters = {
        f"{block}/adapter/{leaf}"
        for block in ("attention", "feed_forward")
        for leaf in ("down/W", "down/b", "up/W", "up/b")
    }
    linear = {f"attention/{name}/{leaf}" for name in ("query", "key", "value", "output") for leaf in "Wb"}
    linear |= {f"feed_forward/{name}/{leaf}" for name in ("intermediate", "output") for leaf in "Wb"}
    one_adapter = {name for name in adapters if name.startswith("feed_forward/")}
    methods = (
        norms | adapters,
        norms | linear,
        norms,
        set(),
        one_adapter,
        {"attention/value/W", "feed_forward/output/W"},
    )
    methods += ({"attention/output/W", "attention/output/b"}, {"feed_forward/intermediate/W"})
    return [(trained, *(int(n) for n in rng.choice(range(3, 40), 4, replace=False))) for trained in methods]


_LAST = "dx = dsum + frozen_backward(dq, query) + frozen_backward(dk, key) + frozen_backward(dv, value)"
_NORM = '"/norm/" in name'

EXERCISES = (
    Exercise(
        "layer_backward",
        9,
        outputs=("dx", "gradients"),
        cases=_layer_backward,
        hints=(
            "Which lines of layer have two consumers of one x? Those are where two gradients are added.",
            "From the last line to the first: LayerNorm, adapter, output, gelu, intermediate; then attention's.",
            "dsum, dgamma, dbeta = layernorm_backward(dy, norm_f); df, … = adapter_backward(dsum, adapter_f); "
            "dh = frozen_backward(df, out_f); …; dx = dsum + frozen_backward(du, intermediate)",
        ),
        order=(
            *(f"feed_forward/norm/{name}" for name in ("beta", "gamma")),
            *(f"feed_forward/adapter/{name}" for name in ("up/b", "up/W", "down/b", "down/W")),
            *(f"attention/norm/{name}" for name in ("beta", "gamma")),
            *(f"attention/adapter/{name}" for name in ("up/b", "up/W", "down/b", "down/W")),
            "dx",
        ),
        mistakes=(
            (
                _LAST,
                "dx = dsum",
                "the gradient stops at the frozen attention; frozen is not stopped: it goes on through q, k and v",
            ),
            (
                "dx = dsum + frozen_backward(du, intermediate)",
                "dx = dsum",
                "the gradient stops at the frozen feed-forward block; frozen is not stopped",
            ),
            (
                "dx = dsum + frozen_backward(du, intermediate)",
                "dx = frozen_backward(du, intermediate)",
                "the residual around the feed-forward block is lost: x has two consumers, so two gradients are added",
            ),
            (
                "dx = dsum + frozen_backward(dq",
                "dx = frozen_backward(dq",
                "the residual around attention is lost: x has two consumers, so two gradients are added",
            ),
            (
                " + frozen_backward(dk, key) + frozen_backward(dv, value)",
                "",
                "only the queries pass their gradient to x; the keys and the values were computed from x, too",
            ),
            (" + frozen_backward(dv, value)", "", "the values do not pass their gradient to x"),
            ("du = gelu_backward(dh, activation)", "du = dh", "the derivative of gelu is missing"),
            (
                "return dx, grads",
                'return dx, {name: g for name, g in grads.items() if "/norm/" not in name}',
                "the gradients of the LayerNorms are missing: adapter tuning trains them",
            ),
            (
                "adapter_if_any_backward(dsum, adapter_f)",
                "adapter_if_any_backward(dy, adapter_f)",
                "the gradient reaches the feed-forward adapter without passing the LayerNorm above it",
            ),
            (
                "adapter_if_any_backward(dsum, adapter_a)",
                "adapter_if_any_backward(dx, adapter_a)",
                "the gradient reaches the attention adapter without passing the LayerNorm above it",
            ),
            (
                "dh = frozen_backward(df, out_f)",
                "dh = frozen_backward(dsum, out_f)",
                "the gradient passes by the feed-forward adapter: df is what goes on below it",
            ),
            (
                "dattended = frozen_backward(da, out_a)",
                "dattended = frozen_backward(dsum, out_a)",
                "the gradient passes by the attention adapter: da is what goes on below it",
            ),
            (
                "dx = dsum + frozen_backward(du, intermediate)",
                "dx = df + frozen_backward(du, intermediate)",
                "the residual's gradient is taken below the feed-forward adapter; the residual goes around it, too",
            ),
            (
                "dx = dsum + frozen_backward(dq",
                "dx = da + frozen_backward(dq",
                "the residual's gradient is taken below the attention adapter; the residual goes around it, too",
            ),
            (
                "dattended = frozen_backward(da, out_a)",
                "dattended = da @ out_a[1]",
                "W of the attention's output is not transposed: dx = dy W.T, frozen or not",
            ),
        ),
    ),
    Exercise(
        "is_trained",
        9,
        outputs=("trained",),
        cases=_is_trained,
        hints=(
            "The head is new for each task. Which method could leave it as it is?",
            'The names tell: "head/", "/adapter/", "/norm/", and the layer is name.split("/")[2] as a number.',
            "top_k: layer >= n_layers - top_k; and if top_k is n_layers, everything, the embeddings too.",
        ),
        mistakes=(
            (
                'return "/adapter/" in name or "/norm/" in name',
                'return "/adapter/" in name',
                "the LayerNorms are forgotten: adapter tuning trains them, too (section 2.1 of the paper)",
            ),
            (
                'name.startswith("head/") or method == "full"',
                'method == "full"',
                "the head is forgotten: every method trains it",
            ),
            (
                _NORM,
                f'"layers/" in name and {_NORM}',
                "the LayerNorm after the embeddings is forgotten: it is one of the LayerNorms",
            ),
            (
                'return "/adapter/" in name or "/norm/" in name',
                'return "/adapter/" in name or ("/norm/" in name and in_layer >= 0)',
                "method adapter forgets the LayerNorm after the embeddings",
            ),
            (
                'return method == "layernorm" and "/norm/" in name',
                'return method == "layernorm" and "/norm/" in name and in_layer >= 0',
                "method layernorm forgets the LayerNorm after the embeddings",
            ),
            (
                "in_layer >= n_layers - top_k",
                "0 <= in_layer < top_k",
                "top_k trains the lowest layers; it must be the highest, next to the head",
            ),
            ("in_layer >= n_layers - top_k", "in_layer > n_layers - top_k", "top_k trains one layer too few"),
            ("in_layer >= n_layers - top_k", "in_layer >= n_layers - top_k - 1", "top_k trains one layer too many"),
            (
                "return top_k == n_layers or ",
                "return ",
                "with top_k = n_layers everything trains, the embeddings too: that is full fine-tuning",
            ),
            ("else -1", "else n_layers", "top_k trains the embeddings; they lie below the first layer"),
            (
                'int(name.split("/")[2])',
                'int(name.split("/")[2][0])',
                "only the first digit of the layer's number is read: layer 10 is taken for layer 1",
            ),
            (
                'method == "full"',
                '(method == "full" and in_layer >= 0)',
                "method full leaves the embeddings frozen; it trains everything",
            ),
            (
                'return "/adapter/" in name or "/norm/" in name',
                'return ("/adapter/" in name and name.endswith("/W")) or "/norm/" in name',
                "the biases of the adapters are forgotten",
            ),
        ),
    ),
    Exercise(
        "cache_sizes",
        9,
        outputs=("sizes",),
        cases=_cache_sizes,
        hints=(
            "y = x W + b. Which of dx = dy W.T and dW = x.T dy needs x?",
            "A product keeps its input if its own W trains. Softmax, GELU and LayerNorm keep what dx needs, always.",
            '"h": F * ("feed_forward/output/W" in trained), "q, k, v": 3 * D, "derivative of gelu": F, …',
        ),
        mistakes=(
            (
                '/W" in trained',
                '/W" in trained or True',
                "the inputs of frozen products are kept: x is needed for dW = x.T dy alone",
            ),
            ('"q, k, v": 3 * D', '"q, k, v": 0', "q, k and v are not kept; the softmax needs them, frozen or not"),
            (
                '"derivative of gelu": F',
                '"derivative of gelu": 0',
                "the derivative of gelu is not kept; the gradient is multiplied by it on its way down, frozen or not",
            ),
            (
                "D + 1",
                "0",
                "the LayerNorms keep nothing; their dx needs n and inverse_std, whether gamma trains or not",
            ),
            ("D + 1", "D", "a LayerNorm keeps one number more for each token: inverse_std"),
            ("D + 1", "2 * D", "a LayerNorm keeps n (D) and inverse_std, one number for each token"),
            ("D * any(", "D * sum(", "q, k and v read one x: it is kept once, not for each of them"),
            ('"lse": H', '"lse": 1', "lse is one number for each head"),
            ("D + 2 * M", "D + M", "an adapter keeps the derivative of gelu and h, both (M,), beside its input"),
            ("D + 2 * M", "2 * M", "the input of an adapter is forgotten: its W_down trains"),
            (
                '"h": F * ("feed_forward/output/W" in trained)',
                '"h": F * ("feed_forward/intermediate/W" in trained)',
                "h is the input of the output's W: that one decides whether it is kept",
            ),
        ),
    ),
)
