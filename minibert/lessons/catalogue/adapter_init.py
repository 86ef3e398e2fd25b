"""The adapter's initialization: random, so judged by its properties."""

import copy

import numpy as np

from minibert.lessons.exercise import Exercise

STD_OF_TRUNCATED = 0.8796  # of a standard normal distribution, truncated at two standard deviations
MOST_DRAWN = 500_000  # numbers, of two matrices of 6,000: a right answer draws some 13,000, or whole ones some times
NEAR = 0.06  # relative: about seven standard errors of the standard deviation of 6,000 draws

BOTH_ZERO = "both weight matrices are zero: the gradients of both are zero, too, and they never change"
UP_ZERO = "W_up is zero: W_down has no gradient in the first step. The paper draws both matrices"
DOWN_ZERO = "W_down is zero: W_up has no gradient in the first step. The paper draws both matrices"
DOWN_BIAS = "b_down is not zero: the biases start at zero"
UP_BIAS = "b_up is not zero: the biases start at zero"
OWN_SOURCE = "the same seed gives different values: draw from the rng that is given, not from np.random"
OWN_SEED = "different seeds give the same values: draw from the rng that is given, do not make a new one"
EQUAL = "W_up has the values of W_down: draw each of them for itself"
NO_STD = "the weights are not multiplied by std: their standard deviation is about 1"
STD_IGNORED = "std is not used: another std gives weights of the same size"
STD_SQUARED = "the weights are multiplied by the square of std"
STD_ROOT = "std is taken for a variance: the weights are multiplied by its square root"
ONE_SIGN = "the weights do not have the mean 0"
CLIPPED = "values beyond two standard deviations are set to the limit, where they pile up; draw them again"
DRAWN_ONCE = "values are drawn again once only: what is drawn again may lie outside, too. Repeat until none does"
NOT_TRUNCATED = "there are values beyond two standard deviations; draw those again"
SET_TO_ZERO = "values beyond two standard deviations are set to zero; draw them again"
CLIPPED_LATER = "values that lie beyond the limit again are set to it; draw them again until none lies beyond"
FIXED_LIMIT = "the limit is 0.02, whatever std is; it is 2 std"
UNIFORM = "this is a uniform distribution; the paper's is Gaussian"
CUT_AT_ONE = "the weights are truncated at one standard deviation; the paper truncates at two"
RESCALED = "the weights are divided by 0.88; the paper's std is that of the Gaussian before it is truncated"


class Generator(np.random.Generator):
    """A generator that ends a loop that never ends. Raises RuntimeError after MOST_DRAWN numbers."""

    n_drawn = 0

    def __deepcopy__(self, memo):
        return Generator(copy.deepcopy(self.bit_generator, memo))

    def _count(self, drawn):
        self.n_drawn += np.size(drawn)
        if self.n_drawn > MOST_DRAWN:
            raise RuntimeError(f"{MOST_DRAWN:,} numbers are drawn: are values drawn again that lie within the limit?")
        return drawn

    def standard_normal(self, *arguments, **options):
        """As NumPy's."""
        return self._count(super().standard_normal(*arguments, **options))

    def normal(self, *arguments, **options):
        """As NumPy's."""
        return self._count(super().normal(*arguments, **options))


def _cases(rng):
    """The same twice, another seed, and another std."""
    one, other = (int(seed) for seed in rng.integers(2**31, size=2))
    cases = ((100, 60, one, 1e-2), (100, 60, one, 1e-2), (100, 60, other, 1e-2), (70, 90, other, 0.1))
    return [(D, M, Generator(np.random.PCG64(seed)), std) for D, M, seed, std in cases]


def _judge(cases, results):
    """What strikes first, from the whole to the shape of the distribution."""
    results = [{name: np.asarray(array, np.float64) for name, array in result.items()} for result in results]
    stds = [case[3] for case in cases]
    with np.errstate(all="ignore"):  # equal weights have the standard deviation 0
        told = _of_nan(results[0]) or _of_zeros(results[0]) or _of_seeds(*results)
        shown = {0}
        if not told:
            told, shown = _of_std(results[0]["down/W"], results[-1]["down/W"]), {0, len(cases) - 1}
        for i, (result, std) in enumerate(zip(results, stds, strict=True)):
            for W in (result["down/W"], result["up/W"]):
                if not told:
                    told, shown = _of_distribution(W, std), {i}
    if not told:
        return ()
    return (told, *(_numbers(name, results[i][name], stds[i]) for i in sorted(shown) for name in ("down/W", "up/W")))


def _numbers(name, W, std):
    numbers = f"mean {W.mean():.2g}, standard deviation {W.std():.2g}, largest {np.abs(W).max():.2g}"
    return f"{name} {W.shape} with std = {std:g}: {numbers}"


def _of_nan(parameters):
    odd = [name for name, array in parameters.items() if not np.isfinite(array).all()]
    return f"{odd[0]} has elements that are NaN or infinite" if odd else ""


def _of_zeros(parameters):
    zero = {name: not array.any() for name, array in parameters.items()}
    if zero["down/W"] or zero["up/W"]:
        return BOTH_ZERO if zero["down/W"] and zero["up/W"] else UP_ZERO if zero["up/W"] else DOWN_ZERO
    return "" if zero["down/b"] and zero["up/b"] else UP_BIAS if zero["down/b"] else DOWN_BIAS


