"""`python -m minibert.lessons assemble DIR`: a learner's functions compute a real BERT, and train its adapters.

1. The checker: are all of them right, each for itself?
2. Text: are the word pieces and positions those of minibert?
3. Hidden states of MiniLM, layer by layer, with adapters far from the identity
4. Gradients, layer by layer, and all of them together
5. Training on the built-in task, as `minibert train --epochs 5` does it but for dropout; the score on test

Where something differs, it says which function gives another result than ours from the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np

from minibert.backbone import Backbone, load_backbone
from minibert.config import TrainConfig
from minibert.data import Task
from minibert.data.builtin import opinions
from minibert.errors import InputError, shown
from minibert.lessons import own, own_import
from minibert.lessons.against_minibert import compare_gradients, compare_states
from minibert.lessons.assembled import COMPARED_STEPS, Assembled, packed, tokens, words_of
from minibert.lessons.beside import Wrong
from minibert.lessons.exercises import EXERCISES
from minibert.model import Model
from minibert.storage.tokenizer import load_tokenizer

WITH_BACKWARD = ("linear", "gelu", "layernorm", "softmax", "attention", "adapter", "layer", "cross_entropy")
ALONE = ("wordpiece", "pack", "embedding", "embeddings", "encoder", "clip", "learning_rate", "adam_step")
NEEDED = (*ALONE, *WITH_BACKWARD, *(f"{name}_backward" for name in WITH_BACKWARD))
EPOCHS = 5  # two minutes: it is for a classroom
ACCURACY = 0.80  # of `minibert train --task opinions --epochs 5` on test
COMPARED = 8  # sentences
AWAY = 0.05  # standard deviation of adapters' weights when tensors are compared: near the identity nothing shows

Say = Callable[[str], None]


def assemble(folder: Path, backbone_file: Path, max_steps: int = 0, say: Say = print) -> bool:
    """Do all five; print what is found. Returns whether all is right. max_steps: of training; 0: all five epochs.

    Raises InputError if the folder or the file cannot be used.
    """
    functions = own_import.load(folder)
    found = own.Reports(functions)
    reports = [found.on(name) for name in sorted(NEEDED, key=list(EXERCISES).index)]
    not_yet = [report.exercise for report in reports if report.diagnosis == own.UNWRITTEN]
    for report in reports:
        if not report and report.exercise not in not_yet:
            say(str(report))
    if not_yet:
        say(f"not written yet: {', '.join(not_yet)}")
    say(f"your functions: {sum(map(bool, reports))} of {len(reports)} right")
    if not all(reports):
        return False
    try:
        return _run(functions, load_backbone(backbone_file), max_steps, say)
    except Wrong as wrong:
        say(f"{wrong}\nSmall inputs did not show this; what {wrong.name} calls may be the reason, too.")
        return False


def _run(functions: dict[str, Callable], backbone: Backbone, max_steps: int, say: Say) -> bool:
    _check_kind(backbone)
    config, task = TrainConfig(epochs=EPOCHS, max_steps=max_steps), opinions()
    splits = text_to_tensors(functions, backbone, task, config.max_length)
    say(f"text to tensors: {sum(map(len, splits.values())):,} sentences in the word pieces of minibert")
    model, lessons = Model(backbone, seed=config.seed), splits["train"][:COMPARED]
    batch, labels = packed(functions, lessons), task.train.labels[:COMPARED]
    away = _away_from_the_identity(model)
    assembled = Assembled(functions, backbone.config, away.parameters(), set(away.trained()))
    error = compare_states(assembled, away, batch)
    say(f"hidden states: {error:.0e} relative to the largest, in {backbone.config.n_layers} layers")
    n, error = compare_gradients(assembled, away, batch, labels)
    say(f"gradients: {error:.0e} at most, of {n} tensors")
    assembled = Assembled(functions, backbone.config, model.parameters(), set(model.trained()))
    return train(assembled, splits, task, config, say)


def _check_kind(backbone: Backbone) -> None:
    """Raises InputError for a BERT that is not computed by the functions of the lessons."""
    config = backbone.config
    if config.activation != "gelu" or config.layernorm_eps != 1e-12:
        raise InputError(
            f"--backbone has the activation {config.activation} and a layernorm_eps of {config.layernorm_eps:g}; the "
            "lessons compute a BERT with gelu and 1e-12, such as minilm-l6"
        )


def _away_from_the_identity(model: Model) -> Model:
    """A model of the same backbone whose adapters change what passes."""
    away, rng = Model(model.backbone, seed=model.seed), np.random.default_rng(0)
    arrays = {name: np.array(array) for name, array in away.trained().items()}
    for name, array in arrays.items():
        if "/adapter/" in name:
            arrays[name] = rng.normal(scale=AWAY, size=array.shape).astype(np.float32)
    away.load_trained(arrays)
    return away


# -------------------------------------------------------------------------------------------------------------- text


def text_to_tensors(functions: dict[str, Callable], backbone: Backbone, task: Task, most: int) -> dict[str, list]:
    """{split: the ids of each text}, by the learner's wordpiece.

    Raises Wrong if it gives a word other pieces than ours, InputError if ours gives other ones than the backbone's.
    """
    vocab = {token: i for i, token in enumerate(backbone.tokenizer.vocab)}
    tokenizer = load_tokenizer(backbone.tokenizer.json)
    most = min(most, backbone.config.max_positions)
    texts = {"train": task.train.texts, "dev": task.dev["dev"].texts, "test": task.test.texts}
    ids = {}
    for name, split in texts.items():
        ids[name] = [tokens(functions, words_of(tokenizer, text), vocab, most) for text in split]
        batch = backbone.encode(split, max_length=most)
        for text, found, (a, b) in zip(split, ids[name], pairwise(batch.offsets), strict=True):
            _check_pieces(text, found, batch.ids[a:b].tolist(), backbone.tokenizer.vocab)
    return ids


def _check_pieces(text: str, found: list[int], wanted: list[int], vocab: list[str]) -> None:
    i = next((i for i, (a, b) in enumerate(zip_longest(found, wanted)) if a != b), None)
    if i is not None:
        ours, theirs = (shown(vocab[ids[i]]) if i < len(ids) else "none" for ids in (found, wanted))
        raise InputError(
            f"--backbone has a tokenizer of another kind than the lessons': of {shown(text)}, piece {i + 1} is "
            f"{theirs}; wordpiece makes {ours}"
        )


# ---------------------------------------------------------------------------------------------------------- training


def train(assembled: Assembled, splits: dict[str, list], task: Task, config: TrainConfig, say: Say) -> bool:
    """Epochs as `minibert train` orders them, the best on dev kept; then the score on test. Raises Wrong."""
    n, size = len(splits["train"]), config.batch_size
    total = config.epochs * math.ceil(n / size)
    best, kept, done = -1.0, {}, False
    for epoch in range(config.epochs):
        order, start, losses = np.random.default_rng([config.seed, epoch]).permutation(n), time.perf_counter(), []
        for i in range(0, n, size):
            rows = order[i : i + size]
            batch = packed(assembled.functions, [splits["train"][row] for row in rows])
            losses.append(assembled.step(batch, task.train.labels[rows], total, config))
            if not math.isfinite(losses[-1]):
                say(f"step {assembled.steps}: the loss is {losses[-1]}")
                return False
            if assembled.steps in (COMPARED_STEPS, 20):
                per_step = (time.perf_counter() - start) / len(losses)
                say(f"training: {total} steps, of {per_step:.2f} s: {per_step * total / 60:.0f} minutes")
            if done := 0 < config.max_steps <= assembled.steps:
                break
        score = accuracy(assembled, splits["dev"], task.dev["dev"].labels)
        seconds = time.perf_counter() - start
        say(f"epoch {epoch + 1}/{config.epochs}: loss {np.mean(losses):.4f}, dev accuracy {score:.4f}, {seconds:.0f} s")
        if score > best:
            best, kept = score, dict(assembled.params)
        if done:
            break
    assembled.params = kept
    return _score_test(accuracy(assembled, splits["test"], task.test.labels), len(splits["test"]), done, say)


def accuracy(assembled: Assembled, sequences: list[list[int]], labels: np.ndarray) -> float:
    """The share of sequences whose class is right."""
    return float((assembled.predict(sequences) == labels).mean())


def _score_test(score: float, n: int, stopped: bool, say: Say) -> bool:
    error = math.sqrt(ACCURACY * (1 - ACCURACY) / n)
    ours = f"minibert train --epochs {EPOCHS}: {ACCURACY:.2f}"
    say(f"test accuracy {score:.4f} ({n} sentences, standard error {error:.4f}); {ours}")
    if stopped:
        say("stopped by --max-steps: this is no result yet")
        return True
    if score < ACCURACY - 2 * error:
        say("that is lower by more than two standard errors, though every function agrees with ours")
        return False
    return True
