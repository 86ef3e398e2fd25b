"""Parameters: one tree of plain dicts, as the groups of the HDF5 files; flat names; many arrays in one memory; and the
numbers that new weights begin with.

A tree {"encoder": {"layers": {"0": {...}}}} has at its leaves what the flat names "encoder/layers/0/..." stand for.
"""

from __future__ import annotations

import zlib
from math import prod

import numpy as np


def flatten(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": x}} -> {"a/b": x}, in the tree's order."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: dict) -> dict:
    """{"a/b": x} -> {"a": {"b": x}}."""
    tree: dict = {}
    for name, value in flat.items():
        *groups, leaf = name.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return tree


def truncated_normal(name: str, shape, std: float, seed: int, dtype=np.float32) -> np.ndarray:
    """Gaussian numbers, those beyond two standard deviations drawn again. A function of (seed, name) alone."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(outside.sum())
    return (std * values).astype(dtype)


class FlatParams(dict):
    """Flat name -> array, all of them views into one memory, so that one call of a kernel walks through all.

    `all` is the whole memory. It begins with the weights, whose names end in "/W": `decay`. The others, which weight
    decay leaves alone, are `no_decay`. Each array begins on a cache line of its own. The gaps between arrays are zero
    and stay zero: where parameter, gradient and both averages are 0 Adam moves nothing, and clipping scales 0.

    Names and shapes are fixed. `flat[name] = array` and `flat |= {name: array}` write into the memory; they raise
    KeyError for a name that is not there, and ValueError for another shape. What would take a name away is a TypeError.
    """

    def __init__(self, shapes: dict[str, tuple], dtype, like: FlatParams | None = None):
        """like: one with the same names and shapes, whose layout is taken: each training step needs new gradients."""
        from kernels import lay_out  # not above: who reads and writes files needs flatten alone, and no Numba

        if like is None:
            names = sorted(shapes, key=lambda name: not name.endswith("/W"))  # weights first, else in their order
            self.all, firsts = lay_out([prod(shapes[name]) for name in names], dtype)
            self._firsts = dict(zip(names, firsts, strict=True))
            n_weights = min((n for name, n in self._firsts.items() if not name.endswith("/W")), default=self.all.size)
        else:
            (self.all, _), self._firsts, n_weights = lay_out([like.all.size], dtype), like._firsts, like.decay.size
        self.decay, self.no_decay, size = self.all[:n_weights], self.all[n_weights:], self.all.itemsize
        firsts = self._firsts
        super().__init__({name: np.ndarray(s, dtype, self.all, firsts[name] * size) for name, s in shapes.items()})

    @classmethod
    def zeros_like(cls, arrays: dict[str, np.ndarray]) -> FlatParams:
        """The same names, shapes and dtype, all zero. Raises ValueError if there is no array."""
        if not arrays:
            raise ValueError("there are no arrays to lay out, so no dtype is known: is anything trained?")
        dtype = next(iter(arrays.values())).dtype
        like = arrays if isinstance(arrays, FlatParams) else None
        return cls({name: a.shape for name, a in arrays.items()}, dtype, like)

    @classmethod
    def copy_of(cls, arrays: dict[str, np.ndarray]) -> FlatParams:
        """The same arrays, in one memory. Raises ValueError if there is none."""
        flat = cls.zeros_like(arrays)
        flat.update(arrays)
        return flat

    def __setitem__(self, name: str, array) -> None:
        if name not in self:
            raise KeyError(f"there is no array {name}, and none can be added: names are fixed")
        if np.shape(array) != self[name].shape:
            raise ValueError(f"array {name} must have the shape {self[name].shape}, got {np.shape(array)}")
        self[name][...] = array

    def update(self, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays into those of the same name."""
        for name, array in arrays.items():
            self[name] = array

    def __ior__(self, arrays: dict[str, np.ndarray]) -> FlatParams:
        self.update(arrays)
        return self

    def _names_are_fixed(self, *_, **__):
        raise TypeError("the names of FlatParams are fixed; dict(flat) can be changed")

    __delitem__ = pop = popitem = clear = setdefault = _names_are_fixed

    def __deepcopy__(self, memo) -> FlatParams:
        """One memory again, and whatever shares an array with this shares it with the copy."""
        memo[id(self)] = copy = FlatParams.copy_of(self)
        memo |= {id(array): copy[name] for name, array in self.items()}
        return copy

    def __reduce_ex__(self, protocol):
        raise TypeError("FlatParams cannot be pickled or copied one by one; Model.to_record gives plain arrays")
