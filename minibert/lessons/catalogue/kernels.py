"""A product in tiles, and what bounds its speed."""

import numpy as np

from minibert.lessons.exercise import Exercise

_LOOPS = """    for i in range(0, x.shape[0], rows):
        for j in range(0, W.shape[1], columns):
            for k in range(0, x.shape[1], depth):
"""
_WHOLE_TILES = """    for i in range(0, x.shape[0] - rows + 1, rows):
        for j in range(0, W.shape[1] - columns + 1, columns):
            for k in range(0, x.shape[1] - depth + 1, depth):
"""


def _tiled_matmul(rng):
    """Whole numbers in float32: their sums are exact in any order. The first divides evenly, the others do not. Each of
    T, K and N is once larger than each other one by a tile: a loop that ends at another one's end loses a tile."""

    def arguments(T, K, N, tile):
        x, W = rng.integers(-9, 10, size=(T, K)), rng.integers(-9, 10, size=(K, N))
        return x.astype(np.float32), W.astype(np.float32), tile

    larger = arguments(11, 5, 7, (3, 2, 4))
    any_size = arguments(*rng.integers(1, 17, size=3), tuple(rng.integers(1, 6, size=3).tolist()))
    return [
        arguments(4, 6, 10, (2, 5, 3)),
        arguments(5, 7, 8, (2, 3, 4)),
        arguments(3, 11, 5, (8, 3, 2)),
        any_size,
        larger,
    ]


def _other_ends():
    """A loop of tiles that ends where another one must, as (line, instead, message)."""
    ends = {"T": "x.shape[0]", "K": "x.shape[1]", "N": "W.shape[1]"}
    loops = (("i", "T", "rows", "rows of x and y"), ("j", "N", "columns", "columns of W and y"))
    loops += (("k", "K", "depth", "columns of x and rows of W"),)
    for name, own, step, what in loops:
        for other in sorted(ends.keys() - {own}):
            message = f"the loop of {name} ends at {other}; it must end at {own}, the number of {what}"
            yield f"range(0, {ends[own]}, {step})", f"range(0, {ends[other]}, {step})", message


def _fetched(rng):
    tiles = ((8, 16, 4), (5, 7, 3), (50, 70, 60), (1, 1, 1))
    return [(*(int(n) for n in rng.integers(20, 49, 3)), tile) for tile in tiles]


def _intensity(rng):
    return [(500, 384, 1536, 4), (1, 384, 64, 4), (7, 5, 3, 8), (*rng.integers(10, 99, 3).tolist(), 2)]


def _roof(rng):
    return [(2.0, 400.0, 30.0), (50.0, 400.0, 30.0), (0.2, 20.0, 30.0), (rng.uniform(0.1, 40, size=6), 90.0, 11.0)]


