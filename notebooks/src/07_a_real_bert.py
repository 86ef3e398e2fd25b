# %% [markdown]
# # 7 · A real BERT
#
# **You will** put your own functions together to a whole BERT, load the weights of a real one into it, and compare it
# with the program layer by layer.
#
# **One idea:** your layers, real weights, an error below 1e-5. A wrong BERT does not crash, and it often seems to work.
# Only a comparison of hidden states, one layer at a time, says that it is right, or where it begins to be wrong.
#
# **Time** 45 minutes · **Needs** lessons [3](03_attention.ipynb) and
# [5](05_gelu_and_layernorm.ipynb), and the weights of [lesson 1](01_first_minute.ipynb) · **Read** Devlin et al.
# (2018), section 3
#
# *The stored outputs are those of the solved lesson.*

# %%
import numpy as np

from minibert import lessons, load_backbone
from minibert.lessons.edits import with_mistake
from minibert.lessons.plain import attention, below, embedding, gelu, layernorm, linear
from minibert.lessons.plots import encoder as plots

# %% [markdown]
# The functions of `minibert.lessons.plain` compute what you wrote in lessons 3 to 5. Put yours in their place if you
# like.
#
# ## 1. What is in the file
#
# The weights are arrays with names. All are float32; we take them as float64, so that rounding cannot be mistaken for
# an error.

# %%
backbone = load_backbone(lessons.weights())
H, L = backbone.config.n_heads, backbone.config.n_layers
p = {name: array.astype(np.float64) for name, array in backbone.parameters().items()}
for name, array in p.items():
    if name.startswith(("embeddings/", "encoder/layers/0/")):
        print(f"{name:45}{array.shape}")

# %% [markdown]
# `below(p, "embeddings")` gives the part of `p` below that name, with shorter names: `word/W`, `norm/gamma` and so on.
#
# **Predict first:** attention has four weights $(D, D)$, the feed-forward block two, $(D, F)$ and $(F, D)$, with $F =
# 4D$. Which block has more parameters, and how many times as many?

# %%
sizes = {
    block: sum(a.size for a in below(p, f"encoder/layers/0/{block}").values())
    for block in ("attention", "feed_forward")
}
print(f"feed-forward has {sizes['feed_forward'] / sizes['attention']:.2f} times as many")

# %% [markdown]
# The inputs are three *pairs* of texts. The **segment** of a token says to which text of its pair it belongs, 0 or 1.

# %%
questions = ["Who wrote the letter?", "Is the film any good?", "Where do willows grow?"]
answers = ["Ann wrote it on Monday, by hand.", "I would see it again tomorrow.", "Along the bank of the stream."]
batch = backbone.encode(questions, answers)
print(" ".join(backbone.tokenizer.words(batch)[0]))
print("segments ", *batch.segments[: batch.offsets[1]])
print("positions", *batch.positions[: batch.offsets[1]])

# %% [markdown]
# ## 2. Embeddings
#
# Three tables have a row for each token: `word/W` for its word piece, `position/W` for its place in the sequence,
# `segment/W` for its segment. The three rows are added. Then comes a LayerNorm, as after every sum in BERT:
#
# $$x = \mathrm{LayerNorm}(W_\text{word}[\text{ids}] + W_\text{position}[\text{positions}] +
#   W_\text{segment}[\text{segments}])$$
#
# `embedding(ids, W)` takes rows, `layernorm(x, gamma, beta)` normalizes. Both return `y, cache`.


# %% exercise="embeddings"
def embeddings(ids, segments, positions, p):
    """(T,) x 3 -> (T, D), and the caches of the four steps (for backward; not needed today).

    p: {"word/W": (V, D), "norm/gamma": (D,), ...}, the names below "embeddings".
    """
    # solution
    word, word_cache = embedding(ids, p["word/W"])
    position, position_cache = embedding(positions, p["position/W"])
    segment, segment_cache = embedding(segments, p["segment/W"])
    y, norm_cache = layernorm(word + position + segment, p["norm/gamma"], p["norm/beta"])
    return y, (word_cache, position_cache, segment_cache, norm_cache)
    # end


# %%
lessons.check("embeddings", embeddings)

# %%
embeddings = lessons.take("embeddings", embeddings)

# %% [markdown]
# ## 3. A layer
#
# Two blocks. Each adds its input to what it computed (the *residual* connection), and normalizes the sum:
#
# ```
#   x ─┬─ attention ──(+)─ LayerNorm ─┬─ feed-forward ──(+)─ LayerNorm ─ y
#      └───────────────┘              └─────────────────┘
# ```
#
# - **Attention:** $q$, $k$, $v$ by three linear layers; `attended` by `attention(q, k, v, offsets, n_heads)`; $a$ by a
#   linear layer `output`.
# - **Feed-forward:** $u$ by a linear layer `intermediate` from $D$ to $F$; $h$ by GELU; $f$ by a linear layer `output`
#   back to $D$.
#
# BERT normalizes **after** the sum (post-LN). GPT-2 and most later networks do so before the block (pre-LN): weights of
# the one are useless in the other.
#
# Return `y` and one tuple of twelve, the caches of all steps in their order: query, key, value, attention, output,
# `()`, LayerNorm, intermediate, GELU, output, `()`, LayerNorm. The two empty places are for the adapters of the next
# lesson. A cache of your own passes, too: lesson 9 goes on with ours.


