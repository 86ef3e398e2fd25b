"""With this folder on PYTHONPATH, Python begins as if numba, tokenizers and h5py were not installed."""

import sys

ABSENT = {"numba", "tokenizers", "h5py"}


class _Absent:
    """The first of the finders; refuses what is absent."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} (as in a browser)", name=name)


sys.meta_path.insert(0, _Absent)
