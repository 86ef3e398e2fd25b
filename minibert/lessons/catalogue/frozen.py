"""The backward pass of a layer whose weights are frozen."""

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

    return [arguments([0, 3, 7], 3, 6, 5, 4), arguments([0, 1, 3, 4, 5], 2, 6, 7, 8)]


_LAST = "dx = dsum + frozen_backward(dq, query) + frozen_backward(dk, key) + frozen_backward(dv, value)"

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
                "frozen_backward",
                "return dy @ W.T",
                "return 0 * (dy @ W.T)",
                "the gradient stops at both blocks, and goes on through the residuals alone; frozen is not stopped",
            ),
            (
                "adapter_if_any_backward",
                "return adapter_backward(dy, cache) if",
                "return (dy, adapter_backward(dy, cache)[1]) if",
                "the gradient passes by both adapters: their dx is what goes on below them",
            ),
            *(
                (
                    _LAST,
                    "dx = dsum + frozen_backward(" + ") + frozen_backward(".join(given) + ")",
                    f"{which} are exchanged: the gradient of each goes back through its own weight, dq through query",
                )
                for which, given in {
                    "dq and dk": ("dk, query", "dq, key", "dv, value"),
                    "dq and dv": ("dv, query", "dk, key", "dq, value"),
                    "dk and dv": ("dq, query", "dv, key", "dk, value"),
                    "dq, dk and dv": ("dk, query", "dv, key", "dq, value"),
                    "dv, dq and dk": ("dv, query", "dq, key", "dk, value"),
                }.items()
            ),
            *(
                (
                    _LAST,
                    f"dx = dsum + frozen_backward(dq + dk + dv, {name})",
                    f"dq, dk and dv all go through the weight of {name}: each has its own, and the three dx are added",
                )
                for name in ("query", "key", "value")
            ),
            ("frozen_backward(dq, query) + ", "", "the queries do not pass their gradient to x"),
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
            (
                "dx = dsum + frozen_",
                "dx = frozen_",
                "both residuals are lost: x has two consumers in x + a and in x + f, so two gradients are added",
            ),
            (
                "dx = dsum + frozen_backward(du, intermediate)",
                "dx = dy + frozen_backward(du, intermediate)",
                "the residual of the feed-forward block is given dy; the backward of the LayerNorm comes first",
            ),
            (
                "dx = dsum + frozen_backward(dq",
                "dx = dx + frozen_backward(dq",
                "the residual of attention is given the gradient above its LayerNorm, whose backward comes first",
            ),
            (" + frozen_backward(dk, key)", "", "the keys do not pass their gradient to x"),
            (
                "dattended = frozen_backward(da, out_a)",
                "dattended = da",
                "the gradient passes by the output product of attention: frozen or not, dx = dy W.T",
            ),
            (
                "norm_a, intermediate, activation, out_f, adapter_f, norm_f",
                "norm_f, intermediate, activation, out_f, adapter_f, norm_a",
                "the caches of the two LayerNorms are exchanged: the last step of the layer is norm_f",
            ),
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
)
