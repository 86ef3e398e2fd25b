# %% [markdown]
# # 3 · Attention
#
# **You will** write softmax and multi-head attention for a packed batch, and look through three heads of a real BERT.
#
# **One idea:** every token asks the others of its sequence, and takes a weighted mean of what they offer.
#
# **Time** 40 minutes · **Needs** [lesson 2](02_text_to_tensors.ipynb) · **Paper** Vaswani et al. (2017), *Attention is
# all you need*, section 3.2; the adapter paper leaves attention as it is
#
# *The stored outputs are those of the solved lesson.*

# %%
import math

import numpy as np

from minibert import lessons
from minibert.lessons.plots import attention as plots

words = ["the", "cat", "drank", "milk"]
# what each token looks for: a noun, a verb, a living thing; and what it is
q = np.array([[2, 0, 0], [0, 2, 0], [1, 0, 2], [0, 2, 0]], dtype=float)
k = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)
scores = q @ k.T  # (T, d) @ (d, T) -> (T, T)

# %% [markdown]
# ## 1. A question, a key, a value
#
# Attention is the only place in BERT where tokens hear of each other. From its hidden state, each token makes three
# vectors, by three linear layers:
#
# - a **query** $q$: what it looks for,
# - a **key** $k$: what it is found by,
# - a **value** $v$: what it gives to those that found it.
#
# The **score** of token $j$ for token $i$ is the product $q_i \cdot k_j$. It is large if the key fits the query. All
# scores together are $QK^\top$: row $i$ belongs to token $i$, which asks; column $j$ to token $j$, which is asked.
#
# A token asks itself, too. In the cell above we made queries and keys by hand; in a BERT, the layers that make them are
# trained.
#
# **Predict first:** *drank* looks for a noun and, above all, for a living thing. Which token has the largest score?

# %%
for word, row in zip(words, scores, strict=True):
    print(f"{word:6}", dict(zip(words, row.tolist(), strict=True)))

# %% [markdown]
# ## 2. Softmax: from scores to weights
#
# For a weighted mean, each row must become numbers above 0 that sum to 1:
#
# $$p_{ij} = \frac{e^{x_{ij}}}{\sum_m e^{x_{im}}}$$
#
# A trap: $e^{900}$ is too large for a float, and infinity divided by infinity is no number. The way out: the same
# number may be subtracted from all scores of a row, since it cancels in the fraction. Which number makes every exponent
# at most 0?
#
# The backward pass of lesson 6 will need $p$ and nothing else. So the cache is $p$, too.


# %% exercise="softmax"
def softmax(x):
    """Each row to numbers above 0 that sum to 1. (T, n) -> p (T, n), cache (p again)"""
    # solution
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p, p
    # end


# %%
lessons.check("softmax", softmax)

# %%
# lessons.hint("softmax")      # a question first; call it again for more

# %% [markdown]
# **Predict first:** do the rows (1, 2, 3) and (1001, 1002, 1003) become the same weights, or which becomes the sharper?

# %%
softmax = lessons.take("softmax", softmax)
print(softmax(np.array([[1.0, 2.0, 3.0], [1001.0, 1002.0, 1003.0]]))[0].round(3))
print("weights of drank:", dict(zip(words, softmax(scores)[0][2].round(2).tolist(), strict=True)))

# %% [markdown]
# The same: only differences between scores count.
#
# ## 3. Why the scores are divided by $\sqrt{d}$
#
# A score is a sum of $d$ products. If the elements of $q$ and $k$ are about 1 in size, so is each product, and a sum of
# $d$ independent ones is about $\sqrt d$. Large scores make a softmax that looks at one token only, and whose gradient
# is nearly 0. So BERT divides: $QK^\top/\sqrt{d}$.
#
# **Predict first:** $d = 64$, elements of q and k drawn with standard deviation 1. What is the standard deviation of
# the scores?

# %%
rng = np.random.default_rng(3)
d = 64
random_scores = rng.normal(size=(1000, d)) @ rng.normal(size=(20, d)).T  # 1000 queries, 20 keys
print(f"standard deviation: {random_scores.std():.1f}, divided by sqrt(d): {(random_scores / math.sqrt(d)).std():.2f}")
for name, x in (("as they are", random_scores), ("divided", random_scores / math.sqrt(d))):
    print(f"largest of 20 weights, scores {name}: {softmax(x)[0].max(axis=1).mean():.2f} on average")

