"""Matrix products at the shapes of real models, beside NumPy's BLAS; and the ladder of kernels/ladder.py, with the
engine's two products as its last rungs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import kernels
from kernels.runtime.pool import aligned_copy, empty
from minibert.bench.check import TOLERANCE, distance
from minibert.bench.timing import in_turns
from minibert.config import PRESETS
from minibert.params import FlatParams

ROWS = (200, 500, 1000, 4096)  # T: a batch of 32 short sentences has 400 tokens, one of 32 long texts 4096
ADAPTERS = (8, 64)  # M
MODELS = ("minilm-l6", "bert-base")
LADDER_SHAPE = (500, 384, 1536)  # T, D, F


def product_shapes() -> Iterator[tuple[str, int, int, int]]:
    """(model, T, in, out) of every linear layer: projections, both halves of the feed-forward block, adapters."""
    for model in MODELS:
        D, F = PRESETS[model].hidden_size, PRESETS[model].feed_forward_size
        sizes = [(D, D), (D, F), (F, D), *(size for M in ADAPTERS for size in ((D, M), (M, D)))]
        yield from ((model, T, *size) for T in ROWS for size in sizes)


def _normal(rng, *shape) -> np.ndarray:
    return aligned_copy(rng.standard_normal(shape, dtype=np.float32))


def pairs_of_calls(T: int, n_in: int, n_out: int, frozen: bool) -> dict[str, tuple]:
    """{product: (our call, BLAS's call)}, each returning its result.

    Ours does what a layer needs: it adds the bias, or adds to dW, which lies where training has it. A frozen weight is
    frozen, as there. BLAS only multiplies, into memory that is there already.
    """
    rng = np.random.default_rng(0)
    x, W, dy, b = _normal(rng, T, n_in), _normal(rng, n_in, n_out), _normal(rng, T, n_out), np.zeros(n_out, np.float32)
    our_W = kernels.freeze(W) if frozen else W
    y, dx, dW = empty(dy.shape, x.dtype), empty(x.shape, x.dtype), empty(W.shape, x.dtype)
    ours_dW = FlatParams.zeros_like({"W": W})["W"]

    def our_dw():
        kernels.matmul_dw(x, dy, ours_dW)
        return ours_dW

    return {
        "forward": (lambda: kernels.matmul(x, our_W, b), lambda: np.matmul(x, W, out=y)),
        "dx": (lambda: kernels.matmul_dx(dy, our_W), lambda: np.matmul(dy, W.T, out=dx)),
        "dW": (our_dw, lambda: np.matmul(x.T, dy, out=dW)),
    }


def time_products(shapes, peak_gflops: float, seconds: float, torch=None) -> Iterator[dict]:
    """A row for every product of every shape; one that is wrong is reported as wrong, and not timed.

    torch: what peer.torch_products yields, if torch.mm is to be compared with, too.
    """
    for model, T, n_in, n_out in shapes:
        torch_gflops = torch(T, n_in, n_out) if torch else {}
        calls = pairs_of_calls(T, n_in, n_out, frozen=min(n_in, n_out) > max(ADAPTERS))
        for product, (ours, theirs) in calls.items():
            row = {"bench": "matmul", "model": model, "product": product, "T": T, "in": n_in, "out": n_out}
            row["wrong"] = not distance([ours()], [theirs()]) <= TOLERANCE
            if not row["wrong"]:
                spent = in_turns({"ours": ours, "blas": theirs}, seconds)
                gflop = 2e-9 * T * n_in * n_out
                row |= {"gflops": gflop / spent["ours"], "blas_gflops": gflop / spent["blas"]}
                row |= {"of_blas": spent["blas"] / spent["ours"], "of_peak": row["gflops"] / peak_gflops}
                if torch:
                    row |= {"torch_gflops": torch_gflops[product]}
                    row |= {"of_torch": row["gflops"] / row["torch_gflops"]}
            yield row


def summary(rows: list[dict]) -> list[dict]:
    """One row: the geometric means over all products that were timed, and the worst one. No row if there is none."""
    timed = [row for row in rows if not row["wrong"]]
    if not timed:
        return []
    worst = min(timed, key=lambda row: row["of_blas"])
    shares = [key for key in ("of_blas", "of_torch", "of_peak") if key in timed[0]]
    means = {key: math.exp(sum(math.log(row[key]) for row in timed) / len(timed)) for key in shares}
    return [{"bench": "matmul", "products": len(timed), **means, "worst": worst}]


def rung_5_micro_kernel(x, W):
    """The sums of a micro-tile stay in registers until they are complete, and W is read from packed panels.

    LLVM is made to keep them there by vector operations that are written by hand: engine/micro_kernel.py.
    """
    from kernels.engine import gemm_fma

    y = empty((x.shape[0], W.shape[1]), x.dtype)
    gemm_fma.multiply(x, W, False, None, None, None, y)
    return y


def rung_6_amx_tiles(x, W):
    """Other hardware: tile registers that multiply bfloat16; six such products make one of float32 (bf16x3)."""
    return kernels.matmul(x, W)


def rungs() -> tuple:
    """The ladder's rungs, then the engine's; the last one only where the processor has AMX."""
    from kernels.engine import amx
    from kernels.ladder import RUNGS  # only here: its kernels are compiled by those who look at the lesson

    return (*RUNGS, rung_5_micro_kernel, *([rung_6_amx_tiles] if amx.ALLOWED else []))


def time_ladder(peak_gflops: float, seconds: float) -> Iterator[dict]:
    """A row for every rung of the ladder, the slowest first, each checked against BLAS before it is timed."""
    T, n_in, n_out = LADDER_SHAPE
    rng = np.random.default_rng(0)
    x, W, y = _normal(rng, T, n_in), _normal(rng, n_in, n_out), empty((T, n_out), np.float32)
    gflop = 2e-9 * T * n_in * n_out
    for rung in rungs():
        row = {"bench": "ladder", "rung": rung.__name__, "idea": rung.__doc__.splitlines()[0]}
        row["wrong"] = not distance([rung(x, W)], [np.matmul(x, W, out=y)]) <= TOLERANCE
        if not row["wrong"]:
            spent = in_turns({"ours": lambda rung=rung: rung(x, W), "blas": lambda: np.matmul(x, W, out=y)}, seconds)
            row |= {"gflops": gflop / spent["ours"], "of_blas": spent["blas"] / spent["ours"]}
            row["of_peak"] = row["gflops"] / peak_gflops
        yield row
