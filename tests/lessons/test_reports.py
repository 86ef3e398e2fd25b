"""What a report says where the cache, the order or the owner of a function is another than expected."""

import copy
import functools
import warnings

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain


def with_cache(name, change):
    """A forward function of plain/ whose cache is another."""

    def forward(*arguments):
        y, cache = getattr(plain, name)(*arguments)
        return y, change(cache, *arguments)

    return forward


def stub_of_linear(dy, cache):
    x, W = cache  # noqa: RUF059


def stub_of_cross_entropy(cache):
    p, labels = cache  # noqa: RUF059


def stub_of_layernorm(dy, cache):
    n, inverse_std, gamma = cache  # noqa: RUF059


def stub_with_a_mistake(dy, cache):
    x, W = cache
    return dy @ W, x.T @ dy, dy.sum(axis=0)  # raises in any case


OTHER_CACHES = {
    "three parts": ("linear", stub_of_linear, lambda cache, x, W, b: (x, W, b)),
    "a mistake, too": ("linear", stub_with_a_mistake, lambda cache, x, W, b: (x, W, b)),
    "one part": ("cross_entropy", stub_of_cross_entropy, lambda cache, *_: cache[0]),
    "two of three": ("layernorm", stub_of_layernorm, lambda cache, *_: cache[:2]),
    "four of three": ("layernorm", stub_of_layernorm, lambda cache, x, *_: (*cache, x)),
}


@pytest.mark.parametrize("which", OTHER_CACHES)
def test_a_function_that_does_not_fit_the_cache_has_no_other_mistake(which):
    name, function, change = OTHER_CACHES[which]
    report = lessons.check(f"{name}_backward", function, forward=with_cache(name, change))
    assert not report.named and report.diagnosis.startswith(f"it does not fit the cache of your {name}: yours is ")
    assert "values to unpack" in report.details[0]


RIGHT_ELSEWHERE = {
    "W itself": ("embedding", lambda cache, ids, W: (ids, W)),
    "a tuple": ("gelu", lambda cache, x: (x, 1)),
    "reversed": ("adapter", lambda cache, *_: cache[::-1]),
    "three parts": ("linear", lambda cache, x, W, b: (x, W, b)),
    "exchanged": ("linear", lambda cache, x, W, b: (W, x)),
}


@pytest.mark.parametrize("which", RIGHT_ELSEWHERE)
def test_a_function_that_is_right_with_the_cache_described_says_so(which):
    name, change = RIGHT_ELSEWHERE[which]
    report = lessons.check(f"{name}_backward", getattr(plain, f"{name}_backward"), with_cache(name, change))
    assert not report and not report.named
    assert report.diagnosis.startswith(
        f"right with the cache that the exercise describes, not with that of your {name}: yours is a tuple of "
    )
    assert "take y" not in str(report)


def test_a_mistake_with_a_cache_of_ones_own_is_still_named():
    def backward(dy, cache):
        W, _, x = cache
        return dy @ W.T, x.T @ dy, dy.mean(axis=0)

    report = lessons.check("linear_backward", backward, with_cache("linear", lambda cache, x, W, b: (W, b, x)))
    assert report.named and report.diagnosis.startswith("db is a mean over the rows")


def test_an_error_of_ones_own_is_no_misfit():
    def backward(dy, cache):
        x, W = cache["x"], cache["W"]
        return dy @ W, x.T @ dy, dy.sum(axis=0)

    report = lessons.check("linear_backward", backward, with_cache("linear", lambda cache, x, W, b: {"x": x, "W": W}))
    assert report.diagnosis.startswith("it raises ValueError: in A @ B"), report.diagnosis


# --------------------------------------------------------------------------------------------------------- ours, hints


def test_what_take_gave_is_ours(capsys):
    taken = lessons.take("gelu", lambda x: None)
    assert "gelu: right, but this is ours" in str(lessons.check("gelu", taken))
    assert lessons.check("gelu", taken).passed and lessons.check("gelu", taken, strict=True)
    assert lessons.check("gelu", functools.wraps(taken)(lambda x: taken(x))).is_ours
    capsys.readouterr()
    assert lessons.take("gelu", taken) is plain.gelu
    assert capsys.readouterr().out.startswith("gelu: ours, as taken before. Run the cell of your def again")


def test_the_hint_is_that_of_what_comes_first():
    report = lessons.check("gelu_backward", plain.gelu_backward, forward=lambda x: None)
    assert str(report).endswith('a hint: lessons.hint("gelu")')


def test_a_number_is_told_as_a_number():
    for number in (np.float64(1.6483904926100563), np.float32(1.6483905), 1.6483904926100563):
        report = lessons.check("cross_entropy", lambda *given, number=number: number)
        assert report.diagnosis.startswith("it returns the number 1.648; it must return two things")
    report = lessons.check("linear_backward", lambda *given: np.int64(3))
    assert report.diagnosis.startswith("it returns the number 3; expected 3 things")
    report = lessons.check("adapter_backward", lambda dy, cache: (dy, np.float64(1.5)))
    assert "is the number 1.5; expected a dict" in report.diagnosis


