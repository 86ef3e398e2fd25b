"""How things are timed: in turns, the fastest of many calls, and beside what the machine can do at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import kernels

TURNS = 3
REST = 0.1  # seconds: a thread pool that has just worked spins for a while before it sleeps, and slows the next one
TRIAD_MEGABYTES = 192
TURNS_OF_MULTIPLY_ADDS = 200_000  # about a millisecond
TURNS_OF_AMX_PRODUCTS = 2_000  # the same


class Machine(NamedTuple):
    """The two roofs: multiply-adds and memory, on the threads that the kernels use."""

    gflops: float
    gb_per_second: float

    def roof(self, intensity: float) -> float:
        """The most GFLOP/s that a kernel can reach that does `intensity` operations a byte."""
        return min(self.gflops, intensity * self.gb_per_second)


def in_turns(calls: dict[str, Callable], seconds: float) -> dict[str, float]:
    """{name: seconds of its fastest call}. Each is called for `seconds` in all.

    In turns, since a machine's speed changes from second to second: what is compared must meet the same conditions. The
    fastest, since whatever disturbs a call makes it slower: so the machine's limits are measured, too.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            if len(calls) > 1:
                time.sleep(REST)
            call()  # not counted: it wakes the threads and fills the caches
            end = time.perf_counter() + seconds / TURNS
            while not times[name] or time.perf_counter() < end:
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: min(measured) for name, measured in times.items()}


def multiply_add_gflops(seconds: float) -> float:
    """The most multiply-adds that all threads together can do, in GFLOP/s.

    The best of many short runs: what the machine can do is not what it does while others disturb it.
    """
    from kernels.engine import peak as machine

    return _most_gflops(machine.multiply_adds, TURNS_OF_MULTIPLY_ADDS, seconds)


def amx_gflops(seconds: float) -> float | None:
    """The most that float32 products can do on AMX tiles, counted as multiply-adds, in GFLOP/s; None if there are no
    tiles, or if they are not used."""
    from kernels.engine import amx
    from kernels.engine import peak as machine

    used = amx.ALLOWED and kernels.BACKEND == "numba"
    return _most_gflops(machine.tile_products, TURNS_OF_AMX_PRODUCTS, seconds) if used else None


def _most_gflops(work: Callable[[int, int], int], turns: int, seconds: float) -> float:
    threads = kernels.threads()
    kernels.use_threads(threads)  # the last small kernel may have left Numba at one
    work(1, threads)
    best = 0.0
    for start in _until(seconds):
        operations = work(turns, threads)
        best = max(best, operations / (time.perf_counter() - start))
    return best / 1e9


def memory_gb_per_second(seconds: float) -> float:
    """The most bytes that all threads together move to and from memory, in GB/s; the best of several runs."""
    from kernels.engine import peak as machine

    kernels.use_threads(kernels.threads())
    a, b, out = machine.triad_arrays(TRIAD_MEGABYTES)
    machine.triad(a, b, 2.0, out)
    best = 0.0
    for start in _until(seconds):
        machine.triad(a, b, 2.0, out)
        best = max(best, 3 * out.nbytes / (time.perf_counter() - start))
    return best / 1e9


def _until(seconds: float):
    """The time before each run, at least once, until the seconds are over."""
    end = time.perf_counter() + seconds
    yield time.perf_counter()
    while (now := time.perf_counter()) < end:
        yield now
