# %% [markdown]
# # 4 · Backprop and its check
#
# **You will** write a small network forward and backward, measure its gradients, and learn when measuring is not
# enough.
#
# **One idea:** every line of the forward pass has a mirror in the backward pass. And a check of the mirror can be
# blind.
#
# **Time** 45 minutes · **Needs** the chain rule; `softmax` of [lesson 3](03_attention.ipynb) is imported
#
# *The stored outputs are those of the solved lesson.*

# %%
import numpy as np

from minibert import lessons
from minibert.lessons.plain import softmax
from minibert.lessons.plots import gradients as plots

rng = np.random.default_rng(4)

# %% [markdown]
# ## 1. A line and its mirror
#
# A network ends in one number, the loss $L$. Training needs the **gradient** of $L$ with respect to each array. We call
# the one with respect to $x$ `dx`. It has the shape of $x$: an element of `dx` says how fast $L$ grows with that
# element of $x$.
#
# The line that BERT has most often is the linear layer. Tokens are rows, weights are stored (in, out):
#
# $$y = x\,W + b,\qquad y_{to} = \sum_i x_{ti} W_{io} + b_o$$
#
# **Your turn.** Each forward function returns two things: the result, and a **cache** of what its backward pass needs.


# %% exercise="linear"
def linear(x, W, b):
    """y = x W + b. (T, in), (in, out), (out,) -> (T, out), cache (x, W)"""
    # solution
    y = x @ W + b
    return y, (x, W)
    # end


# %%
lessons.check("linear", linear)

# %%
linear = lessons.take("linear", linear)

# %% [markdown]
# The backward pass gets `dy`. It asks of every element that went in: *where was it used, and by what was it multiplied
# there?* All these uses are added.
#
# - $x_{ti}$ is used in $y_{to}$ for every $o$, multiplied by $W_{io}$. So $dx_{ti} = \sum_o dy_{to} W_{io}$.
# - $W_{io}$ is used in every row $t$, multiplied by $x_{ti}$. So $dW_{io} = \sum_t x_{ti}\, dy_{to}$.
# - $b_o$ is used in every row, multiplied by 1.
#
# Write the sums as products of matrices. The shapes help: `dW` has the shape of `W`.
#
# **Predict first:** `dy` has 4 rows of ones. Is each element of `db` 1 or 4?


# %% exercise="linear_backward"
def linear_backward(dy, cache):
    """dx (T, in), dW (in, out), db (out,)."""
    x, W = cache
    # solution
    dx = dy @ W.T
    dW = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dW, db
    # end


# %%
lessons.check("linear_backward", linear_backward, forward=linear)

# %%
# lessons.hint("linear_backward")      # a question first; call it again for more

# %%
linear_backward = lessons.take("linear_backward", linear_backward, forward=linear)
x, W, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
dx, dW, db = linear_backward(np.ones((4, 2)), linear(x, W, b)[1])
print("db:", db)

# %% [markdown]
# It is 4: one `b` serves four rows, and each of them adds its gradient.
#
# ## 2. Measure it
#
# A gradient is a slope, and a slope can be measured. Move **one** element of $x$ by a small $\varepsilon$ up and down:
#
# $$\frac{\partial f}{\partial x_i} \approx \frac{f(x + \varepsilon e_i) - f(x - \varepsilon e_i)}{2\varepsilon}$$
#
# where $e_i$ is 1 at place $i$, else 0. This is the **central difference**. It needs no backward pass, so it can
# judge one.


# %% exercise="central_difference"
def central_difference(f, x, epsilon=1e-5):
    """The gradient of f(x), a number, by two values of f for each element of x. -> the shape of x

    x itself must stay as it is: work on a copy, and put each element back. np.ndindex(x.shape) gives all indices.
    """
    # solution
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + epsilon
        above = f(x)
        x[i] = value - epsilon
        below = f(x)
        x[i] = value
        gradient[i] = (above - below) / (2 * epsilon)
    return gradient
    # end


# %%
lessons.check("central_difference", central_difference)

# %% [markdown]
# Now judge `linear_backward`. It needs a loss; we take $L = \sum_{to} y_{to}\, r_{to}$ with random $r$, since then
# `dy` is simply $r$.