def test_a_backward_pass_of_a_later_lesson_is_not_asked_for():
    report = lessons.check("softmax", lambda x: (plain.softmax(x)[0], x))
    assert "does no harm here" in str(report) and "forward=" not in str(report)


# ------------------------------------------------------------------------------------------------------ order, numbers


@pytest.mark.parametrize(
    ("name", "order", "expected"),
    [
        ("layernorm_backward", [2, 0, 1], "dx, dgamma, dbeta"),
        ("layernorm_backward", [0, 2, 1], "dx, dgamma, dbeta"),
        ("linear_backward", [1, 0, 2], "dx, dW, db"),
        ("linear", [1, 0], "y, cache"),
        ("gelu", [1, 0], "y, cache"),
        ("encoder", [1, 0], "y, states"),
    ],
)
def test_results_in_another_order(name, order, expected):
    def function(*arguments):
        found = getattr(plain, name)(*arguments)
        return tuple(found[i] for i in order)

    report = lessons.check(name, function)
    assert report.diagnosis == f"the results are right, in another order: expected {expected}"


def test_a_wrong_result_beside_a_right_one_is_no_other_order():
    report = lessons.check("softmax", lambda x: (np.exp(x), plain.softmax(x)[0]))
    assert "order" not in str(report)


def test_nothing_finite_is_a_guess_and_no_named_mistake():
    report = lessons.check("train", lambda p, *_: {name: np.nan * a for name, a in p.items()})
    assert not report.named and "NaN" in report.diagnosis
    assert report.details[-1].startswith("one mistake that leaves nothing finite: Adam is given the step from 0")
    report = lessons.check("softmax", lambda x: (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True), None))
    assert report.named and report.diagnosis.startswith("exp overflows")


def test_a_factor_that_prints_as_1_is_not_told():
    assert lessons.check("gelu", lambda x: (1.001 * plain.gelu(x)[0], x)).diagnosis == "y is wrong"
    assert "0.98 times" in lessons.check("gelu", lambda x: (0.98 * plain.gelu(x)[0], x)).diagnosis


@pytest.mark.parametrize("name", ["softmax", "layernorm_backward", "train"])
def test_mistakes_are_tried_without_a_word(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not lessons.check(name, lambda *arguments: np.zeros(3))
        assert not lessons.check(name, lambda *arguments: [][1])


# --------------------------------------------------------------------------------------------------- (y, cache), inputs


def test_a_pair_that_is_taken_for_y_is_explained():
    def attention(q, k, v, offsets, n_heads):
        y = np.zeros_like(v)
        rows = slice(offsets[0], offsets[1])
        y[rows] = plain.softmax(q[rows] @ k[rows].T) @ v[rows]
        return y, None

    assert "returns (y, cache): take y" in lessons.check("attention", attention).diagnosis
    ragged = lessons.check("layer", lambda x, p, *_: (x + np.asarray(plain.layernorm(x, x[0], x[0]), float), None))
    assert "inhomogeneous" in ragged.diagnosis and "take y" in ragged.diagnosis
    stacked = lessons.check("softmax", lambda x: (np.stack(plain.softmax(x)), None))
    assert stacked.diagnosis.startswith(
        "p has the shape (2, 4, 5); expected (4, 5) (its first half is right; a forward"
    )
    assert "take y" not in lessons.check("softmax", lambda x: (np.stack([x, x]), None)).diagnosis


def test_the_line_of_an_error_has_the_name_of_its_function():
    def helper(x):
        return x @ x

    report = lessons.check("gelu", lambda x: (helper(x), x))
    assert "of helper: return x @ x" in report.diagnosis


def test_inputs_that_are_small_are_shown():
    assert "sequences [[84, " in str(lessons.check("pack", lambda sequences: None))
    assert "vocab with un, unaff, unre, film" in str(lessons.check("wordpiece", lambda word, vocab: None))
    assert "it returns an ellipsis; expected 3 things" in str(lessons.check("pack", lambda sequences: ...))


def test_a_key_bias_that_is_not_there_is_told(capsys):
    def layer(x, p, offsets, n_heads):
        return plain.layer(x, p | {"attention/key/b": 0 * p["attention/key/b"]}, offsets, n_heads)

    report = lessons.check("layer", layer)
    assert report and "k: it differs from the one described, and y cannot show it. Is the bias of" in str(report)
    assert "bias of the keys" not in str(lessons.check("layer", lambda *given: (plain.layer(*given)[0], None)))


def test_a_group_that_is_not_there_is_named():
    def encoder(ids, segments, positions, offsets, p, n_heads, n_layers):
        x, _ = plain.embeddings(ids, segments, positions, plain.below(p, "embeddings"))
        return plain.layer(x, plain.below(p, "encoder/layer/0"), offsets, n_heads)

    assert "attention/query/W: no name begins with encoder/layer/0/" in lessons.check("encoder", encoder).diagnosis
    assert plain.below({"a/b": 1}, "b") == {} and dict(copy.deepcopy(plain.below({}, "b"))) == {}
