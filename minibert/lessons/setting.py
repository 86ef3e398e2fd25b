"""What differs between places where a lesson runs: how long it may train, and where the weights lie."""

from __future__ import annotations

import os
from pathlib import Path

from minibert.errors import InputError

MODEL = Path("models", "minilm-l6.h5")  # the course's BERT, in the folder where Jupyter is started
FETCH = f"python -m weights_convert fetch minilm-l6 --out {MODEL.as_posix()}"


def setting(full, fast):
    """`full`, or `fast` where only is tried whether a lesson runs (MINIBERT_LESSONS=fast)."""
    return fast if os.environ.get("MINIBERT_LESSONS") == "fast" else full


def weights() -> Path:
    """The file of the course's BERT: that of MINIBERT_BACKBONE, or models/minilm-l6.h5 in the folder where Jupyter was
    started or in one above it. Raises InputError that says how to get it."""
    given = os.environ.get("MINIBERT_BACKBONE")
    here = Path.cwd()
    places = [Path(given)] if given else [folder / MODEL for folder in (here, *here.parents)]
    found = next((path for path in places if path.exists()), None)
    if found is None:
        raise InputError(f"{places[0]} is not there. In the project's folder, run once: {FETCH}")
    return found
