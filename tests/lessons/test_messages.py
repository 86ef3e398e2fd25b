"""What the checker says to answers that were once let pass, or told in words that did not help."""

from pathlib import Path

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain, source
from minibert.lessons.comparison import compare


def with_states(change):
    def encoder(*arguments):
        y, states = plain.encoder(*arguments)
        return y, change(states)

    return encoder


ROOT = Path(__file__).resolve().parents[2]

STATES = {
    "none": (lambda states: {}, "states has no embeddings; it has nothing"),
    "no dict": (
        lambda states: list(states.values()),
        "states is a list of 4; expected a dict with embeddings, 'layer 0'",
    ),
    "from 1": (
        lambda states: (
            {"embeddings": states["embeddings"]} | {f"layer {i}": a for i, a in enumerate(states.values()) if i}
        ),
        "the states of the layers are counted from 1; the first is layer 0",
    ),
    "other names": (
        lambda states: {name.replace(" ", "_"): array for name, array in states.items()},
        "states has no 'layer 0'; it has embeddings, layer_0, layer_1, layer_2",
    ),
    "no embeddings": (
        lambda states: {name: array for name, array in states.items() if name.startswith("layer")},
        'the first state is missing: states["embeddings"]',
    ),
    "inputs": (
        lambda states: dict(zip(states, [states["embeddings"], *list(states.values())[:-1]], strict=True)),
        "each state is the input of its layer",
    ),
    "one is wrong": (lambda states: states | {"layer 0": states["layer 0"] + 1}, "'layer 0' is wrong"),
    "a shape": (lambda states: states | {"layer 0": states["layer 0"][:-1]}, "'layer 0' has the shape (7, 6)"),
}


@pytest.mark.parametrize("which", STATES)
def test_the_states_of_the_encoder_are_a_result(which):
    change, expected = STATES[which]
    report = lessons.check("encoder", with_states(change))
    assert not report and report.diagnosis.startswith(expected), str(report)


def test_a_lone_array_is_not_told_as_a_tuple():
    report = lessons.check("encoder", lambda *arguments: plain.encoder(*arguments)[0])
    assert report.diagnosis == "it returns one array of shape (8, 6); expected 2 things: y, states"
    report = lessons.check("layer", lambda *arguments: plain.layer(*arguments)[0])
    assert report.diagnosis == "it returns one array of shape (7, 6); it must return two things: y, cache"


def test_an_array_of_two_numbers_is_as_good_as_a_tuple():
    assert lessons.check("paired_interval", lambda *given: np.array(plain.paired_interval(*given)))
    report = lessons.check("paired_interval", lambda *given: np.array(plain.paired_interval(*given))[::-1])
    assert not report and "low" in report.diagnosis
    assert not lessons.check("attention_backward", lambda dy, cache: plain.attention_backward(dy, cache)[0])


def test_a_factor_is_told_of_arrays_alone():
    assert "times" not in lessons.check("paired_interval", lambda *given: (0.5, 0.6)).diagnosis
    assert "times" not in lessons.check("cross_entropy", lambda *given: (3.3, ())).diagnosis
    assert "3 times" in compare((3 * np.arange(4.0), ()), (np.arange(4.0), ()), lessons.EXERCISES["linear"]).problem


def test_an_error_relative_to_zero_is_not_told():
    sizes = lessons.check("cache_sizes", lambda *given: {k: v or 12 for k, v in plain.cache_sizes(*given).items()})
    assert any("expected 0, got 12" in line for line in sizes.details) and "relative error 1.2e" not in str(sizes)
    report = lessons.check("cache_sizes", lambda *given: plain.cache_sizes(*given) | {"q, k, v": 1, "lse": 2})
    assert "'q, k, v' is the first that is wrong" in str(report)


def test_a_tuple_that_is_taken_for_an_array_is_explained():
    def without_index(ids, segments, positions, p):
        tables = (("word/W", ids), ("position/W", positions), ("segment/W", segments))
        x = sum((plain.embedding(rows, p[name]) for name, rows in tables), ())
        return plain.layernorm(x, p["norm/gamma"], p["norm/beta"])

    assert "embedding or linear, returns (y, cache): take y" in lessons.check("embeddings", without_index).diagnosis


def test_a_tuple_that_is_taken_for_a_dict_is_explained():
    said = lessons.check("linear_backward", lambda dy, cache: dy @ cache["W"].T).diagnosis
    assert "has no names: unpack it, as in x, W = cache" in said and "take y" not in said
    said = lessons.check("adapter", lambda x, p: plain.linear(x, p["down/W"], p["down/b"])[:, 0]).diagnosis
    assert "take y" in said and "unpack" not in said


def test_a_known_mistake_that_raises_is_named():
    def exchanged(ids, segments, positions, p):
        x = p["word/W"][ids] + p["position/W"][segments] + p["segment/W"][positions]
        return plain.layernorm(x, p["norm/gamma"], p["norm/beta"])

    report = lessons.check("embeddings", exchanged)
    assert report.named and report.diagnosis.startswith("segments and positions are exchanged")
    assert "IndexError" in report.details[0] and "segment/W" in report.details[0]


