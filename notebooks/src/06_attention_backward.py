# %% [markdown]
# # 6 · Attention backward
#
# **You will** write the backward pass of the softmax and of attention, and then write it again without storing the
# attention weights.
#
# **One idea:** a softmax mixes a row. Its weights sum to 1, so what one of them wins the others lose, and the gradient
# of one score depends on the gradients of the whole row.
#
# **Time** 40 minutes · **Needs** lessons [3](03_attention.ipynb) and [4](04_backprop_and_its_check.ipynb) · **Papers**
# the attention is that of Vaswani et al. (2017), section 3.2; part 3 is an idea of FlashAttention (Dao et al., 2022)
#
# *The stored outputs are those of the solved lesson.*

# %%
import math

import numpy as np

from minibert import lessons
from minibert.lessons.plain import attention, attention_lse, central_difference, softmax
from minibert.lessons.plots import backward as plots

rng = np.random.default_rng(6)

# %% [markdown]
# ## 1. The softmax
#
# **Predict first:** a row of scores is (2, 1, 0, 0). We raise the first score by 1. Which of the four weights change?
# Which of the other three changes most?

# %% figure="One score is raised, and every weight of the row changes. Each of the others loses the same share of itself, so the largest of them loses most." alt="Four pairs of bars. The weight of element 0 rises from 0.61 to 0.81. The other three fall, element 1 most."
scores = np.array([[2.0, 1.0, 0.0, 0.0]])
before, after = softmax(scores)[0][0], softmax(scores + np.array([[1, 0, 0, 0]]))[0][0]
fig = plots.row_before_and_after(before, after, 0)

# %% [markdown]
# The derivatives say the same. With $p = \mathrm{softmax}(x)$,
#
# $$\frac{\partial p_i}{\partial x_j} = p_i\,(1[i=j] - p_j)$$
#
# where $1[i=j]$ is 1 if $i = j$, and 0 if not. The loss depends on $x_j$ through *every* $p_i$ of the row, so the chain
# rule has a sum over $i$:
#
# $$dx_j = \sum_i dp_i\, p_i\,(1[i=j] - p_j) = p_j\,\Big(dp_j - \sum_i dp_i\, p_i\Big)$$
#
# The sum is one number for each row. There is no need for the whole matrix of derivatives.


# %% exercise="softmax_backward"
def softmax_backward(dp, cache):
    """dx, with the softmax taken row by row. (T, n) -> (T, n). The cache is p, what softmax returned."""
    p = cache
    # solution
    inner = (dp * p).sum(axis=1, keepdims=True)
    return p * (dp - inner)
    # end


# %%
lessons.check("softmax_backward", softmax_backward)

# %%
# lessons.hint("softmax_backward")      # a question first; call it again for more

# %% [markdown]
# The usual mistake is $p\,(1-p)$, which is right for a sigmoid, as that has one input. Here it is the diagonal alone:


# %%
def diagonal_alone(dp, cache):
    return dp * cache * (1 - cache)


print(lessons.check("softmax_backward", diagonal_alone))

# %% [markdown]
# **Predict first:** add the same number to all scores of a row. What happens to its weights? So what does each row of
# `dx` sum to?

# %%
softmax_backward = lessons.take("softmax_backward", softmax_backward)
p, dp = softmax(rng.normal(size=(3, 4)))[0], rng.normal(size=(3, 4))
print("row sums are 0, right one:    ", np.abs(softmax_backward(dp, p).sum(axis=1)).max() < 1e-12)
print("row sums are 0, diagonal only:", np.abs(diagonal_alone(dp, p).sum(axis=1)).max() < 1e-12)

