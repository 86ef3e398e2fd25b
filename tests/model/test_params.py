"""Parameters as trees, by flat names, and in one memory."""

import pickle
from copy import deepcopy

import numpy as np
import pytest

from minibert.params import FlatParams, flatten, unflatten


def test_a_tree_and_its_flat_names_hold_the_same():
    tree = {"encoder": {"layers": {"0": {"W": 1, "b": 2}, "10": {"W": 3}}}, "head": {"b": 4}}
    flat = {"encoder/layers/0/W": 1, "encoder/layers/0/b": 2, "encoder/layers/10/W": 3, "head/b": 4}
    assert flatten(tree) == flat and list(flatten(tree)) == list(flat)
    assert unflatten(flat) == tree and unflatten({}) == flatten({}) == {}


def test_zeros_like_has_names_shapes_and_dtype():
    zeros = FlatParams.zeros_like({"a/W": np.ones((2, 3)), "b/b": np.ones(4)})
    assert {name: (a.shape, a.dtype) for name, a in zeros.items()} == {"a/W": ((2, 3), "f8"), "b/b": ((4,), "f8")}
    assert not zeros.all.any() and np.shares_memory(zeros["a/W"], zeros.decay)
    assert np.shares_memory(zeros["b/b"], zeros.no_decay) and np.shares_memory(zeros.decay, zeros.all)


def test_flat_arrays_are_views_of_one_memory_with_the_weights_first():
    shapes = {"a/b": (3,), "c/W": (5, 7), "d/gamma": (2,), "e/W": (4,)}
    packed = FlatParams(shapes, np.float32)
    assert list(packed) == list(shapes) and {name: a.shape for name, a in packed.items()} == shapes
    assert len({a.ctypes.data % 64 for a in packed.values()}) == 1
    large = FlatParams({"a/W": (100, 101), "b/b": (3,)}, np.float32)
    assert all(a.ctypes.data % 64 == 0 for a in large.values())
    for i, array in enumerate(packed.values(), 1):
        array[...] = i
    assert packed.decay.sum() == 2 * 35 + 4 * 4 and packed.no_decay.sum() == 3 + 3 * 2
    copy = FlatParams.copy_of(packed)
    assert all(np.array_equal(copy[name], a) for name, a in packed.items())
    copy["a/b"][...] = 9
    assert packed["a/b"][0] == 1


def test_flat_arrays_stay_in_their_memory():
    packed = FlatParams({"a/W": (2, 3), "b/b": (4,)}, np.float32)
    packed["a/W"] = np.full((2, 3), 7)
    packed.update({"b/b": np.ones(4)})
    assert packed.decay.sum() == 42 and packed.no_decay.sum() == 4
    with pytest.raises(KeyError):
        packed["c/W"] = np.ones(2)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(packed)
    shared = {"packed": packed, "view": packed["a/W"]}
    twin = deepcopy(shared)
    twin["packed"].decay += 1
    assert twin["view"].sum() == 48 and shared["view"].sum() == 42
