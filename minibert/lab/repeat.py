"""Can a ledger be believed? `minibert sweep --repeat N` runs N of its trials again, drawn at random, and compares."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

from minibert.errors import InputError, counted
from minibert.lab.ledger import Ledger, latest
from minibert.lab.plan import make_plan
from minibert.lab.summary import align
from minibert.lab.sweep import run_trials
from minibert.run import open_backbone
from minibert.trial import Trial

TOLERANCE = 0.5  # points by which a score on dev may differ with other arithmetic


def repeat(
    records: list[dict], n: int, executor, backbone_path, data=None, tasks=None, seed: int | None = None
) -> list[dict]:
    """Run n trials of a ledger's records again that were done on this backbone, drawn without replacement.

    data: where the data are now; None: where they were. tasks: the only ones to draw from; None: all. seed: of the
    draw; None: another one each time. Returns a row a trial: id, trial (as text), metric, ledger and again (the score
    on dev, in points), difference, same_bits (whether all scores on dev are the same, bit for bit), and
    same_arithmetic (whether they should be: it ran on such kernels, and on these versions of NumPy and Numba; old
    records do not tell). Nothing is written to the ledger.

    Raises InputError: fewer than n such trials, data that are not those of a trial, or a trial that fails.
    """
    fingerprint = open_backbone(backbone_path).fingerprint
    done = [record for record in latest(records).values() if record["status"] == "done"]
    ours = [record for record in done if record["result"]["backbone"] == fingerprint]
    ours = [record for record in ours if tasks is None or record["trial"]["task"] in tasks]
    if not 1 <= n <= len(ours):
        of_tasks = "" if tasks is None else f" of {', '.join(tasks)}"
        raise InputError(
            f"--repeat {n}: the ledger has {counted(len(ours), 'finished trial')}{of_tasks} on this backbone"
        )
    drawn = random.Random(seed).sample(ours, n)
    trials = [_at(Trial.from_dict(record["trial"]), data) for record in drawn]
    for record, name in zip(drawn, make_plan(trials, backbone_path, []).ids, strict=True):
        if name != record["id"]:
            described = Trial.from_dict(record["trial"]).describe()
            raise InputError(f"{described}: the data that are here now are not those that it was run on")
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "again.jsonl") as ledger:
        again = run_trials(trials, executor, ledger, backbone_path)
    return [_compare(there, here) for there, here in zip(drawn, again, strict=True)]


def _at(trial: Trial, data) -> Trial:
    return trial if data is None or trial.data is None else replace(trial, data=str(data))


def _compare(there: dict, here: dict) -> dict:
    described = Trial.from_dict(there["trial"]).describe()
    if here["status"] != "done":
        raise InputError(f"{described}: done in the ledger, and now it failed: {here['error']}")
    before, now = there["result"]["dev"], here["result"]["dev"]
    metric = there["result"]["metric"]
    scores = {"ledger": 100 * before[metric], "again": 100 * now[metric]}
    row = {"id": there["id"], "trial": described, "metric": metric, **scores}
    row |= {"difference": scores["again"] - scores["ledger"], "same_bits": before == now}
    return row | {"same_arithmetic": _arithmetic(there["result"]) == _arithmetic(here["result"])}


def _arithmetic(result: dict) -> tuple:
    versions = result.get("versions", {})
    return result.get("arithmetic"), versions.get("numpy"), versions.get("numba")


def is_as_expected(row: dict) -> bool:
    """Whether a trial gave the bits that it should, or with other arithmetic about the same score."""
    return row["same_bits"] or (not row["same_arithmetic"] and abs(row["difference"]) <= TOLERANCE)


def format_repeated(rows: list[dict]) -> str:
    """The table for people, and a line on the whole."""
    cells = [("trial", "metric", "ledger", "again", "difference")]
    for row in rows:
        difference = "0, every bit" if row["same_bits"] else f"{row['difference']:+.2f}"
        cells.append((row["trial"], row["metric"], f"{row['ledger']:.2f}", f"{row['again']:.2f}", difference))
    same, expected = (sum(row[name] for row in rows) for name in ("same_bits", "same_arithmetic"))
    largest = max(abs(row["difference"]) for row in rows)
    last = (
        f"{same} of {len(rows)} trials gave the same scores on dev, bit for bit, and {expected} had to, as they ran on"
    )
    last += f" such a processor with the same versions; largest difference {largest:.2f} points"
    return "\n".join([*align(cells), last])
