"""An exercise whose results are random is judged by their properties, whatever the seed."""

import copy
import re

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain
from minibert.lessons.edits import with_mistake

EXERCISE = lessons.EXERCISES["adapter_init"]


def judged(function, seed):
    cases = EXERCISE.cases(np.random.default_rng(seed))
    return EXERCISE.judge(cases, [function(*copy.deepcopy(case)) for case in cases])


@pytest.mark.parametrize("seed", range(1, 21))
def test_the_solution_passes_with_any_seed(seed):
    assert judged(plain.adapter_init, seed) == ()


@pytest.mark.parametrize("mistake", EXERCISE.mistakes, ids=[mistake.message[:50] for mistake in EXERCISE.mistakes])
def test_a_mistake_is_named_with_any_seed(mistake):
    for seed in range(1, 4):
        assert judged(with_mistake("adapter_init", mistake), seed)[0] == mistake.message


def scaled(D, M, rng, std):
    return plain.adapter_init(D, M, rng, 1.3 * std)


def constant(D, M, rng, std):
    return {name: 0 * array + std * name.endswith("W") for name, array in plain.adapter_init(D, M, rng).items()}


def transposed(D, M, rng, std):
    return {name: array.T for name, array in plain.adapter_init(D, M, rng, std).items()}


ANSWERS = {
    "scaled": (scaled, r"the standard deviation is 0\.011; expected about 0\.88 std = 0\.0088"),
    "constant": (constant, "W_up has the values of W_down|different seeds give the same values"),
    "transposed": (transposed, r"down/W has the shape \(60, 100\); expected \(100, 60\): it is transposed"),
    "nothing": (lambda D, M, rng, std: None, "parameters is None: is there a return at the end?"),
    "a part": (lambda D, M, rng, std: {"down/W": np.ones((D, M))}, "parameters has no down/b"),
    "raises": (lambda D, M, rng, std: rng.normal(0, std, D, M), "it raises TypeError"),
    "NaN": (lambda D, M, rng, std: scaled(D, M, rng, np.nan), "down/W has elements that are NaN"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_other_answers_are_answered_in_a_sentence(answer):
    function, expected = ANSWERS[answer]
    report = lessons.check("adapter_init", function)
    assert not report
    assert re.match(expected, report.diagnosis), report.diagnosis


def test_the_numbers_are_told():
    report = lessons.check("adapter_init", scaled)
    assert not report.named and "down/W (100, 60) with std = 0.01: mean" in str(report)
    report = lessons.check("adapter_init", lambda *given: plain.adapter_init(*given))
    assert "4 results have the properties" in str(report)


def wholly_again(D, M, rng, std):
    """Draws the whole matrix again while a value lies beyond: without an end."""

    def draw(shape):
        while (np.abs(values := rng.standard_normal(shape)) > 2).any():
            pass
        return std * values

    return {"down/W": draw((D, M)), "up/W": draw((M, D)), "down/b": np.zeros(M), "up/b": np.zeros(D)}


def test_a_matrix_that_is_drawn_again_as_a_whole_ends():
    report = lessons.check("adapter_init", wholly_again)
    assert "numbers are drawn: are values drawn again that lie within the limit?" in report.diagnosis
    assert "in line" in report.diagnosis and "rng.standard_normal(shape)" in report.diagnosis


def test_the_numbers_are_those_of_the_std_that_failed():
    def fixed_limit(D, M, rng, std):
        def draw(shape):
            values = rng.normal(0, std, shape)
            while (outside := np.abs(values) > 0.02).any():
                values[outside] = rng.normal(0, std, outside.sum())
            return values

        return {"down/W": draw((D, M)), "up/W": draw((M, D)), "down/b": np.zeros(M), "up/b": np.zeros(D)}

    report = lessons.check("adapter_init", fixed_limit)
    assert report.named and report.diagnosis == "the limit is 0.02, whatever std is; it is 2 std"
    assert "down/W (70, 90) with std = 0.1: mean" in str(report)

    def too_large(D, M, rng, std):
        return plain.adapter_init(D, M, rng, std if std < 0.05 else 1.3 * std)

    told = str(lessons.check("adapter_init", too_large))
    assert "with std = 0.1" in told and "with std = 0.01" not in told
