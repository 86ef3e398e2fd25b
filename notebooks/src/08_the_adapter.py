# %% [markdown]
# # 8 · The adapter
#
# **You will** write what this project is about: the adapter's forward pass, its backward pass and its initialization.
#
# **One idea:** near the identity. A fresh adapter changes almost nothing, so training begins at the network that was
# pre-trained. For the same reason a check of its gradients sees almost nothing there.
#
# **Time** 40 minutes · **Needs** [lesson 4](04_backprop_and_its_check.ipynb); `gelu` of
# [lesson 5](05_gelu_and_layernorm.ipynb) is imported · **Paper**
# [Houlsby et al. 2019](https://arxiv.org/abs/1902.00751), sections 2.1 and 3.6
#
# *The stored outputs are those of the solved lesson.*

# %%
import numpy as np

from minibert import lessons
from minibert.lessons import plain
from minibert.lessons.edits import with_mistake
from minibert.lessons.plain import central_difference, gelu, gelu_backward, linear, linear_backward
from minibert.lessons.plots import adapter as plots
from minibert.lessons.plots.gradients import verdicts

rng = np.random.default_rng(8)

# %% [markdown]
# ## 1. Where it sits
#
# A layer of BERT has two halves, attention and feed-forward. Each ends in a projection to $D$ elements a token. An
# adapter follows **each of the two projections**, before the layer's own skip connection is added and before the
# LayerNorm.

# %% figure="Left: one layer of BERT with its two adapters. Right: one adapter. What has a thick edge is trained, all else is frozen." alt="A column of boxes: attention, output projection, adapter, plus, LayerNorm; then D to F with GELU, F to D, adapter, plus, LayerNorm. A skip connection of the layer goes around each of the two halves, adapter included. Beside it an adapter: W_down from D to M, GELU, W_up from M to D, and a skip connection of its own around the three."
fig = plots.placement()

# %% [markdown]
# The adapter goes from $D$ down to $M$ elements, through a nonlinearity, and back up to $D$. $M$ is small, so it is a
# bottleneck. It has a skip connection of its own.
#
# **Predict first:** how many parameters has one adapter, with its biases? How many millions have all adapters of
# BERT-base ($D = 768$, 12 layers) with $M = 64$? BERT-base has 109 million itself.

# %%
D, M, layers = 768, 64, 12
one = D * M + M + M * D + D
every = 2 * layers * one
print(f"one: 2MD + D + M = {one:,}; all {2 * layers}: {every:,}, that is {every / 109.48e6:.1%} of BERT-base")

# %% [markdown]
# ## 2. Forward
#
# $$u = x\,W_{down} + b_{down},\qquad h = \mathrm{gelu}(u),\qquad y = x + h\,W_{up} + b_{up}$$
#
# **Predict first:** what is $y$ if $W_{up}$ and $b_{up}$ are zero?


# %% exercise="adapter"
def adapter(x, p):
    """(T, D) -> (T, D), cache (down_cache, gelu_cache, up_cache): what linear, gelu and linear return beside y.

    p: {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
    """
    # solution
    u, down_cache = linear(x, p["down/W"], p["down/b"])
    h, gelu_cache = gelu(u)
    z, up_cache = linear(h, p["up/W"], p["up/b"])
    return x + z, (down_cache, gelu_cache, up_cache)
    # end


# %%
lessons.check("adapter", adapter)

# %%
adapter = lessons.take("adapter", adapter)


