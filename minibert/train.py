"""The training loop: shuffle, step, evaluate on dev every epoch, keep the best, go on where a run was stopped."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minibert.config import InputError, TrainConfig
from minibert.data.task import Examples, Task
from minibert.files import read_bank, read_state, write_bank, write_state
from minibert.metrics import METRICS
from minibert.model import Backbone, Model
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.run_folder import RunFolder
from minibert.text import Batch

EVAL_BATCH = 64


class NonFiniteLoss(ArithmeticError):
    """The loss or a gradient was NaN or infinite; the parameters are as they were before that step."""


@dataclass
class Split:
    """A tokenized split: one packed batch of all its sequences, and their labels."""

    batch: Batch
    labels: np.ndarray


def tokenize(backbone: Backbone, examples: Examples, max_length: int) -> Split:
    """All texts of a split as one packed batch."""
    return Split(backbone.encode(examples.texts, examples.pairs, max_length), examples.labels)


def predict(model: Model, batch: Batch, batch_size: int = EVAL_BATCH) -> np.ndarray:
    """Class probabilities (N, C), or scores (N,), for any number of sequences."""
    parts = [batch.take(range(i, min(i + batch_size, len(batch)))) for i in range(0, len(batch), batch_size)]
    return np.concatenate([model.predict(part) for part in parts])


def evaluate(model: Model, split: Split, metrics: tuple[str, ...]) -> dict[str, float]:
    """{metric: value} on a split."""
    scores = predict(model, split.batch)
    guesses = scores.argmax(axis=1) if model.head == "classify" else scores
    return {name: METRICS[name](guesses, split.labels) for name in metrics}


def evaluate_all(model: Model, splits: dict[str, Split], metrics: tuple[str, ...]) -> dict[str, float]:
    """{metric: value} on the first split; those of further ones are named metric_split, as in accuracy_mismatched."""
    scores = {}
    for i, (split_name, split) in enumerate(splits.items()):
        for metric, value in evaluate(model, split, metrics).items():
            scores[metric if i == 0 else f"{metric}_{split_name}"] = value
    return scores


@dataclass
class Progress:
    """How far a run has come; with the arrays of Adam it is all that a resumed run needs."""

    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0
    best_dev: dict = field(default_factory=dict)
    history: list = field(default_factory=list)


class Training:
    """One run: a model, a task, the settings, and the folder it is written to."""

    def __init__(self, model: Model, task: Task, config: TrainConfig, out: Path, quiet: bool = False):
        self.model, self.task, self.config, self.quiet = model, task, config, quiet
        self.folder = RunFolder(out)
        self.train = tokenize(model.backbone, task.train, config.max_length)
        self.dev = {name: tokenize(model.backbone, split, config.max_length) for name, split in task.dev.items()}
        self.optimizer = Adam(model.trained(), config.weight_decay)
        self.progress = Progress()
        self.steps_per_epoch = math.ceil(len(task.train) / config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch

    @property
    def settings(self) -> dict:
        """What must be the same in a resumed run, and what the result and the bank tell of a run."""
        adapter = self.model.adapter
        return {
            "task": self.task.name,
            "method": self.model.method,
            "adapter": asdict(adapter) if adapter else None,
            "model_options": self.model.options,
            "train": asdict(self.config),
            "train_rows": len(self.task.train),
            "pairs": self.task.train.pairs is not None,
            "backbone": self.model.backbone.fingerprint,
        }

    def say(self, line: str) -> None:
        """Print unless quiet."""
        if not self.quiet:
            print(line, flush=True)

    def run(self) -> dict:
        """Train to the end, or to Ctrl-C. Returns what result.json holds. Raises NonFiniteLoss."""
        self.folder.create()
        interrupted = False
        try:
            while self.progress.epoch < self.config.epochs and not self._enough():
                self._epoch()
        except KeyboardInterrupt:
            interrupted = True
            self.say(f"\ninterrupted at step {self.optimizer.steps} of {self.total_steps}")
        if self.progress.best_epoch == 0:  # no epoch was finished: keep the weights as they are, not yet scored
            self._save_bank({})
        result = self._result(interrupted)
        self.folder.write_result(result)
        if not interrupted:
            self.folder.state.unlink(missing_ok=True)
        return result

    def _enough(self) -> bool:
        return 0 < self.config.max_steps <= self.optimizer.steps

    def _epoch(self) -> None:
        start, tokens_before, losses = time.perf_counter(), self.progress.tokens, []
        order = np.random.default_rng([self.config.seed, self.progress.epoch]).permutation(len(self.task.train))
        number = f"epoch {self.progress.epoch + 1}/{self.config.epochs}"
        tokens, hidden = tokens_before, self.quiet or not sys.stderr.isatty()
        with tqdm(total=self.steps_per_epoch, desc=number, unit="step", leave=False, disable=hidden) as bar:
            for i in range(0, len(order), self.config.batch_size):
                if self._enough():
                    break
                rows = order[i : i + self.config.batch_size]
                batch = self.train.batch.take(rows)
                losses.append(self._step(batch, self.train.labels[rows]))
                tokens += batch.n_tokens
                speed = (tokens - tokens_before) / (time.perf_counter() - start)
                bar.set_postfix_str(f"loss {np.mean(losses[-20:]):.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update()
        seconds = time.perf_counter() - start
        self.progress.tokens, self.progress.steps = tokens, self.optimizer.steps
        self.progress.seconds += seconds
        self.progress.epoch += 1
        self._end_epoch(number, float(np.mean(losses)), seconds, tokens - tokens_before)

    def _step(self, batch: Batch, labels) -> float:
        """Forward, backward, clip, move. Raises NonFiniteLoss before anything is moved."""
        step = self.optimizer.steps
        loss, grads = self.model.loss_and_grads(batch, labels, dropout_step=step)
        norm = clip_by_global_norm(grads, self.config.clip_norm)
        lr = learning_rate(step, self.total_steps, self.config.lr, self.config.warmup)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteLoss(
                f"step {step + 1} of {self.total_steps} (epoch {self.progress.epoch + 1}): the loss is {loss}, the norm "
                f"of the gradients {norm}, at learning rate {lr:.2g}. Try a smaller --lr. {self._what_is_kept()}"
            )
        self.optimizer.step(grads, lr)
        return loss

    def _what_is_kept(self) -> str:
        best = self.progress.best_epoch
        return f"{self.folder.bank} holds epoch {best}." if best else "No epoch was finished, and no bank written."

    def _end_epoch(self, number: str, loss: float, seconds: float, tokens: int) -> None:
        dev = evaluate_all(self.model, self.dev, self.task.metrics)
        score = dev[self.task.metrics[0]]
        best = score > self.progress.best_score
        if best:
            self.progress.best_score, self.progress.best_epoch = score, self.progress.epoch
            self.progress.best_dev = dev
            self._save_bank(dev)
        self.progress.history.append(
            {"epoch": self.progress.epoch, "step": self.optimizer.steps, "loss": loss, **dev, "seconds": seconds}
        )
        self.folder.write_history(self.progress.history)
        self.folder.write_result(self._result(interrupted=True))
        write_state(self.folder.state, self.optimizer.state(), {**asdict(self.progress), "settings": self.settings})
        scores = ", ".join(f"{name} {value:.4f}" for name, value in dev.items())
        mark = "  (best so far)" if best else ""
        self.say(f"{number}: loss {loss:.4f}, dev {scores}, {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s{mark}")

    def _save_bank(self, dev: dict) -> None:
        record = self.model.to_record(self.task.name, self.task.labels, self.settings, dev)
        write_bank(self.folder.bank, {self.task.name: record})

    def resume(self) -> None:
        """Go on after the last epoch that was finished. Raises InputError if the folder's run had other settings."""
        arrays, meta = read_state(self.folder.state)
        settings = meta.pop("settings", {})
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise InputError(
                    f"{self.folder.state}: cannot resume, {name} was {settings.get(name)!r} and is now {value!r}"
                )
        self.optimizer.load_state(arrays, meta["steps"])
        self.progress = Progress(**meta)

    def _result(self, interrupted: bool) -> dict:
        progress, model = self.progress, self.model
        trained = sum(a.size for a in model.trained().values())
        total = sum(a.size for a in model.parameters().values())
        return {
            "task": self.task.name,
            "method": model.method,
            "seed": self.config.seed,
            "lr": self.config.lr,
            "epochs": self.config.epochs,
            "adapter_size": model.adapter.size if model.adapter else None,
            "trained_params": trained,
            "total_params": total,
            "trained_fraction": trained / total,
            "dev": progress.best_dev,
            "best_epoch": progress.best_epoch,
            "steps": self.optimizer.steps,
            "seconds": progress.seconds,
            "tokens_per_second": progress.tokens / progress.seconds if progress.seconds else 0.0,
            "finished": not interrupted,
            "settings": self.settings,
        }

    def best_model(self) -> Model:
        """The model with the weights of the best epoch, read back from the bank."""
        return Model.from_record(self.model.backbone, read_bank(self.folder.bank)[self.task.name], self.folder.bank)
