"""GELU."""

import numpy as np

from minibert.lessons.exercise import Exercise

_TANH = "0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))"
_SIGMOID = "1 / (1 + np.exp(-1.702 * x))"


def _gelu(rng):
    return [(rng.normal(scale=2, size=shape),) for shape in ((4, 5), (1, 7))] + [(np.linspace(-6, 6, 25)[None],)]


EXERCISES = (
    Exercise(
        "gelu",
        5,
        outputs=("y",),
        cache="x",
        cases=_gelu,
        hints=(
            "BERT's GELU has the normal distribution in it, not the sigmoid, and not the tanh that approximates it.",
            "Phi(x) = (1 + erf(x / sqrt(2))) / 2; math.erf takes one number, np.vectorize(math.erf) an array.",
            "y = x * Phi(x)",
        ),
        mistakes=(
            (
                "y = x * normal_cdf(x)",
                f"y = x * {_TANH}",
                "this is the tanh approximation; BERT has the exact form, with erf",
            ),
            (
                "y = x * normal_cdf(x)",
                f"y = x * {_SIGMOID}",
                "this is the sigmoid approximation; BERT has the exact form, with erf",
            ),
            (
                "y = x * normal_cdf(x)",
                "y = x / (1 + np.exp(-x))",
                "this is SiLU (swish), with the sigmoid in place of Phi",
            ),
            ("y = x * normal_cdf(x)", "y = np.maximum(x, 0)", "this is ReLU"),
            ("y = x * normal_cdf(x)", "y = normal_cdf(x)", "this is Phi(x): multiply it by x"),
            ("normal_cdf", "x / math.sqrt(2)", "x", "erf needs x / sqrt(2)"),
            ("normal_cdf", "0.5 * (1 + np", "(1 + np", "the factor 1/2 of Phi is missing"),
            ("normal_cdf", "0.5 * (1 + np", "0.5 * (0 + np", "the 1 of Phi = (1 + erf) / 2 is missing"),
        ),
    ),
    Exercise(
        "gelu_backward",
        5,
        outputs=("dx",),
        cases=None,
        hints=(
            "y = x Phi(x) is a product of two functions of x.",
            "The derivative of Phi is the density phi(x) = exp(-x^2 / 2) / sqrt(2 pi).",
            "dx = dy * (Phi(x) + x * phi(x))",
        ),
        mistakes=(
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = dy * normal_cdf(x)",
                "x phi(x) is missing: y is a product of x and Phi(x)",
            ),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = dy * (normal_cdf(x) + density)",
                "phi is not multiplied by x",
            ),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = dy * x * density",
                "Phi(x) is missing: y is a product of x and Phi(x)",
            ),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = normal_cdf(x) + x * density",
                "dy is missing: the chain rule",
            ),
            (
                "density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)",
                "density = np.exp(-0.5 * x**2)",
                "phi is not divided by sqrt(2 pi)",
            ),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = dy * normal_cdf(x) + x * density",
                "a bracket is missing: dy multiplies both terms",
            ),
            (
                "/ math.sqrt(2 * math.pi)",
                "/ math.sqrt(2) * math.pi",
                "a bracket is missing: / sqrt(2) * pi multiplies by pi; write / math.sqrt(2 * math.pi)",
            ),
            ("/ math.sqrt(2 * math.pi)", "/ (2 * math.pi)", "phi is divided by 2 pi; it must be its square root"),
            ("/ math.sqrt(2 * math.pi)", "/ math.sqrt(math.pi)", "phi is divided by sqrt(pi); it must be sqrt(2 pi)"),
            ("np.exp(-0.5 * x**2)", "np.exp(0.5 * x**2)", "the exponent of phi has the wrong sign: it is -x^2 / 2"),
            ("np.exp(-0.5 * x**2)", "np.exp(-0.5 * x)", "x is not squared in the exponent of phi: it is -x^2 / 2"),
            ("np.exp(-0.5 * x**2)", "np.exp(-(x**2))", "the exponent of phi is -x^2 / 2"),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = dy * (normal_cdf(x) - x * density)",
                "the sign of x phi(x) is wrong",
            ),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                "dx = dy * (1 / (1 + np.exp(-x)) + x * np.exp(-x) / (1 + np.exp(-x)) ** 2)",
                "this is the derivative of SiLU, with the sigmoid in place of Phi",
            ),
            (
                "dx = dy * (normal_cdf(x) + x * density)",
                f"t = 2 * {_TANH} - 1; dt = (1 - t**2) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2); "
                "dx = dy * 0.5 * (1 + t + x * dt)",
                "this is the derivative of the tanh approximation; BERT has the exact form",
            ),
        ),
    ),
)
