"""The training loop, of gradients, clipping, the schedule and Adam."""

import numpy as np

from minibert.lessons.exercise import Exercise


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
                "v = {name: np.zeros_like(a) for name, a in p.items()}",
                "v = m",
                "m and v are one dict (m = v = {…}), in which v replaces m: make two",
            ),
            (
                "adam_step(p[name], grads[name], m[name], v[name],",
                "adam_step(p[name], grads[name], v[name], m[name],",
                "m and v are exchanged, in the call of adam_step or in what it returns: p, m, v",
            ),
            (
                "    return p\n",
                "        return p\n",
                "return stands inside the loop: it ends after the first step",
            ),
            (
                "    return p\n",
                "            return p\n",
                "return stands inside both loops: it ends after the first array of the first step",
            ),
            (
                "p[name], m[name], v[name] = adam_step",
                "_, m[name], v[name] = adam_step",
                "nothing moves: what is returned is what was given. p[name] must get the array that adam_step returns",
            ),
            (
                "clip(gradients(p, step), largest)",
                "clip(gradients(p, step), 1.0)",
                "the limit of clip is 1.0, whatever is given: use the argument largest",
            ),
            (
                "clip(gradients(p, step), largest)",
                "{name: clip({name: g}, largest)[name] for name, g in gradients(p, step).items()}",
                "each array is clipped by itself: that changes the direction. Give clip the whole dict, once a step",
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
                'name.endswith("/W")',
                'not name.endswith("/b")',
                "gamma decays, too: weight decay is for the names that end in /W, and for no others than these",
            ),
            (
                'name.endswith("/W")',
                'not name.startswith("norm")',
                "the biases decay, too: weight decay is for the names that end in /W, and for no others than these",
            ),
            (
                'name.endswith("/W")',
                'not name.endswith("/W")',
                "all but the weights decay: it must be the weights, whose names end in /W, and no others",
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
