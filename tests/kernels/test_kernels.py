"""Every Numba kernel against the NumPy reference, in float32 and float64, and at numbers that are not friendly."""

import copy
import inspect
import itertools
import math
import sys

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.engine import amx
from kernels.runtime.examples import DROPOUT, examples
from kernels.runtime.pool import LINE, empty
from minibert.bench.check import results

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
PRODUCTS = {name for name in dir(reference) if name.startswith("matmul")}
ON_THE_MATRIX_UNIT = PRODUCTS if kernels.COMPILED and amx.ALLOWED else set()
NAMES = sorted(name for name, _ in inspect.getmembers(kernels, inspect.isfunction))
SHAPES = [
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12, "n_heads": 2},
    {"lengths": (1,), "size": 4, "n_out": 5, "n_heads": 1},
    {"lengths": (40, 17, 70), "size": 60, "n_out": 101, "n_heads": 3},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s["lengths"])))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_agree_with_the_reference(dtype, shape):
    seen = set()
    for name, arguments in examples(dtype, **shape):
        seen.add(name)
        for ours, theirs in zip(results(kernels, name, arguments), results(reference, name, arguments), strict=True):
            assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name
            scale = max(1.0, np.abs(theirs).max())
            assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE[dtype] * scale, name
    assert seen == set(NAMES) - {"freeze", "freeze_each", "lay_out"}, "every operation must be compared"


def test_names_and_signatures_are_those_of_the_reference():
    theirs = {name for name, _ in inspect.getmembers(reference, inspect.isfunction) if not name.startswith("_")}
    assert theirs - {"random_bits", "pairwise"} == set(NAMES) - {"lay_out"}
    for name in sorted(theirs - {"random_bits", "pairwise"}):
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (kernels, reference))
        assert list(ours.values()) == list(theirs.values()), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_every_remainder(dtype):
    """T and columns that fill no tile, one tile, and one tile and a rest."""
    rng = np.random.default_rng(0)
    small = itertools.product(range(1, 14), (1, 7, 16), range(1, 10))
    strips = itertools.product((1, 5, 37, 400), (1, 63, 66, 200, 400), (64, 65, 383, 384, 450))
    long = ((20, 800, 70), (50, 1600, 8), (800, 33, 40), (1600, 70, 20), (600, 31, 33))
    for T, n_in, n_out in itertools.chain(small, strips, long):
        shapes = (T, n_in), (n_in, n_out), n_out, (T, n_out), (T, n_in)
        x, W, b, dy, dx = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        for name, arguments in (
            ("matmul", (x, W, b)),
            ("matmul", (x, W, b, dy)),
            ("matmul_dx", (dy, W)),
            ("matmul_dx", (dy, W, dx)),
            ("matmul_dw", (x, dy, W)),
            ("matmul_backward", (dy, x, W, W.copy(), b, dx, x)),
            ("bias_db", (dy, b)),
        ):
            for ours, theirs in zip(
                results(kernels, name, arguments), results(reference, name, arguments), strict=True
            ):
                scale = max(1, np.abs(theirs).max())
                assert np.abs(ours - theirs).max() <= 10 * TOLERANCE[dtype] * scale, (name, T, n_in, n_out)


@pytest.mark.parametrize("few", range(1, 9))
def test_narrow_factors_of_every_width(few):
    """What fills a factor up to eight rows adds nothing."""
    rng = np.random.default_rng(few)
    x, W = (rng.standard_normal(s).astype(np.float32) for s in ((9, few), (few, 64)))
    for a, b in ((x, W), (rng.standard_normal((9, 64)).astype(np.float32), np.ascontiguousarray(W.T))):
        assert np.abs(kernels.matmul(a, b) - a @ b).max() <= 1e-5
        assert np.abs(kernels.matmul_dx(a, np.ascontiguousarray(b.T)) - a @ b).max() <= 1e-5


