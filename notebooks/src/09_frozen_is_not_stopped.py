# %% [markdown]
# # 9 · Frozen is not stopped
#
# **You will** write the backward pass of a layer whose weights are frozen, follow a gradient through all of a real
# BERT, say what each of five methods trains, and predict how much memory its training needs.
#
# **One idea:** a frozen weight gets no gradient of its own, but the gradient passes through it, on its way to whatever
# trains below.
#
# **Time** 45 minutes · **Needs** lessons [6](06_attention_backward.ipynb), [7](07_a_real_bert.ipynb) and
# [8](08_the_adapter.ipynb) · **Paper** sections 2.1 and 3.3
#
# *The stored outputs are those of the solved lesson.*

# %%
import numpy as np

from minibert import AdapterConfig, Model, lessons, load_backbone
from minibert.bench.counts import measured_cache
from minibert.lessons import plain
from minibert.lessons.plain import (
    adapter_backward,
    attention_backward,
    gelu_backward,
    layer,
    layernorm_backward,
)
from minibert.lessons.plots import backward as plots

# %% [markdown]
# ## 1. Two of the three gradients are not needed
#
# [Lesson 4](04_backprop_and_its_check.ipynb) gave a product $y = xW + b$ three gradients: $dx = dy\,W^\top$, $dW =
# x^\top dy$ and $db$, the sum of the rows of $dy$. If `W` and `b` are frozen, nobody reads `dW` and `db`. But `dx` is
# what everything below learns from.
#
# **Predict first:** how much of the work of `linear_backward` does freezing save? And does the frozen step still need
# `x`?


# %%
def frozen_backward(dy, cache):
    """dx alone, of a linear step whose W and b are frozen."""
    _, W = cache
    return dy @ W.T


# %% [markdown]
# One of two products is left, so half of the work is saved, and `x` is not read: it need not have been kept. Both
# savings are real. What is *not* saved is the way down.
#
# A layer of BERT with its two adapters is twelve steps. This is the forward pass that you wrote in
# [lesson 7](07_a_real_bert.ipynb), with the adapters of lesson 8 in their places:
#
# ```
# q, k, v    = linear of x: query, key, value
# attended   = attention(q, k, v)              heads
# a          = linear(attended)                out_a
# a          = adapter(a)                      adapter_a
# x          = layernorm(x + a)                norm_a
# u          = linear(x)                       intermediate
# h          = gelu(u)                         activation
# f          = linear(h)                       out_f
# f          = adapter(f)                      adapter_f
# y          = layernorm(x + f)                norm_f
# ```
#
# On the right is the name of each step's cache. Its backward pass is these lines from the last to the first. The linear
# steps are frozen; adapters and LayerNorms train. In each half `x` is used twice, by the block and by the sum
# `x + a` or `x + f`. **Where a tensor has two consumers, two gradients are added.**
#
# What the functions return: `gelu_backward` and `frozen_backward` return `dx`; `layernorm_backward` returns `dx,
# dgamma, dbeta`; `attention_backward` returns `dq, dk, dv`; `adapter_backward` returns `dx` and a dict of four gradients,
# `"down/W"`, `"down/b"`, `"up/W"` and `"up/b"`. All take `dy` and the step's cache.


# %% exercise="layer_backward"
def layer_backward(dy, cache):
    """dx (T, D), and {name: gradient} of both LayerNorms and both adapters, twelve in all: "attention/norm/gamma",
    "attention/norm/beta", "attention/adapter/down/W", …, "attention/adapter/up/b", and so for "feed_forward/"."""
    query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f = cache
    # solution
    grads = {}
    dsum, grads["feed_forward/norm/gamma"], grads["feed_forward/norm/beta"] = layernorm_backward(dy, norm_f)
    df, of_adapter = adapter_backward(dsum, adapter_f)
    grads |= {f"feed_forward/adapter/{name}": gradient for name, gradient in of_adapter.items()}
    du = gelu_backward(frozen_backward(df, out_f), activation)
    dx = dsum + frozen_backward(du, intermediate)
    dsum, grads["attention/norm/gamma"], grads["attention/norm/beta"] = layernorm_backward(dx, norm_a)
    da, of_adapter = adapter_backward(dsum, adapter_a)
    grads |= {f"attention/adapter/{name}": gradient for name, gradient in of_adapter.items()}
    dq, dk, dv = attention_backward(frozen_backward(da, out_a), heads)
    dx = dsum + frozen_backward(dq, query) + frozen_backward(dk, key) + frozen_backward(dv, value)
    return dx, grads
    # end


