"""The checker: solutions pass, other correct forms pass, known mistakes are called by their names, and anything else
that a learner may hand in is answered in a sentence."""

import re

import numpy as np
import pytest
from other_forms import FORMS

from minibert import lessons
from minibert.errors import InputError
from minibert.lessons import mutate, plain
from minibert.lessons.__main__ import main
from minibert.lessons.edits import with_mistake

ALL = [(name, mistake) for name, exercise in lessons.EXERCISES.items() for mistake in exercise.mistakes]
GUESSED = [("train", "Adam")]  # nothing finite is left, as by other mistakes

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mistakes overflow


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_the_solution_passes(name):
    report = lessons.check(name, getattr(plain, name))
    assert report and "right" in str(report)


def test_each_exercise_has_its_mistakes_hints_and_other_forms():
    assert FORMS.keys() == lessons.EXERCISES.keys()
    for name, exercise in lessons.EXERCISES.items():
        assert len(exercise.mistakes) >= 5 and len(FORMS[name]) >= 3 and len(exercise.hints) >= 2, name
        assert len({mistake[:3] for mistake in exercise.mistakes}) == len(exercise.mistakes), name  # each once


@pytest.mark.parametrize(("name", "mistake"), ALL, ids=[f"{name}: {mistake.message[:60]}" for name, mistake in ALL])
def test_a_known_mistake_is_named(name, mistake):
    report = lessons.check(name, with_mistake(name, mistake))
    assert not report and mistake.message in str(report)
    assert (report.named and report.diagnosis == mistake.message) or (name, mistake.message[:4]) in GUESSED


@pytest.mark.parametrize(("name", "form"), [(n, f) for n, fs in FORMS.items() for f in fs])
def test_another_correct_form_is_not_refused(name, form):
    report = lessons.check(name, form)
    assert report, str(report)


def test_a_mistake_in_another_form_is_named_too():
    def rms(x, gamma, beta, eps):
        return gamma * (x - x.mean(1)[:, None]) / ((x * x).sum(1)[:, None] / x.shape[1] + eps) ** 0.5 + beta, None

    assert "RMSNorm" in lessons.check("layernorm", rms).diagnosis

    def no_skip(x, p):
        return plain.adapter(x, p)[0] - x, None

    assert "skip connection" in lessons.check("adapter", no_skip).diagnosis


def test_own_caches():
    def forward(x, p):
        y, cache = plain.adapter(x, p)
        return y, {"mine": cache}

    def backward(dy, cache):
        return plain.adapter_backward(dy, cache["mine"])

    report = lessons.check("adapter", forward)
    assert report and "check the backward pass with forward=" in str(report)
    assert lessons.check("adapter_backward", backward, forward=forward)
    assert "raises" in lessons.check("adapter_backward", backward).diagnosis


def test_ours_does_not_fit_another_cache_and_says_so(capsys):
    def forward(x, W, b):
        return x @ W + b, {"x": x, "W": W}

    assert lessons.take("linear_backward", lambda dy, cache: None, forward) is plain.linear_backward
    assert "ours needs the cache that is described; linear has another one" in capsys.readouterr().out
    lessons.take("linear_backward", lambda dy, cache: None, plain.linear)
    assert "cache" not in capsys.readouterr().out