@pytest.mark.parametrize("T, n_in, n_out", [(40, 64, 64), (7, 384, 384), (100, 800, 416), (33, 96, 32), (50, 40, 70)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_that_read_the_same(T, n_in, n_out, dtype):
    """All, some and one of three; gradients that are one array, and some that are not."""
    rng = np.random.default_rng(0)
    Ws, bs, dys = (rng.standard_normal((3, *s)).astype(dtype) for s in ((n_in, n_out), (n_out,), (T, n_out)))
    x, plus = (rng.standard_normal((T, n_in)).astype(dtype) for _ in range(2))
    frozen = kernels.freeze_each(list(Ws))
    for first, last in ((0, 3), (1, 3), (0, 1), (2, 3)):
        some, biases, grads = frozen[first:last], bs[first:last], dys[first:last]
        for y, W, b in zip(kernels.matmul_each(x, some, biases), Ws[first:last], biases, strict=True):
            assert np.abs(y - (x @ W + b)).max() <= TOLERANCE[dtype] * np.abs(y).max()
        for before in (None, plus):
            dx = kernels.matmul_dx_each(grads, some, before)
            exact = reference.matmul_dx_each(grads, Ws[first:last], before)
            assert np.abs(dx - exact).max() <= TOLERANCE[dtype] * np.abs(dx).max()
            apart = kernels.matmul_dx_each([dy.copy() for dy in grads], some, before)
            np.testing.assert_array_equal(apart, dx)
    with pytest.raises(ValueError):
        kernels.matmul_dx_each(dys, frozen[:2])


@pytest.mark.parametrize("n_in, n_out", [(384, 7), (384, 64), (64, 384), (7, 450)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_nothing(dtype, n_in, n_out):
    """No tokens: dW is left as it was. No inputs: the bias alone."""
    x, dy, W, b = (np.ones(shape, dtype) for shape in ((0, n_in), (0, n_out), (n_in, n_out), n_out))
    assert kernels.matmul(x, W, b).shape == (0, n_out) and kernels.matmul_dx(dy, W).shape == (0, n_in)
    dW = W.copy()
    kernels.matmul_dw(x, dy, dW)
    np.testing.assert_array_equal(dW, W)
    no_inputs = np.ones((9, 0), dtype)
    np.testing.assert_array_equal(kernels.matmul(no_inputs, W[:0], b), np.ones((9, n_out), dtype))
    plus = np.full((9, n_out), 2, dtype)
    np.testing.assert_array_equal(kernels.matmul(no_inputs, W[:0], b, plus), np.full((9, n_out), 3, dtype))


@pytest.mark.skipif(
    kernels.BACKEND in ("numpy", "blas"), reason="the tiles are the Numba kernel's; BLAS sums as it likes"
)
@pytest.mark.parametrize("n_in, n_out", [(333, 7), (333, 66), (333, 497), (384, 8), (5, 384)])
def test_a_number_of_a_product_does_not_depend_on_its_place(n_in, n_out):
    """Tiles and strips at the edges are moved back; what comes out must be the same to the last bit."""
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(s).astype(np.float32) for s in ((31, n_in), (n_in, n_out), n_out, (31, n_out)))
    rows, inputs, outputs = (rng.permutation(n) for n in (31, n_in, n_out))
    moved = kernels.matmul(x[rows], np.ascontiguousarray(W[:, outputs]), b[outputs])
    np.testing.assert_array_equal(moved, kernels.matmul(x, W, b)[rows][:, outputs])
    moved = kernels.matmul_dx(dy[rows], np.ascontiguousarray(W[inputs]))
    np.testing.assert_array_equal(moved, kernels.matmul_dx(dy, W)[rows][:, inputs])
    dW, moved = np.zeros((2, n_in, n_out), np.float32)
    kernels.matmul_dw(x, dy, dW)
    kernels.matmul_dw(np.ascontiguousarray(x[:, inputs]), np.ascontiguousarray(dy[:, outputs]), moved)
    np.testing.assert_array_equal(moved, dW[inputs][:, outputs])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_layernorm_divides_as_numpy_does(dtype):
    """A row whose squares are too large for the type, one without any spread, and one of zeros without eps."""
    x = np.ones((3, 40), dtype)
    x[0, ::2] = 1e20 if dtype == np.float32 else 1e200
    x[2] = 0
    gamma, beta = np.full(40, 2, dtype), np.full(40, 3, dtype)
    for eps in (0.0, 1e-12):
        arguments = None, gamma, beta, eps
        for ours, theirs in zip(
            kernels.layernorm(x.copy(), *arguments), reference.layernorm(x.copy(), *arguments), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=f"eps {eps}")


def test_adam_says_what_it_cannot_change():
    arrays = [np.ones((3, 4), np.float32) for _ in range(4)]
    rest = (0.1, 0.9, 0.999, 1e-8, 0.0, 1)
    if kernels.BACKEND != "numpy":
        with pytest.raises(ValueError, match="C order"):
            kernels.adam(np.ones((4, 3), np.float32).T, *arrays[1:], *rest)
        with pytest.raises(ValueError, match="one shape"):
            kernels.adam(arrays[0], np.ones(5, np.float32), *arrays[2:], *rest)
        with pytest.raises(ValueError, match="C order"):
            kernels.squared_norm(np.ones((4, 3), np.float32).T, 1.0)


@pytest.mark.skipif(kernels.BACKEND in ("numpy", "blas"), reason="NumPy says it in its own words")
def test_shapes_that_do_not_fit_are_told():
    """Kernels do not check bounds, so nothing that is wrong may reach them."""
    x, W, dy = np.ones((7, 5), np.float32), np.ones((5, 40), np.float32), np.ones((7, 40), np.float32)
    for few in (7, 3):  # a tile and more, and less than one
        for name, arguments in (
            ("matmul", (x[:few, :3], W)),
            ("matmul", (np.ones((few, 9), np.float32), W)),
            ("matmul", (x[:few], W, None, dy[:1])),
            ("matmul", (x[:few], W, W[0, :39])),
            ("matmul", (x[:few], W, np.ones(41, np.float32))),
            ("matmul_dx", (dy[:few], W, dy[:few])),
            ("matmul_dw", (x[:few], dy[: few - 1], W)),
            ("matmul_dw", (x[:few], dy[:few], W[:4])),
            ("matmul_dw", (x[:few], dy[:few, :39], W)),
        ):
            with pytest.raises(ValueError, match="do not fit"):
                getattr(kernels, name)(*arguments)
        with pytest.raises(ValueError, match="one dtype"):
            kernels.matmul(x[:few].astype(np.float64), W)
        with pytest.raises(ValueError, match="one dtype"):
            kernels.matmul(x[:few], W, np.ones(40))
    offsets = np.array([0, 7])
    with pytest.raises(ValueError, match="3 heads"):
        kernels.attention(x, x, x, offsets, offsets, 3)


@pytest.mark.skipif(kernels.BACKEND in ("numpy", "blas"), reason="a kernel writes whole vectors")
def test_products_take_what_is_not_in_c_order_and_refuse_to_write_there():
    rng = np.random.default_rng(0)
    x, W, dy = (np.asfortranarray(rng.standard_normal(shape)) for shape in ((50, 70), (70, 90), (50, 90)))
    np.testing.assert_allclose(kernels.matmul(x, W), x @ W, rtol=1e-9)
    np.testing.assert_allclose(kernels.matmul(x[::2], W[:, ::3]), x[::2] @ W[:, ::3], rtol=1e-9)
    np.testing.assert_allclose(kernels.matmul_dx(dy, W), dy @ W.T, rtol=1e-9)
    plus = np.broadcast_to(rng.standard_normal(90), (50, 90))  # one row of numbers, fifty times
    for each in (plus, np.asfortranarray(plus)):
        np.testing.assert_allclose(kernels.matmul(x, W, residual=each), x @ W + each, rtol=1e-9)
    wider = np.zeros((70, 100))
    kernels.matmul_dw(x, dy, wider[:, 5:95])
    np.testing.assert_allclose(wider[:, 5:95], x.T @ dy, rtol=1e-9)
    assert (wider[:, :5] == 0).all() and (wider[:, 95:] == 0).all()
    x, dy = (rng.standard_normal(shape).astype(np.float32) for shape in ((50, 64), (50, 8)))
    for few, many, shape in ((dy, x, (64, 12)), (x, dy, (12, 68))):  # narrow products
        wider = np.zeros(shape, np.float32)
        kernels.matmul_dw(many, few, wider[: many.shape[1], 2 : 2 + few.shape[1]])
        np.testing.assert_allclose(wider[: many.shape[1], 2 : 2 + few.shape[1]], many.T @ few, atol=1e-4)
        assert (wider[:, :2] == 0).all() and (wider[:, 2 + few.shape[1] :] == 0).all()
    with pytest.raises(ValueError, match="dW must be in C order"):
        kernels.matmul_dw(x, dy, np.zeros((8, 64), np.float32).T)


def test_attention_takes_what_is_not_in_c_order():
    rng = np.random.default_rng(0)
    q, k, v, dcontext = rng.standard_normal((4, 9, 64)).astype(np.float32)
    offsets = np.array([0, 4, 9])
    context, lse = kernels.attention(q, k, v, offsets, offsets, 2)
    grads = kernels.attention_backward(dcontext, q, k, v, lse, offsets, offsets)
    other = [np.asfortranarray(array) for array in (dcontext, q, k, v)]
    np.testing.assert_allclose(kernels.attention(*other[1:], offsets, offsets, 2)[0], context, rtol=1e-5)
    for ours, theirs in zip(kernels.attention_backward(*other, lse, offsets, offsets), grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_activations_are_their_formulas():
    x = np.linspace(-9, 9, 101)
    np.testing.assert_array_equal(kernels.relu(x.copy())[0], np.where(x > 0, x, 0))
    np.testing.assert_allclose(kernels.tanh(x.copy())[0], np.sinh(x) / np.cosh(x), rtol=1e-12)
    np.testing.assert_allclose(kernels.swish(x.copy())[0], x / (1 + np.exp(-x)), rtol=1e-12)


def test_gelu_in_float32_over_the_whole_line():
    small = np.logspace(-46, 1, 20_001)  # from below the smallest denormal number
    x = np.concatenate([np.linspace(-30, 30, 300_001), small, -small, [0.0, -0.0, 3e38, -3e38]]).astype(np.float32)
    exact = x.astype(np.float64)
    below = 0.5 * np.frompyfunc(math.erfc, 1, 1)(-exact / math.sqrt(2)).astype(np.float64)
    slope = below + exact * np.exp(-0.5 * exact**2) / math.sqrt(2 * math.pi)
    allowed = 2e-7 * np.maximum(1, np.abs(exact))
    y, our_slope = kernels.gelu(x)
    assert (np.abs(y - exact * below) <= allowed).all()
    assert (np.abs(our_slope - slope) <= allowed).all()
    around_zero = np.array([-1e-40, -0.0, 0.0, 1e-40], np.float32)
    assert (kernels.gelu(around_zero)[1] == 0.5).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity_pass_through_as_in_the_reference(dtype, value):
    """One bad number in the middle of each array in turn: the same places of every result must be NaN or infinite.

    The matrix unit makes NaN of what has met an infinity.
    """
    for name, arguments in examples(dtype):
        for i in [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray) and a.dtype == dtype]:
            if name.endswith("_each") and i in (1, 2):  # what computes was prepared of these before
                continue
            spoilt = copy.deepcopy(arguments)
            spoilt[i].reshape(-1)[spoilt[i].size // 2] = value
            all_ours = results(kernels, name, spoilt)
            if name == "matmul_gelu" and i < 2 and name in ON_THE_MATRIX_UNIT and dtype == np.float32:
                spoilt[i].reshape(-1)[spoilt[i].size // 2] = np.nan  # this is what GELU has met, then
                all_ours[2 + i].reshape(-1)[spoilt[i].size // 2] = np.nan
            for ours, theirs in zip(all_ours, results(reference, name, spoilt), strict=True):
                ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
                bad = ~np.isfinite(ours) | ~np.isfinite(theirs)
                if name in ON_THE_MATRIX_UNIT and dtype == np.float32:
                    ours[np.isinf(ours)] = theirs[np.isinf(theirs)] = np.nan
                np.testing.assert_array_equal(ours[bad], theirs[bad], err_msg=f"{name}, argument {i}")


@pytest.mark.parametrize("shift", [-400, 400])
def test_attention_scores_far_from_zero(shift):
    """All scores of a row near -200 or 200: softmax only sees their differences, in backward too."""
    rng = np.random.default_rng(0)
    q, k, v, dcontext = (rng.standard_normal((3, 4)).astype(np.float32) for _ in range(4))
    q[:, 0], k[:, 0] = shift, 1 + 0.01 * k[:, 0]
    offsets = np.array([0, 3])
    context, lse = kernels.attention(q, k, v, offsets, offsets, 1)
    np.testing.assert_allclose(context, reference.attention(q, k, v, offsets, offsets, 1)[0], atol=1e-4)
    ours = kernels.attention_backward(dcontext, q, k, v, lse, offsets, offsets)
    for grad, theirs in zip(ours, reference.attention_backward(dcontext, q, k, v, lse, offsets, offsets), strict=True):
        np.testing.assert_allclose(grad, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threads")
def test_every_head_is_one_threads():
    """Also where there are more threads than heads: what two of them write at the same time would be wrong."""
    bounds_of = sys.modules["kernels.engine.attention"]._bounds
    for lengths, n_heads, n_threads in itertools.product(
        ((5,), (1, 90), (7, 30, 2, 2, 64)), (1, 2, 12), (1, 2, 3, 8, 40)
    ):
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        for offsets_q in (offsets, np.arange(len(offsets))):
            bounds = bounds_of(offsets_q, offsets, n_heads, n_threads)
            assert bounds[0] == 0 and bounds[-1] == n_heads * len(lengths) and (np.diff(bounds) >= 0).all()


@pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threads")
def test_every_number_of_a_product_is_one_threads():
    """Also where there are more threads than tiles or strips; and bands begin with whole ones."""
    band_of = sys.modules["kernels.engine.gemm_amx"]._band
    for n_rows, n_columns, n_threads, by_columns in itertools.product(
        (1, 16, 200, 385), (1, 32, 64, 450), (1, 2, 3, 8, 40), (False, True)
    ):
        owned = np.zeros((n_rows, n_columns), int)
        for part in range(n_threads):
            rows, columns = band_of(n_rows, n_columns, part, n_threads, by_columns)
            owned[slice(*rows), slice(*columns)] += 1
            assert columns[0] % 32 == 0 and (rows[0] % 16 == 0 or rows[0] == n_rows)
        assert (owned == 1).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_its_mask(rate):
    x = np.ones((300, 400), np.float32)
    key = DROPOUT[1]
    y = kernels.dropout(x, (rate, key))
    kept = y != 0
    standard_error = math.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept.mean() - (1 - rate)) <= 4 * standard_error
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    np.testing.assert_array_equal(kernels.dropout(x, (rate, key)), y)  # backward is the same call with dy
    for other in ((key[0] + np.uint32(1), key[1]), (key[0], key[1] + np.uint32(1)), key[::-1]):
        both = kept & (kernels.dropout(x, (rate, other)) != 0)
        assert abs(both.mean() - (1 - rate) ** 2) <= 4 * standard_error, "masks of two keys must be independent"


def test_attention_drops_the_same_weights_in_backward():
    """With v and dcontext of ones, context and dv are sums of the dropped weights: over rows and over columns of P."""
    T, dropout = 40, (0.3, DROPOUT[1])
    zeros, ones, offsets = np.zeros((T, 4), np.float32), np.ones((T, 4), np.float32), np.array([0, 15, T])
    context, lse = kernels.attention(zeros, zeros, ones, offsets, offsets, 2, dropout)
    _, _, dv = kernels.attention_backward(ones, zeros, zeros, ones, lse, offsets, offsets, dropout)
    for start, stop in ((0, 15), (15, T)):
        assert context[start:stop].std() > 0.05
        np.testing.assert_allclose(context[start:stop].sum(axis=0), dv[start:stop].sum(axis=0), rtol=1e-5)
    assert np.unique(context[:, ::2], axis=1).shape[1] == 2, "heads have masks of their own"


def test_lent_memory_never_overlaps_and_comes_back():
    """Arrays of any sizes come and go; each keeps its numbers, and in the end all memory is in few pieces again."""
    from kernels.runtime import pool as memory

    rng, alive = np.random.default_rng(0), []
    for i in range(600):
        array = empty(int(rng.integers(1, 2**20) ** rng.uniform(0.7, 1.2)) + 2**13, np.float32)
        array.fill(i)
        alive.append((i, array))
        while len(alive) > 20:
            number, array = alive.pop(rng.integers(len(alive)))
            assert (array == number).all()
    most = sum(piece.size for piece in memory._pieces)
    alive.clear()
    del array
    large = [empty(2**22, np.float32) for _ in range(4)]  # as much as was never asked for, of what came back
    assert len(large) == 4 and sum(piece.size for piece in memory._pieces) <= most + 2 * memory.PIECE
    for piece in memory._pieces:
        assert sum(piece.parts.values()) <= piece.size
        assert {start + n: start for start, n in piece.parts.items()} == piece.ends


def test_what_was_unused_for_longest_is_given_up(monkeypatch):
    from kernels.runtime import pool as memory

    for name, start in (("_pool", {}), ("_pieces", []), ("_owned", 0), ("_most_lent", 0), ("_misses", 0)):
        monkeypatch.setattr(memory, name, start)
    arrays = [empty(quarters << 16, np.float32) for quarters in (4, 8, 12)]  # quarters of a megabyte
    del arrays
    assert not empty(4 << 16, np.float32).ctypes.data % LINE  # the first of the three is used once more
    other = empty(6 << 16, np.float32)  # more than was ever lent at once, unless one is given up
    assert {size >> 18: len(blocks) for size, blocks in memory._pool.items()} == {4: 1, 8: 0, 12: 1, 6: 0}
    taken = sum(piece.size - sum(piece.parts.values()) for piece in memory._pieces)
    assert taken == memory._owned == (4 + 12) * 2**18 + other.nbytes


def test_memory_is_lent_again_only_when_the_last_view_is_gone():
    first = empty((100, 100), np.float32)
    address, view = first.ctypes.data, first[3:, 5:].T
    del first
    second = empty((100, 100), np.float32)
    assert not np.shares_memory(view, second)
    del view
    assert empty((100, 100), np.float32).ctypes.data == address
    assert address % LINE == second.ctypes.data % LINE == 0