# %%
central_difference = lessons.take("central_difference", central_difference)
r = rng.normal(size=(4, 2))
dx, dW, db = linear_backward(r, linear(x, W, b)[1])
measured = {
    "dx": central_difference(lambda x: (linear(x, W, b)[0] * r).sum(), x),
    "dW": central_difference(lambda W: (linear(x, W, b)[0] * r).sum(), W),
    "db": central_difference(lambda b: (linear(x, W, b)[0] * r).sum(), b),
}
for (name, numeric), own in zip(measured.items(), (dx, dW, db), strict=True):
    difference = np.abs(own - numeric).max() / np.abs(numeric).max()
    print(f"{name}: largest {np.abs(numeric).max():.3f}, agrees with what was measured: {difference < 1e-6}")

# %% [markdown]
# ## 3. The end: cross-entropy
#
# A classifier gives each of $B$ texts a row of $C$ scores $s$. Softmax makes probabilities $p$ of a row. The loss is
# small if the right class has a high probability:
#
# $$L = -\frac1B\sum_{b} \log p_{b,\,\mathrm{label}_b}$$


# %% exercise="cross_entropy"
def cross_entropy(scores, labels):
    """The mean over rows of -log softmax(scores)[label]. (B, C), (B,) -> a number, cache (p, labels)"""
    p, _ = softmax(scores)
    # solution
    right = p[np.arange(len(labels)), labels]
    return -np.log(right).mean(), (p, labels)
    # end


# %%
lessons.check("cross_entropy", cross_entropy)

# %%
cross_entropy = lessons.take("cross_entropy", cross_entropy)

# %% [markdown]
# For one row $\log p_{\mathrm{label}} = s_{\mathrm{label}} - \log \sum_c e^{s_c}$. The gradient of the first term is
# 1 at the label, else 0: a one-hot row. That of the second is $p$. So the gradient of $-\log p_{\mathrm{label}}$ is
# $p$ minus the one-hot row. There is no `dy` here: the loss is the end, and its gradient with respect to itself is 1.
#
# **Predict first:** what do the elements of a row of `dscores` add up to?


# %% exercise="cross_entropy_backward"
def cross_entropy_backward(cache):
    """dscores (B, C)."""
    p, labels = cache
    # solution
    one_hot = np.eye(p.shape[1])[labels]
    return (p - one_hot) / len(labels)
    # end


# %%
lessons.check("cross_entropy_backward", cross_entropy_backward, forward=cross_entropy)

# %%
cross_entropy_backward = lessons.take("cross_entropy_backward", cross_entropy_backward, forward=cross_entropy)
dscores = cross_entropy_backward(cross_entropy(rng.normal(size=(2, 3)), np.array([2, 0]))[1])
print("dscores:", *np.round(dscores, 3).tolist(), "\nsums are zero:", np.allclose(dscores.sum(axis=1), 0))

# %% [markdown]
# Zero: the same number added to all scores of a row changes nothing. The label's score is pulled up, all others are
# pushed down, by as much as they are wrong.
#
# ## 4. The beginning: embedding
#
# Token `ids[t]` gets row `ids[t]` of a table `W`.
#
# **Predict first:** `ids = [2, 0, 2]`, and the rows of `dy` are 1, 10 and 100. What is row 2 of `dW`: 1, 100 or 101?


# %% exercise="embedding"
def embedding(ids, W):
    """Row ids[t] of the table for each token. (T,), (V, D) -> (T, D), cache (ids, the shape of W)"""
    # solution
    return W[ids], (ids, W.shape)
    # end


# %%
lessons.check("embedding", embedding)

# %%
embedding = lessons.take("embedding", embedding)


# %% exercise="embedding_backward"
def embedding_backward(dy, cache):
    """dW (V, D)."""
    ids, shape = cache
    # solution
    dW = np.zeros(shape)
    np.add.at(dW, ids, dy)
    return dW
    # end


# %%
lessons.check("embedding_backward", embedding_backward, forward=embedding)

# %%
embedding_backward = lessons.take("embedding_backward", embedding_backward, forward=embedding)
dW = embedding_backward(np.array([[1.0], [10.0], [100.0]]), embedding(np.array([2, 0, 2]), np.zeros((4, 1)))[1])
print("dW:", dW.ravel())