# %% exercise="layer"
def layer(x, p, offsets, n_heads):
    """x (T, D) -> y (T, D), cache. p: {"attention/query/W": (D, D), ...}, the names below a layer."""
    # solution
    q, query = linear(x, p["attention/query/W"], p["attention/query/b"])
    k, key = linear(x, p["attention/key/W"], p["attention/key/b"])
    v, value = linear(x, p["attention/value/W"], p["attention/value/b"])
    attended, heads = attention(q, k, v, offsets, n_heads)
    a, out_a = linear(attended, p["attention/output/W"], p["attention/output/b"])
    x, norm_a = layernorm(x + a, p["attention/norm/gamma"], p["attention/norm/beta"])
    u, intermediate = linear(x, p["feed_forward/intermediate/W"], p["feed_forward/intermediate/b"])
    h, activation = gelu(u)
    f, out_f = linear(h, p["feed_forward/output/W"], p["feed_forward/output/b"])
    y, norm_f = layernorm(x + f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])
    return y, (query, key, value, heads, out_a, (), norm_a, intermediate, activation, out_f, (), norm_f)
    # end


# %%
lessons.check("layer", layer)

# %%
# lessons.hint("layer")      # remove the first #: a question first; run it again for more

# %%
layer = lessons.take("layer", layer)

# %% [markdown]
# ## 4. The encoder
#
# The embeddings, then the layers one after the other. Keep every hidden state under its name: `"embeddings"`, then
# `"layer 0"`, `"layer 1"` and so on for what each layer gives. They are what we compare, so the check does,
# too.


# %% exercise="encoder"
def encoder(ids, segments, positions, offsets, p, n_heads, n_layers):
    """y (T, D) of the last layer, and {"embeddings": (T, D), "layer 0": (T, D), ...}. p: all parameters.

    Those of layer i are below(p, f"encoder/layers/{i}").
    """
    # solution
    x, _ = embeddings(ids, segments, positions, below(p, "embeddings"))
    states = {"embeddings": x}
    for i in range(n_layers):
        x, _ = layer(x, below(p, f"encoder/layers/{i}"), offsets, n_heads)
        states[f"layer {i}"] = x
    return x, states
    # end


# %%
lessons.check("encoder", encoder)

# %%
encoder = lessons.take("encoder", encoder)

# %% [markdown]
# ## 5. Real weights
#
# The program makes the same walk through its own layers, which are written for speed: `lessons.watch` runs them, and
# keeps the hidden states under the same names. The program is the second witness; tests compare it with the
# `transformers` library, too.


# %%
def errors(states, expected):
    """The largest difference, relative to the largest element, of each hidden state."""
    return {name: np.abs(states[name] - x).max() / np.abs(x).max() for name, x in expected.items()}


tokens = (batch.ids, batch.segments, batch.positions, batch.offsets)
y, yours = encoder(*tokens, p, H, L)
print("hidden states", y.shape)

# %% [markdown]
# **Predict first.** The program computes in float32, which has about 7 digits; yours in float64, which has 16. How
# large is the error of the last layer: 1e-15, 1e-7 or 1e-2? And if the program computes in float64, too?
#
# (The second line may take half a minute: the program compiles its kernels for float64, once.)

# %% compare="never"
by_layer = {
    name: errors(yours, lessons.watch(b, batch).states)
    for name, b in (("float32", backbone), ("float64", backbone.astype(np.float64)))
}
for name, found in by_layer.items():
    print(f"program in {name}: largest error of all layers {max(found.values()):.0e}")

# %%
print("your BERT is right to 1e-5: ", max(by_layer["float32"].values()) < 1e-5)
print("and to rounding in float64: ", max(by_layer["float64"].values()) < 1e-12)

# %% [markdown]
# What was left in float32 was rounding: with float64 on both sides it went away. **An error that stays in
# float64 is a mistake.**
#
# ## 6. The same with mistakes
#
# The checker knows mistakes by name: each is an edit of one place of our functions. Six of them are made here on
# purpose, on the real weights:
#
# - *pre-LN*: LayerNorm before the blocks
# - *W transposed*: the square weights, as from a file that stores (out, in)
# - *no embedding LayerNorm*
# - *segments forgotten*: 0 for every token
# - *eps 1e-5* in LayerNorm, the default of most libraries; BERT has 1e-12
# - *tanh GELU*: the approximation that GPT-2 has
#
# **Predict first:** which two are the hardest to find? How small must a tolerance be that finds all six?