# %%
lessons.check("layer_backward", layer_backward)

# %%
# lessons.hint("layer_backward")      # a question first; call it again for more

# %%
layer_backward = lessons.take("layer_backward", layer_backward)

# %% [markdown]
# ## 2. Through a real BERT
#
# Now the real one, with a fresh head and fresh adapters, as training begins. Forward is six calls of `layer`. The head
# reads the first token of each sentence, [CLS], so the gradient of the last layer's output is zero in all other rows.

# %%
backbone = load_backbone(lessons.weights())
texts = [
    "I loved it.",
    "The machine leaks, rattles and scalds.",
    "Not bad at all!",
    "Nobody answered, and nobody came.",
]
labels, batch = np.array([1, 0, 1, 0]), backbone.encode(texts)
model = Model(backbone, "classify", n_out=2, method="adapter", adapter=AdapterConfig(size=16), seed=0)
p = {name: array.astype(np.float64) for name, array in model.parameters().items()}

tables = {"word": batch.ids, "position": batch.positions, "segment": batch.segments}
x = sum(p[f"embeddings/{name}/W"][rows] for name, rows in tables.items())
x, _ = plain.layernorm(x, p["embeddings/norm/gamma"], p["embeddings/norm/beta"])
caches = []
for i in range(6):
    x, cache = layer(x, plain.below(p, f"encoder/layers/{i}"), batch.offsets, n_heads=12)
    caches.append(cache)
scores, head_cache = plain.linear(x[batch.first_rows], p["head/W"], p["head/b"])
loss, loss_cache = plain.cross_entropy(scores, labels)
dx = np.zeros_like(x)
dx[batch.first_rows], _, _ = plain.linear_backward(plain.cross_entropy_backward(loss_cache), head_cache)
print(f"loss {loss:.4f}; rows with a gradient: {np.count_nonzero(np.abs(dx).sum(axis=1))} of {len(dx)}")

# %% [markdown]
# Six calls of your `layer_backward` bring it down. Beside it we do what many believe freezing means: **stopped** is a
# gradient that does not cross frozen weights. It has one way left, the two residuals, with their LayerNorms.
#
# **Predict first:** the head gave a gradient to 4 rows. To how many rows has it come below layer 5? And the stopped
# one?


# %%
def stopped_backward(dy, cache):
    """dx if frozen meant stopped: the way through the residuals alone."""
    dsum, _, _ = layernorm_backward(dy, cache[-1])  # norm_f
    return layernorm_backward(dsum, cache[6])[0]  # norm_a


def rows(dx):
    return np.count_nonzero(np.abs(dx).sum(axis=1))


stopped, grads, norms = dx, {}, {"true": {}, "stopped": {}}
print(f"{'below layer':<14}{'true: norm':>12}{'rows':>6}{'stopped: norm':>16}{'rows':>6}{'cosine':>9}")
for i in reversed(range(6)):
    dx, layer_grads = layer_backward(dx, caches[i])
    stopped = stopped_backward(stopped, caches[i])
    grads |= {f"encoder/layers/{i}/{name}": gradient for name, gradient in layer_grads.items()}
    norms["true"][i], norms["stopped"][i] = np.linalg.norm(dx), np.linalg.norm(stopped)
    cosine = (dx * stopped).sum() / norms["true"][i] / norms["stopped"][i]
    print(f"{i:<14}{norms['true'][i]:>12.5f}{rows(dx):>6}{norms['stopped'][i]:>16.5f}{rows(stopped):>6}{cosine:>9.3f}")

# %% [markdown]
# The stopped gradient never leaves the [CLS] rows: attention is the only step that mixes tokens, and its weights are
# frozen. Three layers down, its direction has little to do with the true one. Adapters would train, and learn something
# else.
#
# The program computes the same gradients, in float32 and by fast kernels. Compare, and see whether you computed any
# that nobody reads:

# %%
their_loss, theirs = model.loss_and_grads(batch, labels)
both = [name for name in grads if name in theirs]
worst = max(np.abs(theirs[name] - grads[name]).max() / np.abs(grads[name]).max() for name in both)
print(f"{len(both)} gradients, relative difference below 1e-4: {worst < 1e-4}; not needed: {len(grads) - len(both)}")