# %% [markdown]
# ## 4. Heads, and a packed batch
#
# One weighted mean answers one question. So BERT has $H$ **heads**. Each has columns of its own of $q$, $k$ and $v$:
# head $h$ those from $h\,d_\mathrm{head}$ up to, but without, $(h+1)\,d_\mathrm{head}$, where $d_\mathrm{head} = D/H$.
# It computes
#
# $$P = \mathrm{softmax}\left(\frac{QK^\top}{\sqrt{d_\mathrm{head}}}\right),\qquad Y = PV$$
#
# and writes $Y$ into its columns of the result. The linear layers that make $q$, $k$ and $v$, and the one that mixes
# the results of the heads, are not part of this function.
#
# The batch is packed: rows `offsets[b]:offsets[b + 1]` are sequence $b$. A token may ask only tokens of its own
# sequence. You need no mask for that. Two loops, two slices, and the formula. (Your `softmax` returns two things; you
# need the first.)


# %% exercise="attention"
def attention(q, k, v, offsets, n_heads):
    """q, k, v (T, D), offsets (B + 1,) -> y (T, D), cache (q, k, v, offsets, n_heads, {(b, h): P})"""
    d_head = q.shape[1] // n_heads
    y = np.zeros_like(v)
    weights = {}
    # solution
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            columns = slice(h * d_head, (h + 1) * d_head)
            P, _ = softmax(q[rows, columns] @ k[rows, columns].T / math.sqrt(d_head))
            y[rows, columns] = P @ v[rows, columns]
            weights[b, h] = P
    return y, (q, k, v, offsets, n_heads, weights)
    # end


# %%
lessons.check("attention", attention)

# %%
# lessons.hint("attention")

# %%
attention = lessons.take("attention", attention)

# %% [markdown]
# ## 5. Seeing the weights
#
# $Y = PV$. What is $Y$ if $V$ is the identity matrix? It is $P$. So we can see the weights of any attention without
# looking inside: we give row $t$ of `v` a one in column $t$ of each head, and read the weights from `y`. That takes
# heads of at least $T$ columns.


# %%
def weights_of(attention, q, k, offsets, n_heads):
    """The weights of all tokens of the batch for all tokens of the batch. -> (H, T, T)"""
    T, d_head = len(q), q.shape[1] // n_heads
    v = np.tile(np.eye(T, d_head), n_heads)  # (T, D)
    y, _ = attention(q, k, v, offsets, n_heads)
    return y.reshape(T, n_heads, d_head).transpose(1, 0, 2)[:, :, :T]


batch = "[CLS] the film was dull . [SEP] [CLS] great ! [SEP] [CLS] not bad . [SEP]"
offsets = np.array([0, 7, 11, 16])
q, k, v = rng.normal(size=(3, 16, 64))  # random, for want of a BERT
P = weights_of(attention, q, k, offsets, n_heads=2)
print("each row sums to 1:", np.allclose(P.sum(axis=2), 1))

# %% figure="A packed batch, two heads, random queries and keys. The weights form one block for each sequence. What is hatched is never computed." alt="Two heatmaps of 16 by 16 cells. In both, three square blocks of 7, 4 and 5 tokens along the diagonal hold weights of different sizes; everything outside of the blocks is hatched."
fig = plots.heatmaps(P, batch.split(), ["head 0", "head 1"], offsets)

# %% [markdown]
# **Predict first:** how many of the 16 × 16 scores does a head compute? And how many if the batch is padded?

# %%
print("packed:", (np.diff(offsets) ** 2).sum(), "scores; padded:", 3 * 7**2)

# %% [markdown]
# In a padded batch each score for a padded key must be masked, usually by adding a large negative number to it before
# the softmax. Here there is nothing to add: what is outside of the blocks does not exist.
#
# One can forget the slices, too. The next function takes the batch for one long sequence. **Predict first:** do the
# sums of its rows betray it?


# %%
def leaky(q, k, v, offsets, n_heads):
    return attention(q, k, v, np.array([0, len(q)]), n_heads)


print("each row sums to 1:", np.allclose(weights_of(leaky, q, k, offsets, n_heads=2).sum(axis=2), 1))
print(lessons.check("attention", leaky))

# %% [markdown]
# ## 6. What attention does not see
#
# **Predict first:** we change all tokens of sequence 1 (*great!*). How many of the 16 rows of `y` change?