def _of_seeds(one, again, other, _):
    down, up = one["down/W"], one["up/W"]
    if not np.array_equal(down, again["down/W"]) or not np.array_equal(up, again["up/W"]):
        return OWN_SOURCE
    if np.array_equal(down, other["down/W"]) or np.array_equal(up, other["up/W"]):
        return OWN_SEED
    return EQUAL if np.array_equal(down.ravel(), up.ravel()) or np.array_equal(down.T, up) else ""


def _of_std(small, large):
    """small, large: weights for std = 1e-2 and 0.1."""
    growth = large.std() / small.std()
    if _is_near(growth, 1):
        return NO_STD if 0.8 < small.std() < 1.2 else STD_IGNORED
    if np.abs(large).max() < 0.020001 and np.abs(small).max() > 0.0195:
        return FIXED_LIMIT
    return STD_SQUARED if _is_near(growth, 100) else STD_ROOT if _is_near(growth, 10**0.5) else ""


def _of_distribution(W, std):
    """The shape of the distribution first: in units of its own standard deviation, so that a wrong std does not hide
    it. The largest of a truncated Gaussian is 2 / 0.88 = 2.27; of a Gaussian, of thousands of draws, about 4."""
    size = np.abs(W)
    largest = size.max() / W.std()
    if abs(W.mean()) > 0.15 * W.std():
        return ONE_SIGN
    if (size > 0.999999 * size.max()).mean() > 0.01:
        return CLIPPED
    if (size == size.max()).sum() > 3:
        return CLIPPED_LATER
    if (W == 0).mean() > 0.01:
        return SET_TO_ZERO
    if largest > 2.4:
        return DRAWN_ONCE if (size > 2 / STD_OF_TRUNCATED * W.std()).mean() < 0.006 else NOT_TRUNCATED
    if largest < 1.95:
        return UNIFORM if largest < 1.79 else CUT_AT_ONE
    if _is_near(W.std(), std, NEAR):
        return RESCALED
    if not _is_near(W.std(), STD_OF_TRUNCATED * std, NEAR):
        return f"the standard deviation is {W.std():.2g}; expected about 0.88 std = {STD_OF_TRUNCATED * std:.2g}"
    return ""


def _is_near(value, wanted, relative=0.1):
    return abs(value / wanted - 1) < relative


_RETURN = "return std * values"
_DRAW = "values = rng.standard_normal(shape)"
_LOOP = "while (outside := np.abs(values) > 2).any():"
_AGAIN_THEN_CLIPPED = """
        outside = np.abs(values) > 2
        values[outside] = rng.standard_normal(outside.sum())
        values = np.clip(values, -2, 2)"""
_DOWN, _UP = '"down/W": truncated_normal((D, M))', '"up/W": truncated_normal((M, D))'
_BETWEEN = ',\n        "down/b": np.zeros(M),\n        '

EXERCISES = (
    Exercise(
        "adapter_init",
        8,
        outputs=("parameters",),
        cases=_cases,
        hints=(
            "What are the gradients of W_down and W_up if both are zero?",
            "rng.standard_normal(shape) draws for both matrices. Which values are too large, and what becomes of them?",
            "Truncated: drawn again, not set to the limit. outside = np.abs(values) > 2 is a mask, and values[outside] "
            "= … writes new draws there alone. They may lie outside, too, so repeat this while outside.any().",
            "while (outside := np.abs(values) > 2).any(): values[outside] = rng.standard_normal(outside.sum()); then "
            "std * values",
        ),
        mistakes=(
            (_RETURN, "return 0 * values", BOTH_ZERO),
            (_UP, '"up/W": np.zeros((M, D))', UP_ZERO),
            (_DOWN, '"down/W": np.zeros((D, M))', DOWN_ZERO),
            ('"down/b": np.zeros(M)', '"down/b": truncated_normal((M,))', DOWN_BIAS),
            ('"up/b": np.zeros(D)', '"up/b": truncated_normal((D,))', UP_BIAS),
            (_DRAW, "rng = np.random; " + _DRAW, OWN_SOURCE),
            (_DRAW, "rng = np.random.default_rng(sum(shape) + shape[0]); " + _DRAW, OWN_SEED),
            (
                _DOWN + _BETWEEN + _UP,
                '"down/W": (W := truncated_normal((D, M)))' + _BETWEEN + '"up/W": W.T',
                EQUAL,
            ),
            (_RETURN, "return values", NO_STD),
            (_RETURN, "return 0.02 * values", STD_IGNORED),
            (_RETURN, "return std**2 * values", STD_SQUARED),
            (_RETURN, "return std**0.5 * values", STD_ROOT),
            (_RETURN, "return std * np.abs(values)", ONE_SIGN),
            (_DRAW, "values = np.clip(rng.standard_normal(shape), -2, 2)", CLIPPED),
            (_DRAW, _DRAW + _AGAIN_THEN_CLIPPED, CLIPPED_LATER),
            (_LOOP, "while (outside := np.abs(std * values) > 0.02).any():", FIXED_LIMIT),
            (_DRAW, _DRAW + "; values[np.abs(values) > 2] = 0", SET_TO_ZERO),
            (_LOOP, "if " + _LOOP[len("while ") :], DRAWN_ONCE),
            (_LOOP, "while (outside := np.abs(values) > 99).any():", NOT_TRUNCATED),
            (_DRAW, "values = rng.uniform(-2, 2, shape)", UNIFORM),
            (_LOOP, "while (outside := np.abs(values) > 1).any():", CUT_AT_ONE),
            (_RETURN, f"return std / {STD_OF_TRUNCATED} * values", RESCALED),
        ),
        judge=_judge,
    ),
)
