"""The products of linear layers: odd shapes, arrays in any order, what is refused."""

import numpy as np
import pytest
from back_ends import BACK_ENDS, LONG, SMALL, TOLERANCE, assert_products_agree, each_back_end, each_dtype, skip_on

from kernels import reference


@each_back_end
@each_dtype
def test_products_of_every_remainder(back_end, dtype):
    """T and columns that fill no micro-tile, one, and one and a rest; long sums; eight columns or fewer."""
    assert_products_agree(back_end, dtype, SMALL + LONG)


@each_back_end
@pytest.mark.parametrize("T, n_in, n_out", [(40, 64, 64), (7, 384, 384), (100, 800, 416), (33, 96, 32), (50, 40, 70)])
@each_dtype
def test_weights_that_read_the_same(back_end, T, n_in, n_out, dtype):
    """All, some and one of three; gradients that are one array, and some that are not."""
    rng = np.random.default_rng(0)
    Ws, bs, dys = (rng.standard_normal((3, *s)).astype(dtype) for s in ((n_in, n_out), (n_out,), (T, n_out)))
    x, other = (rng.standard_normal((T, n_in)).astype(dtype) for _ in range(2))
    frozen = back_end.freeze_each(list(Ws))
    for first, last in ((0, 3), (1, 3), (0, 1), (2, 3)):
        some, biases, grads = frozen[first:last], bs[first:last], dys[first:last]
        for y, W, b in zip(back_end.matmul_each(x, some, biases), Ws[first:last], biases, strict=True):
            assert np.abs(y - (x @ W + b)).max() <= TOLERANCE[dtype] * np.abs(y).max()
        for dx_accum in (None, other):
            dx = back_end.matmul_dx_each(grads, some, dx_accum)
            exact = reference.matmul_dx_each(grads, Ws[first:last], dx_accum)
            assert np.abs(dx - exact).max() <= TOLERANCE[dtype] * np.abs(dx).max()
            apart = back_end.matmul_dx_each([dy.copy() for dy in grads], some, dx_accum)
            np.testing.assert_array_equal(apart, dx)
    with pytest.raises(ValueError):
        back_end.matmul_dx_each(dys, frozen[:2])


@each_back_end
@pytest.mark.parametrize("n_in, n_out", [(384, 7), (384, 64), (64, 384), (7, 450)])
@each_dtype
def test_products_of_nothing(back_end, dtype, n_in, n_out):
    """No tokens: dW is left as it was. No inputs: the bias alone."""
    x, dy, W, b = (np.ones(shape, dtype) for shape in ((0, n_in), (0, n_out), (n_in, n_out), n_out))
    assert back_end.matmul(x, W, b).shape == (0, n_out) and back_end.matmul_dx(dy, W).shape == (0, n_in)
    dW = W.copy()
    back_end.matmul_dw(x, dy, dW)
    np.testing.assert_array_equal(dW, W)
    no_inputs = np.ones((9, 0), dtype)
    np.testing.assert_array_equal(back_end.matmul(no_inputs, W[:0], b), np.ones((9, n_out), dtype))
    residual = np.full((9, n_out), 2, dtype)
    np.testing.assert_array_equal(back_end.matmul(no_inputs, W[:0], b, residual), np.full((9, n_out), 3, dtype))


