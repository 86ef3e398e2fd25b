"""The training loop: shuffle, step, evaluate on dev every epoch, keep the best, go on where a run was stopped."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minibert.config import InputError, TrainConfig, check_fields
from minibert.data.task import Task
from minibert.evaluate import NonFiniteLoss, Split, evaluate_all, format_scores, tokenize
from minibert.interrupt import CtrlC
from minibert.model import Model
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.params import flatten
from minibert.spans import Windows
from minibert.storage import RunFolder, read_bank, read_state, write_bank, write_state
from minibert.text import Batch


@dataclass(frozen=True)
class Progress:
    """How far a run had come after its last whole epoch; with the arrays of Adam all that a resumed run needs."""

    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0
    best_dev: dict | None = None
    history: tuple[dict, ...] = ()


class Training:
    """One run: a model, a task, the settings, and the folder it is written to.

    task_options: how the task was read (the options of task csv), to be kept with the result. resumable: keep the
    state that a run needs to go on after an interruption; for a large model it is most of what is written.
    """

    def __init__(
        self,
        model: Model,
        task: Task,
        config: TrainConfig,
        out: Path,
        quiet: bool = False,
        task_options: dict | None = None,
        resumable: bool = True,
    ):
        self.model, self.task, self.config, self.quiet = model, task, config, quiet
        self.resumable = resumable
        self.folder = RunFolder(out)
        self.train = tokenize(model.backbone, task.train, config.max_length)
        self.dev = {name: tokenize(model.backbone, split, config.max_length) for name, split in task.dev.items()}
        self.optimizer = Adam(model.trained(), config.weight_decay)
        self.progress, self.ctrl_c = Progress(), CtrlC()
        self.steps_per_epoch = math.ceil(len(self.train.batch) / config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.settings = self._settings(task_options or {})

    def _settings(self, task_options: dict) -> dict:
        """What must be the same in a resumed run, and what the result and the bank record of a run."""
        adapter = self.model.adapter
        return {
            "task": self.task.name,
            "task_options": task_options,
            "method": self.model.method,
            "adapter": json.loads(adapter.to_json()) if adapter else None,
            "model_options": self.model.options,
            "train": asdict(self.config),
            "train_rows": len(self.task.train),
            "pairs": self.task.train.pairs is not None,
            "data": _data_fingerprint(self.train, *self.dev.values()),
            "backbone": self.model.backbone.fingerprint,
        }

    def say(self, line: str) -> None:
        """Print unless quiet."""
        if not self.quiet:
            print(line, flush=True)

    def run(self) -> dict:
        """Train to the end, or to Ctrl-C. Returns what result.json holds. Raises NonFiniteLoss."""
        self.folder.create()
        if self.progress.epoch == 0:
            self._save_state({})
        finished = False
        try:
            with self.ctrl_c:
                while self.progress.epoch < self.config.epochs and not self._enough():
                    self._epoch()
            finished = True
        except KeyboardInterrupt:
            self.say(f"\ninterrupted at step {self.optimizer.steps} of {self.total_steps}")
        except NonFiniteLoss:
            if self.progress.epoch == 0:  # a resumed run would start at the beginning, and end here again
                self.folder.state.unlink(missing_ok=True)
            raise
        if self.progress.best_epoch == 0:  # no epoch was finished: keep the weights as they are, not yet scored
            self._save_bank({})
        result = self._result(finished)
        self.folder.write_result(result)
        if finished:
            self.folder.state.unlink(missing_ok=True)
        return result

    def _enough(self) -> bool:
        return 0 < self.config.max_steps <= self.optimizer.steps

    def _epoch(self) -> None:
        start, losses, tokens = time.perf_counter(), [], 0
        name = f"epoch {self.progress.epoch + 1}/{self.config.epochs}"
        hidden = self.quiet or not sys.stderr.isatty()
        with tqdm(total=self.steps_per_epoch, desc=name, unit="step", leave=False, disable=hidden) as bar:
            for batch, labels in self._batches():
                losses.append(self._step(batch, labels))
                tokens += batch.n_tokens
                speed = tokens / (time.perf_counter() - start)
                bar.set_postfix_str(f"loss {np.mean(losses[-20:]):.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update()
        self._end_epoch(name, float(np.mean(losses)), time.perf_counter() - start, tokens)

    def _batches(self) -> Iterator[tuple[Batch, np.ndarray]]:
        """The batches of an epoch, in an order that only the seed and the epoch's number decide."""
        order = np.random.default_rng([self.config.seed, self.progress.epoch]).permutation(len(self.train.batch))
        for i in range(0, len(order), self.config.batch_size):
            if self._enough():
                return
            self.ctrl_c.check()
            rows = order[i : i + self.config.batch_size]
            yield self.train.batch.take(rows), self.train.labels[rows]

    def _step(self, batch: Batch, labels) -> float:
        """Forward, backward, clip, move. Raises NonFiniteLoss before anything is moved."""
        step = self.optimizer.steps
        loss, grads = self.model.loss_and_grads(batch, labels, dropout_step=step)
        norm = clip_by_global_norm(grads, self.config.clip_norm)
        lr = learning_rate(step, self.total_steps, self.config.lr, self.config.warmup)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._stopped(f"the loss is {loss}, the norm of the gradients {norm}, at learning rate {lr:.2g}")
        self.optimizer.step(grads, lr)
        return loss

    def _stopped(self, why: str) -> NonFiniteLoss:
        step, best = self.optimizer.steps + 1, self.progress.best_epoch
        kept = f"{self.folder.bank} holds epoch {best}" if best else "No epoch was finished, and no bank written"
        where = f"step {step} of {self.total_steps} (epoch {self.progress.epoch + 1})"
        return NonFiniteLoss(f"training stopped at {where}: {why}. {kept}. Try a smaller --lr")

    def _end_epoch(self, name: str, loss: float, seconds: float, tokens: int) -> None:
        """Score the epoch, keep it if it is the best, and only then count it as done."""
        self.ctrl_c.check()
        try:
            dev = evaluate_all(self.model, self.dev, self.task.metrics)
        except NonFiniteLoss as error:
            raise self._stopped(str(error)) from None
        before = self.progress
        done = {"epoch": before.epoch + 1, "steps": self.optimizer.steps}
        value = dev[self.task.metrics[0]]
        best = value > before.best_score
        if best:
            self._save_bank(dev)
            done |= {"best_score": value, "best_epoch": done["epoch"], "best_dev": dev}
        row = {"epoch": done["epoch"], "step": done["steps"], "loss": loss, **dev, "seconds": seconds}
        done |= {"seconds": before.seconds + seconds, "tokens": before.tokens + tokens}
        self.progress = replace(before, **done, history=(*before.history, row))
        self.folder.write_history(self.progress.history)
        self.folder.write_result(self._result(finished=False))
        self._save_state(self.optimizer.state())
        speed = f"{seconds:.1f} s, {tokens / seconds:,.0f} tokens/s"
        mark = "  (best so far)" if best else ""
        self.say(f"{name}: loss {loss:.4f}, dev {format_scores(dev)}, {speed}{mark}")

    def _save_bank(self, dev: dict) -> None:
        record = self.model.to_record(self.task.name, self.task.labels, self.settings, dev)
        write_bank(self.folder.bank, {self.task.name: record})

    def _save_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Before the first epoch there are no arrays to save: the seed gives them again."""
        if self.resumable:
            write_state(self.folder.state, arrays, {"progress": asdict(self.progress), "settings": self.settings})

    def resume(self) -> None:
        """Go on after the last epoch that was finished. Raises InputError if the folder's run had other settings."""
        arrays, meta = read_state(self.folder.state)
        settings, progress = _read_meta(meta, self.folder.state)
        before, now = flatten(settings), flatten(self.settings)
        for name in now | before:
            if before.get(name) != now.get(name):
                raise InputError(
                    f"{self.folder.state}: cannot resume: {name} was {before.get(name)!r}, now it is {now.get(name)!r}"
                )
        if progress.epoch > 0:
            try:
                self.optimizer.load_state(arrays, progress.steps)
            except InputError as error:
                raise InputError(f"{self.folder.state}: {error}") from None
        self.progress = progress

    def _result(self, finished: bool) -> dict:
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
            "dev": progress.best_dev or {},
            "best_epoch": progress.best_epoch,
            "steps": self.optimizer.steps,
            "seconds": progress.seconds,
            "tokens_per_second": progress.tokens / progress.seconds if progress.seconds else 0.0,
            "finished": finished,
            "settings": self.settings,
        }

    def best_model(self) -> Model:
        """The model with the weights of the best epoch, read back from the bank."""
        return Model.from_record(self.model.backbone, read_bank(self.folder.bank)[self.task.name], self.folder.bank)


def _read_meta(meta: dict, path: Path) -> tuple[dict, Progress]:
    """Settings and progress of a state. Raises InputError if a field is missing or of another type."""
    if not isinstance(meta.get("settings"), dict):
        raise InputError(f"{path}: has no settings of a run; start the run again without resuming")
    progress = Progress(**check_fields(Progress, meta.get("progress"), f"{path}, progress"))
    return meta["settings"], progress


def _data_fingerprint(*splits: Split | Windows) -> str:
    """SHA-256 over the tokens and labels that a run reads."""
    digest = hashlib.sha256()
    for split in splits:
        for array in (split.batch.ids, split.batch.segments, split.batch.offsets, split.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
