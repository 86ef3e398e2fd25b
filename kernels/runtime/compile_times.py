"""How long each kernel takes to compile, which is what the first run on a machine waits for."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time

import numpy as np
from numba.core import event

import kernels

from .compiling import KERNELS
from .warm_up import command_of_compiler, run_examples, use_little_garbage_collection


def compile_times(dtype=np.float32, purpose: str = "train") -> list[dict]:
    """Compile every kernel of a purpose in one process with an empty cache.

    Returns [{kernel, versions, seconds}, ...], the slowest first. seconds: CPU time of all versions of a kernel, one
    for each combination of argument types.
    """
    with tempfile.TemporaryDirectory() as empty_cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": empty_cache}
        command = command_of_compiler("compile_times", f"print_compile_times({np.dtype(dtype).name!r}, {purpose!r})")
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def print_compile_times(dtype_name: str, purpose: str) -> None:
    """Compile in this process, and print what `compile_times` returns as one line of JSON."""
    from .examples import examples

    use_little_garbage_collection()
    stopwatch = _Stopwatch()
    event.register("numba:compile", stopwatch)
    for _ in run_examples(examples(np.dtype(dtype_name)), purpose):
        pass
    rows = [{"kernel": name, "versions": n, "seconds": s} for name, (n, s) in stopwatch.seconds.items()]
    print(json.dumps(sorted(rows, key=lambda row: -row["seconds"])))


class _Stopwatch(event.Listener):
    """CPU seconds of each kernel's compilations, the functions it calls included."""

    def __init__(self):
        self.seconds: dict[str, tuple[int, float]] = {}
        self._start = 0.0

    def on_start(self, ev):
        if ev.data["dispatcher"] in KERNELS:
            self._start = time.process_time()

    def on_end(self, ev):
        if ev.data["dispatcher"] in KERNELS:
            function = ev.data["dispatcher"].py_func
            name = f"{function.__module__.removeprefix(kernels.__name__ + '.')}.{function.__name__}"
            n, seconds = self.seconds.get(name, (0, 0.0))
            self.seconds[name] = n + 1, seconds + time.process_time() - self._start
