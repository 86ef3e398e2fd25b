"""minibert: adapter tuning of BERT in NumPy and Numba, written to be read. README.md says where to begin."""

from minibert.config import AdapterConfig, BertConfig, InputError, TrainConfig
from minibert.model import Backbone, Model, load_backbone

__all__ = ["AdapterConfig", "Backbone", "BertConfig", "InputError", "Model", "TrainConfig", "load_backbone"]
