"""What the environment asks of Numba, checked before anything is compiled: a wrong value is an ImportError of one line,
and not what Numba or a compiler prints when it meets it."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module

WITHOUT = "or set MINIBERT_KERNELS=numpy, which computes without Numba"
MOST_THREADS = 1024  # more are a mistake, and a system that cannot start them ends the process
LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}
GROUPS = {  # Numba's names for any layer that ...
    "safe": ("tbb",),
    "threadsafe": ("tbb", "omp"),
    "forksafe": ("tbb", "workqueue") if sys.platform == "linux" else ("tbb", "omp", "workqueue"),
}


def check_numba(back_end: str) -> None:
    """Import Numba. Raises ImportError if a NUMBA_ variable has a value that Numba cannot read, or that the kernels
    of this back end cannot run with."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Environment variable 'NUMBA_")  # which Numba then ignores
            import numba
    except (Warning, ValueError, RuntimeError) as error:
        what = str(error).splitlines()[0].rstrip(".")
        variable = "that variable" if "NUMBA_" in what else "NUMBA_NUM_THREADS"
        raise ImportError(f"{what}: unset {variable}, {WITHOUT}") from None
    if numba.config.NUMBA_NUM_THREADS > MOST_THREADS:
        n = numba.config.NUMBA_NUM_THREADS
        raise ImportError(f"NUMBA_NUM_THREADS={n}: at most {MOST_THREADS} threads can be used")
    if numba.config.DISABLE_JIT and back_end != "plain":
        raise ImportError(
            f"NUMBA_DISABLE_JIT=1: the kernels of MINIBERT_KERNELS={back_end} must be compiled. Unset it, {WITHOUT} "
            "(MINIBERT_KERNELS=plain runs with it, very slowly)"
        )
    threading_layer()


def threading_layer() -> str:
    """The layer that Numba will choose, "tbb", "omp" or "workqueue": the first that is there of those that may be.

    Numba itself tells it only once its threads have started. Raises ImportError if there is none.
    """
    import numba

    wanted, order = str(numba.config.THREADING_LAYER).lower(), tuple(numba.config.THREADING_LAYER_PRIORITY)
    if sorted(order) != sorted(LAYERS):
        raise ImportError(
            f"NUMBA_THREADING_LAYER_PRIORITY must be {', '.join(LAYERS)} in some order, separated by spaces, "
            f"got {' '.join(order)!r}"
        )
    known = {"default": order, **GROUPS, **{layer: (layer,) for layer in LAYERS}}
    if wanted not in known:
        raise ImportError(f"NUMBA_THREADING_LAYER must be one of {', '.join(known)}, got {wanted!r}")
    for layer in known[wanted]:
        if is_there(layer):
            return layer
    missing = " or ".join(known[wanted])
    how = "pip install tbb" if "tbb" in known[wanted] else "install OpenMP"
    chosen = f"NUMBA_THREADING_LAYER={wanted}: unset it, " if "NUMBA_THREADING_LAYER" in os.environ else ""
    raise ImportError(f"no threads for Numba, {missing} cannot be loaded here. {chosen}{how}, {WITHOUT}")


def is_there(layer: str) -> bool:
    """Whether a threading layer can be loaded; no thread is started."""
    try:
        if layer == "tbb":  # Numba loads it only if the library is new enough
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module("numba.np.ufunc.parallel")._check_tbb_version_compatible()
        import_module(f"numba.np.ufunc.{LAYERS[layer]}")
    except ImportError:
        return False
    return True
