"""Slips of learners in lessons 9 to 13, in their own form: each is named."""

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