# %%
y, _ = attention(q, k, v, offsets, 2)
changed = [array.copy() for array in (q, k, v)]
for array in changed:
    array[7:11] += 1
print("rows that change:", np.flatnonzero((attention(*changed, offsets, 2)[0] != y).any(axis=1)))

# %% [markdown]
# **Predict first:** now the tokens of sequence 0 stand in reverse order. Do their results change?

# %%
backwards = np.r_[6:-1:-1, 7:16]  # rows 6, 5, …, 0, and then the others as they were
y_backwards, _ = attention(q[backwards], k[backwards], v[backwards], offsets, 2)
print("same results, in reverse order:", np.allclose(y_backwards, y[backwards]))

# %% [markdown]
# Each token gets the same result as before. Attention is a mean over a *set*: it does not see the order. *Dog bites
# man* and *man bites dog* would be the same to it. That is why BERT adds a vector for the position to each token, and
# why your `pack` returned `positions`.
#
# ## 7. Real heads
#
# Enough of random numbers. `lessons.real_heads()` holds queries and keys of three heads of MiniLM, a small BERT, for
# two sentences that differ in one word. **Your** `attention` computes the weights.
#
# **Predict first:** one of these heads always looks at the word before. Layers and heads are counted from 0. In which
# layer do you expect it?

# %% figure="Three real heads on one sentence. Left: the token before. Middle: nearly everything goes to [CLS]. Right: the pronoun finds its noun." alt="Three heatmaps of 12 by 12 tokens of the sentence: the cat drank the milk because it was thirsty. Left, a bright line just below the diagonal. Middle, a bright first column. Right, several bright cells in the first column, and in the row of the token it the brightest cell is in the column of cat."
real = lessons.real_heads()
P_real = weights_of(attention, real.q, real.k, real.offsets, len(real.heads))
titles = [f"layer {layer}, head {head}" for layer, head in real.heads]
fig = plots.heatmaps(P_real[:, :12, :12], real.words[:12], titles)

# %% [markdown]
# - **Layer 0, head 2** reads the token before, always; `[CLS]`, which has none before it, reads itself. Nobody
#   programmed that: it was learned, and it needs the positions.
# - **Layer 2, head 9** puts nearly all on `[CLS]`, from whatever token. Weights must sum to 1, so a head that finds
#   nothing needs a place to look. Clark et al. (2019), *What does BERT look at?*, saw the same with `[SEP]`, in a larger BERT.
# - **Layer 3, head 1** is the interesting one. Look at the row of *it*.
#
# The other sentence ends in *it was fresh*. **Predict first:** to which word does *it* attend there?

# %% figure="What the token it attends to, in layer 3, head 1. One word after it has changed." alt="Two bar charts. In the sentence that ends in thirsty the tallest bar is cat with 0.46, then milk with 0.22. In the one that ends in fresh the tallest is milk with 0.42, then CLS with 0.34; cat has less than 0.1."
it = real.words.index("it")
rows = {}
for a, b in ((0, 12), (12, 24)):  # the offsets
    rows[f"… it was {real.words[b - 3]}."] = real.words[a:b], P_real[2, a + it, a:b]
fig = plots.attended(rows)

# %% [markdown]
# With *thirsty*, *it* is the cat; with *fresh*, it is the milk. Does the head understand? Be careful. For *The trophy
# did not fit in the suitcase because it was too big* and for *… too small*, the same head prefers *trophy*. And weights
# tell where a head reads, not what the next layers make of it (Jain and Wallace, 2019, *Attention is not explanation*).
#
# **Your turn.** Ask for other tokens and heads (0, 1 or 2). Where does the last head look when the token is no pronoun?

# %%
token, head = "drank", 2
row = P_real[head, real.words.index(token), :12]
for j in np.argsort(-row)[:3]:
    print(f"{token} attends to {real.words[j]:8} {row[j]:.2f}")

# %% [markdown]
# ## What you learned
#
# - Queries ask, keys are asked, values are given: $Y = \mathrm{softmax}(QK^\top/\sqrt{d_\mathrm{head}})\,V$, in each
#   head.
# - Softmax works row by row. Subtract the largest score of the row first.
# - In a packed batch a sequence is a slice of rows. It needs no mask, and computes fewer scores.
# - Attention does not see order. Positions bring it in.
# - Real heads have habits: the token before, a resting place, a noun for a pronoun.
#
# [Next: 4 · Backprop and its check](04_backprop_and_its_check.ipynb)
