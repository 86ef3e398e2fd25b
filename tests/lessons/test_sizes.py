"""Sizes of the inputs: no size can stand for another one, as the bound of a loop, without a wrong result."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from minibert import lessons
from minibert.lessons import mutate, plain

# Right in y: a head whose columns begin beyond D is empty. And the cache of attention may hold anything.
HARMLESS = Counter({"n_heads -> q.shape[1]": 2})
HARMLESS.update(f"n_heads -> {other}" for other in ("len(offsets)", "len(offsets) - 1", "d_head"))


def letters(name, given):
    """{letter: size} of the arguments of an exercise; those of a cache are the ones of its forward function."""
    if name in ("linear", "embedding", "adapter"):
        T = len(given[0])
        if name == "adapter":
            return {"T": T, "D": given[0].shape[1], "M": given[1]["down/b"].size}
        return {"T": T} | dict(zip("VD", given[1].shape, strict=True))
    if name in ("softmax", "cross_entropy"):
        return dict(zip("BC", given[0].shape, strict=True))
    if name == "attention":
        q, _, _, offsets, n_heads = given
        return {"T": len(q), "D": q.shape[1], "B": len(offsets) - 1, "H": n_heads} | {"d_head": q.shape[1] // n_heads}
    if name == "layer":
        x, p, offsets, n_heads = given
        F = p["feed_forward/intermediate/b"].size
        return {"T": len(x), "D": x.shape[1], "F": F} | {"B": len(offsets) - 1, "H": n_heads}
    if name == "encoder":
        return {"B": len(given[3]) - 1, "H": given[5], "L": given[6]}
    if name == "mixed_adapter":
        x, _, tasks, adapters = given
        return {"T": len(x), "D": x.shape[1], "B": len(tasks), "tasks": len(adapters)}
    x, W, _ = given
    return {"T": len(x), "K": len(W), "N": W.shape[1]}


PARTS = {("T", "B"), ("D", "H"), ("D", "d_head"), ("T", "d_head"), ("T", "H"), ("T", "tasks"), ("D", "tasks")}
PARTS |= {("D", "B"), ("F", "B"), ("F", "H")}  # the first is the larger by its nature, or in all that is small
NAMES = ("linear", "embedding", "adapter", "softmax", "cross_entropy", "attention", "layer", "encoder")


@pytest.mark.parametrize("name", (*NAMES, "mixed_adapter", "tiled_matmul"))
def test_each_size_is_once_larger_and_once_smaller_than_each_other_one(name):
    cases = [letters(name, given) for given in lessons.EXERCISES[name].cases(np.random.default_rng(0))]
    for one in cases[0]:
        for other in cases[0]:
            if one != other and (other, one) not in PARTS:
                assert any(sizes[one] > sizes[other] for sizes in cases), f"{one} is never larger than {other}"


@pytest.mark.parametrize("name", lessons.EXERCISES)
def test_a_size_in_the_place_of_another_one_is_caught(monkeypatch, name):
    monkeypatch.setattr(mutate, "_changes", lambda node: ())
    with np.errstate(all="ignore"):
        passed = [told for told, function in mutate.mutants(name) if lessons.check(name, function, seconds=2.0)]
    assert Counter(passed) == (HARMLESS if name == "attention" else Counter())


def test_sizes_of_a_function():
    told = [what for what, _ in mutate.mutants("tiled_matmul")]
    for change in ("W.shape[1] -> x.shape[1]", "x.shape[0] -> W.shape[1]", "columns -> rows", "depth -> x.shape[0]"):
        assert change in told
    assert "len(offsets) - 1 -> n_heads" in [what for what, _ in mutate.mutants("attention")]
    assert not any("rows ->" in what for what, _ in mutate.mutants("attention"))  # there it is a slice


@pytest.mark.parametrize(("name", "own", "step"), [("i", "T", "rows"), ("j", "N", "columns"), ("k", "K", "depth")])
@pytest.mark.parametrize("wrong", "TKN")
def test_a_loop_of_tiles_with_the_end_of_another_one_is_named(name, own, step, wrong):
    def tiled(x, W, tile):
        T, K, N = *x.shape, W.shape[1]
        ends, steps = {"i": T, "j": N, "k": K}, dict(zip("ijk", tile, strict=True))
        ends[name] = {"T": T, "K": K, "N": N}[wrong]
        y = np.zeros((T, N), np.float32)
        for i in range(0, ends["i"], steps["i"]):
            for j in range(0, ends["j"], steps["j"]):
                for k in range(0, ends["k"], steps["k"]):
                    part = x[i : i + steps["i"], k : k + steps["k"]]
                    y[i : i + steps["i"], j : j + steps["j"]] += part @ W[k : k + steps["k"], j : j + steps["j"]]
        return y

    report = lessons.check("tiled_matmul", tiled)
    assert bool(report) == (wrong == own)
    if not report:
        assert report.named and f"the loop of {name} ends at {wrong}; it must end at {own}" in report.diagnosis


def test_the_heads_of_a_batch_are_not_counted_by_its_sequences():
    def by_sequences(q, k, v, offsets, n_heads):
        y, n = np.zeros_like(v), len(offsets) - 1
        parts = [plain.attention(*(a[i:j] for a in (q, k, v)), [0, j - i], n_heads)[0] for i, j in pairwise(offsets)]
        y[:] = np.concatenate(parts)
        y[:, n * (q.shape[1] // n_heads) :] = 0
        return y, None

    assert not lessons.check("attention", by_sequences)
