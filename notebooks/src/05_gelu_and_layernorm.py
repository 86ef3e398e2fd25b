# %% [markdown]
# # 5 · GELU and LayerNorm
#
# **You will** write the two functions of BERT that are not a product, forward and backward, and see why the gradient of
# LayerNorm has three terms.
#
# **One idea:** the mean and the variance of a row depend on every element of it. So each element acts on the result in
# three ways, and its gradient is a sum over three paths.
#
# **Time** 40 minutes · **Needs** [lesson 4](04_backprop_and_its_check.ipynb) · **Paper** section 2.1: the adapter's
# nonlinearity is yours to choose, and LayerNorms are trained with the adapters
#
# *The stored outputs are those of the solved lesson.*

# %%
import math

import numpy as np

from minibert import lessons
from minibert.lessons.plain import central_difference
from minibert.lessons.plots import activations as plots

rng = np.random.default_rng(5)

# %% [markdown]
# ## 1. GELU
#
# A network of products alone is one product. Between two of them BERT puts
#
# $$\mathrm{gelu}(x) = x\,\Phi(x),\qquad \Phi(x) = \tfrac12\left(1 + \mathrm{erf}\,\tfrac{x}{\sqrt 2}\right)$$
#
# where $\Phi(x)$ is the share of a standard normal distribution that lies below $x$. An $x$ far above 0 passes as it is,
# one far below 0 becomes 0, and between them the change is smooth. `math.erf` takes one number at a time;
# `np.vectorize` makes a function of arrays of it.


# %%
def normal_cdf(x):
    """Phi(x), element by element."""
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


print([round(float(normal_cdf(value)), 3) for value in (-2.0, 0.0, 2.0)])

# %% [markdown]
# **Your turn.** Return `y` and a cache. The cache holds what the backward pass needs of the forward pass: here `x`.


# %% exercise="gelu"
def gelu(x):
    """y = x Phi(x), element by element. Any shape -> y, cache (x itself)"""
    # solution
    y = x * normal_cdf(x)
    return y, x
    # end


# %%
lessons.check("gelu", gelu)

# %%
gelu = lessons.take("gelu", gelu)

# %% [markdown]
# **Predict first:** is the derivative of GELU at 0 equal to 0, 0.5 or 1? It is a product of two functions of $x$, so
#
# $$\mathrm{gelu}'(x) = \Phi(x) + x\,\varphi(x),\qquad \varphi(x) = \frac{e^{-x^2/2}}{\sqrt{2\pi}}$$
#
# where $\varphi$ is the density, that is, the derivative of $\Phi$. By the chain rule, `dx` is `dy` times that.


# %% exercise="gelu_backward"
def gelu_backward(dy, cache):
    """dx = dy gelu'(x), element by element."""
    x = cache
    # solution
    density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    return dy * (normal_cdf(x) + x * density)
    # end


# %%
lessons.check("gelu_backward", gelu_backward, forward=gelu)

# %%
gelu_backward = lessons.take("gelu_backward", gelu_backward, forward=gelu)
_, cache = gelu(np.zeros((1, 1)))
print("derivative at 0:", gelu_backward(np.ones((1, 1)), cache)[0, 0])

# %% [markdown]
# It is one half: near 0, GELU passes half of its input. Remember that for [lesson 8](08_the_adapter.ipynb), where
# adapters start with inputs near 0. The picture has two surprises: GELU falls before it rises, and its derivative exceeds 1.

# %% figure="GELU and its derivative. Left of −0.75 the function falls: its derivative is negative there." alt="A line that is near zero on the left, dips slightly below zero near minus 0.75, and then rises like y = x. A dashed line, its derivative, goes from 0 through 0.5 at x = 0 to slightly above 1 near x = 1.4."
x = np.linspace(-4, 3, 141)[None]  # one row: (1, 141)
y, cache = gelu(x)
slope = gelu_backward(np.ones_like(x), cache)
fig = plots.function_and_derivative(x[0], y[0], slope[0], "gelu")

# %% [markdown]
# Many programs approximate $\Phi$ by a `tanh`. BERT's weights were trained with the exact form. Hand in the approximation,
# and see what the checker says: **it knows the usual mistakes by name**.


# %%
def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), x


print(lessons.check("gelu", gelu_tanh))

# %% [markdown]
# ## 2. LayerNorm
#
# Each row $x$ of a `(T, D)` array, that is, each token, is brought to mean 0 and variance 1. Then it is scaled and shifted
# by two parameters `(D,)` that are trained:
#
# $$n = \frac{x-\mu}{\sqrt{\sigma^2+\varepsilon}},\qquad y = \gamma\, n + \beta,\qquad
#   \mu=\frac1D\sum_i x_i,\qquad \sigma^2=\frac1D\sum_i (x_i-\mu)^2$$
#
# Three places where it goes wrong: the variance is divided by $D$, not by $D-1$; $\varepsilon$ (1e-12 in BERT) stands
# inside the root; mean and variance are those of a row (`axis=1`), and `keepdims=True` keeps them as a column.


# %% exercise="layernorm"
def layernorm(x, gamma, beta, eps=1e-12):
    """y = gamma n + beta. (T, D), (D,), (D,) -> (T, D), cache (n, inverse_std, gamma), inverse_std (T, 1)"""
    # solution
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    inverse_std = 1 / np.sqrt(variance + eps)
    n = (x - mean) * inverse_std
    return gamma * n + beta, (n, inverse_std, gamma)
    # end


# %%
lessons.check("layernorm", layernorm)

# %%
layernorm = lessons.take("layernorm", layernorm)