# %% [markdown]
# 101: a row that is used twice has two gradients, and they are added. `dW[ids] += dy` would keep only the last.
#
# ## 5. The whole chain
#
# Three functions make a network that guesses a class for each token. Read `backward` from top to bottom beside
# `forward` from bottom to top: **every line has its mirror**.


# %%
def forward(ids, labels, p):
    x, embedding_cache = embedding(ids, p["table"])
    scores, linear_cache = linear(x, p["W"], p["b"])
    loss, loss_cache = cross_entropy(scores, labels)
    return loss, (embedding_cache, linear_cache, loss_cache)


def backward(cache):
    embedding_cache, linear_cache, loss_cache = cache
    dscores = cross_entropy_backward(loss_cache)
    dx, dW, db = linear_backward(dscores, linear_cache)
    dtable = embedding_backward(dx, embedding_cache)
    return {"table": dtable, "W": dW, "b": db}


# %% figure="The network. Values flow to the right (solid), gradients to the left (dashed); each gradient has the shape of its value. The ids have none: they are no numbers that could be moved a little." alt="A chain: ids, embedding, x, linear, scores, cross-entropy, loss. Parameters enter the functions from above, their gradients leave below. Dashed arrows run from the loss back to the embedding."
fig = plots.backward_graph(
    ["ids (T,)", "x (T, D)\ndx", "scores (T, C)\ndscores", "loss\n1"],
    [
        ("embedding", "table (V, D)", "dtable"),
        ("linear", "W (D, C), b (C,)", "dW, db"),
        ("cross-entropy", "labels", ""),
    ],
)

# %% [markdown]
# ## 6. How small is small?
#
# Take a large $\varepsilon$, and the function bends between the two points: the error grows with $\varepsilon^2$.
# Take a tiny one, and the two values differ only in their last digits: what is left is rounding, divided by
# $2\varepsilon$.
#
# **Predict first:** float64 carries 16 digits, float32 only 7. Which $\varepsilon$ is best for each? Which error is
# left?


# %%
def random_parameters(V, D, C):
    return {"table": rng.normal(size=(V, D)), "W": rng.normal(size=(D, C)), "b": rng.normal(size=C)}


ids, labels = np.array([2, 0, 2, 5, 1, 2]), np.array([0, 3, 1, 1, 2, 0])
p = random_parameters(V=7, D=4, C=5)
exact = backward(forward(ids, labels, p)[1])["W"]


def loss_of_W(W, dtype):
    return forward(ids, labels, {name: a.astype(dtype) for name, a in (p | {"W": W}).items()})[0]


epsilons, errors = 10.0 ** -np.arange(0.5, 12.5, 0.5), {}
for dtype in (np.float64, np.float32):
    numeric = [central_difference(lambda W, dtype=dtype: loss_of_W(W, dtype), p["W"], epsilon) for epsilon in epsilons]
    errors[dtype.__name__] = np.array([np.abs(one - exact).max() / np.abs(exact).max() for one in numeric])

# %% compare="never"
for name, values in errors.items():
    print(f"{name}: best epsilon {epsilons[values.argmin()]:.0e}, error {values.min():.0e}")

# %% figure="Error of the central difference against epsilon. From the right both fall with the square of epsilon. From their lowest points on rounding wins: in float32 early, in float64 late." alt="Two V-shaped curves on log-log axes. The one of float64 falls to about 1e-10 near epsilon 1e-5 and then rises. The one of float32 turns at about 1e-4 near epsilon 1e-2."
fig = plots.difference_error(epsilons, errors)

# %% [markdown]
# In float32 the best one can see is an error between 1e-5 and 1e-4, and many small mistakes are smaller.
# **Gradients are checked in float64.**
#
# ## 7. Blind checks
#
# A check that cannot fail is worth nothing, so we plant mistakes. Each is looked for at five points: with five
# choices of parameters, ids and labels. At the last two, gradients are near zero. *W near 0*: $W$ is 10,000 times
# smaller, and so is all that goes back through it, `dx` and the gradient of the table. *Sure, right*: $W$ is 0 and the
# bias gives class 0, the label of all tokens, a probability of nearly 1; so all gradients are near zero. At such
# points many people accept any difference below some fixed number, here 1e-3.