ANSWERS = {
    "nothing": (
        lambda x, W, b: None,
        "it returns None; it must return two things: y, cache: is there a return at the end?",
    ),
    "y alone": (lambda x, W, b: x @ W + b, r"it returns one array of shape \(4, 3\); it must return two things"),
    "text": (lambda x, W, b: ("y", ()), "y is 'y'; expected numbers"),
    "ragged": (lambda x, W, b: ([[1], [1, 2]], ()), "y is a list of 2; expected numbers"),
    "transposed": (
        lambda x, W, b: ((x @ W + b).T, ()),
        r"y has the shape \(3, 4\); expected \(4, 3\): it is transposed",
    ),
    "twice": (lambda x, W, b: (2 * (x @ W + b), ()), "y is wrong: it is 2 times what is expected"),
    "zero": (lambda x, W, b: (0 * (x @ W + b), ()), "y is wrong: it is all zero"),
    "nan": (lambda x, W, b: (np.nan * (x @ W + b), ()), "y is wrong: it has elements that are NaN"),
    "too few": (lambda x, W: (x @ W, ()), "it cannot be called: TypeError"),
    "raises": (lambda x, W, b: (W @ x + b, ()), "it raises ValueError: in A @ B the rows of B .*\n  in line .*W @ x"),
    "in place": (lambda x, W, b: (np.add(x, 1, out=x) @ W + b, ()), "it changes its argument x in place: the caller"),
    "no function": (np.ones(3), r"this is no function, but \(3,\)"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_is_handed_in_is_answered_in_a_sentence(answer):
    function, expected = ANSWERS[answer]
    report = lessons.check("linear", function)
    assert not report and not report.named
    assert re.match(expected, report.diagnosis, re.DOTALL), report.diagnosis
    assert "Traceback" not in str(report)


def test_the_line_of_an_error_is_the_learners_own():
    def wrong_cache(dy, cache):
        return plain.linear_backward(dy, cache[0])  # not in plain/, where it raises

    assert "cache[0])" in lessons.check("linear_backward", wrong_cache).diagnosis


def test_a_forward_function_that_is_not_right_is_told():
    report = lessons.check("linear_backward", plain.linear_backward, forward=lambda x, W, b: None)
    assert report.diagnosis == 'the forward function is not right yet: lessons.check("linear", …)'
    assert lessons.check("linear_backward", plain.linear_backward, forward=plain.linear)


def test_a_wrong_row_is_found():
    def first_row_lost(x, W, b):
        y = x @ W + b
        y[0] = 0
        return y, (x, W)

    assert lessons.check("linear", first_row_lost).diagnosis == "y is wrong: 1 of 4 rows, the first is row 0"


def test_the_first_wrong_intermediate_is_named():
    def variance_doubled(x, gamma, beta, eps):
        s = 1 / np.sqrt(2 * x.var(1, keepdims=True) + eps)
        n = (x - x.mean(1, keepdims=True)) * s
        return gamma * n + beta, (n, s, gamma)

    report = lessons.check("layernorm", variance_doubled)
    assert report.diagnosis.startswith("inverse_std is the first that is wrong: it is 0.7071 times")
    assert any(line.startswith("y (4, 5): relative error") for line in report.details)


def test_the_type_of_the_numbers_counts_where_the_solutions_is_float32():
    report = lessons.check("tiled_matmul", lambda x, W, tile: np.float64(x) @ W)
    assert report.named and report.diagnosis.startswith("y is not float32")
    report = lessons.check("tiled_matmul", lambda x, W, tile: np.float64(x) @ W + 1.5)
    assert report.diagnosis == "y is float64; expected float32, the type of the arguments"
    assert "tile (2, 5, 3)" in str(report)
    assert lessons.check("linear", lambda x, W, b: (np.longdouble(x) @ W + b, (x, W)))


def test_strict_raises_the_report():
    with pytest.raises(lessons.WrongAnswer, match="the bias is missing"):
        lessons.check("linear", lambda x, W, b: (x @ W, (x, W)), strict=True)


def test_hints_come_one_after_the_other(monkeypatch):
    found = [lessons.hint("softmax_backward") for _ in range(4)]
    assert [hint.split(":")[0] for hint in found[:3]] == [f"softmax_backward, hint {i} of 3" for i in (1, 2, 3)]
    assert found[3] == found[2]
    assert lessons.hint("softmax_backward", 2) == found[1] and lessons.hint("softmax_backward") == found[2]
    for number in (0, 4, -1, "2", 1.5):
        with pytest.raises(InputError, match=f"softmax_backward has hints 1 to 3, got {number!r}"):
            lessons.hint("softmax_backward", number)


def test_take_is_yours_if_it_is_right(capsys):
    def mine(x, W, b):
        return x @ W + b, (x, W)

    assert lessons.take("linear", mine) is mine
    assert lessons.take("linear", lambda x, W, b: None) is plain.linear
    assert capsys.readouterr().out.splitlines()[0] == "linear: yours"


def test_an_unknown_exercise():
    known = "there is no exercise 'lienar'. Did you mean 'linear'? There are adapter_parameters, wordpiece"
    with pytest.raises(InputError, match=re.escape(known)):
        lessons.check("lienar", plain.linear)


@pytest.mark.parametrize("docstring", ["", '"""y = gelu(x)"""'])
def test_a_stub_is_not_written_yet(docstring):
    names = {}
    exec(f"def gelu(x):\n    {docstring}\n    # return y\n    ...", names)
    assert lessons.check("gelu", names["gelu"]).diagnosis == "it is not written yet"


def test_a_constant_is_an_answer_and_a_wrong_one():
    def one(x):
        return 1

    def text(x):
        """y = gelu(x)"""
        return "y"

    for function in (one, text):
        assert "not written" not in lessons.check("gelu", function).diagnosis


def test_shapes_that_do_not_fit_are_told_in_words():
    report = str(lessons.check("linear", lambda x, W, b: (np.dot(x, W.T) + b, (x, W))))
    assert "the rows of B (3) must be as many as the columns of A (5)" in report
    report = str(lessons.check("linear", lambda x, W, b: (x @ W.T + b, (x, W))))
    assert "in A @ B the rows of B (3) must be as many as the columns of A (5): is one to be transposed" in report
    report = str(lessons.check("linear_backward", lambda dy, cache: (dy @ cache[1], cache[0].T @ dy, dy.sum(axis=0))))
    assert "the rows of B (5) must be as many as the columns of A (3)" in report
    assert "tried on dy (4, 3), cache (x (4, 5), W (5, 3))" in report


def test_the_parts_of_an_own_cache_have_no_names():
    def linear(x, W, b):
        return x @ W + b, (W, x)

    report = str(lessons.check("linear_backward", lambda dy, cache: (dy, dy, dy), linear))
    assert "tried on dy (4, 3), cache a tuple of 2" in report


def test_mutants_of_an_exercise_are_caught(capsys):
    assert main(["mutate", "layernorm_backward", "adapter"]) == 0
    assert "not caught" not in capsys.readouterr().out
    assert main(["mutate", "adaptor"]) == 2


def test_a_checker_that_catches_nothing_is_found_out(monkeypatch, capsys):
    monkeypatch.setattr(mutate, "check", lambda name, function, seconds: lessons.Report(name))
    assert main(["mutate", "linear"]) == 1 and "not caught: x @ W + b -> " in capsys.readouterr().out