# %% figure="Three rows before and after LayerNorm (gamma 1, beta 0). Where a row lies and how far it is spread is gone; the order of its elements stays." alt="Two panels with three rows of points. On the left the rows lie at different places with different spreads. On the right all three are centred at zero with the same spread."
x = rng.normal(size=(3, 8)) * [[0.5], [1.0], [3.0]] + [[4.0], [-2.0], [0.0]]
fig = plots.rows_before_and_after(x, layernorm(x, np.ones(8), np.zeros(8))[0])

# %% [markdown]
# ## 3. Backward: three paths
#
# `gamma` and `beta` are easy: they act element by element, and are shared by all rows, so their gradients are sums over
# rows. With $g = dy\,\gamma$ what is left is the way from $n$ back to $x$. An element $x_i$ acts
#
# 1. on its own $n_i$: this alone would give $g_i$,
# 2. on the mean $\mu$, which is subtracted from every element of the row: $-\frac1D\sum_j g_j$,
# 3. on $s = \sqrt{\sigma^2+\varepsilon}$, which divides every element of the row: $-\,n_i\,\frac1D\sum_j g_j n_j$.
#
# The third takes two steps: $s$ grows with $x_i$ by $\frac{\partial s}{\partial x_i} = \frac{x_i-\mu}{D\,s} =
# \frac{n_i}{D}$, and $n_j = (x_j - \mu)/s$ falls with $s$ by $\frac{\partial n_j}{\partial s} = -\frac{n_j}{s}$.
# Their product, times $g_j$, is summed over $j$. All three are multiplied by `inverse_std`, that is, $1/s$:
#
# $$dx = \frac{1}{\sqrt{\sigma^2+\varepsilon}}\left(g - \overline{g} - n\,\overline{g\,n}\right)$$
#
# A bar is a mean over the row.
#
# **Predict first:** add the same number to all elements of a row of $x$. What happens to $y$? So what must the elements of
# a row of $dx$ add up to?


# %% exercise="layernorm_backward"
def layernorm_backward(dy, cache):
    """dx (T, D), dgamma (D,), dbeta (D,)."""
    n, inverse_std, gamma = cache
    # solution
    dgamma = (dy * n).sum(axis=0)
    dbeta = dy.sum(axis=0)
    g = dy * gamma
    mean_g = g.mean(axis=1, keepdims=True)
    mean_gn = (g * n).mean(axis=1, keepdims=True)
    return inverse_std * (g - mean_g - n * mean_gn), dgamma, dbeta
    # end


# %%
lessons.check("layernorm_backward", layernorm_backward, forward=layernorm)

# %%
# lessons.hint("layernorm_backward")      # a question first; call it again for more

# %%
layernorm_backward = lessons.take("layernorm_backward", layernorm_backward, forward=layernorm)
gamma, beta = rng.normal(1, 0.3, 8), rng.normal(size=8)
y, cache = layernorm(x, gamma, beta)
dy = rng.normal(size=y.shape)
dx, dgamma, dbeta = layernorm_backward(dy, cache)
print("sum of each row of dx:       ", np.abs(dx.sum(axis=1)).max() < 1e-12)
n = (y - beta) / gamma
print("each row of dx times n:      ", np.abs((dx * n).sum(axis=1)).max() < 1e-9)

# %% [markdown]
# Both are zero. A number added to the whole row is subtracted again, and a row that is stretched is scaled back: LayerNorm
# does not see these two directions. So its gradient has no part along them. The backward pass is a **projection**: it takes
# out of $g$ what lies along $(1, 1, \dots, 1)$ and along $n$.

# %% figure="How much of the gradient lies along the two directions that LayerNorm does not see: before the backward pass (g), some; after it (dx), nothing." alt="Bars for three rows. The cosines of g with the direction of ones and with n are between 0 and 0.7. Those of dx with both directions are zero and cannot be seen."
g = dy * gamma
ones = np.ones_like(n)
fig = plots.share_along(
    np.concatenate([g, dx]),
    {"the direction (1, …, 1)": np.concatenate([ones, ones]), "the direction n": np.concatenate([n, n])},
)
_ = fig.axes[0].set(xlabel="rows of g (0 to 2), rows of dx (3 to 5)")

# %% [markdown]
# ## 4. A second witness
#
# The checker compared you with our solution. Finite differences need no solution: they ask your own forward pass. Both
# must agree. (Why both are needed: [lesson 4](04_backprop_and_its_check.ipynb), section on blind checks.)


# %%
def loss(x):
    return float((layernorm(x, gamma, beta)[0] * dy).sum())


difference = np.abs(central_difference(loss, x) - dx).max() / np.abs(dx).max()
print("agrees with finite differences:", difference < 1e-6)

# %% [markdown]
# **Try it.** Leave out one of the three paths in your function, and run the cells from there on. What does the checker say?
# Here is the most usual one: mean and variance treated as if they were constants.


# %%
def without_two_paths(dy, cache):
    n, inverse_std, gamma = cache
    return inverse_std * dy * gamma, (dy * n).sum(axis=0), dy.sum(axis=0)


print(lessons.check("layernorm_backward", without_two_paths))

# %% [markdown]
# ## What you learned
#
# - GELU is $x\,\Phi(x)$; its derivative at 0 is one half.
# - LayerNorm works on one row, that is, on one token: nothing leaks between tokens.
# - Its gradient has three terms, since mean and variance depend on $x$, too. It has no part along $(1,\dots,1)$ and $n$.
# - `gamma` and `beta` are shared by all rows, so their gradients are sums. In adapter tuning they are trained: $2D$
#   numbers a LayerNorm.
#
# [Next: 6 · Attention backward](06_attention_backward.ipynb)
