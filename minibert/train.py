"""The training loop: shuffle, step, evaluate on dev every epoch, keep the best, go on where a run was stopped."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minibert.class_weights import class_weights, with_class_weights
from minibert.config import TrainConfig
from minibert.data import Examples, Task
from minibert.data.rows import row_notes, trained_rows
from minibert.data.scores import scale_notes
from minibert.divergence import advice, scores_are_sound, step_is_sound
from minibert.errors import InputError, counted
from minibert.evaluate import EVAL_BATCH, NonFiniteLoss, Split, evaluate_all, features, format_scores, tokenize
from minibert.interrupt import CtrlC
from minibert.metrics import chosen_metrics
from minibert.model import Model
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.progress import Epoch, Progress, Saving, write_progress
from minibert.run_record import run_result, run_settings
from minibert.spans import Windows, trainable
from minibert.storage import RunFolder, read_bank, write_bank
from minibert.text import Batch

FEW_STEPS = 50


def nothing(training: Training, result: dict | None = None) -> None:
    """What is scored and reported at the end of a run, if nobody says anything else."""


class Training:
    """One run: a model, a task, the settings, and the folder it is written to.

    task_options: how the task was read (the options of task csv), to be kept with the result. saving: when the
    state is written that a run needs to go on after an interruption; None: never. For a large model it is most of what
    is written.
    """

    def __init__(
        self,
        model: Model,
        task: Task,
        config: TrainConfig,
        out: Path,
        quiet: bool = False,
        task_options: dict | None = None,
        saving: Saving | None = None,
    ):
        self.model, self.task, self.config, self.quiet, self.saving = model, task, config, quiet, saving
        self.folder = RunFolder(out)
        self.metrics = chosen_metrics(config.metric, model.head_record.metrics, task.metrics, task.labels)
        self.class_weights = class_weights(config.class_weights, task)
        train = self.tokenized(replace(task.train, weights=with_class_weights(self.class_weights, task)))
        self.task, self.train = trainable(task, train)
        self.dev = {name: self.tokenized(split) for name, split in task.dev.items()}
        self.hashes = {name: split.hashes() for name, split in {"train": self.train, **self.dev}.items()}
        self.optimizer = Adam(model.trained(), config.weight_decay)
        self.progress, self.epoch, self.ctrl_c = Progress(), Epoch(), CtrlC()
        self.steps_per_epoch = math.ceil(len(self.train.batch) / config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.settings = run_settings(model, self.task, config, task_options or {})

    def tokenized(self, split: Examples) -> Split | Windows:
        """A split as this run reads it."""
        return tokenize(self.model.backbone, split, self.config.max_length, self.task.labels)

    @cached_property
    def test(self) -> Split | Windows | None:
        """The test split as this run reads it; None if the release has no labels for it."""
        test = self.task.labelled_test
        return None if test is None else self.tokenized(test)

    def notes(self) -> list[str]:
        """What is to be told, before training, of rows that the model cannot tell apart, of scores out of reach, and of
        so few steps that little can be learned."""
        hashes = self.hashes | ({} if self.test is None else {"test": self.test.hashes()})
        notes = [*row_notes(self.task, hashes, self.train.hashes(ordered=True)), *scale_notes(self.task)]
        if self.total_steps < FEW_STEPS and not self.config.max_steps:
            steps = f"{counted(self.total_steps, 'step')} in all, in which little is learned"
            notes.append(f"{steps}: try more epochs, or a smaller batch size (--epochs, --batch-size)")
        return notes

    def say(self, line: str) -> None:
        """Print unless quiet."""
        if not self.quiet:
            print(line, flush=True)

    def run(
        self,
        score_test: Callable[[Training], dict[str, float] | None] = nothing,
        report: Callable[[Training, dict], None] = nothing,
    ) -> dict:
        """Train to the end and score the best epoch on the test split, or stop at Ctrl-C.

        Returns what result.json holds; "test" is what score_test returns, if anything. report is called with it at the
        end of a run that was not stopped. The state is kept until all is written, so that a resumed run writes what is
        missing. Raises NonFiniteLoss, and InputError if another run has the folder.
        """
        with self.folder.in_use():
            self._begin()
            finished, test = False, None
            try:
                with self.ctrl_c:
                    self._read_once()
                    while not self._is_trained():
                        self._epoch()
                    self._keep_a_bank()
                    test = score_test(self)
                finished = True
            except KeyboardInterrupt:
                self.say(f"\ninterrupted {self._where()}")
                self._keep_a_bank()
            except NonFiniteLoss:
                self._after_divergence()
                raise
            return self._end(finished, test, report)

    def _begin(self) -> None:
        """Write the first state, or again what a run that was killed may have left half done."""
        if self.progress.epoch:
            self.folder.write_history(self.progress.history)
            self.folder.write_result(self._result(finished=False))
        elif not self.epoch.losses:
            self._save_state()

    def _read_once(self) -> None:
        """Where the encoder is frozen, put what it reads in place of the texts: the encoder, without dropout, works
        once and not in every epoch. This counts as work of the epoch under way."""
        if not self.model.has_features or self._is_trained():
            return
        self.say("the frozen encoder reads all texts once; the epochs train the head alone, on the vectors it gave")
        start, splits = time.perf_counter(), [self.train, *self.dev.values()]
        self.epoch.tokens += sum(split.batch.n_tokens for split in splits)
        parts = sum(math.ceil(len(split.batch) / EVAL_BATCH) for split in splits)
        with self._bar(total=parts, desc="reading the texts", unit="batch") as bar:
            for split in splits:
                split.batch = features(self.model, split.batch, bar.update)
        self.epoch.seconds += time.perf_counter() - start

    def _bar(self, **options) -> tqdm:
        return tqdm(**options, leave=False, disable=self.quiet or not sys.stderr.isatty())

    def _is_trained(self) -> bool:
        """Whether the last epoch is over, that is, scored."""
        ends = self._enough() or self.out_of_patience
        return self.progress.epoch == self.config.epochs or (ends and not self.epoch.losses)

    @property
    def out_of_patience(self) -> bool:
        """Whether the last epochs, as many as config.patience says, were no better than the best before them."""
        return 0 < self.config.patience <= self.progress.epoch - self.progress.best_epoch

    def _enough(self) -> bool:
        return 0 < self.config.max_steps <= self.optimizer.steps

    def _where(self) -> str:
        if self._is_trained():
            return f"after training, at step {self.optimizer.steps}: the test split is not scored yet"
        return f"at step {self.optimizer.steps} of {self.total_steps}"

    def _keep_a_bank(self) -> None:
        """If no epoch was the best, keep the weights as they are, not scored."""
        if self.progress.best_epoch == 0:
            self._save_bank({})

    def _after_divergence(self) -> None:
        """After a NonFiniteLoss: a resumed run would end there again."""
        if self._is_trained():
            self._end(True, None, nothing)  # by the test split alone
        elif self.progress.epoch == 0:
            self.folder.state.unlink(missing_ok=True)

    def _end(self, finished: bool, test: dict | None, report: Callable[[Training, dict], None]) -> dict:
        result = self._result(finished) | ({"test": test} if test else {})
        self.folder.write_result(result)
        if finished:
            report(self, result)
            self.folder.state.unlink(missing_ok=True)
        return result

    def _epoch(self) -> None:
        """Take the steps of an epoch, or those that are left of it, and score it."""
        epoch, name = self.epoch, f"epoch {self.progress.epoch + 1}/{self.config.epochs}"
        start = time.perf_counter() - epoch.seconds
        with self._bar(total=self.steps_per_epoch, initial=len(epoch.losses), desc=name, unit="step") as bar:
            for batch, labels, weights in self._batches():
                epoch.losses.append(self._step(batch, labels, weights))
                epoch.tokens += batch.n_tokens
                epoch.seconds = time.perf_counter() - start
                if self.saving and self.saving.is_due(self.optimizer.steps):
                    self._save_state()
                speed = epoch.tokens / epoch.seconds
                bar.set_postfix_str(f"loss {np.mean(epoch.losses[-20:]):.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update()
        self._end_epoch(name)

    def _batches(self) -> Iterator[tuple[Batch, np.ndarray, np.ndarray | None]]:
        """The batches of an epoch that are left, in an order that only the seed and the epoch's number decide."""
        numbers = np.arange(len(self.train.batch), dtype=np.int64)  # on Windows the default of NumPy 1 has 32 bits
        order = np.random.default_rng([self.config.seed, self.progress.epoch]).permutation(numbers)
        size = self.config.batch_size
        for i in range(len(self.epoch.losses) * size, len(order), size):
            if self._enough():
                return
            with self._saved_on_ctrl_c():
                self.ctrl_c.check()
            rows = order[i : i + size]
            weights = self.train.weights
            yield self.train.batch.take(rows), self.train.labels[rows], None if weights is None else weights[rows]

    @contextmanager
    def _saved_on_ctrl_c(self) -> Iterator[None]:
        """Around what Ctrl-C may end, and where no step is half done."""
        try:
            yield
        except KeyboardInterrupt:
            self._save_state()
            raise

    def _step(self, batch: Batch, labels, weights=None) -> float:
        """Forward, backward, clip, move. Raises NonFiniteLoss before anything is moved."""
        step = self.optimizer.steps
        loss, grads = self.model.loss_and_grads(batch, labels, dropout_step=step, weights=weights)
        norm = clip_by_global_norm(grads, self.config.clip_norm)
        lr = learning_rate(step, self.total_steps, self.config.lr, self.config.warmup)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            why = f"the loss is {loss}, the norm of the gradients {norm}, at learning rate {lr:.2g}"
            raise self._stopped(
                why, advice(self.model, lambda model: step_is_sound(model, batch, labels, step, weights), labels)
            )
        self.optimizer.step(grads, lr)
        return loss

    def _stopped(self, why: str, what_to_do: str) -> NonFiniteLoss:
        step, best = self.optimizer.steps + 1, self.progress.best_epoch
        kept = f"{self.folder.bank} holds epoch {best}" if best else "No epoch was finished, and no bank written"
        where = f"step {step} of {self.total_steps} (epoch {self.progress.epoch + 1})"
        return NonFiniteLoss(f"training stopped at {where}: {why}. {kept}. {what_to_do}")

    def _score_dev(self) -> dict[str, float]:
        try:
            with self._saved_on_ctrl_c():
                self.ctrl_c.check()
                return evaluate_all(self.model, self.dev, self.metrics)
        except NonFiniteLoss as error:
            batches = [split.batch for split in self.dev.values()]
            found = advice(self.model, lambda model: all(scores_are_sound(model, batch) for batch in batches))
            raise self._stopped(str(error), found) from None

    def _end_epoch(self, name: str) -> None:
        """Score the epoch, keep it if it is the best, and only then count it as done."""
        dev, before, epoch = self._score_dev(), self.progress, self.epoch
        loss, seconds, tokens = float(np.mean(epoch.losses)), epoch.seconds, epoch.tokens
        done = {"epoch": before.epoch + 1, "steps": self.optimizer.steps}
        value = dev[self.metrics[0]]
        best = value > before.best_score
        if best:
            self._save_bank(dev)
            done |= {"best_score": value, "best_epoch": done["epoch"], "best_dev": dev}
        row = {"epoch": done["epoch"], "step": done["steps"], "loss": loss, **dev, "seconds": seconds}
        done |= {"seconds": before.seconds + seconds, "tokens": before.tokens + tokens}
        self.progress, self.epoch = replace(before, **done, history=(*before.history, row)), Epoch()
        self._save_state()  # before the files that can be made of it again: on Windows another program may hold them
        self.folder.write_history(self.progress.history)
        self.folder.write_result(self._result(finished=False))
        speed = f"{seconds:.1f} s" + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")
        mark = "  (best so far)" if best else ""
        self.say(f"{name}: loss {loss:.4f}, dev {format_scores(dev)}, {speed}{mark}")

    def _save_bank(self, dev: dict) -> None:
        rows = trained_rows(self.hashes)
        record = self.model.to_record(self.task.name, self.task.labels, self.settings, dev, rows)
        write_bank(self.folder.bank, {self.task.name: record})

    def _save_state(self) -> None:
        """Before the first step there are no arrays to save: the seed gives them again."""
        if self.saving:
            arrays = self.optimizer.state() if self.optimizer.steps else {}
            with self.saving.timed():
                write_progress(self.folder.state, arrays, self.progress, self.epoch, self.settings)

    def load_progress(self, arrays: dict[str, np.ndarray], progress: Progress, epoch: Epoch) -> None:
        """Take over what `read_progress` gave. Raises InputError if it does not fit, and changes nothing."""
        if progress.epoch > self.config.epochs or len(epoch.losses) > self.steps_per_epoch:
            raise InputError(f"epoch {progress.epoch + 1}, step {len(epoch.losses)} of it, is after the end of the run")
        if steps := progress.steps + len(epoch.losses):
            self.optimizer.load_state(arrays, steps)
        self.progress, self.epoch = progress, epoch

    def _result(self, finished: bool) -> dict:
        return run_result(self.model, self.settings, self.progress, self.optimizer.steps, finished)

    def best_model(self) -> Model:
        """The model with the weights of the best epoch, read back from the bank. Raises InputError if the bank holds
        another one."""
        record = read_bank(self.folder.bank).get(self.task.name)
        dev = self.progress.best_dev or {}
        if record is None or json.dumps(record.dev, sort_keys=True) != json.dumps(dev, sort_keys=True):
            raise InputError(f"{self.folder.bank}: does not hold epoch {self.progress.best_epoch} of this run any more")
        return Model.from_record(self.model.backbone, record, self.folder.bank)
