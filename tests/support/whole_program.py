"""A model, some steps of training, and all that they compute. The back end is chosen when a process starts, so this
file is also a script:

    python whole_program.py FILE STEPS      writes what `numbers` gives for each method
"""

import subprocess
import sys

import numpy as np
import tiny

from minibert.backbone import random_backbone
from minibert.config import AdapterConfig, BertConfig
from minibert.model import Model
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.text import pack

CONFIG = BertConfig(vocab_size=200, hidden_size=96, n_layers=2, n_heads=4, feed_forward_size=192, max_positions=64)
LENGTHS = (50, 3, 41, 17, 60, 1, 38, 29, 46, 33)  # 318 tokens: every loop of every kernel has several tasks
METHODS = ("adapter", "full")
ADAPTER = AdapterConfig(16, init_std=0.1)


def a_model(method):
    backbone = random_backbone(CONFIG, seed=1, std=0.05)
    return Model(backbone, n_out=3, method=method, adapter=ADAPTER if method == "adapter" else None)


def a_batch(seed=0):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, CONFIG.vocab_size, n).tolist() for n in LENGTHS]
    return pack(ids, [[i % 2 for i in range(n)] for n in LENGTHS]), rng.integers(0, 3, len(LENGTHS))


def numbers(method, steps):
    """{name: array}: scores, gradients with dropout, and the parameters and losses of some training steps."""
    model, (batch, labels) = a_model(method), a_batch()
    found = {"scores": model.forward(batch)}
    found |= {f"grads/{name}": grad for name, grad in model.loss_and_grads(batch, labels, dropout_step=3)[1].items()}
    adam, losses = Adam(model.trained(), weight_decay=0.01), []
    for step in range(steps):
        loss, grads = model.loss_and_grads(*a_batch(step), dropout_step=step)
        clip_by_global_norm(grads, 1.0)
        adam.step(grads, learning_rate(step, steps, 1e-3))
        losses.append(loss)
    return found | {f"trained/{name}": a for name, a in model.trained().items()} | {"losses": np.array(losses)}


def numbers_of(back_end, file, steps):
    """{method: numbers(method, steps)} of a process of its own, with MINIBERT_KERNELS=back_end."""
    run_as_script(__file__, file, steps, MINIBERT_KERNELS=back_end)
    with np.load(file) as saved:
        found = {method: {} for method in METHODS}
        for name in saved:
            method, _, rest = name.partition("/")
            found[method][rest] = saved[name]
        return found


def run_as_script(file, *arguments, **environment):
    """The standard output of `python file arguments`, which must end well."""
    command = [sys.executable, str(file), *map(str, arguments)]
    done = subprocess.run(command, env=tiny.environment(**environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    path, n_steps = sys.argv[1], int(sys.argv[2])
    np.savez(path, **{f"{m}/{name}": a for m in METHODS for name, a in numbers(m, n_steps).items()})
