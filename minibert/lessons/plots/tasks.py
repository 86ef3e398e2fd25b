"""Pictures of lesson 13: whose adapters serve which task, and what a further task costs. Each returns a figure."""

from __future__ import annotations

import numpy as np


def task_matrix(accuracy, rows, columns, chance=0.5):
    """A cell for each row's adapters on each column's task, with its accuracy; the best of a column has a frame."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    accuracy = np.asarray(accuracy)
    figure = plt.figure(figsize=(1.3 * len(columns) + 2.2, 0.6 * len(rows) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(accuracy, cmap="cividis", vmin=chance, vmax=1, aspect="auto")
    for i, j in np.ndindex(accuracy.shape):
        color = "white" if accuracy[i, j] < (1 + chance) / 2 else "black"
        axes.text(j, i, f"{accuracy[i, j]:.2f}", ha="center", va="center", color=color)
    for j, i in enumerate(accuracy.argmax(axis=0)):
        axes.add_patch(Rectangle((j - 0.46, i - 0.42), 0.92, 0.84, fill=False, edgecolor="red", linewidth=2))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="task", ylabel="adapters of")
    figure.colorbar(image, ax=axes, label="accuracy on unseen texts")
    return figure


def memory(n_tasks, whole, own):
    """Megabytes of 1 … n_tasks tasks: as copies of the whole model, and as one backbone with what each task trained."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    n = np.arange(1, n_tasks + 1)
    axes.plot(n, n * whole, "s--", color="black", markerfacecolor="white", label="a copy of BERT for each task")
    axes.plot(n, whole + n * own, "o-", color="tab:blue", label="one BERT, and adapters for each task")
    axes.set(xlabel="tasks", ylabel="MB", ylim=(0, None))
    axes.legend(frameon=False)
    return figure
