"""Slips of learners in lessons 9 to 13, in their own form: each is named."""

import math

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import plain


def adam(p, g, m, v, step, lr, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    """The commonest: corrected in place of m and v."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m = m / (1 - beta1**step)
    v = v / (1 - beta2**step)
    return p * (1 - lr * weight_decay) - lr * m / (np.sqrt(v) + eps), m, v


def decay_after(p, g, m, v, step, lr, weight_decay):
    p, m, v = plain.adam_step(p, g, m, v, step, lr)
    return p - lr * weight_decay * p, m, v


def loop(p, gradients, steps, peak, largest, weight_decay, warmup=0.1, slip=""):
    p, m = dict(p), {name: np.zeros_like(a) for name, a in p.items()}
    v = m if slip == "one dict" else dict.fromkeys(p, 0.0)
    for step in range(steps):
        grads = gradients(p, step)
        if slip != "each by itself":
            grads = plain.clip(grads, 1.0 if slip == "fixed limit" else largest)
        lr = plain.learning_rate(step, steps, peak, warmup)
        for name in p:
            g = plain.clip({name: grads[name]}, largest)[name] if slip == "each by itself" else grads[name]
            decay = 0.0 if name.endswith("/b" if slip == "gamma" else ("b", "gamma")) else weight_decay
            given = (v[name], m[name]) if slip == "call" else (m[name], v[name])
            new, new_m, new_v = plain.adam_step(p[name], g, *given, step + 1, lr, decay)
            m[name], v[name] = (new_v, new_m) if slip == "results" else (new_m, new_v)
            if slip != "p":
                p[name] = new
        if slip == "return":
            return p
    return p


TRAIN = {
    "one dict": "m and v are one dict",
    "call": "m and v are exchanged",
    "results": "m and v are exchanged",
    "return": "return stands inside the loop",
    "p": "nothing moves",
    "fixed limit": "the limit of clip is 1.0",
    "each by itself": "each array is clipped by itself",
    "gamma": "gamma decays, too",
}


@pytest.mark.parametrize("slip", TRAIN)
def test_slips_of_train(slip):
    report = lessons.check("train", lambda *given: loop(*given, slip=slip))
    assert report.named and report.diagnosis.startswith(TRAIN[slip]), str(report)


def test_the_loop_without_a_slip_is_right():
    assert lessons.check("train", loop)


def test_slips_of_adam_step_and_clip():
    slips = {
        "m and v are returned after the correction": ("adam_step", adam),
        "the decay is taken of the new p": ("adam_step", decay_after),
        "the limit is 1.0, whatever is given": ("clip", lambda grads, largest: plain.clip(grads, 1.0)),
    }
    for message, (name, function) in slips.items():
        report = lessons.check(name, function)
        assert report.named and report.diagnosis.startswith(message), str(report)


def of_numbers(difference, error):
    """An interval of (right_a, right_b) -> differences, and (differences) -> the error of their mean."""

    def function(right_a, right_b, z=1.96):
        d = difference(right_a, right_b)
        return d.mean() - z * error(d), d.mean() + z * error(d)

    return function


def minus(a, b):
    return a.astype(float) - b.astype(float)


def standard_error(d):
    return d.std(ddof=1) / math.sqrt(len(d))


INTERVALS = {
    "bool": (lambda a, b: a - b, standard_error, "NumPy does not subtract bool arrays"),
    "!=": (lambda a, b: a != b, lambda d: standard_error(1.0 * d), "the sign of the difference is lost"),
    "^": (lambda a, b: (a ^ b).astype(float), standard_error, "the sign of the difference is lost"),
    "s^2": (minus, lambda d: d.var(ddof=1) / math.sqrt(len(d)), "s^2 stands where s belongs"),
}


@pytest.mark.parametrize("which", INTERVALS)
def test_slips_of_paired_interval(which):
    difference, error, message = INTERVALS[which]
    report = lessons.check("paired_interval", of_numbers(difference, error))
    assert report.named and report.diagnosis.startswith(message), str(report)
    assert lessons.check("paired_interval", of_numbers(minus, standard_error))


def sizes(trained, D, F, H, M, **kept):
    """cache_sizes with other conditions, {tensor: whether it is kept}."""
    size = {"attention input": D, "attended": D, "feed-forward input": D, "h": F}
    right = plain.cache_sizes(trained, D, F, H, M)
    return right | {name: size[name] * holds for name, holds in kept.items()}


def test_slips_of_cache_sizes():
    def contains(tensor, part):
        return lambda trained, *n: sizes(trained, *n, **{tensor: any(part in name for name in trained)})

    def without(name):
        rest = {"query", "key", "value"} - {name}
        return lambda trained, *n: sizes(
            trained, *n, **{"attention input": any(f"attention/{other}/W" in trained for other in rest)}
        )

    for tensor, part in (
        ("attended", "attention/output"),
        ("feed-forward input", "feed_forward/intermediate"),
        ("h", "feed_forward/output"),
    ):
        report = lessons.check("cache_sizes", contains(tensor, part))
        assert report.named and report.diagnosis.startswith(f"a bias ({part}/b) keeps an input"), str(report)
    for name in ("query", "key", "value"):
        report = lessons.check("cache_sizes", without(name))
        assert report.named and f"{name} alone is forgotten" in report.diagnosis, str(report)


def test_slips_of_fetched_and_intensity():
    def whole(T, K, N, tile):
        n = [math.ceil(size / step) for size, step in zip((T, N, K), tile, strict=True)]
        rows, columns, depth = tile
        return math.prod(n) * (rows * depth + depth * columns) + n[0] * n[1] * rows * columns

    def one_more(T, K, N, tile):
        return T * K * (N // tile[1] + 1) + K * N * (T // tile[0] + 1) + T * N

    def of_four_bytes(T, K, N, itemsize):
        return plain.intensity(T, K, N)

    slips = {
        "every tile is counted as a full one": ("fetched", whole),
        "// and + 1 count one tile too many": ("fetched", one_more),
        "an element has itemsize bytes; here it is 4": (
            "intensity",
            lambda T, K, N, itemsize: plain.intensity(T, K, N),
        ),
    }
    for message, (name, function) in slips.items():
        report = lessons.check(name, function)
        assert report.named and report.diagnosis.startswith(message), str(report)


@pytest.mark.parametrize("order", [sorted, set, lambda tasks: list(dict.fromkeys(tasks))])
def test_rows_that_come_back_task_by_task(order):
    def rows_of(offsets, tasks):
        return {t: [b for b, task in enumerate(tasks) if task == t] for t in dict.fromkeys(order(tasks))}

    def forward(x, offsets, tasks, adapters):
        of_task = rows_of(offsets, tasks)
        parts = [plain.adapter(x[offsets[b] : offsets[b + 1]], adapters[t])[0] for t in of_task for b in of_task[t]]
        return np.concatenate(parts)

    def backward(dy, x, offsets, tasks, adapters):
        dx, gradients = plain.mixed_gradients(dy, x, offsets, tasks, adapters)
        of_task = rows_of(offsets, tasks)
        return np.concatenate([dx[offsets[b] : offsets[b + 1]] for t in of_task for b in of_task[t]]), gradients

    for name, function, array in (("mixed_adapter", forward, "y"), ("mixed_gradients", backward, "dx")):
        report = lessons.check(name, function)
        assert report.named and report.diagnosis.startswith(f"the rows of {array} come back task by task"), str(report)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda q, k, v: (k, q, v), "dq and dk are exchanged"),
        (lambda q, k, v: (q, v, k), "dk and dv are exchanged"),
        (lambda q, k, v: (q + k + v, 0 * k, 0 * v), "dq, dk and dv all go through the weight of query"),
    ],
)
def test_gradients_that_go_through_the_weight_of_another(given, message):
    def layer_backward(dy, cache):
        _, grads = plain.layer_backward(dy, cache)
        query, key, value, heads, out_a, adapter_a, norm_a, *_, norm_f = cache
        # What goes into attention's heads, again: the last line of plain.layer_backward is the one that differs.
        dsum = plain.layernorm_backward(dy, norm_f)[0]
        df = plain.adapter_backward(dsum, cache[10])[0]
        du = plain.gelu_backward(plain.frozen_backward(df, cache[9]), cache[8])
        dsum = plain.layernorm_backward(dsum + plain.frozen_backward(du, cache[7]), norm_a)[0]
        da = plain.adapter_backward(dsum, adapter_a)[0]
        found = given(*plain.attention_backward(plain.frozen_backward(da, out_a), heads))
        return dsum + sum(map(plain.frozen_backward, found, (query, key, value))), grads

    report = lessons.check("layer_backward", layer_backward)
    assert report.named and report.diagnosis.startswith(message), str(report)


def test_a_truth_value_that_is_not_returned():
    """It is told before a mistake that is named: with it, that one could not be recognized."""

    def falls_through(name, method, n_layers, top_k):
        if name.startswith("head/") or method == "full":
            return True
        if method == "top_k" and name.startswith("encoder/"):
            return int(name.split("/")[2]) >= n_layers - top_k
        if method == "adapter" and "/adapter/" in name:
            return True
        if method in ("adapter", "layernorm") and "/norm/" in name:
            return True

    def but_for_top_k(name, *given):
        found = falls_through(name, *given)
        return found if given[0] == "top_k" else bool(found)

    for function in (falls_through, but_for_top_k):
        assert lessons.check("is_trained", function).diagnosis == "trained is None: is there a return at the end?"
    report = lessons.check("is_trained", lambda *given: bool(falls_through(*given)))
    assert report.named and report.diagnosis.startswith("with top_k = n_layers everything trains")
