"""Rows of vectors as one value of compiled code: a tile of a product, which stays in registers as a whole.

It is a tuple of rows, a row a tuple of vectors (simd.py), and the loops over rows and vectors are unrolled when the
kernel is compiled:

    copies(n, row)                         n rows, all `row`
    start_rows(n, array, i, step, row)     n rows: `row` + the numbers from array[i] on, from array[i + step] on, ...
    add_outer(tile, a, (i, k), row)        + a[i, k] row, a[i + 1, k] row, ...: one multiply-add a vector
    add_inner(tile, a, (i, k), b)          + a[i + r, k] and behind times b[v, k] and behind, in vector v of row r
    store_rows(tile, array, (i, j))        write them to array[i, j], array[i + 1, j], ... and behind
    totals(tile)                           a vector of the sums of all the tile's vectors, of which there are LANES
    columns_of(tile), rows_of(tile)        of LANES short rows one behind the other the columns, and the rows again

What simd.py says of arrays holds here, but `add_outer` takes single numbers of a, which may lie anywhere.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import fused, in_every_lane, swap_across_diagonal, vector_pointer


def _unpack(builder, tile_type, tile):
    """The vectors of a tile, row by row."""
    return [cgutils.unpack_tuple(builder, row, tile_type.dtype.count) for row in cgutils.unpack_tuple(builder, tile)]


def _pack(context, builder, tile_type, rows):
    return context.make_tuple(builder, tile_type, [context.make_tuple(builder, tile_type.dtype, row) for row in rows])


@intrinsic(prefer_literal=True)
def start_rows(typing, n, array, first, step, row):
    """n rows, n written as a number: `row` plus what lies in the 1-D array at first, first + step, ..."""
    tile, vector = types.UniTuple(row, n.literal_value), row.dtype

    def build(context, builder, signature, values):
        _, memory, place, step_value, row_value = values
        starts, rows = cgutils.unpack_tuple(builder, row_value), []
        for _ in range(tile.count):
            sums = []
            for v, start in enumerate(starts):
                at = builder.add(place, ir.Constant(place.type, v * vector.lanes))
                pointer = vector_pointer(context, builder, vector, array, memory, first, at)
                there = builder.load(pointer, align=vector.dtype.bitwidth // 8)
                sums.append(builder.fadd(there, start))
            rows.append(sums)
            place = builder.add(place, step_value)
        return _pack(context, builder, tile, rows)

    return tile(n, array, first, step, row), build


@intrinsic
def add_outer(typing, tile, a, index, row):
    """The tile, and to its row r added a[i + r, k] times `row`; index is (i, k)."""

    def build(context, builder, signature, values):
        rows, factors = _unpack(builder, tile, values[0]), cgutils.unpack_tuple(builder, values[3])
        i, k = cgutils.unpack_tuple(builder, values[2])
        array, sums = context.make_array(a)(context, builder, values[1]), []
        for r, old in enumerate(rows):
            place = [builder.add(i, ir.Constant(i.type, r)), k]
            number = builder.load(cgutils.get_item_pointer(context, builder, a, array, place))
            x = in_every_lane(context, builder, number, row.dtype)
            sums.append([fused(context, builder, row.dtype, x, b, c) for b, c in zip(factors, old, strict=True)])
        return _pack(context, builder, tile, sums)

    return tile(tile, a, index, row), build


@intrinsic
def store_rows(typing, tile, array, index):
    """array[i + r, j] and those behind it = row r of the tile; index is (i, j)."""
    vector = tile.dtype.dtype

    def build(context, builder, signature, values):
        i, j = cgutils.unpack_tuple(builder, values[2])
        for r, row in enumerate(_unpack(builder, tile, values[0])):
            for v, numbers in enumerate(row):
                place = [builder.add(i, ir.Constant(i.type, r)), builder.add(j, ir.Constant(j.type, v * vector.lanes))]
                places = context.make_tuple(builder, index, place)
                pointer = vector_pointer(context, builder, vector, array, values[1], index, places)
                builder.store(numbers, pointer, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(tile, array, index), build


@intrinsic(prefer_literal=True)
def copies(typing, n, row):
    """n rows, n written as a number, all of them `row`."""
    tile = types.UniTuple(row, n.literal_value)

    def build(context, builder, signature, values):
        return context.make_tuple(builder, tile, [values[1]] * tile.count)

    return tile(n, row), build


@intrinsic
def add_inner(typing, tile, a, index, b):
    """The tile, and to vector v of row r added a[i + r, k] b[v, k], and so on lane by lane; index is (i, k)."""
    vector = tile.dtype.dtype

    def build(context, builder, signature, values):
        i, k = cgutils.unpack_tuple(builder, values[2])

        def vector_at(array, kind, row):
            places = context.make_tuple(builder, index, [row, k])
            pointer = vector_pointer(context, builder, vector, array, kind, index, places)
            return builder.load(pointer, align=vector.dtype.bitwidth // 8)

        factors = [vector_at(b, values[3], ir.Constant(i.type, v)) for v in range(tile.dtype.count)]
        sums = []
        for r, old in enumerate(_unpack(builder, tile, values[0])):
            x = vector_at(a, values[1], builder.add(i, ir.Constant(i.type, r)))
            sums.append([fused(context, builder, vector, x, y, z) for y, z in zip(factors, old, strict=True)])
        return _pack(context, builder, tile, sums)

    return tile(tile, a, index, b), build


@intrinsic
def totals(typing, tile):
    """The sums of all vectors of the tile, of which there are LANES, as the lanes of one.

    Two vectors become one that has halves of both, added to each other; the same with quarters, and so on.
    """
    vector = tile.dtype.dtype

    def build(context, builder, signature, values):
        vectors, size = [v for row in _unpack(builder, tile, values[0]) for v in row], 1
        while len(vectors) > 1:
            lower = [lane % size + lane // (2 * size) * 2 * size for lane in range(vector.lanes)]
            lower = [n if lane % (2 * size) < size else n + vector.lanes for lane, n in enumerate(lower)]
            orders = [
                ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), places)
                for places in (lower, [n + size for n in lower])
            ]
            vectors = [
                builder.fadd(*(builder.shuffle_vector(*pair, order) for order in orders))
                for pair in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            size *= 2
        return vectors[0]

    return vector(tile), build


@intrinsic
def columns_of(typing, tile):
    """n vectors that hold rows of n numbers, one behind the other: as n vectors, each of them a column."""
    vector, n = tile.dtype.dtype, tile.count

    def build(context, builder, signature, values):
        vectors = [row[0] for row in _unpack(builder, tile, values[0])]
        swap_across_diagonal(builder, vectors, vector.lanes)
        return _pack(context, builder, tile, _in_order(builder, vectors, _rows_in_turn(vector.lanes, n)))

    return tile(tile), build


@intrinsic
def rows_of(typing, tile):
    """What `columns_of` was given."""
    vector, n = tile.dtype.dtype, tile.count

    def build(context, builder, signature, values):
        vectors, order = [row[0] for row in _unpack(builder, tile, values[0])], _rows_in_turn(vector.lanes, n)
        back = [order.index(lane) for lane in range(vector.lanes)]
        vectors = [row[0] for row in _in_order(builder, vectors, back)]
        swap_across_diagonal(builder, vectors, vector.lanes)
        return _pack(context, builder, tile, [[row] for row in vectors])

    return tile(tile), build


def _rows_in_turn(lanes: int, n: int) -> list[int]:
    """From squares of n rows each, side by side, rows are taken in turns: each vector held one of every square."""
    squares = lanes // n
    return [lane % squares * n + lane // squares for lane in range(lanes)]


def _in_order(builder, vectors, order):
    """The lanes of every vector in another order; as rows of a tile."""
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
    return [[builder.shuffle_vector(vector, vector, lanes)] for vector in vectors]
