"""Workloads in processes of their own: so a peak of memory is that workload's, and another program can take turns."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import kernels
from minibert.bench import timing
from minibert.errors import InputError

KINDS = {  # what is compared: how much better we are
    "step": lambda ours, theirs: ours["step_tokens_per_second"] / theirs["step_tokens_per_second"],
    "forward": lambda ours, theirs: ours["forward_tokens_per_second"] / theirs["forward_tokens_per_second"],
    "peak": lambda ours, theirs: theirs["peak_mb"] / ours["peak_mb"],
}

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None  # before OMP_PROC_BIND takes effect


@contextmanager
def _on_all_cores() -> Iterator[None]:
    """What is started here may use the cores that this program was given, also if its own threads are bound to one."""
    if CORES is None:
        yield
        return
    bound = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, bound)


def our_row(workload: str, args) -> dict:
    """The row of a workload, measured by this program in a new process."""
    command = [sys.executable, "-m", "minibert", "bench", "step", "--json", "--workload", workload]
    command += ["--repeats", str(args.repeats), *_shared_options(args)]
    if args.backbone is not None:
        command += ["--backbone", args.backbone]
    if args.batch_size is not None:
        command += ["--batch-size", str(args.batch_size)]
    here = str(Path(__file__).parent.parent.parent)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return _last_row(command, os.environ | {"PYTHONPATH": path})


def peer_row(workload: str, args) -> dict:
    """The row of a workload, measured by the peer. Raises InputError if the peer fails or prints something else."""
    # A backslash is an escape for shlex, and a separator of folders on Windows.
    script = [word.strip("\"'") for word in shlex.split(args.peer_script, posix=os.name == "posix")]
    command = [args.peer, *script, "--only", workload, *_shared_options(args)]
    return _last_row(command, os.environ.copy())


def _shared_options(args) -> list[str]:
    """What both programs understand."""
    options = ["--threads", str(kernels.threads())]
    options += ["--data", args.data] if args.data is not None else []
    return options + ["--sort-by-length"] * args.sort_by_length


def _last_row(command: list[str], environment: dict) -> dict:
    try:
        with _on_all_cores():
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise InputError(f"cannot run {command[0]}: {error.strerror}") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        try:
            return json.loads(lines[-1])
        except ValueError:
            pass
    what = f"printed {lines[-1][:200]!r}" if lines else "printed nothing"
    raise InputError(f"{shlex.join(command)} ended with {done.returncode} and {what}; expected one line of JSON")


@contextmanager
def torch_products(python: str, seconds: float) -> Iterator[Callable[[int, int, int], dict[str, float]]]:
    """Yields a function of T, in and out that returns {product: GFLOP/s of torch.mm}, measured by another Python."""
    command = [python, str(Path(__file__).with_name("torch_mm.py"))]
    command += [str(kernels.threads()), str(seconds), str(timing.REST)]
    try:
        with _on_all_cores():
            peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    except OSError as error:
        raise InputError(f"cannot run {python}: {error.strerror}") from None

    def measure(*shape: int) -> dict[str, float]:
        with suppress(BrokenPipeError):
            print(*shape, file=peer.stdin, flush=True)
        line = peer.stdout.readline()
        if not line:
            raise InputError(f"{shlex.join(command)} ended with {peer.wait()}; it needs a Python with PyTorch")
        return json.loads(line)

    try:
        yield measure
    finally:
        peer.kill()
        peer.communicate()


def in_turns_with_peer(workload: str, args) -> dict:
    """Our row and the peer's in turns, and the ratios: the median over the turns of what was measured side by side."""
    turns = []
    for _ in range(args.turns):
        turns.append((our_row(workload, args), peer_row(workload, args)))
    ours, theirs = (_median_row([turn[i] for turn in turns]) for i in (0, 1))
    if ours["tokens"] != theirs.get("tokens"):
        counts = f"we count {ours['tokens']} tokens, the peer {theirs.get('tokens')}"
        print(f"warning: {workload}: {counts}: this is not the same work", file=sys.stderr)
    ratios = {}
    for kind, ratio in KINDS.items():
        try:
            ratios[f"{kind}_ratio"] = round(statistics.median(ratio(*turn) for turn in turns), 3)
        except (KeyError, TypeError):  # a peer that only does the forward pass, or a system that reports no peak
            continue
    return ours | ratios | {"turns": len(turns), "peer": theirs}


def _median_row(rows: list[dict]) -> dict:
    """The rows' medians where there are numbers; the first row's words."""
    numbers = {key for key, value in rows[0].items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {
        key: type(value)(statistics.median(row[key] for row in rows)) if key in numbers else value
        for key, value in rows[0].items()
    }
