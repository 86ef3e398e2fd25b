"""Other correct ways to write the exercises of lessons 10 and 11: the loop, the interval, the ablation."""

import numpy as np

from minibert.lessons import plain


def with_a_state_for_each_name(p, gradients, steps, peak, largest, weight_decay, warmup=0.1):
    state = {name: (a.copy(), np.zeros(a.shape), np.zeros(a.shape)) for name, a in p.items()}
    for step in range(steps):
        g = plain.clip(gradients({name: s[0] for name, s in state.items()}, step), largest)
        rate = plain.learning_rate(step, steps, peak, warmup)
        for name, s in state.items():
            decay = weight_decay * (name[-2:] == "/W")
            state[name] = plain.adam_step(s[0], g[name], s[1], s[2], step + 1, rate, decay)
    return {name: s[0] for name, s in state.items()}


def with_zero_as_the_start(p, gradients, steps, peak, largest=1.0, weight_decay=0.01, warmup=0.1):
    m, v = dict.fromkeys(p, 0.0), dict.fromkeys(p, 0.0)
    for step in range(steps):
        grads, new = plain.clip(gradients(p, step), largest), {}
        for name, g in grads.items():
            decay = weight_decay if name.endswith("W") else 0
            lr = plain.learning_rate(step, steps, peak, warmup)
            new[name], m[name], v[name] = plain.adam_step(p[name], g, m[name], v[name], step + 1, lr, decay)
        p = new
    return p


def written_out_in_place_on_copies(p, gradients, steps, peak, largest=1.0, weight_decay=0.01, warmup=0.1):
    p = {name: a.copy() for name, a in p.items()}
    m = {name: np.zeros_like(a) for name, a in p.items()}
    v = {name: np.zeros_like(a) for name, a in p.items()}
    for t in range(1, steps + 1):
        grads = gradients(p, t - 1)
        norm = np.sqrt(sum(np.sum(g * g) for g in grads.values()))
        lr = plain.learning_rate(t - 1, steps, peak, warmup)
        for name, g in grads.items():
            g = g * min(1, largest / norm)
            m[name] += 0.1 * (g - m[name])
            v[name] += 0.001 * (g * g - v[name])
            if name.endswith("/W"):
                p[name] *= 1 - lr * weight_decay
            p[name] -= lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    return p


def by_std(right_a, right_b, z=1.96):
    d = right_a.astype(float) - right_b
    half = z * d.std(ddof=1) / np.sqrt(len(d))
    return [d.mean() - half, d.mean() + half]


def by_counts(right_a, right_b, z=1.96):
    n, a_alone, b_alone = len(right_a), (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
    mean = (a_alone - b_alone) / n
    error = np.sqrt((a_alone + b_alone - n * mean**2) / (n - 1) / n)
    return np.array([mean - z * error, mean + z * error]).tolist()


def by_covariance(right_a, right_b, z=1.96):
    both = np.cov(right_a, right_b)
    error = np.sqrt((both[0, 0] + both[1, 1] - 2 * both[0, 1]) / len(right_a))
    return tuple(right_a.mean() - right_b.mean() + sign * z * error for sign in (-1, 1))


def by_parts_of_the_name(params, first, last):
    left = {}
    for name, array in params.items():
        parts = name.split("/")
        if "adapter" in parts and first <= int(parts[2]) <= last:
            continue
        left[name] = array
    return left


def deleted_from_a_copy(params, first, last):
    left = dict(params)
    for i in range(first, last + 1):
        for name in params:
            if f"/layers/{i}/" in name and "/adapter/" in name:
                del left[name]
    return left


def with_copied_arrays(params, first, last):
    return {name: array.copy() for name, array in plain.ablate(params, first, last).items()}


FORMS = {
    "train": [with_a_state_for_each_name, with_zero_as_the_start, written_out_in_place_on_copies],
    "paired_interval": [by_std, by_counts, by_covariance],
    "ablate": [by_parts_of_the_name, deleted_from_a_copy, with_copied_arrays],
}
