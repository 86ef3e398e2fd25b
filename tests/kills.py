"""Training that is killed again and again must give the bits of training that was not.

    python -m tests.kills --kills 100                              a tiny random backbone
    python -m tests.kills --kills 100 --backbone FILE.h5           a real one
    python -m tests.kills --kills 100 --seed 1 --method full       other moments, another method

Runs of `minibert train` are ended at random moments and resumed, until as many kills are counted; a run that has taken
its share of kills is let go on to its end. Then its bank, history.csv and result.json (but for what a clock says) are
compared with those of a run that was left alone, and the folder must hold nothing else. Moments: while the process
starts, reads and prepares; within an epoch; when a file is just being written; while the test split is scored. Most
kills are SIGKILL, some SIGTERM or Ctrl-C. Printed are the counts and the most work that a kill cost. The exit code is 1
if anything differs.
"""

import argparse
import csv
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "support"))

from tiny import environment, random_texts, write_csv, write_tiny_backbone  # noqa: E402
from training_runs import CLOCKS  # noqa: E402

from minibert.storage import RunFolder, read_bank  # noqa: E402

MOMENTS = {"start": 1, "epoch": 3, "write": 3, "test": 1}  # how often each is chosen
SIGNALS = {signal.SIGKILL: 6, signal.SIGTERM: 1, signal.SIGINT: 1}
KILLS_OF_A_RUN = 12
STEP = struct.Struct("<q")
CHILD = """
import os, struct, sys
from minibert.cli import main
from minibert.optim import Adam
steps, usual = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), Adam.step
def step(self, *arguments):
    usual(self, *arguments)
    os.pwrite(steps, struct.pack("<q", self.steps), 0)
Adam.step = step
sys.exit(main(sys.argv[2:]))
"""


class Run:
    """A folder, and the process that trains in it."""

    def __init__(self, out: Path, options: list[str]):
        self.folder, self.options, self.counter = RunFolder(out), options, out.with_suffix(".steps")
        self.reached = 0

    def start(self, *more: str) -> None:
        """Start the process. It notes every step it has taken in a file."""
        self.counter.write_bytes(STEP.pack(0))
        command = [sys.executable, "-c", CHILD, str(self.counter), *self.options, "--out", str(self.folder.path), *more]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment(), **pipes)

    @property
    def step(self) -> int:
        """The last step of this process; 0: none yet."""
        return STEP.unpack(self.counter.read_bytes())[0]

    def is_going(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, condition, seconds: float = 0.0) -> None:
        """Until a condition holds, or the process has ended; and some seconds more."""
        while self.is_going() and not condition():
            time.sleep(0.0005)
        end = time.monotonic() + seconds
        while self.is_going() and time.monotonic() < end:
            time.sleep(0.0005)

    def half_written(self, seen: set[str]) -> set[str]:
        """`seen`, and the temporary files that are there now."""
        if self.folder.path.is_dir():
            seen |= {name for name in os.listdir(self.folder.path) if name.endswith(".tmp")}
        return seen

    def finish(self) -> tuple[int, str]:
        """The process's exit code and all it has printed."""
        out, err = self.process.communicate()
        return self.process.returncode, out + err

    def outcome(self) -> dict:
        """Everything that must be the same."""
        folder = self.folder
        (record,) = read_bank(folder.bank).values()
        with open(folder.history, newline="") as file:
            history = [[row[name] for name in row if name not in CLOCKS] for row in csv.DictReader(file)]
        result = {key: value for key, value in json.loads(folder.result.read_text()).items() if key not in CLOCKS}
        files = sorted(file.name for file in folder.path.iterdir())
        params = {name: array.tobytes() for name, array in record.params.items()}
        return {"params": params, "dev": record.dev, "history": history, "result": result, "files": files}


