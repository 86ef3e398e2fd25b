"""`minibert bench`: is every kernel right, how fast is it, and how much of the machine does a training step use?

    compile  the seconds that each kernel takes to compile
    matmul   the ladder, then the three products at the shapes of real models, beside NumPy's BLAS
    kernels  every operation: GB/s, GFLOP/s, share of the roof above it; a plot of them
    step     training step and forward pass on four workloads, alone or in turns with another program
    busy     prediction, gradient check and training steps while another program holds a core

docs/speed.md explains the tables.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import numpy as np

import kernels
from kernels.runtime.examples import examples
from minibert.bench import products, roofline
from minibert.bench.busy import HEADER as BUSY_HEADER
from minibert.bench.busy import busy_line, busy_rows
from minibert.bench.check import check_kernels, describe
from minibert.bench.compile import HEADER, compile_line, compile_rows
from minibert.bench.counts import bytes_moved, named_arguments, operations
from minibert.bench.peer import KINDS, in_turns_with_peer, our_row, torch_products
from minibert.bench.timing import Machine, amx_gflops, in_turns, memory_gb_per_second, multiply_add_gflops
from minibert.bench.workloads import WORKLOADS, check_inputs, open_workload, run_workload
from minibert.errors import InputError, flag
from minibert.interrupt import compile_kernels

KERNEL_SHAPE = {"lengths": (128,) * 32, "size": 384, "n_out": 1536, "n_heads": 12}  # the workload full on MiniLM
LIMIT_TIME = 5  # times --seconds: how long the machine's own limits are measured
STEP_OPTIONS = ("workload", "backbone", "data", "peer", "peer_script", "sort_by_length", "batch_size")


def bench(args) -> int:
    """Check, then time. Returns 1 if a kernel is wrong; then nothing is timed."""
    if args.section == "compile":
        _rows(args, compile_rows(), HEADER, compile_line)
        return 0
    sections = _sections(args)
    args.workload = args.workload or list(WORKLOADS)
    roofline.check_plot_file(args.plot)
    if "step" in sections:
        check_inputs(args.workload, args.backbone, args.data)
    compile_kernels()
    if not _all_right():
        return 1
    _warn_if_busy()
    if sections == ["busy"]:
        return _busy(args)
    peak = multiply_add_gflops(LIMIT_TIME * args.seconds)
    on_tiles = amx_gflops(LIMIT_TIME * args.seconds)
    more = f", and {on_tiles:.0f} in products on AMX tiles" if on_tiles else ""
    threads = f"{kernels.threads()} thread(s)"
    print(f"this machine does {peak:.0f} GFLOP/s on {threads} at most, the peak below{more}", file=sys.stderr)
    run = {"matmul": _matmul, "kernels": _kernels, "step": _step}
    return max(run[section](args, peak) for section in sections)


def _sections(args) -> list[str]:
    """The sections to run. Without one given all but busy, or the step if an option is given that only it has."""
    shared = {("peer", "matmul"), ("backbone", "busy")}
    given = [name for name in STEP_OPTIONS if getattr(args, name) and (name, args.section) not in shared]
    args.section = args.section or ("step" if given else "all")
    sections = ["matmul", "kernels", "step"] if args.section == "all" else [args.section]
    if given and "step" not in sections:
        raise InputError(f"{flag(given[0])} is for the training step: minibert bench step")
    if args.plot and "kernels" not in sections:
        raise InputError("--plot draws the kernels: minibert bench kernels --plot FILE")
    if args.section != "matmul" and bool(args.peer) != bool(args.peer_script):
        raise InputError("--peer PYTHON and --peer-script FILE go together: a program and the Python that runs it")
    if args.peer and args.batch_size is not None:
        raise InputError("--batch-size changes our batches alone, not those of --peer: leave one of the two out")
    for name in ("repeats", "turns", "batch_size", "busy_cores"):
        number = getattr(args, name)
        if number is not None and number < 1:
            raise InputError(f"{flag(name)} must be at least 1, got {number}")
    if not 0 < args.seconds < 1e6:
        raise InputError(f"--seconds must be above 0, got {args.seconds}")
    return sections


def _warn_if_busy() -> None:
    """Other programs make every number below wrong, and not all by the same factor."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(f"warning: {load:.1f} programs were running in the last minute; time on an idle machine", file=sys.stderr)


