"""minibert: adapter tuning of BERT in NumPy and Numba, written to be read. README.md says where to begin."""

from importlib.util import find_spec
from pathlib import Path

from minibert.config import AdapterConfig, BertConfig, TrainConfig
from minibert.errors import InputError

__all__ = [
    "AdapterConfig",
    "Backbone",
    "BertConfig",
    "InputError",
    "Model",
    "TrainConfig",
    "load_backbone",
    "load_task",
]


def check_kernels() -> None:
    """Raise ImportError if `import kernels` would give the package of that name on PyPI, a neighbour of transformers.

    Called before kernels are first imported; an AttributeError somewhere in a layer would not tell why.
    """
    spec = find_spec("kernels")
    where = spec.origin if spec else None
    if where is None or "MINIBERT_KERNELS" not in Path(where).read_text(encoding="utf-8"):
        ours = Path(__file__).resolve().parent.parent
        raise ImportError(
            f"the package kernels at {where or 'no place'} is not minibert's, which stands in {ours / 'kernels'}: "
            "run `pip uninstall kernels` and install minibert again, or put minibert first on PYTHONPATH, "
            "or give it an environment of its own"
        )


def __getattr__(name: str):
    """Backbone, Model, load_backbone and load_task, when they are first used: they bring Numba along, which takes a
    second."""
    if name in ("Backbone", "Model", "load_backbone", "load_task"):
        check_kernels()
        from minibert import backbone, model, trained_task

        places = {"Model": model, "load_task": trained_task}
        return getattr(places.get(name, backbone), name)
    raise AttributeError(f"module 'minibert' has no attribute {name!r}")
