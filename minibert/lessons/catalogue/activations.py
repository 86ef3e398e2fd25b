"""GELU and LayerNorm."""

import numpy as np

from minibert.lessons.exercise import Exercise

_TANH = "0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))"
_SIGMOID = "1 / (1 + np.exp(-1.702 * x))"


def _gelu(rng):
    return [(rng.normal(scale=2, size=shape),) for shape in ((4, 5), (1, 7))] + [(np.linspace(-6, 6, 25)[None],)]


def _layernorm(rng):
    """The second has a tiny variance, where the place of eps can be seen."""

    def arguments(T, D, scale, eps):
        x = rng.normal(3, scale, size=(T, D))
        return x, rng.normal(1, 0.3, size=D), rng.normal(size=D), eps

    return [arguments(4, 5, 2.0, 1e-12), arguments(3, 6, 1e-3, 1e-5), arguments(1, 3, 1.0, 0.1)]


EXERCISES = (
    Exercise(
        "gelu",
        5,
        outputs=("y", "x"),
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
    Exercise(
        "layernorm",
        5,
        outputs=("y", ("n", "inverse_std", "gamma")),
        cases=_layernorm,
        hints=(
            "Mean and variance of what: of a row, of a column, or of all? Divided by D, or by D - 1?",
            "eps is added to the variance, before the square root is taken.",
            "n = (x - mean) / sqrt(variance + eps), y = gamma * n + beta",
        ),
        order=("inverse_std", "n", "y"),
        mistakes=(
            (
                "variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)",
                "variance = ((x - mean) ** 2).sum(axis=1, keepdims=True) / (x.shape[1] - 1)",
                "the variance is divided by D - 1; LayerNorm divides by D",
            ),
            (
                "1 / np.sqrt(variance + eps)",
                "1 / (np.sqrt(variance) + eps)",
                "eps is outside the square root; it belongs to the variance",
            ),
            ("1 / np.sqrt(variance + eps)", "1 / np.sqrt(variance)", "eps is missing"),
            (
                "1 / np.sqrt(variance + eps)",
                "1 / (variance + eps)",
                "the square root is missing: divide by the standard deviation",
            ),
            ("1 / np.sqrt(variance + eps)", "1 / np.sqrt(variance + eps**2)", "eps is squared"),
            (
                "mean = x.mean(axis=1, keepdims=True)",
                "mean = x.mean(axis=0, keepdims=True)",
                "the mean is over the batch (axis 0); LayerNorm normalizes each row",
            ),
            (
                "mean = x.mean(axis=1, keepdims=True)",
                "mean = x.mean()",
                "the mean is over all elements; each row has its own",
            ),
            ("n = (x - mean) * inverse_std", "n = x * inverse_std", "the mean is not subtracted from x"),
            (
                "variance = ((x - mean) ** 2)",
                "variance = (x ** 2)",
                "the mean is not subtracted before squaring: this is RMSNorm's divisor",
            ),
            ("y = gamma * n + beta", "y = gamma * (n + beta)", "beta is multiplied by gamma, too: y = gamma n + beta"),
            ("y = gamma * n + beta", "y = beta * n + gamma", "gamma and beta are exchanged"),
            ("y = gamma * n + beta", "y = gamma * n", "beta is missing"),
            ("y = gamma * n + beta", "y = n", "gamma and beta are missing"),
            ("y = gamma * n + beta", "y = n + beta", "gamma is missing"),
        ),
    ),
    Exercise(
        "layernorm_backward",
        5,
        outputs=("dx", "dgamma", "dbeta"),
        cases=None,
        hints=(
            "gamma and beta are as in a linear layer, element by element. With g = dy gamma, what is left is n -> x.",
            "x acts on n in three ways: itself, by the mean, and by the variance. Two of them are means over the row.",
            "dx = inverse_std * (g - mean(g) - n * mean(g * n)), means over axis 1 with keepdims",
        ),
        mistakes=(
            (
                "dx = inverse_std * (g - mean_g - n * mean_gn)",
                "dx = inverse_std * (g - mean_g)",
                "the mean of g n is missing: the variance depends on x, too",
            ),
            (
                "dx = inverse_std * (g - mean_g - n * mean_gn)",
                "dx = inverse_std * (g - n * mean_gn)",
                "the mean of g is missing: the mean depends on x, too",
            ),
            (
                "dx = inverse_std * (g - mean_g - n * mean_gn)",
                "dx = inverse_std * g",
                "mean and variance are taken as constants; both depend on x",
            ),
            (
                "dx = inverse_std * (g - mean_g - n * mean_gn)",
                "dx = g - mean_g - n * mean_gn",
                "dx is not divided by the standard deviation",
            ),
            ("g = dy * gamma", "g = dy", "dy is not multiplied by gamma before it goes back through n"),
            (
                "dx = inverse_std * (g - mean_g - n * mean_gn)",
                "dx = inverse_std * (g - mean_g + n * mean_gn)",
                "the sign of n mean(g n) is wrong",
            ),
            (
                "dx = inverse_std * (g - mean_g - n * mean_gn)",
                "dx = inverse_std * (g - mean_g - mean_gn)",
                "mean(g n) is not multiplied by n",
            ),
            (
                "mean_gn = (g * n).mean(axis=1, keepdims=True)",
                "mean_gn = (g * n).sum(axis=1, keepdims=True)",
                "g n is summed over the row; it must be a mean",
            ),
            (
                "mean_g = g.mean(axis=1, keepdims=True)",
                "mean_g = g.sum(axis=1, keepdims=True)",
                "g is summed over the row; it must be a mean",
            ),
            (
                "mean_g = g.mean(axis=1, keepdims=True)",
                "mean_g = g.mean(axis=0, keepdims=True)",
                "the mean of g is over axis 0; statistics are those of a row",
            ),
            ("dgamma = (dy * n).sum(axis=0)", "dgamma = dy.sum(axis=0)", "dgamma is not multiplied by n"),
            (
                "dgamma = (dy * n).sum(axis=0)",
                "dgamma = (dy * n).mean(axis=0)",
                "dgamma is a mean over the rows; every row adds to it: a sum",
            ),
            (
                "dbeta = dy.sum(axis=0)",
                "dbeta = dy.mean(axis=0)",
                "dbeta is a mean over the rows; every row adds to it: a sum",
            ),
            (
                "dgamma = (dy * n).sum(axis=0)",
                "dgamma = (dy * n * gamma).sum(axis=0)",
                "dgamma has gamma in it: y is linear in gamma, so it drops out",
            ),
            (
                "dbeta = dy.sum(axis=0)",
                "dbeta = (dy * gamma).sum(axis=0)",
                "dbeta has gamma in it: beta is added after gamma",
            ),
        ),
    ),
)
