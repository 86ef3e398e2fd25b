"""torch.mm at the shapes that it is given, for `minibert bench matmul --peer PYTHON`, whose Python runs this file.

    PYTHON torch_mm.py THREADS SECONDS REST < shapes > speeds

Each line of the input is `T in out`. Each line of the output is a JSON object: {product: GFLOP/s of its fastest call}.
It is timed as timing.in_turns times ours; that file needs Numba, this one PyTorch only.
"""

import json
import sys
import time

import torch

TURNS = 3


def fastest(call, seconds: float, rest: float) -> float:
    """Seconds of the fastest call, of all that fit into three turns."""
    times = []
    for _ in range(TURNS):
        time.sleep(rest)
        call()
        end = time.perf_counter() + seconds / TURNS
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return min(times)


def speeds(T: int, n_in: int, n_out: int, seconds: float, rest: float) -> dict[str, float]:
    """GFLOP/s of the three products of a linear layer."""
    x, W, dy = torch.randn(T, n_in), torch.randn(n_in, n_out), torch.randn(T, n_out)
    calls = {"forward": (x, W), "dx": (dy, W.T), "dW": (x.T, dy)}
    work = 2e-9 * T * n_in * n_out
    return {name: work / fastest(lambda a=a, b=b: torch.mm(a, b), seconds, rest) for name, (a, b) in calls.items()}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(speeds(*map(int, line.split()), *map(float, sys.argv[2:4]))), flush=True)