def _all_right() -> bool:
    n, wrong = check_kernels()
    for name, shapes, far in wrong:
        print(
            f"WRONG: {name} ({shapes}) differs from the reference by {far:.1e} of its largest element", file=sys.stderr
        )
    if wrong:
        print("nothing is timed: a wrong kernel's speed means nothing", file=sys.stderr)
    else:
        print(f"{n} calls of all kernels agree with the NumPy reference", file=sys.stderr)
    return not wrong


def _rows(args, rows: Iterable[dict], header: str, line) -> list[dict]:
    """Print rows as they come: as JSON, or the header and line(row) of each."""
    if not args.json:
        print(header)
    done = []
    for row in rows:
        done.append(row)
        print(json.dumps(_rounded(row)) if args.json else line(row), flush=True)
    if not args.json:
        print()
    return done


def _rounded(row: dict) -> dict:
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


# ----------------------------------------------------------------------------------------------------------- matmul


def _matmul(args, peak: float) -> int:
    T, n_in, n_out = products.LADDER_SHAPE
    title = f"the ladder, ({T}, {n_in}) @ ({n_in}, {n_out})"
    ladder = products.time_ladder(peak, args.seconds)
    header = f"{title:<40}{'GFLOP/s':>9}{'of BLAS':>9}{'of peak':>9}"
    rungs = _rows(args, ladder, header, lambda row: f"{_rung_name(row):<40}{_speeds(row)}")
    columns = f"{'model':<10}{'product':<9}{'T':>6}{'in':>6}{'out':>6}"
    peer = args.peer if args.section == "matmul" else None  # else it is the training step's
    header = f"{columns}{'GFLOP/s':>9}{'of BLAS':>9}{'of peak':>9}" + f"{'of torch':>10}" * bool(peer)
    with torch_products(peer, args.seconds) if peer else nullcontext() as torch:
        rows = products.time_products(products.product_shapes(), peak, args.seconds, torch)
        rows = _rows(args, rows, header, _product_line)
    _rows(args, products.summary(rows), "all products", _summary_line)
    return int(any(row["wrong"] for row in rungs + rows))


def _speeds(row: dict) -> str:
    if row["wrong"]:
        return f"{'WRONG: not timed':>27}"
    return f"{row['gflops']:>9.1f}{_percent(row['of_blas']):>9}{_percent(row['of_peak']):>9}"


def _rung_name(row: dict) -> str:
    return row["rung"].removeprefix("rung_").replace("_", " ")


def _product_line(row: dict) -> str:
    where = f"{row['model']:<10}{row['product']:<9}{row['T']:>6}{row['in']:>6}{row['out']:>6}"
    return where + _speeds(row) + (f"{_percent(row['of_torch']):>10}" if "of_torch" in row else "")


def _summary_line(row: dict) -> str:
    worst = row["worst"]
    where = f"{worst['product']} of {worst['model']}, T {worst['T']}, {worst['in']} x {worst['out']}"
    torch = f" {_percent(row['of_torch'])} of torch.mm," if "of_torch" in row else ""
    return (
        f"geometric mean of {row['products']}: {_percent(row['of_blas'])} of BLAS,{torch} "
        f"{_percent(row['of_peak'])} of peak; worst {_percent(worst['of_blas'])} of BLAS ({where})"
    )


# ------------------------------------------------------------------------------------------------------------- busy


def _busy(args) -> int:
    compile_kernels("gradcheck")
    _rows(args, busy_rows(args.backbone, args.busy_cores, args.seconds, args.turns), BUSY_HEADER, busy_line)
    return 0


# ---------------------------------------------------------------------------------------------------------- kernels


def _kernels(args, peak: float) -> int:
    machine = Machine(peak, memory_gb_per_second(LIMIT_TIME * args.seconds))
    title = f"memory {machine.gb_per_second:.1f} GB/s"
    header = f"{title:<42}{'shapes':<24}{'ms':>8}{'GB/s':>8}{'GFLOP/s':>9}{'op/byte':>9}{'of roof':>9}"
    rows = _rows(args, time_kernels(machine, args.seconds), header, _kernel_line)
    if args.plot:
        roofline.draw(rows, machine, kernels.threads(), args.plot)
        print(f"wrote {args.plot}", file=sys.stderr)
    return 0