# %% [markdown]
# ## 3. What trains, and where backward ends
#
# Five ways to tune a BERT are five sets of names (`minibert/methods.py`):
#
# | method | trains |
# |---|---|
# | `full` | everything |
# | `adapter` | adapters, every LayerNorm, the head: the paper's method |
# | `layernorm` | every LayerNorm, the head |
# | `top_k` | the highest k of the layers, the head; with all layers it is `full` |
# | `head` | the head |
#
# Names are such as `embeddings/word/W`, `embeddings/norm/gamma`, `encoder/layers/5/attention/norm/beta`,
# `encoder/layers/0/feed_forward/adapter/up/W`, `head/b`. Layers are numbered from 0, below, to n_layers − 1, next to
# the head. One LayerNorm is easily forgotten.


# %% exercise="is_trained"
def is_trained(name, method, n_layers, top_k):
    """Whether the method trains the parameter of that name. top_k counts for method "top_k" alone."""
    # solution
    if name.startswith("head/") or method == "full":
        return True
    if method == "top_k":
        in_layer = int(name.split("/")[2]) if name.startswith("encoder/layers/") else -1
        return top_k == n_layers or in_layer >= n_layers - top_k
    if method == "adapter":
        return "/adapter/" in name or "/norm/" in name
    return method == "layernorm" and "/norm/" in name
    # end


# %%
lessons.check("is_trained", is_trained)

# %%
# lessons.hint("is_trained")

# %% [markdown]
# **Predict first:** which percentage of the parameters does each method train? The last column asks the program.
# (Lesson 1 counted 22.7 million. It counted the pooler, too, a layer of $D^2 + D$ parameters that BERT was pre-trained
# with. No head of these lessons reads it, so these models leave it out.)

# %%
is_trained = lessons.take("is_trained", is_trained)
METHODS = {"full": 0, "adapter": 0, "layernorm": 0, "top_k": 2, "head": 0}
models = {}
for method, k in METHODS.items():
    adapter = AdapterConfig(size=64) if method == "adapter" else None
    m = models[method] = Model(backbone, "span", 2, method, adapter, top_k=k)
    sizes = {name: array.size for name, array in m.parameters().items()}
    mine = {name for name in sizes if is_trained(name, method, 6, k)}
    n = sum(sizes[name] for name in mine)
    print(f"{method:10}{n:>12,} of {sum(sizes.values()):,}  {n / sum(sizes.values()):8.3%}", mine == set(m.trained()))

# %% [markdown]
# Backward goes down to the lowest parameter that trains, and no further. Adapter tuning trains the LayerNorm of the
# embeddings, so it goes all the way. The highest two layers need two calls, and what lies below need not be known.

# %% figure="The norm of the gradient below each layer, as backward goes down (logarithmic). For adapter tuning it crosses all six frozen layers. For top_k with k = 2 it ends below layer 4. If frozen meant stopped, it would fade." alt="A line from layer 5 down to layer 0 that falls by a factor of about five. A second line lies on it and ends with a bar at layer 4. A third line falls by a factor of several thousand."
fig = plots.gradient_by_layer(
    {
        "adapter: to the embeddings": norms["true"],
        "top_k, k = 2: ends at the bar": {i: norms["true"][i] for i in (5, 4)},
        "if frozen meant stopped": norms["stopped"],
    },
    "norm of dx",
)

# %% [markdown]
# ## 4. What forward keeps
#
# Training needs the memory of what forward keeps for backward. Ask of each step what its `dx` needs, and what its `dW`:
#
# - a product $xW$ needs its input for `dW` alone: **kept if its own W trains** (a bias needs no input);
# - attention's products $QK^\top$ and $PV$ have no W: the gradient of each factor needs the other. q, k and v are
#   **always kept**;
# - softmax, GELU and LayerNorm are not linear, and their `dx` needs something, **frozen or not**.
#
# For each token, a layer has: the attention input (D), which q, k and v share; q, k and v; lse (H), as in [lesson
# 6](06_attention_backward.ipynb); attended (D), the input of the output product; the feed-forward input (D); the
# derivative of GELU (F); h (F); for each LayerNorm n (D) and `inverse_std` (1). An adapter is never
# frozen. If there is one, it keeps its input (D), the derivative of its GELU (M) and its h (M).
#
# In lesson 6 the row sum of $dP \circ P$ was taken from $dy$ and $y$, the attended tokens. The program takes it from
# $P$ itself, which it computes again from lse, so *attended* is kept for the output product alone.
#
# The products whose caches were `query`, `key`, `value`, `out_a`, `intermediate` and `out_f` have the parameters
# `attention/query/W`, `attention/key/W`, `attention/value/W`, `attention/output/W`, `feed_forward/intermediate/W` and
# `feed_forward/output/W`, each with a `/b` beside it.


