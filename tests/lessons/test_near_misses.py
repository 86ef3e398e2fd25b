"""Answers that are nearly right, or right in another way than the solution, and what the checker says of each."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain
from minibert.lessons.known import cases

FLOAT32 = ("softmax", "attention", "linear", "linear_backward", "cross_entropy", "cross_entropy_backward", "gelu")
FLOAT32 += ("gelu_backward", "layernorm", "layernorm_backward", "adapter", "adapter_backward", "embedding_backward")


def narrow(value):
    """A value with its float64 arrays in float32."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(narrow, value))
    if isinstance(value, dict):
        return {key: narrow(part) for key, part in value.items()}
    return np.float32(value) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def said_of(name, function, **more):
    report = lessons.check(name, function, **more)
    return "" if report else report.diagnosis


@pytest.mark.parametrize("name", FLOAT32)
def test_an_answer_in_float32_passes_and_says_so(name):
    report = lessons.check(name, lambda *arguments: narrow(getattr(plain, name)(*narrow(arguments))))
    assert report and "right up to float32" in str(report), str(report)
    assert "float32" not in str(lessons.check(name, getattr(plain, name)))


def test_an_answer_that_is_as_far_off_as_half_precision_is_refused():
    assert said_of("linear", lambda x, W, b: (np.float16(x @ W + b), (x, W))).startswith("y is wrong")
    report = lessons.check("gelu", lambda x: (plain.gelu(x)[0] * (1 + 1e-5), x))
    assert not report
    wanted, got = re.search("expected (.*), got (.*)", str(report)).groups()
    assert wanted != got
    assert not lessons.check("linear", lambda x, W, b: (x @ W + b + 1e-5 * (x.sum() > 0), (x, W)))


def go_back(word, vocab, prefix=""):
    for end in range(len(word), 0, -1):
        if prefix + word[:end] in vocab:
            rest = go_back(word[end:], vocab, "##") if end < len(word) else []
            if rest != ["[UNK]"]:
                return [prefix + word[:end], *rest]
    return ["[UNK]"]


