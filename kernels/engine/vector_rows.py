"""Rows of vectors as one value of compiled code: a micro-tile of a product, which stays in registers as a whole.

A micro-tile is a tuple of rows, and a row is a tuple of vectors (vectors.py). The loops over rows and vectors are
unrolled when the kernel is compiled:

    copies(n, row)                            n rows, all equal to `row`
    load_rows(n, array, i, stride, row)       row r = `row` + the elements from array[i + r * stride] on
    add_outer(tile, a, (i, k), row)           row r += a[i + r, k] * row: an outer product, one multiply-add per vector
    add_inner(tile, a, (i, k), b)             vector v of row r += a[i + r, k:] * b[v, k:], lane by lane: inner products
    store_rows(tile, array, (i, j))           array[i + r, j:] = row r
    reduce_add_each(tile)                     the sums of the tile's LANES vectors, as the lanes of one vector
    rows_to_columns(tile), columns_to_rows(tile)        LANES short rows, end to end, become columns, and rows again

As in vectors.py the elements of a vector are contiguous in the array, and bounds are not checked. Only `add_outer`
reads single elements of a, which may have any strides.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import broadcast, fused_multiply_add, transpose_squares, vector_pointer


def _unpack(builder, tile_type, tile):
    """The rows of a micro-tile, each a list of vectors."""
    return [cgutils.unpack_tuple(builder, row, tile_type.dtype.count) for row in cgutils.unpack_tuple(builder, tile)]


def _pack(context, builder, tile_type, rows):
    return context.make_tuple(builder, tile_type, [context.make_tuple(builder, tile_type.dtype, row) for row in rows])


@intrinsic(prefer_literal=True)
def load_rows(typing, n, array, first, stride, row):
    """n rows, n a literal: `row` plus the elements of a 1-D array from first on, from first + stride on, ..."""
    tile, vector = types.UniTuple(row, n.literal_value), row.dtype

    def build(context, builder, signature, values):
        _, memory, position, stride_value, row_value = values
        starts, rows = cgutils.unpack_tuple(builder, row_value), []
        for _ in range(tile.count):
            sums = []
            for v, start in enumerate(starts):
                at = builder.add(position, ir.Constant(position.type, v * vector.lanes))
                pointer = vector_pointer(context, builder, vector, array, memory, first, at)
                loaded = builder.load(pointer, align=vector.dtype.bitwidth // 8)
                sums.append(builder.fadd(loaded, start))
            rows.append(sums)
            position = builder.add(position, stride_value)
        return _pack(context, builder, tile, rows)

    return tile(n, array, first, stride, row), build


@intrinsic
def add_outer(typing, tile, a, index, row):
    """The micro-tile with a[i + r, k] * `row` added to row r; index is (i, k)."""

    def build(context, builder, signature, values):
        rows, factors = _unpack(builder, tile, values[0]), cgutils.unpack_tuple(builder, values[3])
        i, k = cgutils.unpack_tuple(builder, values[2])
        array, sums = context.make_array(a)(context, builder, values[1]), []
        for r, old in enumerate(rows):
            position = [builder.add(i, ir.Constant(i.type, r)), k]
            element = builder.load(cgutils.get_item_pointer(context, builder, a, array, position))
            x = broadcast(context, builder, element, row.dtype)
            sums.append(
                [fused_multiply_add(context, builder, row.dtype, x, b, c) for b, c in zip(factors, old, strict=True)]
            )
        return _pack(context, builder, tile, sums)

    return tile(tile, a, index, row), build


@intrinsic
def store_rows(typing, tile, array, index):
    """array[i + r, j:] = row r of the micro-tile, for all rows; index is (i, j)."""
    vector = tile.dtype.dtype

    def build(context, builder, signature, values):
        i, j = cgutils.unpack_tuple(builder, values[2])
        for r, row in enumerate(_unpack(builder, tile, values[0])):
            for v, elements in enumerate(row):
                row_index = builder.add(i, ir.Constant(i.type, r))
                column_index = builder.add(j, ir.Constant(j.type, v * vector.lanes))
                position = context.make_tuple(builder, index, [row_index, column_index])
                pointer = vector_pointer(context, builder, vector, array, values[1], index, position)
                builder.store(elements, pointer, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, array, index), build


@intrinsic(prefer_literal=True)
def copies(typing, n, row):
    """n rows, n a literal, all equal to `row`."""
    tile = types.UniTuple(row, n.literal_value)

    def build(context, builder, signature, values):
        return context.make_tuple(builder, tile, [values[1]] * tile.count)

    return tile(n, row), build


@intrinsic
def add_inner(typing, tile, a, index, b):
    """The micro-tile with a[i + r, k:] * b[v, k:] added to vector v of row r, lane by lane; index is (i, k)."""
    vector = tile.dtype.dtype

    def build(context, builder, signature, values):
        i, k = cgutils.unpack_tuple(builder, values[2])

        def vector_at(array, array_value, row):
            position = context.make_tuple(builder, index, [row, k])
            pointer = vector_pointer(context, builder, vector, array, array_value, index, position)
            return builder.load(pointer, align=vector.dtype.bitwidth // 8)

        factors = [vector_at(b, values[3], ir.Constant(i.type, v)) for v in range(tile.dtype.count)]
        sums = []
        for r, old in enumerate(_unpack(builder, tile, values[0])):
            x = vector_at(a, values[1], builder.add(i, ir.Constant(i.type, r)))
            sums.append(
                [fused_multiply_add(context, builder, vector, x, y, z) for y, z in zip(factors, old, strict=True)]
            )
        return _pack(context, builder, tile, sums)

    return tile(tile, a, index, b), build


@intrinsic
def reduce_add_each(typing, tile):
    """The sums of the LANES vectors of a micro-tile, as the lanes of one vector.

    In each round two vectors become one: pairs of neighbouring lanes of both are added, then pairs of pairs, and so on.
    """
    vector = tile.dtype.dtype

    def build(context, builder, signature, values):
        vectors, size = [v for row in _unpack(builder, tile, values[0]) for v in row], 1
        while len(vectors) > 1:
            lower = [lane % size + lane // (2 * size) * 2 * size for lane in range(vector.lanes)]
            lower = [n if lane % (2 * size) < size else n + vector.lanes for lane, n in enumerate(lower)]
            orders = [
                ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), lanes)
                for lanes in (lower, [n + size for n in lower])
            ]
            vectors = [
                builder.fadd(*(builder.shuffle_vector(*pair, order) for order in orders))
                for pair in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            size *= 2
        return vectors[0]

    return vector(tile), build


@intrinsic
def rows_to_columns(typing, tile):
    """n vectors that hold LANES rows of n elements, end to end -> n vectors, each a column of LANES elements."""
    vector, n = tile.dtype.dtype, tile.count

    def build(context, builder, signature, values):
        vectors = [row[0] for row in _unpack(builder, tile, values[0])]
        transpose_squares(builder, vectors, vector.lanes)
        return _pack(context, builder, tile, _shuffled(builder, vectors, _interleaved_order(vector.lanes, n)))

    return tile(tile), build


@intrinsic
def columns_to_rows(typing, tile):
    """The inverse of `rows_to_columns`."""
    vector, n = tile.dtype.dtype, tile.count

    def build(context, builder, signature, values):
        vectors, order = [row[0] for row in _unpack(builder, tile, values[0])], _interleaved_order(vector.lanes, n)
        back = [order.index(lane) for lane in range(vector.lanes)]
        vectors = [row[0] for row in _shuffled(builder, vectors, back)]
        transpose_squares(builder, vectors, vector.lanes)
        return _pack(context, builder, tile, [[row] for row in vectors])

    return tile(tile), build


def _interleaved_order(lanes: int, n: int) -> list[int]:
    """The order of lanes that takes one row from each square in turn.

    LANES / n squares of n rows each lie side by side, and each of the n vectors held one row of every square.
    """
    squares = lanes // n
    return [lane % squares * n + lane // squares for lane in range(lanes)]


def _shuffled(builder, vectors, order):
    """The lanes of every vector in another order, as rows of a micro-tile."""
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
    return [[builder.shuffle_vector(vector, vector, lanes)] for vector in vectors]
