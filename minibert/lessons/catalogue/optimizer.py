"""Adam, the schedule of the learning rate, clipping, and the loop that they make."""

import numpy as np

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


def _train(rng):
    """Gradients whose norm is now above the limit and now below it: else clipping would change nothing, as Adam divides
    by the size of what it gets."""

    def arguments(steps, peak, largest, decay, *warmup):
        p = {"down/W": rng.normal(size=(3, 2)), "down/b": rng.normal(size=2), "norm/gamma": rng.normal(size=4)}
        goal = {name: rng.normal(size=a.shape) for name, a in p.items()}
        sizes = rng.choice([0.1, 1.0, 5.0], size=steps)

        def gradients(p, step):
            return {name: sizes[step] * (np.asarray(a) - goal[name]) for name, a in p.items()}

        return p, gradients, steps, peak, largest, decay, *warmup

    return [arguments(3, 0.1, 1.0, 0.5), arguments(12, 0.2, 0.7, 0.1, 0.4), arguments(25, 0.1, 1.5, 0.3)]


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
            ("- lr * weight_decay * p", "- weight_decay * p", "weight decay is not multiplied by the learning rate"),
            ("- lr * weight_decay * p", "", "weight decay is missing"),
            ("(1 - beta2) * g**2", "(1 - beta2) * g", "v averages g; it must average g^2"),
            (
                "m_hat = m / (1 - beta1**step)",
                "m_hat = m / (1 - beta1 ** (step + 1))",
                "the correction counts the steps from 0: step is 1 for the first",
            ),
            ("/ (np.sqrt(v_hat) + eps)", "/ (v_hat + eps)", "the square root of v is missing"),
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
    Exercise(
        "train",
        10,
        outputs=("trained",),
        cases=_train,
        hints=(
            "What is made once, before the first step, and what in every step? m and v remember all steps.",
            "In each step: gradients, clip, the rate, then adam_step for every name.",
            "The schedule counts its steps from 0, Adam from 1: "
            "p[name], m[name], v[name] = adam_step(p[name], grads[name], m[name], v[name], step + 1, lr, decay)",
        ),
        mistakes=(
            (
                "v[name], step + 1, lr",
                "v[name], step, lr",
                "Adam is given the step from 0, and divides by 1 - beta^0 = 0: its first step is step + 1",
            ),
            (
                "learning_rate(step, steps",
                "learning_rate(step + 1, steps",
                "the schedule is given step + 1; it counts from 0, and Adam from 1",
            ),
            (
                "        grads = clip(",
                "        m = {name: np.zeros_like(a) for name, a in p.items()}; v = dict(m)\n        grads = clip(",
                "m and v begin at zero in every step: make them once, before the loop, and keep what adam_step returns",
            ),
            (
                "clip(gradients(p, step), largest)",
                "gradients(p, step)",
                "the gradients are not clipped",
            ),
            (
                'weight_decay if name.endswith("/W") else 0.0',
                "weight_decay",
                "biases and LayerNorms decay, too: weight decay is for the names that end in /W",
            ),
            (
                'weight_decay if name.endswith("/W") else 0.0',
                "0.0",
                "nothing decays: the weights, whose names end in /W, must",
            ),
            (
                "lr = learning_rate(step, steps, peak, warmup)",
                "lr = peak",
                "the learning rate is the peak in every step: the schedule is not used",
            ),
            (
                "learning_rate(step, steps, peak, warmup)",
                "learning_rate(step, steps, peak)",
                "warmup is not given to learning_rate",
            ),
            (
                "gradients(p, step)",
                "gradients(p, 0)",
                "every step has the gradients of the first batch: gradients(p, step)",
            ),
            (
                "    for step in range(steps):\n        grads = clip(gradients(p, step), largest)",
                "    p_0 = dict(p)\n    for step in range(steps):\n        grads = clip(gradients(p_0, step), largest)",
                "the gradients are those at the first parameters in every step: they must be taken where p is now",
            ),
            (
                "grads[name], m[name]",
                "clip(gradients(p, step), largest)[name], m[name]",
                "the gradients are computed again for each array, after others have moved: take them once a step",
            ),
            ("range(steps)", "range(steps - 1)", "the last step is missing: range(steps) ends at steps - 1"),
            ("range(steps)", "range(1, steps)", "step 0 is missing: the loop begins at 1"),
            (
                "p[name], m[name], v[name] = adam_step(p[name], grads[name], m[name], v[name], step + 1, lr, decay)",
                "p[name] = p[name] - lr * grads[name] - lr * decay * p[name]",
                "this is plain gradient descent: adam_step is not used",
            ),
        ),
    ),
)
