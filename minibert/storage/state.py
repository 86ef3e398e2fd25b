"""The training state: all that an interrupted run needs to go on.

/arrays/...     parameters and Adam's moving averages
attributes      meta (progress and settings, JSON), index (dtype and shape of each array), fingerprint
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from minibert.errors import InputError, readable, shown
from minibert.storage import hdf5

GET_STATE = "start the run again without resuming"
STATE_DTYPES = ("float32", "float64", "int64")


def write_state(path: str | Path, arrays: dict[str, np.ndarray], meta: dict) -> None:
    """Write the state of a run: {flat name: float32, float64 or int64 array}, and `meta` of plain Python types.

    Raises InputError if an array has another dtype or holds NaN or infinity, and writes nothing.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.name not in STATE_DTYPES:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{path}: array {name} is {kind}, expected an array of {', '.join(STATE_DTYPES)}")
        hdf5.check_finite(f"{path}: array {name}", array)
    with hdf5.write_file(path, "minibert-state") as file:
        hdf5.write_json(file, "meta", meta)
        hdf5.write_json(file, "index", {name: [array.dtype.name, array.shape] for name, array in arrays.items()})
        hdf5.write_text(file, "fingerprint", hdf5.fingerprint(arrays))
        hdf5.write_arrays(file.create_group("arrays"), arrays)


def read_state(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read (arrays, meta) as `write_state` was given them. Raises InputError for the first thing that is wrong."""
    with hdf5.read_file(path, "minibert-state", GET_STATE) as file:
        hdf5.check_children(file, ("arrays",), path)
        meta = hdf5.read_json(file, "meta", path, dict)
        expected = {}
        for name, entry in hdf5.read_json(file, "index", path, dict).items():
            dtype, shape = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
            sizes = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
            if dtype not in STATE_DTYPES or not sizes:
                raise InputError(
                    f"{path}: the index says {shown(entry)} of array {readable(name)}, not its dtype and shape"
                )
            expected[name] = (tuple(shape), dtype)
        arrays = hdf5.read_arrays(hdf5.child(file, "arrays", h5py.Group, path), expected, path)
        stored = hdf5.read_text(file, "fingerprint", path)
        hdf5.check_sha256(path, "the state", stored, hdf5.fingerprint(arrays), GET_STATE)
        return arrays, meta
