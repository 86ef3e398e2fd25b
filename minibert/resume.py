"""Going on with a run that was ended: what is in its folder, and is it this very run?

What decides the bits of a run are its settings (`Training.settings`). They stand in the state, in the bank and in
result.json, and are compared with those that are given now.
"""

from __future__ import annotations

import json
from dataclasses import fields

from minibert.config import TrainConfig, former_default
from minibert.errors import InputError
from minibert.params import flatten
from minibert.progress import read_progress
from minibert.storage import config_difference, read_bank
from minibert.train import Training

WHAT_HASHES_TELL = {
    "data": "the texts or labels are not those of that run",
    "data_whole": "the texts or labels are not those of that run",
    "backbone": "the backbone's weights are not those of that run",
    "tokenizer": "the backbone's tokenizer is not that of that run",
    "features": "it is of a version whose encoder had dropout where the head alone trains",
}
_DEFAULTS = {f"train/{f.name}": json.loads(json.dumps(former_default(f))) for f in fields(TrainConfig)}
_FORMER = {(f"train/{f.name}", former_default(f)) for f in fields(TrainConfig) if former_default(f) != f.default}
TRAIN_LONGER = "to train longer, start a new run with a larger --epochs and another --out"


def resume(training: Training, replace: bool = False) -> bool:
    """Put a run where the one in its folder was ended, and return True; False if nothing of it was saved yet.

    replace: a folder that holds another run, or one that cannot go on, is not in the way. Otherwise that raises
    InputError. So does, in any case, this run with a damaged state, or without its bank.
    """
    folder = training.folder
    if not folder.state.exists():
        return _without_state(training, replace)
    arrays, progress, epoch, settings = read_progress(folder.state)
    other = difference(settings, training.settings)
    if other and not replace:
        advice = "give the settings of that run, another --out, or --force to replace it"
        advice += f"; {TRAIN_LONGER}" * other.startswith("train/epochs")
        raise InputError(f"{folder.state}: cannot resume: {other}; {advice}")
    if other:
        training.say(f"note: the run in {folder.path} is another one ({other}); --force replaces it")
        return False
    older = "note: an older minibert began this run: whether its"
    if "tokenizer" not in settings:
        training.say(f"{older} data and tokenizer are these cannot be told")
    elif "backbone_config" not in settings and not progress.best_epoch:  # else its bank tells
        training.say(f"{older} backbone had this config cannot be told")
    if progress.best_epoch:
        _check_bank(training)
    try:
        training.load_progress(arrays, progress, epoch)
    except InputError as error:
        raise InputError(f"{folder.state}: {error}") from None
    return True


def is_finished(training: Training) -> bool:
    """Whether the folder holds this very run, finished. Raises InputError if its bank is gone or damaged."""
    result = training.folder.read_result()
    if training.folder.state.exists() or not result.get("finished"):
        return False
    if difference(result.get("settings"), training.settings):
        return False
    _check_bank(training)
    return True


def _without_state(training: Training, replace: bool) -> bool:
    folder, result = training.folder, training.folder.read_result()
    if replace or not any(file.exists() for file in folder.files):
        replaced = any(file.exists() for file in folder.files)
        told = f"the run in {folder.path} is replaced (--force): starting from the beginning"
        told = told if replaced else f"nothing of this run was saved yet in {folder.path}: starting from the beginning"
        training.say(f"note: {told}")
        return False
    if result.get("finished"):
        other = difference(result.get("settings"), training.settings)
        raise InputError(f"{folder.path} holds a finished run: {other}; {TRAIN_LONGER}, or --force to replace this one")
    advice = "give another --out, or --force to start it again"
    raise InputError(f"{folder.state} is not there, so the run in {folder.path} cannot go on; {advice}")


def _check_bank(training: Training) -> None:
    """Raise InputError unless the bank in the folder is that of this run."""
    bank, advice = training.folder.bank, "put the run's own bank back, or start it again with --force, not --resume"
    try:
        record = read_bank(bank).get(training.task.name)
    except InputError as error:
        raise InputError(f"{error}; without its bank the run cannot go on: {advice}") from None
    other = difference(record.training, training.settings) if record else f"it has no task {training.task.name!r}"
    other = other or config_difference(record.backbone_config, training.model.config)
    if other:
        raise InputError(f"{bank}: is not the bank of this run ({other}): {advice}")


def difference(before: dict | None, now: dict) -> str:
    """The first setting that is another one, as "train/lr was 0.1, now it is 0.2"; "" if there is none.

    Settings are compared as JSON keeps them: a tuple is a list. A run that an older minibert began knows its data by
    another hash, and no tokenizer, or not its backbone's config: these are not compared. A setting of the training that
    it did not know yet has its default.
    """
    before, now = flatten(before or {}), flatten(json.loads(json.dumps(now)))
    unknown = () if "tokenizer" in before else ("data", "data_whole", "tokenizer")
    if "backbone_config/n_heads" not in before:
        unknown += tuple(name for name in now if name.startswith("backbone_config/"))
    for name in now | before:
        if name not in unknown and before.get(name, _DEFAULTS.get(name)) != now.get(name):
            if name in WHAT_HASHES_TELL:
                return WHAT_HASHES_TELL[name]
            was, then = before.get(name), " (then the default)" * ((name, before.get(name)) in _FORMER)
            return f"{name} was {was!r}{then}, now it is {now.get(name)!r}"
    return ""