class Killer:
    """Chooses the moments, and counts."""

    def __init__(self, seed: int, total: int, seconds: dict[str, float]):
        self.rng, self.total, self.seconds = random.Random(seed), total, seconds
        self.counts, self.lost_steps, self.lost_seconds = Counter(), 0, 0.0

    @property
    def kills(self) -> int:
        return sum(self.counts.values())

    def wait(self, run: Run) -> str:
        """Wait for a moment, and say which."""
        (kind,) = self.rng.choices(list(MOMENTS), MOMENTS.values())
        share = self.rng.random()
        if kind == "start":
            run.wait_for(lambda: True, share * self.seconds["start"])
        elif kind == "epoch":
            run.wait_for(lambda: run.step > 0, share * self.seconds["training"] / 2)
        elif kind == "test":
            run.wait_for(lambda: run.step == self.total, share * self.seconds["test"])
        else:
            seen, number = set(), self.rng.randint(1, 8)
            run.wait_for(lambda: len(run.half_written(seen)) >= number, share * 0.003)
        return kind

    def kill(self, run: Run) -> bool:
        """End the process at some moment. Returns False if it has ended before."""
        kind = self.wait(run)
        (number,) = self.rng.choices(list(SIGNALS), SIGNALS.values())
        if not run.is_going():
            return False
        run.process.send_signal(number)
        if run.step and number == signal.SIGKILL:
            with suppress(FileNotFoundError):  # it has just finished
                self.lost_seconds = max(self.lost_seconds, time.time() - run.folder.state.stat().st_mtime)
        self.counts[f"{kind}, {number.name}"] += 1
        return True

    def count_loss(self, run: Run, printed: str) -> None:
        """Compare where a process went on with how far the ones before had come."""
        if " steps of " in printed:
            found = re.search(r"going on after epoch \d+, step (\d+)", printed)
            step = int(found[1]) if found else 0
            self.lost_steps, run.reached = max(self.lost_steps, run.reached - step), step
        run.reached = max(run.reached, run.step)

    def torture(self, run: Run, kills: int) -> str:
        """Kill a run so often, resuming it each time, and let it end. Returns what went wrong, or ""."""
        more: tuple[str, ...] = ()
        for number in range(kills + 1):
            run.start(*more)
            killed = number < kills and self.kill(run)
            code, printed = run.finish()
            self.count_loss(run, printed)
            if not killed:
                return "" if code == 0 else f"exit code {code}: {printed}"
            more = ("--resume", "--force") if self.rng.random() < 0.3 else ("--resume",)
        return "it did not end"


def whole_run(out: Path, options: list[str]) -> tuple[Run, dict[str, float]]:
    """A run that is left alone, and how long its parts take."""
    run, times = Run(out, options), [time.monotonic()]
    run.start()
    for condition in (lambda: run.step > 0, lambda: False):
        run.wait_for(condition)
        times.append(time.monotonic())
    code, printed = run.finish()
    if code:
        sys.exit(f"the run that was left alone failed: {printed}")
    trained = json.loads(run.folder.result.read_text())["seconds"]
    start, rest = times[1] - times[0], times[2] - times[1]
    return run, {"start": start, "training": trained, "test": max(0.05, (rest - trained) / 2)}


def options_of(args, folder: Path) -> list[str]:
    """The command that is run, but for its folder."""
    texts, labels = random_texts(args.rows)
    data = write_csv(folder / "data.csv", {"text": texts, "label": labels})
    backbone = args.backbone or write_tiny_backbone(folder / "tiny.h5")
    task = ["--task", "csv", "--data", data, "--text-column", "text", "--label-column", "label", "--test-share", 0.3]
    how = ["--epochs", args.epochs, "--batch-size", 8, "--max-length", 24, "--method", args.method]
    return [str(o) for o in ("train", "--backbone", backbone, *task, *how, "--save-minutes", args.save_minutes)]


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--backbone", metavar="FILE.h5", help="default: a tiny random one")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (0)")
    parser.add_argument("--method", default="adapter")
    parser.add_argument("--rows", type=int, default=2000, metavar="N", help="texts; six in ten are trained on (2000)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N")
    parser.add_argument("--save-minutes", type=float, default=0.01, metavar="X")
    args = parser.parse_args()
    failed = runs = 0
    with tempfile.TemporaryDirectory(prefix="minibert-kills-") as folder:
        options = options_of(args, Path(folder))
        whole, seconds = whole_run(Path(folder) / "whole", options)
        expected, killer = whole.outcome(), Killer(args.seed, whole.step, seconds)
        print(f"left alone: {whole.step} steps, " + ", ".join(f"{k} {v:.1f} s" for k, v in seconds.items()), flush=True)
        while killer.kills < args.kills:
            run, before, runs = Run(Path(folder) / f"run{runs}", options), killer.kills, runs + 1
            wrong = killer.torture(run, min(KILLS_OF_A_RUN, args.kills - before))
            if not wrong:
                found = run.outcome()
                wrong = ", ".join(name for name in expected if found[name] != expected[name])
            failed += bool(wrong)
            verdict = f"WRONG: {wrong}" if wrong else "same bits, nothing else left"
            print(f"run {runs}: {killer.kills - before} kills, {verdict}", flush=True)
    for name, count in sorted(killer.counts.items()):
        print(f"{count:5}  {name}")
    print(f"{killer.kills} kills in {runs} runs, {failed} wrong; ", end="")
    print(f"at most {killer.lost_steps} steps done again, {killer.lost_seconds:.1f} s after the last state")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
