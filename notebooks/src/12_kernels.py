# %% [markdown]
# # 12 · Kernels
#
# **You will** write a matrix product in tiles, count what it fetches from memory, and see how far each idea takes it:
# from three loops to most of what the machine can do.
#
# **One idea:** the same sums, fewer fetches. All fast matrix products multiply and add the same numbers as the three
# loops of the formula. They differ in how often each number is loaded, and from how far away.
#
# **Time** 45 minutes · **Needs** no other lesson · **Paper** none: adapters save parameters, not multiplications. For
# the ideas here, see Goto & van de Geijn (2008) and Williams, Waterman & Patterson (2009)
#
# *The stored outputs are those of the solved lesson.*

# %%
import numpy as np

import kernels
from kernels.ladder import RUNGS
from minibert import lessons
from minibert.bench.products import rungs
from minibert.bench.timing import in_turns, memory_gb_per_second, multiply_add_gflops
from minibert.lessons.plots import kernels as plots

rng = np.random.default_rng(12)

# %% [markdown]
# ## 1. What is fetched
#
# Nearly all of BERT's work is matrix products $y = xW$ of shapes $(T, K)\,(K, N) \to (T, N)$:
#
# $$y_{ij} = \sum_k x_{ik} W_{kj}$$
#
# That is $TKN$ multiply-adds, in whatever order. Each needs one element of $x$ and one of $W$. A multiply-add takes a
# fraction of a nanosecond. An element comes from the nearest cache in about one nanosecond, from memory in about a
# hundred. So what counts is how often an element must come from memory.
#
# A **tile** is a block that fits the cache. In tiles of `(rows, columns, depth)`, a tile of $y$ stays in the cache
# while the tiles of $x$ to its left and the tiles of $W$ above it go by. Dark below: the three tiles of one step.
# Hatched: **ragged edges**, smaller tiles where the size is no multiple.

# %% figure="The arrays of one product, cut into tiles. One step adds the product of the dark tiles of x and W to the dark tile of y. The other tiles in that row of x and that column of W do the same, one after the other." alt="Three rectangles x, W and y, each divided into tiles, with smaller hatched tiles at the right and lower edges. One tile is dark in each: in x and y in the same row of tiles, in W and y in the same column of tiles."
fig = plots.tiles(T=10, K=14, N=18, tile=(4, 5, 4), at=(1, 2, 1))

# %% [markdown]
# **Your turn.** How many elements move between memory and a cache that holds one tile of each array? $x$ is read once
# for each tile of columns, $W$ once for each tile of rows. $y$ is written once. For a smaller tile at the edge, too,
# $x$ or $W$ goes by once more, but the tile itself holds fewer elements.


# %% exercise="fetched"
def fetched(T, K, N, tile):
    """Elements moved by (T, K) @ (K, N) in tiles. tile: (rows, columns, depth) -> a number"""
    rows, columns, _ = tile
    # solution
    beside, above = -(-N // columns), -(-T // rows)
    return T * K * beside + K * N * above + T * N
    # end


# %%
lessons.check("fetched", fetched)

# %% [markdown]
# **Predict first.** One product of BERT has $T = 512$, $K = 384$, $N = 1536$. Tiles of 64 × 64 in place of 1 × 1: how
# many times fewer elements are fetched? And does the depth matter?

# %%
fetched = lessons.take("fetched", fetched)
T, K, N = 512, 384, 1536
for tile in ((1, 1, 1), (64, 64, 1), (64, 64, 64)):
    n = fetched(T, K, N, tile)
    print(f"tile {tile!s:14} {n:>12,} elements, {T * K * N / n:5.1f} multiply-adds for each")

# %% [markdown]
# 59 times fewer. An element of $x$ or $W$ that is fetched now serves 64 multiply-adds, and each of these needs two such
# elements. The depth does not change the count. It decides how much of the cache the tiles of $x$ and $W$ take.

# %% figure="Twice as large a tile halves what is fetched, until each array is fetched once. The cache ends it earlier: three tiles must fit." alt="A falling straight line on logarithmic axes, from about 600 million elements at tile size 1 to a few million at 256, above a dashed horizontal line at about 1.6 million."
sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256]
fig = plots.fetches(sizes, [fetched(T, K, N, (n, n, n)) for n in sizes], smallest=T * K + K * N + T * N)

# %% [markdown]
# ## 2. Your rung of the ladder
#
# Now compute it. Three loops go over tiles; the product of two tiles may be NumPy's `@`. What goes wrong most often:
#
# - the ragged edge is lost,
# - a tile of $y$ is overwritten where it should collect, or does not begin at zero (`np.empty` holds what lay there),
# - a tile of $k$ is skipped,
# - `np.zeros(shape)` is float64, which doubles the bytes: the result has the type of `x`.
#
# (`x @ W` alone passes the check, as it is the same product. It is the tiles that you are here to write.)


