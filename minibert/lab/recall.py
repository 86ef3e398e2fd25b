"""`reproduce --from-ledger`: what the ledger has, in place of runs. Neither data nor weights nor training is needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from minibert.backbone import Backbone
from minibert.config import BertConfig
from minibert.errors import InputError, list_some
from minibert.lab.experiment import Measurement
from minibert.lab.ledger import latest, measured, read_ledger
from minibert.lab.plan import check_config
from minibert.trial import Trial, anywhere


class Recall:
    """The trials of a ledger on one backbone, found by their settings, whatever folder their data was in.

    config is the backbone's. Without a backbone the ledger tells it, if it has trials on one alone.

    Raises InputError: a ledger that cannot be read, that has trials on other backbones alone, or on one of the same
    weights with another config; without a backbone, one that has trials on several, or none that tells the config.
    """

    def __init__(self, path: Path, backbone: Backbone | None):
        self.path, self._records = path, read_ledger(path)
        known = latest(self._records).values()
        results = [record["result"] for record in known if record["status"] == "done"]
        fingerprint = backbone.fingerprint if backbone else _only_backbone(path, results)
        self.config = backbone.config if backbone else _config(path, results)
        self._done: dict[Trial, dict[str, dict]] = defaultdict(dict)  # trial: {fingerprint of its data: record}
        self._failed: dict[Trial, dict] = {}  # these tell neither data nor backbone: of use if there is only one
        alone = {result["backbone"] for result in results} <= {fingerprint}
        for record in known:
            trial = anywhere(Trial.from_dict(record["trial"]))
            if record["status"] == "failed":
                if alone:
                    self._failed[trial] = record
            elif record["result"]["backbone"] == fingerprint:
                check_config(record["result"], trial, self.config)
                self._done[trial][record["result"]["data"]] = record
        if not self._done:
            raise InputError(f"{path} has no trials on this --backbone: give the one that they were run on")
        self.tasks = {trial.task for trial in self._done}

    def records(self, trials: list[Trial]) -> dict[Trial, dict]:
        """{trial: its record}. Raises InputError that counts those that the ledger lacks."""
        wanted = list(dict.fromkeys(trials))
        found = {trial: self._record(trial) for trial in wanted}
        if missing := [trial for trial in wanted if found[trial] is None]:
            every, lacking = (Counter(trial.task for trial in group) for group in (wanted, missing))
            counts = list_some(f"{task} {n} of {every[task]}" for task, n in lacking.items())
            raise InputError(
                f"{self.path} lacks trials ({counts}), such as {missing[0].describe()}: name the tasks that it has "
                "by --tasks, give the options of its sweep, or run this without --from-ledger"
            )
        return found

    def _record(self, trial: Trial) -> dict | None:
        done = self._done.get(anywhere(trial), {})
        if len(done) > 1:
            raise InputError(
                f"{self.path} has {trial.describe()} on {len(done)} data sets that differ in their rows: "
                "--from-ledger cannot know which is meant; give a ledger that has one of them"
            )
        return next(iter(done.values()), self._failed.get(anywhere(trial)))

    def rows(self, wanted: Measurement) -> list[dict]:
        """The rows of a measurement. Raises InputError if the ledger has none."""
        names = [record["id"] for record in self.records(list(wanted.trials)).values()]
        rows = measured(self._records, wanted.what, names)
        if rows is None:
            raise InputError(
                f"{self.path} lacks what is measured beside the trials ({wanted.what}): run this without --from-ledger"
            )
        return rows


def _only_backbone(path: Path, results: list[dict]) -> str:
    """The fingerprint of the backbone that all results are of. Raises InputError if there is none, or several."""
    found = {result["backbone"] for result in results}
    if len(found) == 1:
        return found.pop()
    raise InputError(
        f"{path} has trials on {len(found)} backbones: give the one that is meant by --backbone"
        if found
        else f"{path} has no trial that is done: run this without --from-ledger"
    )


def _config(path: Path, results: list[dict]) -> BertConfig:
    """The config that the results tell. Raises InputError if they are all of an old version, which kept none."""
    for result in reversed(results):
        if "backbone_config" in result:
            return BertConfig.from_dict(result["backbone_config"])
    raise InputError(f"{path} does not tell the config of its backbone, as its trials are old: give it by --backbone")