# %%
MISTAKES = (
    "db: mean, not sum",
    "dx: wrong sign",
    "table[ids] = dx",
    "dW: all zero",
    "loss and gradient: sum",
)


def with_mistake(mistake, ids, labels, p):
    """The loss and the gradients, with one mistake in them."""
    loss, (embedding_cache, linear_cache, loss_cache) = forward(ids, labels, p)
    rows, dscores = len(ids), cross_entropy_backward(loss_cache)
    if mistake == "loss and gradient: sum":  # both wrong in the same way
        loss, dscores = loss * rows, dscores * rows
    dx, dW, db = linear_backward(dscores, linear_cache)
    db = db / rows if mistake == "db: mean, not sum" else db
    dx = -dx if mistake == "dx: wrong sign" else dx
    dW = 0 * dW if mistake == "dW: all zero" else dW
    dtable = embedding_backward(dx, embedding_cache)
    if mistake == "table[ids] = dx":
        dtable[ids] = dx
    return loss, {"table": dtable, "W": dW, "b": db}


def is_caught(mistake, ids, labels, p, absolute=None):
    """Whether finite differences disagree with a gradient: by more than 1e-6 of it, or by more than `absolute`."""
    own = with_mistake(mistake, ids, labels, p)[1]
    for name, a in p.items():
        numeric = central_difference(lambda a, name=name: with_mistake(mistake, ids, labels, p | {name: a})[0], a)
        accepted = absolute or 1e-6 * np.abs(numeric).max()
        if np.abs(own[name] - numeric).max() > accepted:
            return True
    return False


# %% [markdown]
# **Predict first:** which mistake stays unseen if there is only one token? Which if no id comes twice? Which
# everywhere?

# %% figure="Which planted mistake is seen where. The last row is seen nowhere: forward and backward are wrong in the same way. The last column sees nothing: where the network is sure and right, every gradient is near zero." alt="A grid of five mistakes by five points. With ordinary numbers four of five are caught; with one token, without repeated ids, or with W near zero some of these four are unseen; where the network is sure and right none is caught. The fifth, a loss that is a sum, is never caught."
small = p | {"W": 1e-4 * p["W"]}
sure = p | {"W": 0 * p["W"], "b": np.array([20.0, 0, 0, 0, 0])}
points = {
    "ordinary": (ids, labels, p),
    "one token": (ids[:1], labels[:1], p),
    "no repeats": (np.array([2, 0, 5, 1]), labels[:4], p),
    "W near 0": (ids, labels, small, 1e-3),
    "sure, right": (ids, 0 * labels, sure, 1e-3),
}
fig = plots.verdicts(
    {mistake: {name: is_caught(mistake, *point) for name, point in points.items()} for mistake in MISTAKES}
)

# %% [markdown]
# Finite differences ask whether backward belongs to forward. They cannot know whether *forward* is what you meant. For
# that you need a second witness: numbers that somebody else computed. The checker of these lessons is one.


# %%
def sum_in_place_of_mean(scores, labels):
    loss, cache = cross_entropy(scores, labels)
    return len(labels) * loss, cache


print(lessons.check("cross_entropy", sum_in_place_of_mean))

# %% [markdown]
# **Try it.** Put a mistake of your own into `with_mistake` and its name into `MISTAKES`, and draw the grid again. Can
# you find one that is unseen at the ordinary point, and is not in the forward pass?
#
# ## What you learned
#
# - A gradient has the shape of its array. It adds up all uses: rows that share `b`, tokens that share a row of the
#   table.
# - Backward is forward in a mirror: the same lines, from the last to the first.
# - Measure gradients with central differences, in float64, $\varepsilon$ about 1e-5, relative to the gradient's own
#   size.
# - Measure where mistakes can show: several rows, repeated ids, sizes that all differ, parameters well away from zero.
# - And compare with a second witness. A forward pass that is wrong with a backward pass that fits it passes every
#   measurement.
#
# [Next: 5 · GELU and LayerNorm](05_gelu_and_layernorm.ipynb)