@each_back_end
@pytest.mark.parametrize("n_in, n_out", [(333, 7), (333, 66), (333, 497), (384, 8), (5, 384)])
def test_an_element_does_not_depend_on_its_place(back_end, n_in, n_out):
    """Micro-tiles and panels at the edges are moved back; what comes out must be the same to the last bit.

    Of plain loops that is asked for rows alone: LLVM takes several elements of a row at once and the last ones one by
    one, and on some processors (AVX2 without AVX-512) rounds them differently.
    """
    skip_on(("numpy", "blas"), back_end, "BLAS sums as it likes")
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(s).astype(np.float32) for s in ((31, n_in), (n_in, n_out), n_out, (31, n_out)))
    rows, inputs, outputs = (rng.permutation(n) for n in (31, n_in, n_out))
    if back_end is BACK_ENDS.get("plain"):
        inputs, outputs = np.arange(n_in), np.arange(n_out)
    moved = back_end.matmul(x[rows], np.ascontiguousarray(W[:, outputs]), b[outputs])
    np.testing.assert_array_equal(moved, back_end.matmul(x, W, b)[rows][:, outputs])
    moved = back_end.matmul_dx(dy[rows], np.ascontiguousarray(W[inputs]))
    np.testing.assert_array_equal(moved, back_end.matmul_dx(dy, W)[rows][:, inputs])
    dW, moved = np.zeros((2, n_in, n_out), np.float32)
    back_end.matmul_dw(x, dy, dW)
    back_end.matmul_dw(np.ascontiguousarray(x[:, inputs]), np.ascontiguousarray(dy[:, outputs]), moved)
    np.testing.assert_array_equal(moved, dW[inputs][:, outputs])


@each_back_end
def test_shapes_that_do_not_fit_are_refused(back_end):
    """Kernels do not check bounds, so nothing that is wrong may reach them."""
    skip_on(("numpy",), back_end, "NumPy refuses in its own words")
    x, W, dy = np.ones((7, 5), np.float32), np.ones((5, 40), np.float32), np.ones((7, 40), np.float32)
    for few in (7, 3):  # a micro-tile and more, and less than one
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
                getattr(back_end, name)(*arguments)
        with pytest.raises(ValueError, match="one dtype"):
            back_end.matmul(x[:few].astype(np.float64), W)
        with pytest.raises(ValueError, match="one dtype"):
            back_end.matmul(x[:few], W, np.ones(40))


@each_back_end
def test_products_take_what_is_not_in_c_order_and_refuse_to_write_there(back_end):
    skip_on(("numpy",), back_end, "a kernel writes whole vectors")
    rng = np.random.default_rng(0)
    x, W, dy = (np.asfortranarray(rng.standard_normal(shape)) for shape in ((50, 70), (70, 90), (50, 90)))
    np.testing.assert_allclose(back_end.matmul(x, W), x @ W, rtol=1e-9)
    np.testing.assert_allclose(back_end.matmul(x[::2], W[:, ::3]), x[::2] @ W[:, ::3], rtol=1e-9)
    np.testing.assert_allclose(back_end.matmul_dx(dy, W), dy @ W.T, rtol=1e-9)
    rows = np.broadcast_to(rng.standard_normal(90), (50, 90))  # one row, fifty times
    for each in (rows, np.asfortranarray(rows)):
        np.testing.assert_allclose(back_end.matmul(x, W, residual=each), x @ W + each, rtol=1e-9)
    wider = np.zeros((70, 100))
    back_end.matmul_dw(x, dy, wider[:, 5:95])
    np.testing.assert_allclose(wider[:, 5:95], x.T @ dy, rtol=1e-9)
    assert (wider[:, :5] == 0).all() and (wider[:, 95:] == 0).all()
    x, dy = (rng.standard_normal(shape).astype(np.float32) for shape in ((50, 64), (50, 8)))
    for few, many, shape in ((dy, x, (64, 12)), (x, dy, (12, 68))):  # skinny products
        wider = np.zeros(shape, np.float32)
        back_end.matmul_dw(many, few, wider[: many.shape[1], 2 : 2 + few.shape[1]])
        np.testing.assert_allclose(wider[: many.shape[1], 2 : 2 + few.shape[1]], many.T @ few, atol=1e-4)
        assert (wider[:, :2] == 0).all() and (wider[:, 2 + few.shape[1] :] == 0).all()
    with pytest.raises(ValueError, match="dW must be in C order"):
        back_end.matmul_dw(x, dy, np.zeros((8, 64), np.float32).T)