# %% [markdown]
# ## 2. Attention
#
# For one head of one sequence of $n$ tokens, [lesson 3](03_attention.ipynb) computed
#
# $$S = \frac{Q K^\top}{\sqrt{d_{\mathrm{head}}}},\qquad P = \mathrm{softmax}(S),\qquad Y = P\,V$$
#
# These are two products with a softmax between them. [Lesson 4](04_backprop_and_its_check.ipynb) had the rule for a
# product: each factor's gradient is `dy` times the other factor, transposed where the shapes ask for it. Go from the
# last line to the first:
#
# $$dV = P^\top dY,\qquad dP = dY\, V^\top$$
# $$dS = \mathrm{softmax\_backward}(dP, P) / \sqrt{d_{\mathrm{head}}},\qquad dQ = dS\, K,\qquad dK = dS^\top Q$$
#
# Here $dS$ already contains the division, which is one more factor on the way. The loops over sequences and heads are
# those of the forward pass. Five lines are missing: `dv`, `dP`, `dS`, `dq` and `dk`.


# %% exercise="attention_backward"
def attention_backward(dy, cache):
    """dq, dk, dv, each (T, D). weights[b, h] is P of sequence b and head h, (n, n)."""
    q, k, v, offsets, n_heads, weights = cache
    d_head = q.shape[1] // n_heads
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            P = weights[b, h]
            # solution
            dv[rows, head] = P.T @ dy[rows, head]
            dP = dy[rows, head] @ v[rows, head].T
            dS = softmax_backward(dP, P) / math.sqrt(d_head)
            dq[rows, head] = dS @ k[rows, head]
            dk[rows, head] = dS.T @ q[rows, head]
            # end
    return dq, dk, dv


# %%
lessons.check("attention_backward", attention_backward)

# %%
# lessons.hint("attention_backward")

# %%
attention_backward = lessons.take("attention_backward", attention_backward)

# %% [markdown]
# Now look at one head, of random queries and keys. **Predict first:** where a weight of P is almost 0, can its score
# have a large gradient? And what does each row of dS sum to?

# %% figure="P and dS of one head. Where P is almost 0, dS is almost 0, too (the middle shade): what is not attended to learns little. Row 0 has one weight near 1, and its gradient is small everywhere." alt="Two square pictures of seven queries by seven keys. The left one, P, has a few bright cells in each row. The right one, dS, differs from its middle shade only in the cells where P is not near zero; each such row has bright and dark cells."
q, k, v, dy = (rng.normal(scale=scale, size=(7, 8)) for scale in (2, 1.2, 1, 1))
offsets, n_heads = np.array([0, 7]), 2
y, cache = attention(q, k, v, offsets, n_heads)
P, head = cache[-1][0, 0], slice(0, 4)
dS = softmax_backward(dy[:, head] @ v[:, head].T, P) / math.sqrt(4)
fig = plots.weights_and_gradient(P, dS)

# %%
small = P < 0.01
print(f"largest |dS| where P is below 0.01: {np.abs(dS[small]).max():.3f}, elsewhere: {np.abs(dS[~small]).max():.3f}")
print("each row of dS sums to 0:", np.abs(dS.sum(axis=1)).max() < 1e-12)

# %% [markdown]
# **A second witness**, as in lesson 4: finite differences of your own forward pass. **Predict first:** what are `dq`
# and `dk` if every sequence has one token? And would a check on such sequences find a mistake in them?


# %%
def loss(q):
    return float((attention(q, k, v, offsets, n_heads)[0] * dy).sum())


dq, _, _ = attention_backward(dy, cache)
print("agrees with finite differences:", np.abs(central_difference(loss, q) - dq).max() / np.abs(dq).max() < 1e-6)

one_each = np.arange(8)  # seven sequences of one token
dq, dk, dv = attention_backward(dy, attention(q, k, v, one_each, n_heads)[1])
print("sequences of one token: largest |dq|, |dk|:", np.abs(dq).max(), np.abs(dk).max())

# %% [markdown]
# A single token has the weight 1 whatever its score is, so these gradients are zero. A check that compares zeros with
# zeros passes whatever is wrong. Test with sequences of three tokens and more, of different lengths.
#
# ## 3. Without storing P
#
# P has $n^2$ elements a head, and is kept from forward to backward in every layer. **Predict first:** in our BERT
# (H = 12 heads of d_head = 32, D = 384), from which length on is P larger than q, k and v together?

