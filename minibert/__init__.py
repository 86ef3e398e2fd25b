"""minibert: adapter tuning of BERT in NumPy and Numba, written to be read. README.md says where to begin."""

from minibert.config import AdapterConfig, BertConfig, InputError, TrainConfig

__all__ = ["AdapterConfig", "Backbone", "BertConfig", "InputError", "Model", "TrainConfig", "load_backbone"]


def __getattr__(name: str):
    """Backbone, Model and load_backbone, when they are first used: they bring Numba along, which takes a second."""
    if name in ("Backbone", "Model", "load_backbone"):
        from minibert import model

        return getattr(model, name)
    raise AttributeError(f"module 'minibert' has no attribute {name!r}")