# %% exercise="cache_sizes"
def cache_sizes(trained, D, F, H, M):
    """{tensor: elements kept for each token} of a layer that the gradient crosses; 0 of a tensor that is not kept.
    trained: a set of the names below the layer that train, such as "attention/query/W", "feed_forward/adapter/up/b"; it
    may be empty. The tensors: "attention input", "q, k, v", "lse", "attended", "attention adapter", "attention norm",
    "feed-forward input", "derivative of gelu", "h", "feed-forward adapter", "feed-forward norm"."""
    # solution
    return {
        "attention input": D * any(f"attention/{name}/W" in trained for name in ("query", "key", "value")),
        "q, k, v": 3 * D,
        "lse": H,
        "attended": D * ("attention/output/W" in trained),
        "attention adapter": (D + 2 * M) * ("attention/adapter/down/W" in trained),
        "attention norm": D + 1,
        "feed-forward input": D * ("feed_forward/intermediate/W" in trained),
        "derivative of gelu": F,
        "h": F * ("feed_forward/output/W" in trained),
        "feed-forward adapter": (D + 2 * M) * ("feed_forward/adapter/down/W" in trained),
        "feed-forward norm": D + 1,
    }
    # end


# %%
lessons.check("cache_sizes", cache_sizes)

# %%
# lessons.hint("cache_sizes")

# %% [markdown]
# **Predict first:** does adapter tuning, with 3 % of the parameters, need about 3 %, half or three quarters of the
# memory of full fine-tuning? We multiply your sizes by the layers that backward reaches and by 4 bytes, and compare
# with the arrays that the program really keeps, for each token.

# %%
cache_sizes = lessons.take("cache_sizes", cache_sizes)
c, prefix, kept = backbone.config, "encoder/layers/5/", {}
reached = {"full": 6, "adapter": 6, "layernorm": 6, "top_k": 2, "head": 0}  # layers
for method, m in models.items():
    trained = {name.removeprefix(prefix) for name in m.trained() if name.startswith(prefix)}
    sizes = cache_sizes(trained, c.hidden_size, c.feed_forward_size, c.n_heads, M=64)
    kept[method] = {tensor: 4e-3 * reached[method] * size for tensor, size in sizes.items()}
    if reached[method] == 6:  # backward goes on to the LayerNorm of the embeddings
        kept[method]["embeddings norm"] = 4e-3 * (c.hidden_size + 1)
    measured = measured_cache(m, batch) / batch.n_tokens / 1e3
    print(f"{method:10} predicted {sum(kept[method].values()):6.1f} kB a token, measured {measured:6.1f}")

# %% figure="What forward keeps for each token, by method. Frozen products keep no input, and the rest is kept in every layer that backward crosses." alt="Five horizontal bars with five parts each. Full fine-tuning is the longest, adapter tuning is about three quarters of it, LayerNorms alone a little less, top_k with two layers about a third, and the head alone is zero. The part for inputs of products is only in full and top_k, the part for adapters only in adapter."
fig = plots.memory_by_method(kept)

# %% [markdown]
# Adapters save parameters, and with them the optimizer's state and the size of what is stored for each task. They save
# only part of the memory of a training step, as gradients cross every layer. Methods that end early save it: `top_k`
# keeps two layers, and `head` none, so its encoder may even run once for all epochs.
#
# **Try it.** Stop your gradient in one place: leave `frozen_backward(dv, value)` out of `layer_backward`, and run the
# check. Then leave out the gradients of both LayerNorms. The checker names each mistake.
#
# ## What you learned
#
# - Frozen means: no `dW`, and no input kept for it. `dx` is passed on as through any other weight.
# - A gradient that stopped at frozen weights would stay in the rows of [CLS], and soon point elsewhere.
# - The five methods are sets of names; the LayerNorm of the embeddings is one of the LayerNorms.
# - Backward ends at the lowest parameter that trains, and nothing is kept below it.
# - Softmax, GELU and LayerNorm keep what their `dx` needs, frozen or not: that is why adapters still need most of the
#   memory.
#
# [Next: 10 · Optimizer and loop](10_optimizer_and_loop.ipynb)
