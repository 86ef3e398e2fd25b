"""Scores that a head hardly reaches: which are told, and the numbers of the advice."""

import re

import numpy as np
import pytest

from minibert.data import Examples, Task
from minibert.data.scores import scale_notes


def notes(scores, head="regress", labels=()):
    texts = [f"t{i}" for i in range(len(scores))]
    return scale_notes(Task("csv", head, labels, ("r2",), Examples(texts, None, np.asarray(scores)), {}))


@pytest.mark.parametrize("shift, scale", [(1250, 150), (-1250, 150), (0, 11), (11, 1), (-11, 1), (0.5, 0.09), (1e6, 1)])
def test_the_advice_gives_scores_near_0_and_1(shift, scale):
    scores = np.float32(shift + scale * np.random.default_rng(0).normal(size=200))
    (note,) = notes(scores)
    assert "- -" not in note and "+ -" not in note
    (formula,) = re.findall(r"Train on (\(score [-+] [\d.e+-]+\) / [\d.e+-]+), and", note)
    (back,) = re.findall(r"back: (prediction \* [\d.e+-]+ [-+] [\d.e+-]+)$", note)
    scaled = eval(formula, {"score": scores.astype(float)})
    assert abs(scaled.mean()) < 0.01 and abs(scaled.std() - 1) < 0.01
    assert eval(back, {"prediction": scaled}) == pytest.approx(scores.astype(float))


@pytest.mark.parametrize(
    "scores", [[0, 5] * 9, [0.0, 1.0], [1, 2, 3, 4, 5], [-1, 1], [7.0] * 4, [1250.0] * 4, [1, 19], [0, 0.21]], ids=str
)
def test_of_usual_scores_there_is_nothing_to_tell(scores):
    assert notes(np.float32(scores)) == []


def test_classes_and_answers_have_no_scale():
    assert notes(np.arange(60), "classify", tuple(map(str, range(60)))) == []
    assert notes(np.array([[100, 200], [300, 400]]), "span") == []
