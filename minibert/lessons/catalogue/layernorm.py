"""LayerNorm."""

from minibert.lessons.exercise import Exercise


def _layernorm(rng):
    """The second and the last have a tiny variance, where the place and the size of eps can be seen."""

    def arguments(T, D, scale, eps):
        x = rng.normal(1.5 * scale, scale, size=(T, D))
        return x, rng.normal(1, 0.3, size=D), rng.normal(size=D), eps

    usual = [arguments(4, 5, 2.0, 1e-12), arguments(3, 6, 1e-3, 1e-5), arguments(1, 3, 1.0, 0.1)]
    return [*usual, arguments(2, 4, 1e-5, 1e-10)]


_MEAN_AND_VARIANCE = """mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)"""
_TWO_MEANS = """mean_g = g.mean(axis=1, keepdims=True)
    mean_gn = (g * n).mean(axis=1, keepdims=True)"""
_DX = "dx = inverse_std * (g - mean_g - n * mean_gn)"

EXERCISES = (
    Exercise(
        "layernorm",
        5,
        outputs=("y",),
        cache=("n", "inverse_std", "gamma"),
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
                "1 / np.sqrt(variance + eps)",
                "1 / np.sqrt(variance + 1e-12)",
                "eps is 1e-12, whatever is given: use the argument",
            ),
            (
                "1 / np.sqrt(variance + eps)",
                "1 / np.sqrt(variance + 1e-5)",
                "eps is 1e-5, whatever is given: use the argument",
            ),
            (
                _MEAN_AND_VARIANCE,
                _MEAN_AND_VARIANCE.replace("axis=1", "axis=0"),
                "mean and variance are over the batch (axis 0); each row has its own (axis 1)",
            ),
            (
                _MEAN_AND_VARIANCE,
                _MEAN_AND_VARIANCE.replace("axis=1, keepdims=True", ""),
                "mean and variance are over all elements; each row has its own (axis 1)",
            ),
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
                _DX,
                "dx = inverse_std * (g - mean_g)",
                "the mean of g n is missing (mean(g) mean(n) is another thing: zero): the variance depends on x, too",
            ),
            (
                _DX,
                "dx = inverse_std * (g - n * mean_gn)",
                "the mean of g is missing: the mean depends on x, too",
            ),
            (
                _DX,
                "dx = inverse_std * g",
                "mean and variance are taken as constants; both depend on x",
            ),
            (
                _DX,
                "dx = g - mean_g - n * mean_gn",
                "dx is not divided by the standard deviation",
            ),
            ("g = dy * gamma", "g = dy", "dy is not multiplied by gamma before it goes back through n"),
            (
                _DX,
                "dx = inverse_std * (g - mean_g + n * mean_gn)",
                "the sign of n mean(g n) is wrong",
            ),
            (
                _DX,
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
            (
                "mean_gn = (g * n).mean(axis=1, keepdims=True)",
                "mean_gn = (g * n).mean(axis=0, keepdims=True)",
                "the mean of g n is over axis 0; statistics are those of a row",
            ),
            (
                _TWO_MEANS,
                _TWO_MEANS.replace("axis=1", "axis=0"),
                "both means are over axis 0; statistics are those of a row (axis 1)",
            ),
            (
                _TWO_MEANS,
                _TWO_MEANS.replace("axis=1, keepdims=True", ""),
                "both means are over all elements; statistics are those of a row (axis 1)",
            ),
            (
                _TWO_MEANS,
                _TWO_MEANS.replace(".mean(", ".sum("),
                "g and g n are summed over the row; both must be means",
            ),
            (
                "mean_gn = (g * n)",
                "mean_gn = (dy * n)",
                "gamma is missing in the mean of g n: g is dy gamma in all three terms",
            ),
            (
                "mean_g = g.mean",
                "mean_g = dy.mean",
                "gamma is missing in the mean of g: g is dy gamma in all three terms",
            ),
            (
                _TWO_MEANS,
                _TWO_MEANS.replace("g.mean", "dy.mean").replace("(g * n)", "(dy * n)"),
                "gamma is missing in both means: g is dy gamma in all three terms",
            ),
            (
                f"g = dy * gamma\n    {_TWO_MEANS}\n    {_DX}",
                f"g = dy\n    {_TWO_MEANS}\n    {_DX} * gamma",
                "gamma is applied at the end; dy is multiplied by it before the means are taken",
            ),
            (
                _DX,
                "dx = inverse_std * g - mean_g - n * mean_gn",
                "a bracket is missing: inverse_std multiplies all three terms",
            ),
            (
                _DX,
                "dx = (g - mean_g - n * mean_gn) / inverse_std",
                "dx is divided by inverse_std; it is multiplied by it: inverse_std is 1 / std already",
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
