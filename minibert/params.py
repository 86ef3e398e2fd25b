"""Parameters: one tree of plain dicts, flat names, and many arrays in one piece of memory."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from kernels.runtime.pool import LINE, zeros


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


class _Layout(NamedTuple):
    """Which number of the memory is an array's first; how many numbers come before the `rest`, and in all."""

    places: dict[str, int]
    first_other: int
    size: int

    @classmethod
    def of(cls, shapes: dict[str, tuple], per_line: int) -> _Layout:
        """Weights first; each array on a line of its own, of per_line numbers."""
        places, end = {}, 0
        is_weight = {name: name.endswith("/W") for name in shapes}
        for name in sorted(shapes, key=lambda name: not is_weight[name]):
            places[name] = end
            end += -(-prod(shapes[name]) // per_line) * per_line
        return cls(places, min((places[name] for name in shapes if not is_weight[name]), default=end), end)


class Packed(dict):
    """Flat name -> array, all of them views into one piece of memory, so that one call of a kernel walks through all.

    It is `all`, and begins with the weights, whose names end in "/W", as `weights`; the others, which never decay, are
    `rest`. Each array begins a whole number of cache lines behind the first; the gaps are zero and stay so, as what is
    done to one number is done to all.
    Names and shapes are those of the start; `packed[name] = array` writes into the memory.
    """

    def __init__(self, shapes: dict[str, tuple], dtype, layout: _Layout | None = None):
        self._layout = layout = layout or _Layout.of(shapes, LINE // np.dtype(dtype).itemsize)
        memory = zeros(layout.size, dtype)
        self.all, self.weights, self.rest = memory, memory[: layout.first_other], memory[layout.first_other :]
        places = ((name, layout.places[name] * memory.itemsize, shape) for name, shape in shapes.items())
        super().__init__({name: np.ndarray(shape, dtype, memory, place) for name, place, shape in places})

    @classmethod
    def zeros_like(cls, arrays: dict[str, np.ndarray]) -> Packed:
        """The same names, shapes and dtype, all zero."""
        dtype = next(iter(arrays.values())).dtype
        layout = arrays._layout if isinstance(arrays, Packed) else None
        return cls({name: a.shape for name, a in arrays.items()}, dtype, layout)

    @classmethod
    def copy_of(cls, arrays: dict[str, np.ndarray]) -> Packed:
        """The same arrays, packed."""
        packed = cls.zeros_like(arrays)
        packed.update(arrays)
        return packed

    def __setitem__(self, name: str, array) -> None:
        self[name][...] = array

    def update(self, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays into those of the same name."""
        for name, array in arrays.items():
            self[name] = array

    def __deepcopy__(self, memo) -> Packed:
        """One piece of memory again, and whatever shares an array with this shares it with the copy."""
        memo[id(self)] = packed = Packed.copy_of(self)
        memo |= {id(array): packed[name] for name, array in self.items()}
        return packed

    def __reduce_ex__(self, protocol):
        raise TypeError("packed parameters cannot be pickled or copied one by one; Model.to_record gives plain arrays")
