"""BERT-large on a laptop with 8 GB: the memory of an adapter training step, measured in a process of its own."""

import subprocess
import sys

import pytest
from tiny import environment

MOST = 6e9  # bytes
STEPS = """
import resource, sys
import numpy as np
from minibert import Model, TrainConfig
from minibert.config import PRESETS
from minibert.backbone import random_backbone
from minibert.optim import Adam, clip_by_global_norm
from minibert.text import pack

config = PRESETS["bert-large"]
model = Model(random_backbone(config))
optimizer, ids = Adam(model.trained(), TrainConfig.weight_decay), np.random.default_rng(0).integers(0, 30522, (8, 128))
batch = pack(ids.tolist(), np.zeros((8, 128), int).tolist())
for step in range(3):
    loss, grads = model.loss_and_grads(batch, np.arange(8) % 2, dropout_step=step)
    clip_by_global_norm(grads, 1.0)
    optimizer.step(grads, 1e-3)
    assert np.isfinite(loss)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024), flush=True)
"""


@pytest.mark.slow
def test_a_step_of_bert_large_needs_less_than_6_gb():
    """8 sequences of 128 tokens, random weights: pre-trained ones take as much."""
    pytest.importorskip("resource", reason="Windows tells no peak of a process here")
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, env=environment())
    assert not run.returncode, run.stderr
    peaks = [int(line) for line in run.stdout.splitlines()]
    print("peak after each step:", ", ".join(f"{peak / 1e9:.2f} GB" for peak in peaks))
    assert len(peaks) == 3 and 2e9 < max(peaks) < MOST
