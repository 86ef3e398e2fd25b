"""Layers: what is trained decides what is kept and computed; dropout by its place; what embeddings refuse."""

import numpy as np
import pytest

from minibert.errors import InputError
from minibert.layers import (
    Dropout,
    add_norm_forward,
    dropout_backward,
    dropout_forward,
    linear_act_forward,
    linear_backward,
    linear_forward,
    subtree,
)
from minibert.text import pack


@pytest.mark.parametrize(
    "ids, segments, table", [([1, 999], [0, 0], "word"), ([1, -1], [0, 0], "word"), ([1, 2], [0, 2], "segment")]
)
def test_ids_beyond_a_table_are_refused(backbone, ids, segments, table):
    """Kernels do not check bounds, so this would read foreign memory."""
    with pytest.raises(InputError, match=f"{table} ids must be from 0 to"):
        backbone.forward(pack([ids], [segments]))
    with pytest.raises(InputError, match="position ids must be from 0 to 23"):
        backbone.forward(pack([[1] * 25], [[0] * 25]))


# ----------------------------------------------------------------------------------------- frozen does not mean stopped


def a_linear_layer():
    rng = np.random.default_rng(0)
    p = {"W": rng.standard_normal((4, 3)), "b": rng.standard_normal(3)}
    return p, *rng.standard_normal((2, 5, 4)), rng.standard_normal((5, 3))


@pytest.mark.parametrize("trained", [("W", "b"), ("W",), ("b",), ()])
def test_a_frozen_leaf_has_no_gradient_and_passes_dx_on(trained):
    p, x, dx_accum, dy = a_linear_layer()
    grads = {name: np.ones_like(p[name]) for name in trained}
    y, cache = linear_forward(x, p, grads)
    np.testing.assert_allclose(y, x @ p["W"] + p["b"], rtol=1e-12)
    assert (cache is x) == ("W" in trained), "a frozen W needs no x"
    dx = linear_backward(dy, p, cache, grads, dx_accum)
    np.testing.assert_allclose(dx, dy @ p["W"].T + dx_accum, rtol=1e-12)
    exact = {"W": 1 + x.T @ dy, "b": 1 + dy.sum(axis=0)}
    assert set(grads) == set(trained)
    for name in trained:
        np.testing.assert_allclose(grads[name], exact[name], rtol=1e-12)


def test_without_gradients_nothing_is_kept():
    p, x, _, _ = a_linear_layer()
    assert linear_forward(x, p, None)[1] is None
    assert linear_act_forward(x, p, None, "gelu")[1:] == (None, None)
    norm = {"gamma": np.ones(4), "beta": np.zeros(4)}
    assert add_norm_forward(x, x, norm, None, 1e-12)[1] is None


def test_a_branch_where_nothing_is_trained_is_empty_and_none_stays_none():
    assert subtree({"a": {"W": 1}}, "a") == {"W": 1}
    assert subtree({"a": {"W": 1}}, "b") == {} and subtree(None, "a") is None


# -------------------------------------------------------------------------------------------------------------- dropout


def test_dropout_is_a_function_of_its_place():
    dropout = Dropout(0.5, 0.25, (0, 7))
    same, others = dropout.at(3, "attention"), [dropout.at(3, "head"), dropout.at(4, "attention"), dropout]
    assert same.hidden == dropout.at(3).at("attention").hidden and same.hidden[0] == 0.5 and same.attention[0] == 0.25
    assert len({same.hidden[1], *(other.hidden[1] for other in others)}) == 4
    assert Dropout().hidden is None and Dropout(place=(1,)).attention is None


def test_backward_drops_what_forward_dropped():
    x, (rate, key) = np.ones((50, 40)), Dropout(0.5, 0, (1, 2)).hidden
    y = dropout_forward(x, (rate, key))
    np.testing.assert_array_equal(dropout_backward(x, (rate, key)), y)
    assert 0.4 < (y == 0).mean() < 0.6 and set(np.unique(y)) == {0, 2}
    assert dropout_forward(x, None) is x