# %% exercise="tiled_matmul"
def tiled_matmul(x, W, tile):
    """y = x W in tiles (rows, columns, depth). (T, K), (K, N) -> (T, N) of the type of x"""
    rows, columns, depth = tile
    # solution
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    for i in range(0, x.shape[0], rows):
        for j in range(0, W.shape[1], columns):
            for k in range(0, x.shape[1], depth):
                left = x[i : i + rows, k : k + depth]
                right = W[k : k + depth, j : j + columns]
                y[i : i + rows, j : j + columns] += left @ right
    return y
    # end


# %%
lessons.check("tiled_matmul", tiled_matmul)

# %% [markdown]
# **Predict first.** Each $y_{ij}$ is the same sum with every tile. Are its bits the same, too?

# %%
tiled_matmul = lessons.take("tiled_matmul", tiled_matmul)
x, W = (rng.standard_normal(shape, dtype=np.float32) for shape in ((100, 384), (384, 200)))
one, other = tiled_matmul(x, W, (32, 64, 16)), tiled_matmul(x, W, (32, 64, 100))
print("equal bits:", np.array_equal(one, other))
print("equal to 1e-5 of the largest element:", np.abs(one - other).max() < 1e-5 * np.abs(one).max())

# %% [markdown]
# They are not: float32 rounds after each addition, so the order of a sum changes its last bits. That is why no checker
# of this course demands equal bits.
#
# ## 3. Who may write where
#
# Two threads could share the work. If they share the **rows**, each owns what it writes. If they share **k**, both add
# to the same $y$: each reads it, adds its part, and writes it back. Here is that, with the steps in an unlucky order.
# **Predict first:** the right answer is $1\cdot1+\dots+4\cdot4 = 30$. What does $y$ hold in the end?

# %%
a = np.arange(1.0, 5.0)
y = 0.0
read_by_first, read_by_second = y, y  # both read before one of them has written
y = read_by_first + a[:2] @ a[:2]  # 1 + 4
y = read_by_second + a[2:] @ a[2:]  # 9 + 16
print("y =", y)

# %% [markdown]
# The first thread's 5 is lost. This is a **race**: the result depends on who comes first, and differs from run to run.
# In this project each thread owns rows of the result, so the bits do not depend on the number of threads.
#
# ## 4. The ladder
#
# `kernels/ladder.py` has one product five times, each time with one idea more, compiled by Numba:

# %%
for rung in RUNGS:
    print(f"{rung.__name__}: {rung.__doc__.splitlines()[0]}")

# %% [markdown]
# (L2 is the second cache: some hundred thousand to a few million bytes for each core, slower than the first one, and
# much faster than memory.) They all give what yours gives. Above them stands the engine, with which the program itself
# computes. In the picture it is the bar *5 micro kernel*. If the processor has AMX, a unit of newer Intel processors
# that multiplies whole small tiles by one instruction, the engine has a second bar, *6 amx tiles*.

# %%
expected = tiled_matmul(x, W, (32, 64, 64))
print([bool(np.abs(rung(x, W) - expected).max() < 1e-4) for rung in RUNGS])

# %% [markdown]
# **Predict first:** how many times faster is the engine than the three loops? Your NumPy version is the last bar: its
# tiles are multiplied by NumPy's own fast product, so only the loops around it cost. A bar's length is its speed in
# **GFLOP/s**: billions of floating-point operations, multiplications or additions, a second.

# %% compare="never"
T, K, N = lessons.setting(256, 64), 384, 1536
x, W = (rng.standard_normal(shape, dtype=np.float32) for shape in ((T, K), (K, N)))
calls = {rung.__name__[5:].replace("_", " "): lambda rung=rung: rung(x, W) for rung in rungs()}
calls["yours, in NumPy"] = lambda: tiled_matmul(x, W, (64, 256, 128))
seconds = in_turns(calls, seconds=lessons.setting(1, 0.01))
gflops = {name: 2e-9 * T * K * N / seconds[name] for name in calls}
print(f"the engine is {gflops['5 micro kernel'] / gflops['0 three loops']:.0f} times as fast as the three loops")

# %% figure="One product, the same multiply-adds in each bar. Rung by rung it fetches less, or from nearer. The axis is logarithmic; other programs on the machine disturb the times." alt="Horizontal bars of gigaflops a second on a logarithmic axis, from the three loops with the fewest to the engine's kernels with several hundred times as many." compare="never"
fig = plots.ladder(gflops)

