"""Scores against examples worked by hand and values recorded from scikit-learn and SciPy."""

import numpy as np
import pytest

from minibert.metrics import METRICS, accuracy, f1, matthews, pearson, spearman

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


def test_spearman_sees_only_the_order_and_ties_share_their_rank():
    assert spearman([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_values_of_scikit_learn_and_scipy():
    assert f1(GUESSES, TRUTH) == pytest.approx(0.7272727272727273)
    assert matthews(GUESSES, TRUTH) == pytest.approx(0.408248290463863)
    assert matthews(GUESSES_3, TRUTH_3) == pytest.approx(0.5052911526399114)
    assert pearson(SCORES, TARGETS) == pytest.approx(0.9549439904185897)
    assert spearman(SCORES, TARGETS) == pytest.approx(0.9390243902439025)


def test_every_metric_takes_arrays_and_returns_a_plain_number():
    """Results go to JSON, which does not know NumPy's numbers."""
    for name, metric in METRICS.items():
        assert type(metric(np.array(GUESSES), np.array(TRUTH))) is float, name
