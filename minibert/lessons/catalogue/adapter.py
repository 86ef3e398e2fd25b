"""The adapter."""

from minibert.lessons.exercise import Exercise


def _adapter(rng):
    """Away from the identity: near it every gradient is near zero, and hides what is wrong."""

    def arguments(T, D, M):
        shapes = {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
        return rng.normal(size=(T, D)), {name: rng.normal(scale=0.8, size=shape) for name, shape in shapes.items()}

    return [arguments(4, 5, 3), arguments(1, 3, 2), arguments(5, 4, 6)]


EXERCISES = (
    Exercise(
        "adapter",
        8,
        outputs=("y",),
        cache=(("x", "down/W"), "u", ("h", "up/W")),
        cases=_adapter,
        hints=(
            "What must y be if W_up and b_up are zero?",
            "Three steps: to M, the nonlinearity, back to D. Then the skip connection.",
            "u = x W_down + b_down; h = gelu(u); y = x + h W_up + b_up",
        ),
        order=("u", "h", "y"),
        mistakes=(
            ("y = x + z", "y = z", "the skip connection is missing: y = x + ..."),
            ("h, gelu_cache = gelu(u)", "h, gelu_cache = u, u", "the nonlinearity is missing between W_down and W_up"),
            (
                "h, gelu_cache = gelu(u)",
                "h, gelu_cache = np.maximum(u, 0), u",
                "the nonlinearity is ReLU; this adapter has GELU",
            ),
            (
                "h, gelu_cache = gelu(u)",
                "h, gelu_cache = np.array(gelu(u)), u",
                "gelu returns two things: h, cache = gelu(u)",
            ),
            ("y = x + z", "y = x + gelu(z)[0]", "there is a second nonlinearity after W_up"),
            ("y = x + z", "y = gelu(x + z)[0]", "there is a nonlinearity after the skip connection"),
            ("y = x + z", "y = x * (1 + z)", "x is scaled, not added to"),
            (
                'u, down_cache = linear(x, p["down/W"], p["down/b"])',
                'u, down_cache = linear(x, p["down/W"], 0)',
                "b_down is missing",
            ),
            (
                'z, up_cache = linear(h, p["up/W"], p["up/b"])',
                'z, up_cache = linear(h, p["up/W"], 0)',
                "b_up is missing",
            ),
            ("y = x + z", "y = x - z", "the bottleneck's output is subtracted"),
        ),
    ),
    Exercise(
        "adapter_backward",
        8,
        outputs=("dx", "gradients"),
        cases=None,
        hints=(
            "x has two consumers in y = x + f(x): what becomes of their two gradients?",
            "From the last line to the first: up, gelu at u (not at h), down; and dy itself, which the skip passes on.",
            "dh, dW_up, db_up = linear_backward(dy, up_cache); du = gelu_backward(dh, gelu_cache); ...; dx = dy + ...",
        ),
        order=("up/b", "up/W", "down/b", "down/W", "dx"),
        mistakes=(
            ("dx = dy + dx", "dx = dx", "the skip connection is lost in dx: y = x + ..., so dy itself belongs to dx"),
            ("dx = dy + dx", "dx = dy", "the bottleneck's share of dx is lost: x has two consumers"),
            (
                "du = gelu_backward(dh, gelu_cache)",
                "du = gelu_backward(dh, up_cache[0])",
                "the derivative of gelu is taken at h; it belongs at u, before the nonlinearity",
            ),
            ("du = gelu_backward(dh, gelu_cache)", "du = dh", "the derivative of gelu is missing"),
            (
                "linear_backward(dy, up_cache)",
                "linear_backward(dy, (gelu_cache, up_cache[1]))",
                "dW_up is made of u; W_up was multiplied by h = gelu(u)",
            ),
            ("du = gelu_backward(dh, gelu_cache)", "du = dh * (gelu_cache > 0)", "this is the derivative of ReLU"),
            (
                '{"down/W": dW_down, "down/b": db_down, "up/W": dW_up, "up/b": db_up}',
                '{"down/W": dW_up, "down/b": db_up, "up/W": dW_down, "up/b": db_down}',
                "the gradients of down and up are exchanged",
            ),
            ('"up/b": db_up', '"up/b": db_up / len(dy)', "the gradient of b_up is a mean over the rows, not a sum"),
            (
                '"down/b": db_down',
                '"down/b": db_down / len(dy)',
                "the gradient of b_down is a mean over the rows, not a sum",
            ),
            ('"up/W": dW_up', '"up/W": dW_up.T', "the gradient of W_up is transposed"),
            ('"down/W": dW_down', '"down/W": dW_down.T', "the gradient of W_down is transposed"),
            ("dx = dy + dx", "dx = dy - dx", "the bottleneck's share of dx has the wrong sign"),
        ),
    ),
)