# %%
names = {
    "pre-LN": "pre-LN",
    "no embedding LayerNorm": "LayerNorm of the embeddings",
    "W transposed": "transposed",
    "segments forgotten": "every token has segment 0",
    "tanh GELU": "tanh",
    "eps 1e-5": "eps is 1e-5",
}
by_encoder = {"yours": by_layer["float64"]}
for name, words in names.items():
    mistake = next(m for m in lessons.EXERCISES["encoder"].mistakes if words in m.message)
    wrong = with_mistake("encoder", mistake)(*tokens, p, H, L)[1]
    by_encoder[name] = errors(wrong, yours)
for name in names:
    print(f"{name:23} error of the last layer {by_encoder[name][f'layer {L - 1}']:.0e}")

# %% figure="Error of each hidden state, against minibert in float64, on a logarithmic axis. A mistake shows where it is made: those of the embeddings at once, those of the layers from layer 0 on." alt="Seven lines over embeddings and layers 0 to 5. The right encoder stays below 1e-15. Four mistakes lie between 0.01 and 40. Tanh GELU rises from 1e-4 to 5e-4, and eps 1e-5 falls from 1e-3 to 1e-4: both are far above the dotted line at 1e-5, and far below 1e-2."
fig = plots.error_by_layer(by_encoder, tolerance=1e-5)

# %% [markdown]
# Four are plain to see. But `eps` and the tanh form change less than one part in a thousand: a check with a tolerance
# of 1e-2 lets both pass, and training would hide them, since it adapts to whatever is there. The picture also says
# *where* to look: an error in the first state is one of the embeddings, or of a function that they use.
#
# **Your turn.** Plant a mistake of your own in `layer`, give it to `lessons.check`, and see whether it is named.


# %%
def my_layer(x, p, offsets, n_heads):
    x, cache = layer(x, p, offsets, n_heads)  # <- spoil something
    return x, cache


lessons.check("layer", my_layer)

# %% [markdown]
# ## 7. What the hidden states say
#
# Your BERT reads. We compare sentences by the mean of their hidden states, and measure how alike two are by the cosine.
#
# **Predict first:** three sentences are on food, and two of them praise. Will BERT group them by topic, or by praise?

# %% figure="Cosines of the mean hidden states of five sentences, before the first layer and after the last." alt="Two matrices of cosines of five sentences. After the last layer the three sentences on food have cosines of 0.4 to 0.7 with each other, and of 0.05 to 0.2 with the two on travel, whether they praise or not."
sentences = [
    "The soup was wonderful.",
    "I loved the meal.",
    "We hated the soup.",
    "The train left at nine.",
    "Our bus departed early.",
]


def read(texts):
    """The hidden states of single texts, and where each text begins and ends."""
    b = backbone.encode(texts)
    return encoder(b.ids, b.segments, b.positions, b.offsets, p, H, L)[1], b


states, b = read(sentences)
means = {name: np.add.reduceat(states[name], b.first_rows) for name in ("embeddings", f"layer {L - 1}")}
fig = plots.cosines(means, sentences)

# %% [markdown]
# By topic: the three on food have cosines of 0.42 to 0.66 with each other, and of 0.20 at most with the two on travel.
# Praise counts, too: *I loved the meal* is nearer to the other praise (0.66) than to *We hated the soup* (0.42). But it
# comes second: one reason why a head alone did poorly in lesson 1. (That the food is alike already at the embeddings
# is no miracle: these sentences share words.)
#
# **Predict first:** the word *bank* stands in four sentences, with two meanings. Which of its four hidden states will
# be alike: at the embeddings, and after the last layer?

# %% figure="Cosines of the hidden state of one word, bank, in four sentences. At the embeddings all are alike, and differ by position alone. After the last layer the two banks with money are alike, and the two by the water." alt="Two matrices of cosines. At the embeddings all values are 0.96 or more. After the last layer the pairs of the same meaning have 0.83 and 0.87, the others 0.65 to 0.72."
banks = [
    "She opened an account at the bank.",
    "My bank lent me the money for a house.",
    "Willows grow along the bank of the stream.",
    "We fished from the grassy bank of the lake.",
]
states, b = read(banks)
rows = [first + words.index("bank") for first, words in zip(b.first_rows, backbone.tokenizer.words(b), strict=True)]
fig = plots.cosines({name: states[name][rows] for name in ("embeddings", f"layer {L - 1}")}, banks)

# %% [markdown]
# **Try it** with a word and sentences of your own: *light*, *spring*, *left*.
#
# ## What you learned
#
# - BERT is embeddings and $L$ times the same layer: two blocks, each with a residual sum and a LayerNorm after it.
# - Your functions give the hidden states of the program on real weights: to 1e-7 where it rounds to float32, to 1e-15
#   in float64.
# - Compare state by state: the first wrong one names the part.
# - A tolerance must be smaller than the smallest mistake: here 1e-5, not 1e-2.
# - A hidden state is a word in its context.
#
# [Next: 8 · The adapter](08_the_adapter.ipynb)
