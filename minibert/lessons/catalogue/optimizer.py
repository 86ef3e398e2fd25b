"""Adam, the schedule of the learning rate, and clipping."""

from minibert.lessons.exercise import Exercise


def _adam_step(rng):
    """The last has gradients as small as eps, which shows where it stands."""

    def arguments(shape, step, decay, scale=1.0):
        p, g, m = (rng.normal(size=shape) * scale for scale in (1.0, scale, scale))
        return p, g, m, rng.uniform(0.1, 2, size=shape) * scale**2, step, 0.03, decay

    return [arguments((3, 4), 1, 0.0), arguments((5,), 3, 0.1), arguments((2, 3), 40, 0.5, 1e-7)]


def _learning_rate(rng):
    runs = ((20, 0.1), (16, 0.1), (7, 0.3), (5, 0.0))
    return [(step, steps, 1e-3, warmup) for steps, warmup in runs for step in range(steps)]


def _clip(rng):
    def arguments(largest, scale):
        return {"a": scale * rng.normal(size=(3, 2)), "b": scale * rng.normal(size=4)}, largest

    return [arguments(1.0, 2.0), arguments(1.0, 0.01), arguments(0.5, 1.0)]


EXERCISES = (
    Exercise(
        "adam_step",
        10,
        outputs=("p", "m", "v"),
        cases=_adam_step,
        hints=(
            "m and v begin at zero, so they are too small at first: by which factor?",
            "Decoupled: weight decay moves p itself, and does not enter g. eps stands outside the square root.",
            "m_hat = m / (1 - beta1**step); p = p - lr * weight_decay * p - lr * m_hat / (sqrt(v_hat) + eps)",
        ),
        order=("m", "v", "p"),
        mistakes=(
            ("m_hat = m / (1 - beta1**step)", "m_hat = m", "the bias of m is not corrected: it began at zero"),
            ("v_hat = v / (1 - beta2**step)", "v_hat = v", "the bias of v is not corrected: it began at zero"),
            (
                "return p, m, v",
                "return p, m_hat, v_hat",
                "m and v are returned after the correction: keep them uncorrected, and correct them for p alone",
            ),
            ("return p, m, v", "return p, m_hat, v", "m is returned after the correction: keep it uncorrected"),
            ("return p, m, v", "return p, m, v_hat", "v is returned after the correction: keep it uncorrected"),
            (
                "m_hat = m / (1 - beta1**step)\n    v_hat = v / (1 - beta2**step)",
                "m_hat, v_hat = m, v",
                "m and v are not corrected for their start at zero",
            ),
            ("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)", "eps is inside the square root"),
            (
                "    m = beta1 * m + (1 - beta1) * g\n",
                "    g = g + weight_decay * p\n    m = beta1 * m + (1 - beta1) * g\n",
                "weight decay is added to g (L2 regularization), and to p as well",
            ),
            (
                "m = beta1 * m + (1 - beta1) * g",
                "g = g + weight_decay * p; weight_decay = 0; m = beta1 * m + (1 - beta1) * g",
                "weight decay is added to g (L2 regularization); decoupled, it moves p itself",
            ),
            (
                "p = p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps)",
                "p = p - lr * m_hat / (np.sqrt(v_hat) + eps); p = p - lr * weight_decay * p",
                "the decay is taken of the new p, after the step: take both of the p that is given",
            ),
            ("- lr * weight_decay * p", "- weight_decay * p", "weight decay is not multiplied by the learning rate"),
            ("- lr * weight_decay * p", "", "weight decay is missing"),
            ("(1 - beta2) * g**2", "(1 - beta2) * g", "v averages g; it must average g^2"),
            (
                "m_hat = m / (1 - beta1**step)",
                "m_hat = m / (1 - beta1 ** (step + 1))",
                "the correction counts the steps from 0: step is 1 for the first",
            ),
            ("/ (np.sqrt(v_hat) + eps)", "/ (v_hat + eps)", "the square root of v is missing"),
            ("return p, m, v", "return p, v, m", "m and v are returned in the wrong order"),
            (
                "m_hat = m / (1 - beta1**step)\n    v_hat = v / (1 - beta2**step)",
                "m_hat = m / (1 - beta2**step)\n    v_hat = v / (1 - beta1**step)",
                "beta1 and beta2 are exchanged in the correction: m has beta1, v has beta2",
            ),
            ("- lr * m_hat", "+ lr * m_hat", "p goes up the gradient: the sign is wrong"),
        ),
    ),
    Exercise(
        "learning_rate",
        10,
        outputs=("rate",),
        cases=_learning_rate,
        hints=(
            "The first step, number 0, must move something. When is the peak reached?",
            "rising = round(warmup * steps); while step < rising: peak * (step + 1) / rising",
            "After that peak * (steps - step) / (steps - rising)",
        ),
        mistakes=(
            (
                "peak * (step + 1) / rising",
                "peak * step / rising",
                "step 0 has a rate of zero: the first batch is lost. The rise ends at step = rising - 1",
            ),
            ("max(1, steps - rising)", "steps", "the fall is measured over all steps; it begins after the rise"),
            (
                "peak * (steps - step) / max(1, steps - rising)",
                "peak",
                "the rate stays at its peak; it must fall to zero",
            ),
            ("    if step < rising:\n        return peak * (step + 1) / rising\n", "", "there is no warm-up"),
            (
                "rising = round(warmup * steps)",
                "rising = warmup * steps",
                "the steps of the rise are not rounded: with half a step the fall starts above the peak",
            ),
            (
                "round(warmup * steps)",
                "int(warmup * steps)",
                "int() cuts the steps of the rise off; round() takes the nearest whole number: 1.6 steps are 2",
            ),
            (
                "peak * (steps - step) /",
                "peak * (steps - step - 1) /",
                "the last step has a rate of zero: it moves nothing",
            ),
        ),
    ),
    Exercise(
        "clip",
        10,
        outputs=("clipped",),
        cases=_clip,
        hints=(
            "The direction of the whole gradient must stay: one factor for all tensors.",
            "The norm of all elements of all tensors together; smaller gradients stay as they are.",
            "factor = min(1, largest / norm)",
        ),
        mistakes=(
            (
                "    return {name: g * factor for name, g in grads.items()}",
                "    return {name: g * min(1.0, largest / math.sqrt((g**2).sum())) for name, g in grads.items()}",
                "each tensor is clipped by its own norm: that changes the direction of the whole. One factor for all",
            ),
            (
                "factor = min(1.0, largest / norm)",
                "factor = largest / norm",
                "gradients whose norm is small are enlarged; they must stay as they are",
            ),
            (
                "largest / norm)",
                "1.0 / norm)",
                "the limit is 1.0, whatever is given: use the argument largest",
            ),
            (
                "norm = math.sqrt(sum((g**2).sum() for g in grads.values()))",
                "norm = sum((g**2).sum() for g in grads.values())",
                "the square root of the norm is missing",
            ),
            (
                "norm = math.sqrt(sum((g**2).sum() for g in grads.values()))",
                "norm = sum(math.sqrt((g**2).sum()) for g in grads.values())",
                "the norms of the tensors are added; their squares must be, under one root",
            ),
            (
                "g * factor for",
                "np.clip(g, -largest, largest) for",
                "each element is clipped by itself: that changes the direction. One factor for all",
            ),
            (
                "norm = math.sqrt(sum((g**2).sum() for g in grads.values()))",
                "norm = max(abs(g).max() for g in grads.values())",
                "the largest element is no norm of all of them",
            ),
        ),
    ),
)
