"""Products on emulated AMX tiles, compared: the script that test_amx_emulated.py runs.

    NUMBA_CACHE_DIR=/tmp/emulated python tests/engine/amx_checks.py check

prints what `check()` returns, as JSON. The second argument may be check_mistakes instead.
"""

import itertools
import json
import sys

import numpy as np

import kernels
from kernels import reference
from kernels.runtime import threads as sharing
from kernels.runtime.examples import DROPOUT
from kernels.runtime.threads import n_threads, use_threads

ROWS, DEPTHS, COLUMNS = (1, 15, 16, 17, 33), (1, 31, 32, 33, 385), (9, 31, 33, 65)
SMALL = list(itertools.product(ROWS, DEPTHS, COLUMNS))
# More rows, steps and columns than are packed at a time, on one thread and on two; columns are shared out, not rows.
LARGE = [(800, 33, 400), (20, 800, 33), (50, 96, 450), (0, 40, 40)]  # (T, K, N)
LARGEST = (400, 390, 400)
SHAPES_OF_MISTAKES = [(33, 33, 65), (16, 385, 33)]
SHAPES_OF_EACH = [(33, 33, 64), (17, 385, 32), (16, 64, 96), (20, 33, 40)]
THREADS = 3

# ------------------------------------------------------------------------------------------- how kernels are called


def call(module, name, frozen=False, first=0, **arguments):
    """The results of module.name(**arguments): what it returns, and the gradients that it has added to.

    frozen: W is frozen before. first: this many of the frozen weights Ws are left out.
    """
    arguments = {k: a.copy() if isinstance(a, np.ndarray) else a for k, a in arguments.items()}
    given = dict(arguments)
    if frozen:
        given["W"] = module.freeze(given["W"])
    if "Ws" in given:
        given["Ws"] = module.freeze_each(given["Ws"])
        given |= {k: given[k][first:] for k in ("Ws", "bs", "dys") if k in given}
    result = getattr(module, name)(**given)
    returned = list(result) if isinstance(result, tuple) else [] if result is None else [np.asarray(result)]
    return returned + [arguments[k] for k in ("dW", "db") if k in arguments]


def calls(T, K, N):
    """Yield (name, arguments) of all products of x (T, K), W (K, N)."""
    rng = np.random.default_rng(T + 1000 * K + N)
    x, W, b, dy, dx, act_grad = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((T, K), (K, N), N, (T, N), (T, K), (T, K))
    )
    W /= np.float32(max(K, 1) ** 0.5)
    grads = {"dW": W, "db": b}
    for frozen in (False, True):
        yield "matmul", {"x": x, "W": W, "frozen": frozen}
        yield "matmul", {"x": x, "W": W, "b": b, "residual": dy, "frozen": frozen}
        yield "matmul", {"x": x, "W": W, "b": b, "dropout": DROPOUT, "frozen": frozen}
        yield "matmul_gelu", {"x": x, "W": W, "b": b, "frozen": frozen}
        yield "matmul_dx", {"dy": dy, "W": W, "frozen": frozen}
        yield "matmul_dx", {"dy": dy, "W": W, "dx_accum": dx, "act_grad": act_grad, "frozen": frozen}
    yield "matmul", {"x": x, "W": W, "b": b, "residual": dy, "dropout": DROPOUT}
    yield "matmul_gelu", {"x": x, "W": W}
    yield "matmul_dw", {"x": x, "dy": dy, "dW": W}
    backward = {"dy": dy, "x": x, "W": W}
    yield "matmul_backward", {**backward, **grads}
    yield "matmul_backward", {**backward, **grads, "dx_accum": dx}
    yield "matmul_backward", {**backward, **grads, "act_grad": act_grad, "dropout": DROPOUT}
    yield "matmul_backward", {**backward, "dW": W, "dx_accum": dx, "act_grad": act_grad, "dropout": DROPOUT}
    yield "matmul_backward", {**backward, "db": b, "dropout": DROPOUT, "frozen": True}
    yield "matmul_backward", {"dy": dy, "x": None, "W": W, "act_grad": act_grad, "frozen": True}


def calls_of_each(T, K, N):
    """The same for three weights of one x."""
    rng = np.random.default_rng(T)
    x, Ws, bs, dys, dx = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((T, K), (3, K, N), (3, N), (3, T, N), (T, K))
    )
    for first in range(3):
        yield "matmul_each", {"x": x, "Ws": Ws, "bs": bs, "first": first}
        yield "matmul_dx_each", {"dys": dys, "Ws": Ws, "first": first}
        yield "matmul_dx_each", {"dys": dys, "Ws": Ws, "dx_accum": dx, "first": first}


# ------------------------------------------------------------------------------------------------- what is computed


def distances(shapes, of=calls):
    """{call: the largest difference to the reference, which computes in float64}"""
    found = {}
    for shape in shapes:
        for i, (name, arguments) in enumerate(of(*shape)):
            ours, theirs = call(kernels, name, **arguments), call(reference, name, **in_float64(arguments))
            assert [a.shape for a in ours] == [a.shape for a in theirs] and {a.dtype for a in ours} == {
                np.dtype(np.float32)
            }, name
            pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.size]
            distance = max([np.abs(a - b).max() / max(1, np.abs(b).max()) for a, b in pairs], default=0.0)
            found[f"{name} {'x'.join(map(str, shape))} call {i}"] = float(distance)
    return found


def in_float64(arguments):
    return {k: a.astype(np.float64) if isinstance(a, np.ndarray) else a for k, a in arguments.items()}


