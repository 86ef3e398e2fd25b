"""Evidence: the interval of a difference, adapters taken out."""

import numpy as np

from minibert.lessons.exercise import Exercise


def _paired_interval(rng):
    """Answers of two models that are right on mostly the same examples."""

    def arguments(n, p_a, same, *z):
        a = rng.random(n) < p_a
        b = np.where(rng.random(n) < same, a, rng.random(n) < 0.4)
        a[:2], b[:2] = [True, False], [False, True]  # there is something to be unsure of, however few they are
        return a, b, *z

    return [arguments(40, 0.8, 0.7), arguments(9, 0.6, 0.5), arguments(150, 0.7, 0.8, 1.645)]


def _ablate(rng):
    """Twelve layers: the names of the tenth to the twelfth begin like that of the second."""

    def arguments(first, last, n_layers=12):
        params = {"embeddings/norm/gamma": rng.normal(size=3)}
        for i in range(n_layers):
            for half in ("attention", "feed_forward"):
                prefix = f"encoder/layers/{i}/{half}"
                params[f"{prefix}/output/b"] = rng.normal(size=3)
                params[f"{prefix}/adapter/down/W"] = rng.normal(size=(3, 2))
                params[f"{prefix}/adapter/down/b"] = rng.normal(size=2)
                params[f"{prefix}/adapter/up/W"] = rng.normal(size=(2, 3))
                params[f"{prefix}/adapter/up/b"] = rng.normal(size=3)
                params[f"{prefix}/norm/gamma"] = rng.normal(size=3)
                params[f"{prefix}/norm/beta"] = rng.normal(size=3)
        params |= {"head/W": rng.normal(size=(3, 2)), "head/b": rng.normal(size=2)}
        return params, first, last

    return [arguments(1, 2), arguments(0, 0, 3), arguments(3, 6), arguments(1, 1), arguments(8, 11)]


_DIFFERENCE = "difference = np.asarray(right_a, float) - np.asarray(right_b, float)"
_VARIANCE = "variance = ((difference - mean) ** 2).sum() / (n - 1)"
_PREFIX = 'f"encoder/layers/{i}/{half}/adapter/"'
_LEFT = "if not name.startswith(removed)"

