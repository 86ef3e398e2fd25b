"""Can a ledger be believed? `minibert sweep --repeat N` runs N of its trials again, drawn at random, and compares."""

from __future__ import annotations

import math
import random
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from minibert.errors import InputError, counted
from minibert.lab.ledger import Ledger, latest
from minibert.lab.plan import make_plan
from minibert.lab.summary import align
from minibert.lab.sweep import run_trials
from minibert.run import open_backbone
from minibert.trial import Trial

TOLERANCE = 0.5  # points by which a score on dev may differ where the last bits of a product do
VERDICTS = {
    "same": "the same, every bit",
    "near": "near, on other kernels or versions",
    "differs": "differs",
    "failed": "failed",
}


def draw(records: list[dict], n: int, backbone_path, data=None, tasks=None, seed: int | None = None) -> dict:
    """{trial: its record} of n trials of a ledger that were done on this backbone, drawn without replacement.

    data: where the data are now; None: where they were. tasks: the only ones to draw from; None: all. seed: of the
    draw; None: another one each time. Raises InputError: fewer than n such trials, or data that are not those of one.
    """
    fingerprint = open_backbone(backbone_path).fingerprint
    done = [record for record in latest(records).values() if record["status"] == "done"]
    ours = [record for record in done if record["result"]["backbone"] == fingerprint]
    ours = [record for record in ours if tasks is None or record["trial"]["task"] in tasks]
    if not 1 <= n <= len(ours):
        found = counted(len(ours), "finished trial") + ("" if tasks is None else f" of {', '.join(tasks)}")
        raise InputError(
            f"--repeat {n}: the ledger has {found} on this backbone; draw at least 1, and no more than that"
        )
    drawn = random.Random(seed).sample(ours, n)
    trials = [_at(Trial.from_dict(record["trial"]), data) for record in drawn]
    for record, trial, name in zip(drawn, trials, make_plan(trials, backbone_path, []).ids, strict=True):
        if name != record["id"]:
            raise InputError(f"{trial.describe()}: the data that are here now are not those that it was run on")
    return dict(zip(trials, drawn, strict=True))


def _at(trial: Trial, data) -> Trial:
    return trial if data is None or trial.data is None else replace(trial, data=str(data))


def repeat(drawn: dict[Trial, dict], executor, backbone_path) -> list[dict]:
    """Run the trials again, and compare each with its record. Nothing is written to the ledger.

    Returns a row a trial: id, trial (as text), metric, ledger and again (the score on dev, in points; NaN if it failed
    now), difference, error, and the verdict: "same" (all scores on dev and test, in every bit), "near" (a difference of
    at most TOLERANCE, with a reason: other kernels, another processor, other versions of NumPy and Numba, or a record
    that does not tell them), "differs" (without a reason, or by more), "failed".
    """
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "again.jsonl") as ledger:
        again = run_trials(list(drawn), executor, ledger, backbone_path)
    return [_compare(trial, there, here) for (trial, there), here in zip(drawn.items(), again, strict=True)]


def _compare(trial: Trial, there: dict, here: dict) -> dict:
    metric, now = there["result"]["metric"], here.get("result", {"dev": {}})
    before, after = (100 * result["dev"].get(metric, math.nan) for result in (there["result"], now))
    row = {"id": there["id"], "trial": trial.describe(), "metric": metric, "ledger": before, "again": after}
    row |= {"difference": after - before, "error": here.get("error", "")}
    if here["status"] != "done":
        return row | {"verdict": "failed"}
    if all(there["result"].get(split) == now.get(split) for split in ("dev", "test")):
        return row | {"verdict": "same"}
    has_reason = not _had_to_be_same(there["result"], now)
    return row | {"verdict": "near" if has_reason and abs(row["difference"]) <= TOLERANCE else "differs"}


def _had_to_be_same(one: dict, other: dict) -> bool:
    """Whether two runs of a trial give the same bits: on equal kernels, but for those of NumPy's BLAS, which goes by
    more than its name, and on the same versions."""
    what = [(r.get("arithmetic"), *(r.get("versions", {}).get(p) for p in ("numpy", "numba"))) for r in (one, other)]
    return what[0] == what[1] and what[0][0] is not None and not what[0][0].startswith(("numpy", "blas"))


def format_repeated(rows: list[dict]) -> str:
    """The table for people, and a line on the whole."""
    cells = [("trial", "metric", "ledger", "again", "difference", "verdict")]
    for row in rows:
        scores = f"{row['ledger']:.2f}", f"{row['again']:.2f}", f"{row['difference']:+.2f}"
        told = VERDICTS[row["verdict"]] + (f": {row['error']}" if row["error"] else "")
        cells.append((row["trial"], row["metric"], *scores, told))
    found = Counter(row["verdict"] for row in rows)
    whole = ", ".join(f"{found[verdict]} {told}" for verdict, told in VERDICTS.items() if found[verdict])
    return "\n".join([*align(cells), f"{counted(len(rows), 'trial')}: {whole}"])
