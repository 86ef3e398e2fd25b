"""The products of linear layers: odd shapes, arrays in any order, what is refused."""

import itertools

import numpy as np
import pytest

import kernels
from kernels import reference
from minibert.bench.check import results

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}


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