EXERCISES = (
    Exercise(
        "tiled_matmul",
        12,
        outputs=("y",),
        cases=_tiled_matmul,
        hints=(
            "What does a slice give that ends beyond the array? And what does y hold before the first tile is added?",
            "Three loops: range(0, T, rows), range(0, N, columns), range(0, K, depth). The tile of y collects over k.",
            "y[i : i + rows, j : j + columns] += x[i : i + rows, k : k + depth] @ W[k : k + depth, j : j + columns]",
        ),
        mistakes=(
            (
                "W.shape[1]), x.dtype)",
                "W.shape[1]))",
                "y is not float32, the type of x: float64 creeps in where np.zeros has no dtype: twice the bytes",
            ),
            (
                _LOOPS,
                _WHOLE_TILES,
                "the ragged edges are lost: where a tile does not divide the size, the last tile is smaller",
            ),
            *_other_ends(),
            (
                "range(0, x.shape[0], rows)",
                "range(0, x.shape[0] - rows + 1, rows)",
                "the last rows are lost: where the tile's rows do not divide T, the last tile has fewer",
            ),
            (
                "range(0, W.shape[1], columns)",
                "range(0, W.shape[1] - columns + 1, columns)",
                "the last columns are lost: where the tile's columns do not divide N, the last tile has fewer",
            ),
            (
                "range(0, x.shape[1], depth)",
                "range(0, x.shape[1] - depth + 1, depth)",
                "the last steps of k are lost: where the depth does not divide K, the last tile has fewer",
            ),
            (
                "+= left @ right",
                "= left @ right",
                "each tile of k overwrites what the ones before gave: a tile of y is their sum, so add to it",
            ),
            (
                "for k in range(0, x.shape[1], depth)",
                "for k in [0]",
                "only the first tile of k is used: a tile of y is a sum over all of them",
            ),
            (
                "range(0, x.shape[1], depth)",
                "range(depth, x.shape[1], depth)",
                "the first tile of k is skipped: begin at 0",
            ),
            ("y = np.zeros(", "y = np.ones(", "y does not begin at zero: the sums are added to what it holds"),
            ("k : k + depth", "k : k + depth - 1", "the last k of each tile is lost: the end of a slice is excluded"),
            ("i : i + rows", "i : i + rows - 1", "the last row of each tile is lost: the end of a slice is excluded"),
            (
                "j : j + columns",
                "j : j + columns - 1",
                "the last column of each tile is lost: the end of a slice is excluded",
            ),
            (
                "for i in range(0, x.shape[0], rows)",
                "for i in (min(i, max(0, x.shape[0] - rows)) for i in range(0, x.shape[0], rows))",
                "the last tile begins early, to be whole: its rows that the tile before has, too, are counted twice",
            ),
        ),
    ),
    Exercise(
        "fetched",
        12,
        outputs=("elements",),
        cases=_fetched,
        hints=(
            "How many tiles lie side by side in y? How often does that make x go by?",
            "x is needed once for each tile of columns, W once for each tile of rows: math.ceil(N / columns), …",
            "T * K * ceil(N / columns) + K * N * ceil(T / rows) + T * N",
        ),
        mistakes=(
            (
                "T * K * beside + K * N * above",
                "T * K * above + K * N * beside",
                "x and W are exchanged: x is fetched once for each tile of columns, W once for each tile of rows",
            ),
            (
                "math.ceil(N / columns), math.ceil(T / rows)",
                "N // columns, T // rows",
                "the smaller tiles at the edge are not counted: round up",
            ),
            (
                "math.ceil(N / columns), math.ceil(T / rows)",
                "N / columns, T / rows",
                "there are no parts of tiles: round up",
            ),
            (
                "math.ceil(N / columns), math.ceil(T / rows)",
                "N // columns + 1, T // rows + 1",
                "// and + 1 count one tile too many where the tile divides the size: round up, as math.ceil does",
            ),
            *(
                (
                    "T * K * beside + K * N * above + T * N",
                    f"above * rows * {steps} * beside + {steps} * beside * columns * above + {y}",
                    "every tile is counted as a full one; a smaller one at the edge holds fewer elements",
                )
                for steps in ("K", "tile[2] * math.ceil(K / tile[2])")
                for y in ("T * N", "above * rows * beside * columns")
            ),
            (" + T * N", "", "y is not counted: each of its elements is written once"),
            (
                "T * K * beside + K * N * above",
                "T * K + K * N",
                "x and W are counted once; a tile of y needs rows of x and columns of W that others need, too",
            ),
            (
                "T * N\n",
                "T * N * math.ceil(K / tile[2])\n",
                "y is counted once for each tile of k: it stays in the cache until its sum is complete",
            ),
            (
                "T * K * beside + K * N * above + T * N",
                "2 * T * K * N + T * N",
                "this is without tiles: each multiply-add fetches its two elements",
            ),
            (
                "T * K * beside + K * N * above + T * N",
                "rows * K * beside + K * columns * above + T * N",
                "only one tile of rows and one of columns is counted",
            ),
        ),
    ),
    Exercise(
        "intensity",
        12,
        outputs=("operations per byte",),
        cases=_intensity,
        hints=(
            "How many multiply-adds has one element of y? How many elements have x, W and y?",
            "A multiply-add is two operations. Each of the three arrays goes once to or from memory.",
            "2 * T * K * N / (itemsize * (T * K + K * N + T * N))",
        ),
        mistakes=(
            ("2 * T * K * N", "T * K * N", "a multiply-add is two operations, a multiplication and an addition"),
            (
                "operations / (itemsize * elements)",
                "operations / elements",
                "this is operations per element: an element has itemsize bytes",
            ),
            ("(itemsize *", "(4 *", "an element has itemsize bytes; here it is 4, whatever is given"),
            ("+ T * N", "+ 0 * N", "y is not counted: it is written to memory, too"),
            ("T * K + K * N", "K * N", "x is not counted"),
            ("+ K * N", "", "W is not counted"),
            (
                "operations / (itemsize * elements)",
                "itemsize * elements / operations",
                "this is bytes per operation: turn it over",
            ),
            ("operations / (itemsize * elements)", "operations", "these are the operations: divide by the bytes"),
            (
                "elements = T * K + K * N + T * N",
                "elements = 3 * T * K * N",
                "every multiply-add is counted as if it fetched from memory; here each array is moved once",
            ),
        ),
    ),
    Exercise(
        "roof",
        12,
        outputs=("operations a second",),
        cases=_roof,
        hints=(
            "How many operations can memory feed in a second? How many can the cores do? Which of the two is reached?",
            "operations per byte times bytes a second is operations a second",
            "np.minimum(peak, ops_per_byte * bandwidth)",
        ),
        mistakes=(
            ("np.minimum", "np.maximum", "this is the larger of the two limits: the smaller one decides"),
            (
                "np.minimum(peak, ops_per_byte * bandwidth)",
                "ops_per_byte * bandwidth",
                "the peak of the cores is missing",
            ),
            ("np.minimum(peak, ops_per_byte * bandwidth)", "peak + 0 * ops_per_byte", "the limit of memory is missing"),
            ("ops_per_byte * bandwidth", "bandwidth", "bytes a second are compared with operations a second"),
            (
                "ops_per_byte * bandwidth",
                "bandwidth / ops_per_byte",
                "bandwidth is divided: operations per byte times bytes a second is operations a second",
            ),
            (
                "np.minimum(peak, ops_per_byte * bandwidth)",
                "np.minimum(peak, bandwidth) * ops_per_byte",
                "the peak is multiplied, too: it is operations a second already",
            ),
        ),
    ),
)
