"""Every kernel against the NumPy reference. A kernel that is wrong is never timed: how fast it is means nothing."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

import kernels
from kernels import reference
from kernels.runtime.examples import examples

TOLERANCE = 1e-5  # in float32, of the largest element of a result, or of 1
SHAPES = (  # one token; less than a micro-tile; remainders everywhere; the sizes of MiniLM
    {"lengths": (1,), "size": 4, "n_out": 5, "n_heads": 1},
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12, "n_heads": 2},
    {"lengths": (40, 17, 70), "size": 60, "n_out": 101, "n_heads": 3},
    {"lengths": (29, 128, 5), "size": 384, "n_out": 1536, "n_heads": 12},
)


class Wrong(NamedTuple):
    """A call of a kernel whose results are not the reference's."""

    name: str
    shapes: str
    distance: float


def results(module, name: str, arguments) -> list:
    """All results of a call: what it returns, then the arrays it may have changed."""
    arguments = copy.deepcopy(arguments)
    result = getattr(module, name)(*arguments)
    several = isinstance(result, (tuple, list)) or (isinstance(result, np.ndarray) and result.ndim == 3)
    returned = list(result) if several else [] if result is None else [result]
    return returned + [a for a in arguments if isinstance(a, np.ndarray)]


def distance(ours, theirs) -> float:
    """The largest difference, as a share of the largest element of its array (or of 1). NaN if one has NaN."""
    far = 0.0
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            return float("inf")
        if a.size:
            far = np.maximum(far, np.abs(a - b).max() / max(1.0, np.abs(b).max()))  # np.maximum keeps NaN
    return float(far)


def describe(arguments) -> str:
    """The shapes of a call's first two matrices."""
    shapes = ["×".join(map(str, a.shape)) for a in arguments if isinstance(a, np.ndarray) and a.ndim == 2]
    return " ".join(shapes[:2])


def check_kernels() -> tuple[int, list[Wrong]]:
    """The number of calls that were compared, and those that are wrong."""
    wrong, n = [], 0
    for shape in SHAPES:
        for name, arguments in examples(np.float32, **shape):
            n += 1
            far = distance(results(kernels, name, arguments), results(reference, name, arguments))
            if not far <= TOLERANCE:
                wrong.append(Wrong(name, describe(arguments), far))
    return n, wrong