@pytest.mark.parametrize("name", ["embeddings", "layer"])
def test_a_cache_of_ones_own_sends_to_no_check_that_does_not_try_it(name):
    report = lessons.check(name, lambda *given: (getattr(plain, name)(*given)[0], None))
    assert report and "does no harm" in str(report) and "forward=" not in str(report)


# ------------------------------------------------------------------------- mistakes in forms that learners wrote


def stopped_backward(dy, cache):
    """As stopped_backward of lesson 9, with the gradients of adapters and LayerNorms."""
    grads, dx = {}, dy
    for block, adapter, norm in (("feed_forward", cache[10], cache[11]), ("attention", cache[5], cache[6])):
        dx, grads[f"{block}/norm/gamma"], grads[f"{block}/norm/beta"] = plain.layernorm_backward(dx, norm)
        _, own = plain.adapter_backward(dx, adapter)
        grads |= {f"{block}/adapter/{name}": gradient for name, gradient in own.items()}
    return dx, grads


def layers_as_text(name, method, n_layers, top_k):
    if method != "top_k" or name.startswith("head/") or top_k == n_layers:
        return plain.is_trained(name, method, n_layers, top_k)
    return name.startswith("encoder/") and name.split("/")[2] >= f"{n_layers - top_k}"


def forgets_the_head(name, method, n_layers, top_k):
    return method != "head" and plain.is_trained(name, method, n_layers, top_k)


def any_name_below(trained, D, F, H, M):
    sizes = plain.cache_sizes(trained, D, F, H, M)
    places = {"attended": "attention/output", "feed-forward input": "feed_forward/intermediate"}
    places |= {"h": "feed_forward/output"}
    for tensor, place in places.items():
        sizes[tensor] = (F if tensor == "h" else D) * any(name.startswith(place) for name in trained)
    projections = tuple(f"attention/{name}/" for name in ("query", "key", "value"))
    return sizes | {"attention input": D * any(name.startswith(projections) for name in trained)}


def norm_of_the_block_alone(x, p, offsets, n_heads):
    q, k, v = (x @ p[f"attention/{name}/W"] + p[f"attention/{name}/b"] for name in ("query", "key", "value"))
    attended, _ = plain.attention(q, k, v, offsets, n_heads)
    a = attended @ p["attention/output/W"] + p["attention/output/b"]
    x = x + plain.layernorm(a, p["attention/norm/gamma"], p["attention/norm/beta"])[0]
    h, _ = plain.gelu(x @ p["feed_forward/intermediate/W"] + p["feed_forward/intermediate/b"])
    f = h @ p["feed_forward/output/W"] + p["feed_forward/output/b"]
    return x + plain.layernorm(f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])[0], None


def rounded_down(step, steps, peak, warmup):
    return plain.learning_rate(step, steps, peak, warmup * steps // 1 / steps)


def scaled_twice(dy, cache):
    dq, dk, dv = plain.attention_backward(dy, cache)
    scale = (dq.shape[1] // cache[4]) ** -0.5
    return scale * dq, scale * dk, dv


NAMED = (
    ("layer_backward", stopped_backward, "the gradient stops at both blocks"),
    ("is_trained", layers_as_text, "the number of the layer is compared as text"),
    ("is_trained", forgets_the_head, "method head forgets the head"),
    (
        "is_trained",
        lambda name, method, n, k: k >= n or plain.is_trained(name, method, n, k),
        "top_k counts for method",
    ),
    ("cache_sizes", any_name_below, "a bias alone keeps an input"),
    ("layer", norm_of_the_block_alone, "LayerNorm is taken of the block's result alone"),
    ("learning_rate", rounded_down, "int() cuts the steps of the rise off"),
    ("attention_backward", scaled_twice, "the scores were divided by sqrt(d_head), not by d_head; or the division is"),
)


@pytest.mark.parametrize(("name", "function", "expected"), NAMED, ids=[f"{n}: {e[:40]}" for n, _, e in NAMED])
def test_a_mistake_of_a_learner_is_named(name, function, expected):
    report = lessons.check(name, function)
    assert report.named and report.diagnosis.startswith(expected), str(report)


def test_the_judge_of_lesson_13_says_what_is_missing(capsys):
    pytest.importorskip("jupytext")
    cells = source.read(ROOT / "notebooks" / "src" / "13_many_tasks.py").cells
    names = vars(plain) | {"np": np}
    exec(next(cell.source for cell in cells if "def judge(" in cell.source), names)
    capsys.readouterr()

    def own_names(dy, cache):
        dx, gradients = plain.adapter_backward(dy, cache)
        return dx, {name.replace("down/W", "W_down"): gradient for name, gradient in gradients.items()}

    names["judge"](plain.adapter, own_names)
    assert "gradients has no down/W; it has W_down, " in capsys.readouterr().out
    names["judge"](lambda x, p: plain.adapter(x, p)[0], plain.adapter_backward)
    names["judge"](plain.adapter, lambda dy, cache: dy)
    names["judge"](plain.adapter, lambda dy, cache: None)
    told = ["it must return two things: y, cache", "it must return two things: dx, gradients", "not written yet"]
    assert capsys.readouterr().out.splitlines() == told
