"""Scores against examples worked by hand, scikit-learn and SciPy."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk

from minibert.data.glue import GLUE
from minibert.metrics import METRICS, accuracy, f1, matthews, pearson, r2, spearman

# predictions and labels: 4 true positives, 2 false positives, 1 false negative, 3 true negatives
GUESSES, TRUTH = [1, 0, 1, 1, 0, 0, 1, 0, 1, 1], [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
GUESSES_3, TRUTH_3 = [0, 2, 1, 1, 0, 2, 2, 1, 0, 0, 1, 2], [0, 2, 1, 0, 0, 1, 2, 1, 2, 0, 1, 1]
SCORES, TARGETS = [2.5, 0.0, 2.5, 4.75, 1.0, 5.0, 0.0, 3.2], [3.0, 0.5, 2.0, 5.0, 1.0, 4.0, 1.0, 3.0]


def test_accuracy():
    assert accuracy(GUESSES, TRUTH) == 7 / 10
    assert accuracy(np.array([2, 2]), np.array([2, 2])) == 1.0


def test_f1_by_hand():
    assert f1(GUESSES, TRUTH) == pytest.approx(2 * 4 / (2 * 4 + 2 + 1))
    assert f1([1, 1, 1, 1], [1, 0, 0, 0]) == pytest.approx(0.4)  # precision 1/4, recall 1
    assert f1([0, 0], [1, 0]) == 0.0
    assert f1([0, 0], [0, 0]) == 0.0


def test_matthews_by_hand():
    by_hand = (4 * 3 - 2 * 1) / np.sqrt((4 + 2) * (4 + 1) * (3 + 2) * (3 + 1))
    assert matthews(GUESSES, TRUTH) == pytest.approx(by_hand)
    assert matthews(TRUTH, TRUTH) == pytest.approx(1)
    assert matthews([1 - t for t in TRUTH], TRUTH) == pytest.approx(-1)


def test_matthews_of_a_constant_guess_is_zero():
    assert matthews([1, 1, 1], [0, 1, 1]) == 0.0
    assert matthews([0, 1, 1], [1, 1, 1]) == 0.0
    assert matthews([0, 0], [0, 0]) == 0.0


def test_pearson_by_hand():
    assert pearson([1, 2, 3], [2, 4, 7]) == pytest.approx(5 / np.sqrt(2 * (38 / 3)))
    assert pearson([1, 2, 3], [-1, -2, -3]) == pytest.approx(-1)
    assert pearson(np.array([1, 2, 4], np.float32), [1e9 + 1, 1e9 + 2, 1e9 + 4]) == pytest.approx(1)


@pytest.mark.parametrize("metric", [pearson, spearman])
def test_correlation_with_a_constant_is_zero(metric):
    """The mean of 0.1, 0.1, 0.1 is not 0.1: a naive deviation is not zero, and correlates perfectly with its like."""
    assert metric([0.1, 0.1, 0.1], [1.0, 2.0, 3.5]) == 0.0
    assert metric([1.0, 2.0, 3.5], [0.1, 0.1, 0.1]) == 0.0
    assert metric([0.1, 0.1, 0.1], [0.1, 0.1, 0.1]) == 0.0


def test_r2_is_scikit_learns_and_sees_the_scale():
    rng = np.random.default_rng(0)
    labels = rng.normal(1250, 150, size=50)
    for guesses in (labels + rng.normal(0, 50, 50), labels / 150, np.full(50, 8.122), np.full(50, labels.mean())):
        assert r2(guesses, labels) == pytest.approx(sk.r2_score(labels, guesses), abs=1e-12)
    assert r2(labels, labels) == 1 and r2(np.full(50, 8.0), labels) < -50
    assert pearson(labels / 150, labels) == pytest.approx(1)  # which r2 does not let pass
    assert (r2([0.1] * 3, [0.1] * 3), r2([0.1, 0.1, 0.2], [0.1] * 3)) == (1, 0)
    assert math.isnan(r2([1.0, np.inf], [1.0, 2.0])) and math.isnan(r2([1.0, 2.0], [np.nan, 2.0]))
    assert r2(np.float32([1e30, 2e30]), np.float32([1e30, 2e30])) == 1  # their squares are no float32


def test_spearman_sees_only_the_order_and_ties_share_their_rank():
    assert spearman([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def exact_pearson(x, y):
    """Without a rounding error but that of the last square root."""
    x, y = ([Fraction(v) for v in values] for values in (x, y))
    x, y = ([v - sum(values) / len(values) for v in values] for values in (x, y))
    xy, xx, yy = (sum(a * b for a, b in zip(p, q, strict=True)) for p, q in ((x, y), (x, x), (y, y)))
    return math.copysign(math.sqrt(xy * xy / (xx * yy)), xy)


EXTREME = [
    ([1e200, 2e200, 4e200], [1.0, 2.0, 3.0], 0.9819805060619657),
    ([1e-200, 2e-200, 4e-200], [1.0, 2.0, 3.0], 0.9819805060619657),
    ([5e-324, 1e-323, 2e-323], [1e300, 2e300, 3e300], 0.9819805060619657),  # denormals: 1, 2 and 4 of the smallest
    ([-1.7e308, 1.7e308, 0.0], [1.0, 2.0, 3.0], 0.5),  # their range overflows
    ([1.7e308, 1.7e308, 1.6e308, 1.7e308], [1.0, 2.0, 3.0, 4.0], -0.2581988897471611),  # their sum overflows
    ([0.0, 1e-200, 1.0], [0.0, 1.0, 2.0], 0.8660254037844386),
    ([1.0, 1 + 2.0**-52, 1 + 2.0**-51], [1.0, 2.0, 4.0], 0.9819805060619657),  # apart by the last bits alone
    ([1e16, 1e16 + 2, 1e16 + 4, 1e16 + 6], [1.0, 3.0, 2.0, 5.0], 0.8315218406202999),
    ([3e38, -3e38, 1e38], [-1e-45, 1e-45, 2e-45], -0.5),
]  # fmt: skip


@pytest.mark.parametrize(("x", "y", "value"), EXTREME)
def test_pearson_of_extreme_numbers(x, y, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [pearson(x, y), pearson(y, x), -pearson(np.negative(x), y)]
        ranks = spearman(x, y)
    assert exact_pearson(x, y) == pytest.approx(value, abs=1e-15)
    assert found == pytest.approx([value] * 3, abs=1e-15)
    assert ranks == pytest.approx(float(scipy.stats.spearmanr(x, y)[0]), abs=1e-15)


def test_pearson_does_not_depend_on_the_scale():
    rng = np.random.default_rng(0)
    for exponent in (-1060, -600, -1, 1, 600, 1020):
        x, y = rng.integers(-9, 10, (2, 6)).astype(float)
        assert pearson(np.ldexp(x, exponent), y) == pearson(x, y) == pytest.approx(exact_pearson(x, y), abs=1e-15)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_correlation_with_what_is_no_number_is_no_number(wrong):
    assert math.isnan(pearson([1.0, wrong, 3.0], [1.0, 2.0, 3.0]))
    assert math.isnan(pearson([1.0, 1.0, 1.0], [1.0, 2.0, wrong]))
    assert math.isnan(spearman([1.0, np.nan, 3.0], [1.0, wrong, 3.0]))
    assert spearman([1.0, 2.0, np.inf], [2.0, 3.0, 4.0]) == pytest.approx(1)  # the largest
    assert spearman([1.0, 2.0, -np.inf], [2.0, 3.0, 1.0]) == pytest.approx(1)


def test_matthews_of_far_class_numbers():
    """The table of classes is as large as there are classes, not as the largest number; -1 is not the last class."""
    assert matthews([0, 10**15, 0, 10**15], [0, 10**15, 10**15, 0]) == 0.0
    assert matthews([-1, 10**15], [-1, 10**15]) == 1.0
    assert matthews([-1, 2, 2, 2], [2, 2, 2, -1]) == pytest.approx(-1 / 3)


def classes_to_compare():
    """Predictions and labels of two to six classes: random, alike, constant on either side, a single row."""
    rng = np.random.default_rng(0)
    for n_classes in (2, 3, 6):
        for n in (1, 2, 5, 40, 500):
            labels = rng.integers(n_classes, size=n)
            alike = np.where(rng.random(n) < 0.7, labels, rng.integers(n_classes, size=n))
            constants = [np.full(n, c) for c in (0, 1)]
            for guesses in (rng.integers(n_classes, size=n), alike, labels, *constants):
                yield guesses, labels
                yield guesses, np.zeros(n, np.int64)
                yield guesses, np.ones(n, np.int64)


def scores_to_compare():
    """Predictions and targets: random, with many ties, on the grid of STS-B, far from zero, far apart in size."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 300):
        targets = rng.integers(0, 26, n) / 5
        targets[:2] = 0, 1  # a constant is another matter
        noise = rng.normal(size=n)
        for guesses in (noise, targets + noise, np.round(noise), targets, -targets, 1e6 + noise, 1e-9 * noise):
            guesses = guesses.copy()
            guesses[0] += 1e-3  # ties, but no constant
            yield guesses, targets
            yield guesses.astype(np.float32), targets.astype(np.float32)