def not_exact(shapes):
    """Products that have exactly one summand that is not zero must have no error. Returns those that have one.

    Each element is then found once, wherever it lies in the packed panels, and with all its 24 bits.
    """
    wrong = []
    for T, K, N in shapes:
        rng = np.random.default_rng(T + K + N)
        x, W, dy = (rng.standard_normal(shape).astype(np.float32) for shape in ((T, K), (K, N), (T, N)))
        for name, ours, exact in (
            ("one row of W", kernels.matmul(one_hot(T, K), W), W[np.arange(T) % K]),
            ("one row of W.T", kernels.matmul_dx(one_hot(T, N), W), W.T[np.arange(T) % N]),
            ("one column of x", kernels.matmul(x, one_hot(N, K).T.copy()), x[:, np.arange(N) % K]),
            ("one column of dy", kernels.matmul_dx(dy, one_hot(K, N)), dy[:, np.arange(K) % N]),
            ("x in Fortran order", kernels.matmul(np.asfortranarray(one_hot(T, K)), W), W[np.arange(T) % K]),
            ("W in Fortran order", kernels.matmul(one_hot(T, K), np.asfortranarray(W)), W[np.arange(T) % K]),
        ):
            if not np.array_equal(ours, exact):
                wrong.append(f"{name} {T}x{K}x{N}")
        dW = np.zeros((K, N), np.float32)
        kernels.matmul_dw(one_hot(T, K), dy, dW)
        if T <= K and not np.array_equal(dW[:T], dy):
            wrong.append(f"one row of dy {T}x{K}x{N}")
    middle = np.float32(1 + 2**-10)  # split into 1, 2**-10 and 0: its square needs the term of the two middle parts
    if not np.array_equal(kernels.matmul(middle * one_hot(32, 32), middle * one_hot(32, 32)), middle**2 * np.eye(32)):
        wrong.append("the term of the middle parts")
    return wrong


def one_hot(rows, columns):
    """One 1 in each row."""
    array = np.zeros((rows, columns), np.float32)
    array[np.arange(rows), np.arange(rows) % columns] = 1
    return array


def unlike_on_threads(shapes, of=calls):
    """Calls whose bits are not the same on 1, 2 and 3 threads."""
    unlike = []
    for shape in shapes:
        for i, (name, arguments) in enumerate(of(*shape)):
            found = []
            for threads in range(1, THREADS + 1):
                use_threads(threads)
                found.append([a.tobytes() for a in call(kernels, name, **arguments)])
                assert n_threads() == threads, "small work must not run on one thread here"
            if found != [found[0]] * THREADS:
                unlike.append(f"{name} {shape} call {i}")
    return unlike


def wrong_counts(shapes):
    """Products that do not execute as many tdpbf16ps as the formula says: six for each pair of tiles."""
    import amx_emulation

    wrong = []
    for T, K, N in shapes:
        x, W, before = np.ones((T, K), np.float32), np.ones((K, N), np.float32), amx_emulation.products()
        kernels.matmul(x, W)
        count, expected = amx_emulation.products() - before, 6 * -(-T // 16) * -(-K // 32) * 2 * -(-N // 32)
        if count != expected:
            wrong.append(f"{T}x{K}x{N}: {count} for {expected}")
    return wrong


def not_finite():
    """What becomes of NaN, of infinity (NaN, as bf16x3.py says), and of what is too small: {name: is it right}"""
    x, W = np.ones((17, 33), np.float32), np.ones((33, 40), np.float32)
    right = {}
    for value in (np.nan, np.inf, -np.inf):
        spoilt = x.copy()
        spoilt[16, 32] = value
        y = kernels.matmul(spoilt, W)
        right[str(value)] = bool(np.isnan(y[16]).all() and (y[:16] == 33).all())
    right["denormal"] = bool((kernels.matmul(np.full((17, 33), 1e-40, np.float32), W) == 0).all())
    return right


def check() -> dict:
    """All of it."""
    import amx_emulation

    return {
        "distances": distances([*SMALL, *LARGE, LARGEST]) | distances(SHAPES_OF_EACH, calls_of_each),
        "not exact": not_exact(SMALL),
        "unlike": unlike_on_threads(LARGE + SHAPES_OF_MISTAKES) + unlike_on_threads(SHAPES_OF_EACH, calls_of_each),
        "wrong counts": wrong_counts([shape for shape in SMALL if min(shape[1:]) > 8]),
        "not finite": not_finite(),
        "faults": amx_emulation.faults(),
    }


def check_mistakes() -> dict:
    """The smallest term of bf16x3 is left out, and tiles are not configured."""
    import amx_emulation

    from kernels.engine import amx, gemm_amx
    from kernels.runtime.compiling import kernel

    amx.TERMS = amx.TERMS[1:]

    @kernel
    def nothing():
        return None

    gemm_amx.configure_tiles = nothing
    return {
        "distances": distances(SHAPES_OF_MISTAKES) | distances(SHAPES_OF_EACH[:1], calls_of_each),
        "not exact": not_exact(SHAPES_OF_MISTAKES),
        "wrong counts": wrong_counts(SHAPES_OF_MISTAKES),
        "faults": amx_emulation.faults(),
    }


if __name__ == "__main__":
    import amx_emulation

    amx_emulation.install()
    sharing.SMALL, sharing.WAITED = 0, 1e9  # small products, too, are shared out, whoever waits for a core
    print(json.dumps({"check": check, "check_mistakes": check_mistakes}[sys.argv[1]]()))