def random_parameters(T, D, M):
    """x, and parameters of ordinary size: far from the identity."""
    shapes = {"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}
    return rng.normal(size=(T, D)), {name: rng.normal(scale=0.8, size=shape) for name, shape in shapes.items()}


x, p = random_parameters(T=5, D=6, M=3)
zero_up = p | {"up/W": np.zeros((3, 6)), "up/b": np.zeros(6)}
print("y is x:", np.array_equal(adapter(x, zero_up)[0], x))

# %% [markdown]
# It is $x$: the adapter is then the **identity**. This is what the skip connection is for. A bottleneck alone cannot
# be the identity, since $M$ elements cannot hold $D$.
#
# ## 3. Backward
#
# The mirror of lesson 4, from the last line to the first. One thing to watch: $x$ is used twice in $y = x + f(x)$, so
# its gradient is a sum of two.
#
# **Predict first:** if $W_{up}$ is zero, what is `dx`?


# %% exercise="adapter_backward"
def adapter_backward(dy, cache):
    """dx (T, D), and {name: gradient} with the four names of p."""
    down_cache, gelu_cache, up_cache = cache
    # solution
    dh, dW_up, db_up = linear_backward(dy, up_cache)
    du = gelu_backward(dh, gelu_cache)
    dx, dW_down, db_down = linear_backward(du, down_cache)
    return dy + dx, {"down/W": dW_down, "down/b": db_down, "up/W": dW_up, "up/b": db_up}
    # end


# %%
lessons.check("adapter_backward", adapter_backward, forward=adapter)

# %%
# lessons.hint("adapter_backward")      # a question first; call it again for more

# %%
adapter_backward = lessons.take("adapter_backward", adapter_backward, forward=adapter)
dy = rng.normal(size=x.shape)
print("dx is dy:", np.array_equal(adapter_backward(dy, adapter(x, zero_up)[1])[0], dy))

# %% [markdown]
# It is `dy`: the skip connection carries the gradient past the bottleneck. Without it, what attention and feed-forward
# compute, and the gradient that reaches them, would pass a fresh bottleneck and become about a hundred times smaller.
# Only the layer's own skip connection would be left: no longer the pre-trained network.
#
# ## 4. Initialization
#
# The paper draws both weight matrices from a Gaussian with mean 0 and standard deviation 0.01, truncated at two
# standard deviations: values that lie beyond, and only those, are drawn again, until none does. The biases are zero.
#
# **Predict first:** why not set both matrices to zero, so that the adapter is exactly the identity? Look at your
# backward pass: what are `dW_down` and `dW_up` then?

# %%
x, _ = random_parameters(T=20, D=48, M=8)
dy = rng.normal(size=x.shape)
print("largest gradient of   W_down     W_up     b_up")
for title, down, up in (("both zero", 0, 0), ("W_up zero", 0.01, 0), ("both drawn", 0.01, 0.01)):
    start = {"down/W": down * rng.normal(size=(48, 8)), "down/b": np.zeros(8)}
    start |= {"up/W": up * rng.normal(size=(8, 48)), "up/b": np.zeros(48)}
    gradients = adapter_backward(dy, adapter(x, start)[1])[1]
    print(f"{title:19}", *(f"{np.abs(gradients[name]).max():8.3f}" for name in ("down/W", "up/W", "up/b")))

# %% [markdown]
# With two zeros both gradients are zero: `dW_up` is made of $h$, and `dW_down` comes through $W_{up}$. Neither ever
# moves, and only $b_{up}$ trains. One zero matrix would do: the adapter is the identity, and trains (LoRA, Hu et al.
# 2021, starts like that). The paper takes small numbers for both.
#
# **Your turn.** `rng` is a NumPy generator: `rng.standard_normal(shape)`. Results are random, so the checker judges
# what every right answer has in common, and needs no particular numbers.


# %% exercise="adapter_init"
def adapter_init(D, M, rng, std=1e-2):
    """{"down/W": (D, M), "down/b": (M,), "up/W": (M, D), "up/b": (D,)}, drawn from rng."""

    # solution
    def truncated_normal(shape):
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(outside.sum())
        return std * values

    return {
        "down/W": truncated_normal((D, M)),
        "down/b": np.zeros(M),
        "up/W": truncated_normal((M, D)),
        "up/b": np.zeros(D),
    }
    # end


# %%
lessons.check("adapter_init", adapter_init)

# %%
# lessons.hint("adapter_init")      # a question first; call it again for more

# %%
adapter_init = lessons.take("adapter_init", adapter_init)
fresh = adapter_init(48, 8, rng)
distance = np.linalg.norm(adapter(x, fresh)[0] - x) / np.linalg.norm(x)
print(f"a fresh adapter changes x by {distance:.1e} of its size")

# %% [markdown]
# ## 5. A check at the identity is blind
#
# It is natural to check gradients of a fresh adapter. It is also a trap. The checker's list of usual mistakes in
# `adapter_backward` is at hand, so we plant each of them and compare it with finite differences, at three points:
#
# - *away*: parameters of ordinary size, and a difference of 1e-6 relative to the gradient is refused,
# - *fresh, relative*: a fresh adapter, and 1e-3, as is usual in float32,
# - *fresh, absolute*: a fresh adapter, and a difference of more than 0.1 is refused, whatever the gradient's size.
#
# **Predict first:** which of these mistakes are unseen in the last column? Which gradients of a fresh adapter are
# small?


# %%
def all_zero(dy, cache):
    dx, gradients = plain.adapter_backward(dy, cache)
    return dx, gradients | {"down/W": 0 * gradients["down/W"], "up/W": 0 * gradients["up/W"]}


planted = {"the gradients of both W are all zero": all_zero}
for mistake in lessons.EXERCISES["adapter_backward"].mistakes:
    title = mistake.message.split(";")[0].split(":")[0]
    planted[title] = with_mistake("adapter_backward", mistake)


def differences(backward, x, p, dy):
    """For x and each parameter: (largest gradient that is measured, largest difference from it)."""
    dx, gradients = backward(dy, plain.adapter(x, p)[1])
    found = []
    for name, a in ({"x": x} | p).items():
        own = dx if name == "x" else gradients[name]

        def loss(a, name=name):
            changed = p | {name: a}
            return float((plain.adapter(a if name == "x" else x, changed)[0] * dy).sum())

        measured = central_difference(loss, a)
        wrong = np.abs(own - measured).max() if own.shape == measured.shape else np.inf
        found.append((np.abs(measured).max(), wrong))
    return found


# %% figure="The mistakes that the checker knows, at three points. Away from the identity all are caught. At a fresh adapter some are not." alt="A grid of thirteen mistakes by three points. In the column away, all are caught. In the column fresh, relative, the two mistakes in the bottleneck's share of dx are unseen. In the column fresh, absolute, eight of thirteen are unseen, gradients of zeros among them."
x, p = random_parameters(T=4, D=6, M=3)
fresh, dy = adapter_init(6, 3, rng), rng.normal(size=x.shape)
caught = {}
for title, broken in planted.items():
    away, near = differences(broken, x, p, dy), differences(broken, x, fresh, dy)
    caught[title] = {
        "away": any(wrong > 1e-6 * size for size, wrong in away),
        "fresh,\nrelative": any(wrong > 1e-3 * size for size, wrong in near),
        "fresh,\nabsolute": any(wrong > 0.1 for _, wrong in near),
    }
fig = verdicts(caught)

# %% [markdown]
# `dW_down` comes through $W_{up}$, and $W_{up}$ is about 0.01; `dW_up` is made of $h$, which is as small. Next to an
# absolute limit nothing that is wrong with them can be seen, but a wrong shape. And the bottleneck's share of `dx` passes two small
# matrices: here it is about a ten-thousandth of `dx`, below a relative limit of 1e-3, too. **Check away from the
# identity**, in float64, relative to the gradient's size. The checker does so.
#
# ## 6. How near?
#
# Section 3.6 of the paper tries standard deviations from 1e-7 to 1. Up to 1e-2 the results do not differ; with large
# ones they get worse. The distance from the identity can be measured before any training, here with $D$ and $M$ of the
# runs that are shown below.
#
# **Predict first:** both matrices become 10 times larger. How much larger is $\|y - x\|$? And `dW_down`?


# %% tolerance=0.1
def distance_and_gradient(std, D=384, M=64, T=64):
    """|y - x| / |x| of a fresh adapter, and |dW_down| / |dy|."""
    x, dy = rng.normal(size=(2, T, D))  # mean 0, variance 1
    y, cache = adapter(x, adapter_init(D, M, rng, std))
    dW_down = adapter_backward(dy, cache)[1]["down/W"]
    return np.linalg.norm(y - x) / np.linalg.norm(x), np.linalg.norm(dW_down) / np.linalg.norm(dy)


stds = 10.0 ** np.arange(-5, 0.1, 0.5)
distances, gradients = np.array([distance_and_gradient(float(std)) for std in stds]).T
print("std      distance   gradient of W_down")
for std, distance, gradient in list(zip(stds, distances, gradients, strict=True))[::2]:
    print(f"{std:.0e} {distance:10.1e} {gradient:12.1e}")

# %% [markdown]
# From row to row the distance grows a hundredfold, as two matrices are multiplied, and the gradient tenfold, as it
# passes one. (Between 0.01 and 0.1 both grow by a third more: $u$ leaves the range around 0 where gelu is nearly the
# line $u/2$.) So a smaller initialization is not better without end: it is nearer to the identity, but the gradient it
# starts with is smaller. (Adam divides by the gradient's size, [lesson 10](10_optimizer_and_loop.ipynb): that is why
# tiny ones still train.)
#
# The lower panel shows what training made of it: this program's runs on trec (six classes of questions; three seeds
# each; `docs/reproduction.md`, figure 6).

# %% figure="Above: a fresh adapter's distance from the identity and its gradient. Below: accuracy after training. Training fails where a fresh adapter changes x by more than its size." alt="Two panels over the standard deviation from 1e-5 to 1. Above, on log-log axes, the distance from the identity is a line of slope 2, the gradient of W_down one of slope 1; the distance passes 1 between 0.1 and 0.3. Below, the accuracy is about 93 percent up to 0.03, 92 at 0.1, and about 50 from 0.3 on."
measured = {1e-5: 92.6, 1e-4: 92.7, 1e-3: 92.7, 1e-2: 93.0, 3e-2: 93.3, 1e-1: 91.7, 3e-1: 53.0, 1.0: 49.5}
fig = plots.initializations(stds, distances, gradients, measured)

# %% [markdown]
# At the paper's 1e-2 a fresh adapter changes its input by a few thousandths. Where the change is larger than the input,
# the frozen layers above get what they were never trained on, and training did not repair it.
#
# **Try it.** Hand in an initialization that is wrong in a way of your own. Here is a common one:


# %%
def clipped_init(D, M, rng, std=1e-2):
    drawn = {"down/W": rng.normal(0, std, (D, M)), "up/W": rng.normal(0, std, (M, D))}
    weights = {name: np.clip(W, -2 * std, 2 * std) for name, W in drawn.items()}
    return weights | {"down/b": np.zeros(M), "up/b": np.zeros(D)}


print(lessons.check("adapter_init", clipped_init))

# %% [markdown]
# ## What you learned
#
# - An adapter is $x + \mathrm{gelu}(x W_{down} + b_{down}) W_{up} + b_{up}$: $2MD + D + M$ parameters, two of them a
#   layer, each after a projection and before the layer's skip connection.
# - $x$ has two consumers. Their gradients are added in `dx`, and the skip connection's share is `dy` itself.
# - It starts near the identity, but not with two zero matrices: those never train.
# - Gradients are checked away from the identity. At it, most mistakes are too small to be seen.
#
# [Next: 9 · Frozen is not stopped](09_frozen_is_not_stopped.ipynb)
