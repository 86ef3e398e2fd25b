"""Parameters as trees, by flat names, and in one memory."""

import pickle
from copy import deepcopy

import numpy as np
import pytest

from minibert.params import FlatParams, flatten, truncated_normal, unflatten


def test_a_tree_and_its_flat_names_hold_the_same():
    tree = {"encoder": {"layers": {"0": {"W": 1, "b": 2}, "10": {"W": 3}}}, "head": {"b": 4}}
    flat = {"encoder/layers/0/W": 1, "encoder/layers/0/b": 2, "encoder/layers/10/W": 3, "head/b": 4}
    assert flatten(tree) == flat and list(flatten(tree)) == list(flat)
    assert unflatten(flat) == tree and unflatten({}) == flatten({}) == {}


def test_new_weights_are_a_function_of_seed_and_name():
    np.testing.assert_array_equal(truncated_normal("a", (3, 4), 1, 0), truncated_normal("a", (3, 4), 1, 0))
    for name, seed in (("b", 0), ("a", 1)):
        assert not np.array_equal(truncated_normal("a", (3, 4), 1, 0), truncated_normal(name, (3, 4), 1, seed))


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


@pytest.mark.parametrize(
    "change",
    [
        lambda flat: flat.pop("a/W"),
        lambda flat: flat.popitem(),
        lambda flat: flat.clear(),
        lambda flat: flat.__delitem__("a/W"),
        lambda flat: flat.setdefault("c/W", np.ones(2)),
    ],
    ids=["pop", "popitem", "clear", "del", "setdefault"],
)
def test_flat_arrays_keep_their_names(change):
    flat = FlatParams({"a/W": (2, 3), "b/b": (4,)}, np.float32)
    with pytest.raises(TypeError, match="names of FlatParams are fixed"):
        change(flat)
    assert list(flat) == ["a/W", "b/b"]


def test_flat_arrays_merge_into_their_memory():
    flat = before = FlatParams({"a/W": (2, 3), "b/b": (4,)}, np.float32)
    flat |= {"b/b": np.ones(4)}
    flat["a/W"] += 2
    assert flat is before and flat.no_decay.sum() == 4 and flat.decay.sum() == 12
    with pytest.raises(KeyError, match="no array c/W"):
        flat |= {"c/W": np.ones(2)}
    assert list(flat) == ["a/W", "b/b"]


def test_flat_arrays_keep_their_shapes():
    """NumPy would write (4,) into (8, 4), row by row."""
    flat = FlatParams({"a/W": (8, 4)}, np.float32)
    for wrong, shape in ((np.ones(4), r"\(4,\)"), (np.ones((1, 8, 4)), r"\(1, 8, 4\)"), (1.0, r"\(\)")):
        with pytest.raises(ValueError, match=rf"a/W must have the shape \(8, 4\), got {shape}"):
            flat["a/W"] = wrong
        with pytest.raises(ValueError, match="a/W must have the shape"):
            flat.update({"a/W": wrong})
    assert not flat.all.any()


def test_nothing_cannot_be_laid_out():
    with pytest.raises(ValueError, match="no arrays to lay out"):
        FlatParams.zeros_like({})
