"""Several Python threads share a model, as in a web server, on each threading layer of Numba that is installed:

    python -m tests.threads --seconds 60 --threads 8

Each thread makes passes of its own choice: scores, hidden states, gradients. Prints for each layer how many passes were
made, how many raised an exception, and how many results differ in any bit from those of one thread. The exit code is 1
if there are any of these. --backbone: a file; without it a small random backbone.
"""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (3, 17, 1, 60, 29, 41, 8, 33)


def installed_layers() -> list[str]:
    """The threading layers that Numba can load here."""
    from kernels.runtime.settings import LAYERS, is_there

    return [layer for layer in LAYERS if is_there(layer)]


def share_a_model(seconds: float, n_threads: int, backbone_file: str | None) -> collections.Counter:
    """What happened: passes, differences, and each kind of exception."""
    calls = list(_passes(_backbone(backbone_file)))
    expected = [_bits(call()) for call in calls]
    found, lock, end = collections.Counter(), threading.Lock(), time.monotonic() + seconds

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        while time.monotonic() < end:
            i = int(rng.integers(len(calls)))
            try:
                what = "differences" if _bits(calls[i]()) != expected[i] else ""
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
            with lock:
                found.update(["passes", what] if what else ["passes"])

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _backbone(file: str | None):
    from minibert import BertConfig, load_backbone
    from minibert.backbone import random_backbone

    if file:
        return load_backbone(file)
    config = BertConfig(vocab_size=200, hidden_size=96, n_layers=2, n_heads=4, feed_forward_size=192, max_positions=64)
    return random_backbone(config, seed=1, std=0.05)


def _passes(backbone):
    """Functions without arguments: passes of two models of one backbone, and of the backbone alone."""
    from minibert import Model
    from minibert.text import pack

    models = [Model(backbone, n_out=3, method=method) for method in ("adapter", "full")]
    rng = np.random.default_rng(0)
    for n in range(1, 5):
        lengths = rng.permutation(LENGTHS)[: 2 * n]
        ids = [rng.integers(0, backbone.config.vocab_size, length).tolist() for length in lengths]
        batch, labels = pack(ids, [[0] * len(i) for i in ids]), rng.integers(0, 3, len(ids))
        yield lambda batch=batch: [backbone.forward(batch)]
        for model in models:
            yield lambda model=model, batch=batch: [model.forward(batch), model.hidden(batch)]
            yield lambda model=model, batch=batch, labels=labels: _gradients(model, batch, labels)


def _gradients(model, batch, labels) -> list:
    from minibert.optim import Adam, clip_by_global_norm
    from minibert.params import FlatParams

    loss, grads = model.loss_and_grads(batch, labels, dropout_step=3)
    norm = clip_by_global_norm(grads, 1.0)
    optimizer = Adam(FlatParams.copy_of(grads))
    optimizer.step(grads, 1e-3)
    return [np.array([loss, norm]), *grads.values(), *optimizer.params.values()]


def _bits(arrays: list) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def main() -> int:
    """Run each layer in a process of its own, which Numba demands; or, with --layer, one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each layer")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--backbone", metavar="FILE")
    parser.add_argument("--layer", help="this one alone")
    args = parser.parse_args()
    if args.layer is None:
        return max(_in_a_process(layer) for layer in installed_layers())
    found = share_a_model(args.seconds, args.threads, args.backbone)
    import numba

    passes, differences = found.pop("passes"), found.pop("differences", 0)
    counts = f"{passes:>8} passes, {sum(found.values())} exceptions, {differences} differences"
    print(f"{numba.threading_layer():<10} {args.threads} threads, {counts}", *found.items(), sep="\n  ", flush=True)
    return 1 if found or differences else 0


def _in_a_process(layer: str) -> int:
    command = [sys.executable, "-m", "tests.threads", *sys.argv[1:], "--layer", layer]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"NUMBA_THREADING_LAYER": layer}, check=False)
    if done.returncode not in (0, 1):
        print(f"{layer}: the process ended with {done.returncode}", flush=True)
    return min(abs(done.returncode), 1)


if __name__ == "__main__":
    sys.exit(main())