def time_kernels(machine: Machine, seconds: float) -> Iterator[dict]:
    """A row for every example call of every kernel, at the sizes of a training step."""
    for name, arguments in examples(np.float32, **KERNEL_SHAPE):
        call = getattr(kernels, name)
        result = call(*arguments)
        moved = bytes_moved(arguments, result if isinstance(result, tuple) else (result,))
        spent = in_turns({name: lambda call=call, arguments=arguments: call(*arguments)}, seconds)[name]
        work = operations(name, arguments)
        row = {"bench": "kernels", "kernel": name, "note": _note(name, arguments), "shapes": describe(arguments)}
        row |= {"ms": 1e3 * spent, "gb_per_second": moved / spent / 1e9, "gflops": work / spent / 1e9}
        yield row | {"intensity": work / moved, "of_roof": row["gflops"] / machine.roof(work / moved)}


def _note(name: str, arguments) -> str:
    """What distinguishes two calls of the same kernel."""
    given = named_arguments(name, arguments)
    notes = ["dropout"] * (given.get("dropout") is not None and name != "dropout")
    if "offsets_q" in given and given["offsets_q"][-1] < given["offsets_kv"][-1]:
        notes.append("first tokens only")
    return ", ".join(notes + ["no residual"] * ("residual" in given and given["residual"] is None))


def _kernel_line(row: dict) -> str:
    name = row["kernel"] + (f" ({row['note']})" if row["note"] else "")
    speeds = f"{row['ms']:>8.2f}{row['gb_per_second']:>8.1f}{row['gflops']:>9.1f}{row['intensity']:>9.2f}"
    return f"{name:<42}{row['shapes']:<24}{speeds}{_percent(row['of_roof']):>9}"


# ------------------------------------------------------------------------------------------------------------- step


def _step(args, peak: float) -> int:
    rows = _rows(args, _workload_rows(args, peak), STEP_HEADER, _step_line)
    if args.json:
        return 0
    print("predicted and measured: GFLOP of all steps, cache of the largest batch, share of the machine's peak")
    for row in rows:
        print(_prediction_line(row))
    if args.peer:
        print(f"\nratios to {args.peer_script}: median of {args.turns} turns; above 1 we are better")
        for row in rows:
            ratios = (f"{kind} {row[kind + '_ratio']:.2f}" for kind in KINDS if f"{kind}_ratio" in row)
            print(f"{row['workload']:<10}{'   '.join(ratios)}")
    return 0


def _workload_rows(args, peak: float) -> Iterator[dict]:
    """One workload alone is run here; several, each in a process of its own."""
    for name in args.workload:
        if args.peer:
            yield in_turns_with_peer(name, args)
        elif len(args.workload) > 1 or args.section == "all":
            yield our_row(name, args)
        else:
            workload, model = open_workload(name, args.backbone, args.data, args.sort_by_length, args.batch_size)
            yield run_workload(workload, model, args.repeats, peak, args.sort_by_length)


STEP_HEADER = f"{'workload':<18}{'tokens':>8}{'padded':>8}{'step tok/s':>12}{'forward tok/s':>15}{'peak MB':>9}"


def _step_line(row: dict) -> str:
    name = row["workload"] + ("" if row["real_data"] else " (random)")
    speeds = f"{row['step_tokens_per_second']:>12,.0f}{row['forward_tokens_per_second']:>15,.0f}"
    return f"{name:<18}{row['tokens']:>8}{row['padded_tokens']:>8}{speeds}{row['peak_mb'] or 0:>9}"


def _prediction_line(row: dict) -> str:
    work = f"{row['step_gflop_predicted']:>10.1f} and {row['step_gflop_counted']:.1f} GFLOP"
    cache = f"{row['cache_mb_predicted']:>10.2f} and {row['cache_mb_measured']:.2f} MB"
    share = f"step {_percent(row['step_of_peak'])}, forward {_percent(row['forward_of_peak'])} of peak"
    return f"{row['workload']:<10}{work}{cache}   {share}"