# %% figure="What a layer keeps for backward, in float32. The weights grow with the square of the length, all else in proportion to it." alt="Three lines with both axes logarithmic. The line of P is twice as steep as the other two. It crosses that of q, k, v between 64 and 128 tokens, and is 12.6 megabytes at 512 tokens, where y and lse take 0.8."
D, H = 384, 12
n = 2 ** np.arange(4, 10)
megabytes = {"P, H n²": H * n**2, "q, k, v, 3 n D": 3 * n * D, "y and lse, n (D + H)": n * (D + H)}
fig = plots.memory_by_length(n, {name: 4e-6 * size for name, size in megabytes.items()})
print("P is larger than q, k and v from", 3 * D // H + 1, "tokens on")

# %% [markdown]
# P can be computed again from q and k, which are kept anyway. Two things would still need a pass over a whole row. Both
# are one number for each row and head: forward has the first already, and the second follows from `y` and `dy`.
#
# **The normalization.** Forward keeps the log-sum-exp $\ell_i = \log\sum_j e^{S_{ij}}$ (and subtracts the largest score
# before exp, as your softmax does). Then each element of P stands alone: $P_{ij} = e^{S_{ij} - \ell_i}$.
#
# **The row sum** of the softmax's gradient. As $dP = dY\,V^\top$ and $Y = P\,V$, sums may change their order:
#
# $$\sum_j P_{ij}\, dP_{ij} = \sum_j P_{ij} \sum_c dY_{ic} V_{jc}
#   = \sum_c dY_{ic} \sum_j P_{ij} V_{jc} = \sum_c dY_{ic}\, Y_{ic}$$
#
# So it is the row sum of `dy * y`, over the columns of this head. `attention_lse` is the forward pass; its cache holds
# `lse`, of shape (T, H), in place of the weights. The price is the product $Q K^\top$, computed once more: five
# products instead of four. What it buys is more than memory: a fast kernel computes P block by block, and no block
# waits for the rest of its row.


# %% exercise="attention_lse_backward"
def attention_lse_backward(dy, cache):
    """dq, dk, dv, each (T, D), from y (T, D) and lse (T, H). No P was stored."""
    q, k, v, y, lse, offsets, n_heads = cache
    d_head = q.shape[1] // n_heads
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            # solution
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            P = np.exp(scores - lse[rows, h, None])
            dv[rows, head] = P.T @ dy[rows, head]
            dP = dy[rows, head] @ v[rows, head].T
            inner = (dy[rows, head] * y[rows, head]).sum(axis=1, keepdims=True)
            dS = P * (dP - inner) / math.sqrt(d_head)
            dq[rows, head] = dS @ k[rows, head]
            dk[rows, head] = dS.T @ q[rows, head]
            # end
    return dq, dk, dv


# %%
lessons.check("attention_lse_backward", attention_lse_backward)

# %%
# lessons.hint("attention_lse_backward")

# %%
attention_lse_backward = lessons.take("attention_lse_backward", attention_lse_backward)
y_lse, cache_lse = attention_lse(q, k, v, offsets, n_heads)
pairs = zip(attention_backward(dy, cache), attention_lse_backward(dy, cache_lse), strict=True)
print("the same output:   ", np.abs(y_lse - y).max() < 1e-12)
print("the same gradients:", max(np.abs(a - b).max() for a, b in pairs) < 1e-12)

# %% [markdown]
# This is how `kernels/attention.py`, the program's own attention, does it: `lse` is kept in place of P. Your function
# needs y, too. The program does not, as it computes P row by row, and takes the row sum from that.
#
# **Try it.** Lose one thing in your function, and run its check again: first `lse`, then the row sum, then the division
# in `dS`. Two of these mistakes leave `dv` right, as `dv` needs P alone. Which two?
#
# ## What you learned
#
# - A softmax mixes its row: $dx = p\,(dp - \sum dp\,p)$, and each row of the gradient sums to 0.
# - Attention backward is two products' rules with that softmax between them. The scale is a factor there, too.
# - Where a weight is almost 0, or almost 1, its score learns almost nothing.
# - P need not be stored: one number for each row and head is enough to compute it again, and the row sum is that of
#   `dy * y`.
# - A check on sequences of one token sees nothing.
#
# [Next: 7 · A real BERT](07_a_real_bert.ipynb)
