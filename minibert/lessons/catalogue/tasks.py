"""Sequences of several tasks in one batch."""

import numpy as np

from minibert.lessons.exercise import Exercise


def _mixed_adapter(rng):
    """Tasks out of order, one twice, one without a sequence; adapters of different sizes."""

    def arguments(lengths, tasks, sizes, D):
        def parameters(M):
            shapes = {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
            return {name: rng.normal(scale=0.8, size=shape) for name, shape in shapes.items()}

        offsets = np.concatenate([[0], np.cumsum(lengths)])
        x = rng.normal(size=(offsets[-1], D))
        return x, offsets, tasks, {task: parameters(M) for task, M in sizes.items()}

    sizes = {"speaker": 3, "opinion": 2, "negation": 4}
    return [
        arguments([3, 1, 4, 2], ["opinion", "negation", "opinion", "speaker"], sizes, 5),
        arguments([2, 1, 3, 1], ["speaker", "negation", "negation", "speaker"], sizes, 3),
        arguments([4], ["opinion"], sizes, 6),
    ]


def _mixed_gradients(rng):
    return [(rng.normal(size=x.shape), x, *others) for x, *others in _mixed_adapter(rng)]


def _grouped(array, line):
    """Rows that are written one task after the other, in whatever order the tasks come, as (line, instead, message)."""
    for names in ("sorted(tasks)", "tasks", "list(adapters)", "list(set(tasks))"):
        order = f"sorted(range(len(tasks)), key=lambda b: {names}.index(tasks[b]))"
        joined = f"{array} = np.concatenate([{array}[offsets[b] : offsets[b + 1]] for b in {order}])"
        message = f"the rows of {array} come back task by task: they must stay in the order of the batch"
        yield line, f"{joined}\n    {line}", message


EXERCISES = (
    Exercise(
        "mixed_adapter",
        13,
        outputs=("y",),
        cases=_mixed_adapter,
        hints=(
            "Which rows of x are sequence b? Which parameters belong to it?",
            "Loop over the sequences: rows offsets[b] to offsets[b + 1], the adapter of the name tasks[b].",
            "y[rows], _ = adapter(x[rows], adapters[tasks[b]]); the rows stay where they are",
        ),
        mistakes=(
            ("adapters[task]", "adapters[tasks[0]]", "every sequence goes through the adapter of the first one's task"),
            (
                "y[rows], _ = adapter(x[rows], adapters[task])",
                "y, _ = adapter(x, adapters[task])",
                "all rows go through the last sequence's adapter: write the rows of its own sequence alone",
            ),
            (
                "adapters[task]",
                "list(adapters.values())[b % len(adapters)]",
                "sequence b goes through adapter b of the dict: look it up by the name, tasks[b]",
            ),
            ("enumerate(tasks)", "enumerate(sorted(tasks))", "the tasks are sorted: sequence b has the task tasks[b]"),
            *_grouped("y", "return y"),
            (
                "y[rows], _ = adapter(x[rows], adapters[task])",
                "y[b :: len(tasks)], _ = adapter(x[b :: len(tasks)], adapters[task])",
                "the tasks alternate token by token: all tokens of a sequence have its task",
            ),
            (
                "slice(offsets[b], offsets[b + 1])",
                "slice(b, b + 1)",
                "row b is taken for sequence b: its rows are offsets[b] to offsets[b + 1]",
            ),
            (
                "slice(offsets[b], offsets[b + 1])",
                "slice(offsets[b], offsets[b] + 1)",
                "only the first token of each sequence goes through its adapter",
            ),
            (
                "slice(offsets[b], offsets[b + 1])",
                "slice(offsets[b], offsets[b + 1] - 1)",
                "the last token of each sequence is lost: the end of a slice is excluded already",
            ),
            (
                "    y = np.zeros_like(x)\n",
                "    y = x.copy()\n    offsets = offsets[1:]\n    tasks = tasks[: len(offsets) - 1]\n",
                "the offsets are off by one sequence: the first rows stay as they are",
            ),
            (
                "    return y\n",
                "    return y - x\n",
                "the skip connection is lost: the adapter's output has x in it already",
            ),
            ("    return y\n", "    return y + x\n", "x is added twice: the adapter's output has the skip connection"),
        ),
    ),
    Exercise(
        "mixed_gradients",
        13,
        outputs=("dx", "gradients"),
        cases=_mixed_gradients,
        hints=(
            "Two sequences of one task go through the same parameters: what becomes of their gradients?",
            "For each sequence: adapter, then adapter_backward, on its rows. dx goes to these rows.",
            'gradients[f"{task}/{name}"] = gradients.get(f"{task}/{name}", 0) + gradient',
        ),
        mistakes=(
            (
                "gradients.get(key, 0) + gradient",
                "gradient",
                "a task's later sequence replaces the gradients of its earlier ones: add them",
            ),
            (
                "gradients.get(key, 0) + gradient",
                "gradients.get(key, 0) + gradient / tasks.count(task)",
                "the gradients of a task's sequences are averaged; they must be added",
            ),
            (
                "gradients.get(key, 0) + gradient",
                "gradients.get(key, 0) + gradient / (offsets[b + 1] - offsets[b])",
                "the gradients of a sequence are divided by its length: they are sums over its tokens",
            ),
            (
                "gradients.get(key, 0) + gradient",
                "gradients.get(key, gradient)",
                "only the first sequence of each task counts: add those of the later ones",
            ),
            (
                "    return dx, gradients\n",
                "    return dx - dy, gradients\n",
                "the skip connection is lost in dx: dy itself belongs to it, which adapter_backward has added",
            ),
            (
                "    return dx, gradients\n",
                "    return dx + dy, gradients\n",
                "dy is added twice: adapter_backward has added it for the skip connection",
            ),
            (
                "adapter_backward(dy[rows], cache)",
                "adapter_backward(x[rows], cache)",
                "x is taken for dy: x is what forward needs, dy is what comes back",
            ),
            (
                "slice(offsets[b], offsets[b + 1])",
                "slice(offsets[b], offsets[b] + 1)",
                "only the first token of each sequence counts",
            ),
            (
                "slice(offsets[b], offsets[b + 1])",
                "slice(offsets[b], offsets[b + 1] - 1)",
                "the last token of each sequence is lost: the end of a slice is excluded already",
            ),
            ("enumerate(tasks)", "enumerate(sorted(tasks))", "the tasks are sorted: sequence b has the task tasks[b]"),
            *_grouped("dx", "return dx, gradients"),
        ),
    ),
)