# %% [markdown]
# - *walk along rows*: the inner loop meets neighbours in memory, which are loaded together as one vector.
# - *cache blocks*: your tiles. They pay where $W$ does not fit the cache.
# - *micro tile*: tiles again, one level up. What is loaded from the cache into **registers**, the few places inside a
#   core that it computes with, is used several times.
# - *micro kernel*: the sums stay in registers until they are complete.
# - *yours*: NumPy's product has all of this inside. If yours is slow, NumPy's threads and Numba's compete for the cores.
#
# ## 5. How far could it go?
#
# Two limits hold for every program: the multiply-adds of the cores, and the bytes of the memory. Which one binds is
# told by the **operations per byte** of the work, if each array is moved once. A multiply-add is two operations.


# %% exercise="intensity"
def intensity(T, K, N, itemsize=4):
    """Operations per byte of (T, K) @ (K, N) if x, W and y are moved once. itemsize: bytes of an element"""
    # solution
    return 2 * T * K * N / (itemsize * (T * K + K * N + T * N))
    # end


# %%
lessons.check("intensity", intensity)

# %% [markdown]
# With a peak of $P$ operations a second and a bandwidth of $B$ bytes a second, work of $I$ operations per byte reaches
# at most what the smaller of the two limits allows. Over $I$ that is a slope and then a flat line: the **roofline**.


# %% exercise="roof"
def roof(ops_per_byte, peak, bandwidth):
    """The most operations a second. Numbers, or ops_per_byte an array: use a function of NumPy"""
    # solution
    return np.minimum(peak, ops_per_byte * bandwidth)
    # end


# %%
lessons.check("roof", roof)

# %% [markdown]
# **Predict first:** a machine does 400 billion operations and moves 20 billion bytes a second. Which of these is bound
# by memory: the product for 512 tokens, the same for a single token, or an adapter's $W_{down}$ with $M = 8$?

# %%
intensity, roof = lessons.take("intensity", intensity), lessons.take("roof", roof)
for name, shape in (("512 tokens", (512, 384, 1536)), ("1 token", (1, 384, 1536)), ("adapter", (512, 384, 8))):
    i = intensity(*shape)
    print(f"{name:10} {i:6.1f} operations per byte, at most {roof(i, 400e9, 20e9) / 1e9:4.0f} GFLOP/s")

# %% [markdown]
# The last two. One token uses each weight once, so all of $W$ comes by for two operations an element. That is why
# sentences are processed in batches, and why a small adapter is cheap in parameters but not as cheap in time.
#
# Now your own machine, measured. All rungs do the same work, so they stand above each other: what differs is how much
# of the roof they reach.

# %% figure="The roofline of this machine (the peak is one core's, times the threads), and the measured speeds under it. All rungs have the same operations per byte; a single token has few, and memory bounds it. AMX tiles, where a processor has them, are above the roof, which is that of multiply-adds." alt="A line on logarithmic axes that rises and then is flat. One column of labelled points below the flat part goes from the three loops far below to the engine near the roof. One point for a single token lies far to the left, below the rising part." compare="never"
long, n_threads = lessons.setting(1, 0.05), kernels.threads()
kernels.use_threads(1)
peak = n_threads * multiply_add_gflops(long)  # one core's: threads that meet on a core would measure too little
kernels.use_threads(n_threads)
bandwidth = memory_gb_per_second(long)
points = {name: (intensity(T, K, N), number) for name, number in gflops.items()}
large = rng.standard_normal((4096, 8192), dtype=np.float32)  # 134 MB: no cache holds it
few = in_turns({"1 token": lambda: kernels.matmul(large[:1, :4096], large)}, seconds=long)
points["1 token"] = (intensity(1, *large.shape), 2e-9 * large.size / few["1 token"])
fig = plots.roofline(points, peak, bandwidth)

# %% [markdown]
# Where a point is far below its roof, there is something to gain by fewer fetches or better use of the cores. Near the
# slope nothing helps but to move fewer bytes.
#
# ## What you learned
#
# - Fast products compute the same sums. They fetch each element less often, and from nearer.
# - A tile of $n \times n$ makes each fetch serve about $n$ multiply-adds. The same idea is used for memory, caches and
#   registers.
# - Edges are ragged, sums begin at zero, tiles of $k$ are added, types stay.
# - Threads share rows, never $k$, unless each has a sum of its own.
# - The roofline says whether cores or memory bound a piece of work before it is written.
#
# To go on: `kernels/README.md` is a map of the kernels, and `minibert bench matmul` measures more.
#
# [Next: many tasks on one backbone](13_many_tasks.ipynb)