def test_scores_of_classes_are_those_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate input
        for guesses, labels in classes_to_compare():
            assert accuracy(guesses, labels) == pytest.approx(sk.accuracy_score(labels, guesses), abs=1e-12)
            assert matthews(guesses, labels) == pytest.approx(sk.matthews_corrcoef(labels, guesses), abs=1e-12)
            if max(guesses.max(), labels.max()) < 2:
                assert f1(guesses, labels) == pytest.approx(sk.f1_score(labels, guesses, zero_division=0), abs=1e-12)


def test_correlations_are_those_of_scipy():
    seen = 0
    for guesses, targets in scores_to_compare():
        if np.ptp(guesses) == 0:
            continue
        seen += 1
        wide = guesses.astype(np.float64), targets.astype(np.float64)  # SciPy would stay in float32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nearly constant input
            linear, ranks = scipy.stats.pearsonr(*wide)[0], scipy.stats.spearmanr(*wide)[0]
        assert pearson(guesses, targets) == pytest.approx(float(linear), abs=1e-9)
        assert spearman(guesses, targets) == pytest.approx(float(ranks), abs=1e-12)
    assert seen > 50


def test_a_constant_is_no_correlation_where_scipy_gives_none():
    """SciPy answers NaN, which no run could compare with: 0 is what a guess without any information gets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(scipy.stats.spearmanr([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])[0])
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0.0


def test_rounding_does_not_lift_a_correlation_above_one():
    rng = np.random.default_rng(0)
    assert all(-1 <= sign * pearson(sign * x, x) <= 1 for x in rng.normal(size=(300, 7)) for sign in (1, -1))


def test_multiclass_f1_is_that_of_class_one():
    """As GLUE's F1: only MRPC and QQP ask for it, and have two classes."""
    one_against_rest = sk.f1_score(np.array(TRUTH_3) == 1, np.array(GUESSES_3) == 1)
    assert f1(GUESSES_3, TRUTH_3) == pytest.approx(one_against_rest)


def test_glue_is_scored_as_in_the_paper():
    """Table 1 of the paper; the first metric chooses the best epoch, MNLI has two dev sets."""
    paper = dict.fromkeys(GLUE, "accuracy") | {"cola": "matthews", "mrpc": "f1", "qqp": "f1", "stsb": "spearman"}
    assert {name: task.metrics[0] for name, task in GLUE.items()} == paper
    assert [split for split, _ in GLUE["mnli"].dev] == ["matched", "mismatched"]
    assert all(metric in METRICS for task in GLUE.values() for metric in task.metrics)


def test_every_metric_takes_arrays_and_returns_a_plain_number():
    """Results go to JSON, which does not know NumPy's numbers."""
    sets = np.array([[1, 0], [0, 1], [1, 1]])
    for name, metric in METRICS.items():
        given = (sets, sets) if name == "subset_accuracy" else (np.array(GUESSES), np.array(TRUTH))
        assert type(metric(*given)) is float, name