EXERCISES = (
    Exercise(
        "paired_interval",
        11,
        outputs=("low", "high"),
        cases=_paired_interval,
        hints=(
            "Both models answered the same examples. What is there one of for each example?",
            "The difference of an example is 1, 0 or -1: is a right, minus is b right. (NumPy does not subtract "
            "bool arrays: .astype(float) first.)",
            "mean -/+ z * error; error is the standard deviation of the differences (with n - 1) over sqrt(n)",
        ),
        mistakes=(
            (
                _VARIANCE,
                "variance = np.var(right_a, ddof=1) + np.var(right_b, ddof=1)",
                "the variances of both are added: that is the interval of two different sets of examples. Paired, "
                "it is the variance of the differences",
            ),
            (
                _VARIANCE,
                "variance = np.var(right_a) + np.var(right_b)",
                "p (1 - p) of both are added: that is the interval of two different sets of examples. Paired, it is "
                "the variance of the differences",
            ),
            (
                _DIFFERENCE,
                "difference = np.asarray(right_a) - np.asarray(right_b)",
                "NumPy does not subtract bool arrays, and ^, which it advises, loses the sign of the difference. Make "
                "numbers of them first: right_a.astype(float)",
            ),
            (
                _DIFFERENCE,
                "difference = abs(np.asarray(right_a, float) - np.asarray(right_b, float))",
                "the sign of the difference is lost (by !=, ^ or abs): where b alone is right, it is -1",
            ),
            (
                "math.sqrt(variance / n)",
                "variance / math.sqrt(n)",
                "s^2 stands where s belongs: the root of the variance is missing",
            ),
            (
                "math.sqrt(variance / n)",
                "math.sqrt(variance)",
                "this is the standard deviation of one difference; the standard error of the mean is that over sqrt(n)",
            ),
            ("math.sqrt(variance / n)", "math.sqrt(variance) / n", "divided by n; the standard error has sqrt(n)"),
            ("math.sqrt(variance / n)", "variance / n", "the square root is missing"),
            (
                "math.sqrt(variance / n)",
                "math.sqrt(variance / (2 * n))",
                "n is the number of examples, not of the answers of both models",
            ),
            (
                "math.sqrt(variance / n)",
                "math.sqrt(variance / max(1, np.count_nonzero(difference)))",
                "n is the number of examples where the two differ; it must be that of all examples",
            ),
            (
                f"    {_DIFFERENCE}\n",
                f"    {_DIFFERENCE}\n    difference = difference[difference != 0]\n",
                "examples on which both are right, or both wrong, are left out: they are differences of 0, and count",
            ),
            (
                "mean - z * error, mean + z * error",
                "mean - 1.645 * error, mean + 1.645 * error",
                "z is 1.645, that of a one-sided 95 %; with two sides it is 1.96: use the argument z",
            ),
            (
                "mean - z * error, mean + z * error",
                "mean - 1.96 * error, mean + 1.96 * error",
                "z is always 1.96: use the argument z",
            ),
            (
                "mean - z * error, mean + z * error",
                "mean - error, mean + error",
                "this is one standard error to each side, which covers 68 %: multiply it by z",
            ),
            (
                "mean - z * error, mean + z * error",
                "mean - z * error / 2, mean + z * error / 2",
                "the interval is half as wide as it must be: z standard errors to each side",
            ),
            (
                "mean - z * error, mean + z * error",
                "-mean - z * error, -mean + z * error",
                "the sign is wrong: the accuracy of a minus that of b",
            ),
            (
                "mean - z * error, mean + z * error",
                "mean, z * error",
                "these are the mean and half the width; low and high are the two ends",
            ),
            (
                "mean - z * error, mean + z * error",
                "mean + z * error, mean - z * error",
                "low and high are exchanged",
            ),
            (
                "/ (n - 1)",
                "/ n",
                "the variance is divided by n. The mean was taken from the same differences: divide by n - 1 (np.std, "
                "np.var: ddof=1)",
            ),
        ),
    ),
    Exercise(
        "ablate",
        11,
        outputs=("left",),
        cases=_ablate,
        exact=True,
        hints=(
            "Which part of a name says that it is of an adapter, and which part says the layer? Is layer 1 also in 11?",
            "range(first, last) ends before last. Return a new dict; the arrays themselves may be shared.",
            'name.split("/") is ["encoder", "layers", "3", "attention", "adapter", "down", "W"]',
        ),
        mistakes=(
            (
                "range(first, last + 1)",
                "range(first, last)",
                "the last layer keeps its adapters: range(first, last) ends before last",
            ),
            ("range(first, last + 1)", "range(first + 1, last + 1)", "the first layer keeps its adapters"),
            ("range(first, last + 1)", "range(first, last + 2)", "the layer after the last loses its adapters, too"),
            ("range(first, last + 1)", "(first, last)", "the layers between first and last keep their adapters"),
            (
                'halves = ("attention", "feed_forward")',
                'halves = ("attention",)',
                "only the adapters after attention are taken out: a layer has a second one, after feed-forward",
            ),
            (
                'halves = ("attention", "feed_forward")',
                'halves = ("feed_forward",)',
                "only the adapters after feed-forward are taken out: a layer has a first one, after attention",
            ),
            (
                _PREFIX,
                'f"encoder/layers/{i}/"',
                "all of these layers is taken out, LayerNorms too: take out the adapters alone",
            ),
            (
                _LEFT,
                'if not any(name.startswith(f"encoder/layers/{i}") and "/adapter/" in name for i in layers)',
                'layers 10 and 11 lose their adapters with layer 1, their names begin alike: compare with "layers/1/"',
            ),
            (_LEFT, "", "nothing is taken out"),
            (
                _LEFT,
                'if "/adapter/" not in name or not str(first) <= name.split("/")[2] <= str(last)',
                'the numbers of layers are compared as texts, where "10" comes before "2": make them int',
            ),
            (_LEFT, 'if "/adapter/" not in name', "the adapters of all layers are taken out"),
            (_LEFT, "if name.startswith(removed)", "this is what must be taken out; return what is left"),
            (
                _LEFT,
                'if not name.startswith((*removed, *(prefix.replace("adapter", "norm") for prefix in removed)))',
                "the LayerNorms of these layers are taken out, too: they stay",
            ),
            (
                "{name: array for name, array in params.items() if not name.startswith(removed)}",
                "{name: np.zeros_like(a) if name.startswith(removed) else a for name, a in params.items()}",
                "the adapters are there still, as zeros: leave them out",
            ),
            (_PREFIX, 'f"encoder/layers/{i}/{half}/adapter/up/"', 'only "up" is taken out: an adapter has "down", too'),
        ),
    ),
)