def without_mark(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        tried = [(p, e) for e in range(len(word), start, -1) for p in (["##", ""] if start else [""])]
        found = next(((p, e) for p, e in tried if p + word[start:e] in vocab), None)
        if found is None:
            return ["[UNK]"]
        pieces.append(found[0] + word[start : found[1]])
        start = found[1]
    return pieces


def for_ever(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if word[start:end] in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.append(word[start:end])
    return pieces


def test_wordpiece_never_goes_back_nor_leaves_out_the_mark():
    assert "never goes back" in said_of("wordpiece", go_back)
    assert 'without "##" is taken in the middle' in said_of("wordpiece", without_mark)


def test_a_loop_without_an_end_is_ended():
    assert "does start move to the end of each piece?" in said_of("wordpiece", for_ever)
    assert not said_of("wordpiece", lambda word, vocab: plain.wordpiece(word, dict(vocab)))


def test_look_ups_are_counted_for_each_call():
    for _ in range(3):
        assert lessons.check("wordpiece", plain.wordpiece)
    assert not any(vocab.n_look_ups for (_, vocab), _ in cases(lessons.EXERCISES["wordpiece"]))


def test_pack_is_given_lists_of_numbers():
    given = lessons.EXERCISES["pack"].cases(np.random.default_rng(0))
    assert all(type(number) is int for (sequences,) in given for sequence in sequences for number in sequence)


@pytest.mark.parametrize("i", range(3))
def test_indices_are_integers(i):
    def floats(sequences):
        found = list(plain.pack(sequences))
        found[i] = found[i].astype(float)
        return found

    name = ("ids", "positions", "offsets")[i]
    assert said_of("pack", floats) == f"{name} is of float64; {name} are used as indices: dtype=int"


def test_softmax_subtracts_the_largest_and_not_the_largest_absolute_value():
    def absolute(x):
        e = np.exp(x - np.abs(x).max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return p, p

    assert said_of("softmax", absolute).startswith("the largest absolute value is subtracted")


@pytest.mark.parametrize("cache", [lambda x, p: x, lambda x, p: 0 * x, lambda x, p: 2 * p, lambda x, p: None])
def test_the_cache_of_softmax_is_compared(cache):
    report = lessons.check("softmax", lambda x: (plain.softmax(x)[0], cache(x, plain.softmax(x)[0])))
    assert report and report.own_cache and "The cache is not the one described" in str(report)
    assert not lessons.check("softmax", plain.softmax).own_cache


def test_a_remark_on_float32_is_no_remark_on_the_cache(capsys):
    lessons.take("linear_backward", lambda dy, cache: None, lambda x, W, b: narrow(plain.linear(x, W, b)))
    assert "cache" not in capsys.readouterr().out


def test_the_epsilon_that_is_given_counts():
    fixed = said_of("central_difference", lambda f, x, epsilon=1e-5: plain.central_difference(f, x))
    assert fixed == "epsilon is not used: it is 1e-5, whatever is given"


def backward(dx):
    """layernorm_backward with another dx(g, n, inverse_std, gamma, dy)."""

    def function(dy, cache):
        n, inverse_std, gamma = cache
        _, dgamma, dbeta = plain.layernorm_backward(dy, cache)
        return dx(dy * gamma, n, inverse_std, gamma, dy), dgamma, dbeta

    return function


def m(a, axis=1):
    return a.mean(axis=axis, keepdims=True)


def s(a):
    return a.sum(axis=1, keepdims=True)


NAMED = {
    "both means are over axis 0": lambda g, n, i, gamma, dy: i * (g - m(g, 0) - n * m(g * n, 0)),
    "both means are over all elements": lambda g, n, i, gamma, dy: i * (g - g.mean() - n * (g * n).mean()),
    "g and g n are summed over the row": lambda g, n, i, gamma, dy: i * (g - s(g) - n * s(g * n)),
    "gamma is applied at the end": lambda g, n, i, gamma, dy: gamma * i * (dy - m(dy) - n * m(dy * n)),
    "gamma is missing in the mean of g n": lambda g, n, i, gamma, dy: i * (g - m(g) - n * m(dy * n)),
    "gamma is missing in the mean of g:": lambda g, n, i, gamma, dy: i * (g - m(dy) - n * m(g * n)),
    "gamma is missing in both means": lambda g, n, i, gamma, dy: i * (g - m(dy) - n * m(dy * n)),
    "a bracket is missing": lambda g, n, i, gamma, dy: i * g - m(g) - n * m(g * n),
    "dx is divided by inverse_std": lambda g, n, i, gamma, dy: (g - m(g) - n * m(g * n)) / i,
    "the mean of g n is missing (mean(g) mean(n)": lambda g, n, i, gamma, dy: i * (g - m(g) - n * m(g) * m(n)),
}


@pytest.mark.parametrize("message", NAMED)
def test_mistakes_of_layernorm_backward_are_named(message):
    report = lessons.check("layernorm_backward", backward(NAMED[message]))
    assert report.named and report.diagnosis.startswith(message), str(report)


@pytest.mark.parametrize(
    ("axis", "message"), [(0, "mean and variance are over the batch"), (None, "mean and variance are over all")]
)
def test_statistics_of_layernorm_over_something_else(axis, message):
    def function(x, gamma, beta, eps):
        return gamma * (x - x.mean(axis)) / np.sqrt(x.var(axis) + eps) + beta, None

    assert said_of("layernorm", function).startswith(message)


@pytest.mark.parametrize("fixed", [1e-12, 1e-5])
def test_an_eps_that_is_not_the_argument(fixed):
    said = said_of("layernorm", lambda x, gamma, beta, eps: plain.layernorm(x, gamma, beta, fixed))
    assert said == f"eps is {str(fixed).replace('-0', '-')}, whatever is given: use the argument"
    assert said_of("layernorm", lambda x, gamma, beta, eps: plain.layernorm(x, gamma, beta, 0)) == "eps is missing"


def test_the_first_input_that_fails_is_told_and_not_a_later_error():
    def fails_later(x, W, b):
        if len(x) == 1:
            raise ValueError("later")
        return x @ W, (x, W)

    report = lessons.check("linear", fails_later)
    assert report.named and report.diagnosis == "the bias is missing" and "tried on x (4, 5)" in str(report)
    assert "and on a later input it raises ValueError: later\n" in str(report)

    def changes_later(x, W, b):
        x[len(x) % 2 :] = 0
        return 3 * (x @ W + b), (x, W)

    assert "later" in said_of("linear", lambda x, W, b: plain.linear(x, W, b) if len(x) > 1 else fails_later(x, W, b))
    assert "its argument x in place" in said_of("linear", changes_later)


def test_what_is_changed_in_place_is_named():
    def changes_p(x, p):
        p["down/W"] *= 2
        return plain.adapter(x, p)

    assert said_of("adapter", changes_p).startswith("it changes its argument p in place")

    def changes_cache(dy, cache):
        cache[1][...] = 0
        return plain.linear_backward(dy, cache)

    assert said_of("linear_backward", changes_cache).startswith("it changes the cache, or a part of it, in place")

    def changes_dy(dy, cache):
        dy *= 2
        return plain.linear_backward(dy, cache)

    assert said_of("linear_backward", changes_dy).startswith("it changes its argument dy in place")


def moved_by_steps(f, x, epsilon=1e-5, last=1):
    """Back again up to the last bit."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        x[i] += epsilon
        above = f(x)
        x[i] -= 2 * epsilon
        below = f(x)
        x[i] += last * epsilon
        gradient[i] = (above - below) / (2 * epsilon)
    return gradient


def test_an_argument_that_is_put_back_up_to_rounding_is_not_changed():
    assert lessons.check("central_difference", moved_by_steps)
    for last in (0, 2):
        report = lessons.check("central_difference", functools.partial(moved_by_steps, last=last))
        assert report.diagnosis.startswith("x is not what it was: put each element back before the next"), str(report)
    assert lessons.check("linear", lambda x, W, b: plain.linear(np.add(x, 1e-16, out=x), W, b))
    assert "its argument x in place" in said_of("linear", lambda x, W, b: plain.linear(np.add(x, 1e-6, out=x), W, b))


SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "src"


def text_of(lesson):
    return next(SOURCES.glob(f"{lesson}_*.py")).read_text(encoding="utf-8")


def test_lessons_hand_in_the_learners_own_forward_function():
    text = text_of("05")
    for name in ("gelu", "layernorm"):
        for call in ("check", "take"):
            assert f'lessons.{call}("{name}_backward", {name}_backward, forward={name})' in text
    assert "cache[" not in text  # a learner's cache may hold something else


def test_what_lessons_say_of_their_data_is_so():
    pieces = re.search('pieces = """(.*?)"""', text_of("02"), re.DOTALL).group(1).split()
    one, other = re.search("So `(.*?)` and `(.*?)` are\n# two different entries", text_of("02")).groups()
    assert {one, other} <= set(pieces) and other == f"##{one}" and len(pieces) == 35
    assert len(lessons.EXERCISES["adapter_backward"].mistakes) + 1 == 13 and "A grid of thirteen" in text_of("08")
    assert "dtype=float" in text_of("03")  # of q and k: a softmax in place needs floats


def test_a_forgotten_return_is_asked_for_where_two_things_are_returned():
    for name in ("linear", "softmax", "linear_backward"):
        assert said_of(name, lambda *arguments: None).endswith("is there a return at the end?"), name
