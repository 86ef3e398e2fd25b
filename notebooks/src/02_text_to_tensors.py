# %% [markdown]
# # 2 · Text to tensors
#
# **You will** cut words into the pieces that BERT knows, and put sentences of different lengths into one batch without
# any padding.
#
# **One idea:** a packed batch needs no masks. Sequences stand end to end, and `offsets` says where each begins. Where
# nothing is padded, nothing has to be masked, and nobody can forget to do so.
#
# **Time** 35 minutes · **Needs** nothing but NumPy · **Paper** Devlin et al. (2019), *BERT*, section 3, input
# representation; the adapter paper takes BERT's input as it is
#
# *The stored outputs are those of the solved lesson.*

# %%
import re

import numpy as np

from minibert import lessons
from minibert.lessons.plots import packing as plots

pieces = """[PAD] [UNK] [CLS] [SEP] . , ! a the film actor play act watch well good great dull was is not but it in
un unre ##s ##ed ##er ##or ##ing ##able ##watch ##real ##ly"""
vocab = {piece: i for i, piece in enumerate(pieces.split())}
print(len(vocab), "pieces;", "film is number", vocab["film"])

# %% [markdown]
# ## 1. Words to pieces
#
# BERT computes with numbers, so each word needs a number: its place in a vocabulary. No vocabulary has every word.
# BERT's has 30,522 entries, ours above has 35. A word that is not in it is cut into **pieces** that are: *films*
# becomes `film ##s`. The mark `##` says that a piece goes on where another ended. So `watch` and `##watch` are
# two different entries.
#
# WordPiece (Wu et al., 2016) cuts in this way:
#
# 1. From the start of the word, take the **longest** piece that the vocabulary has.
# 2. Do the same with what is left, now with `##` in front, until nothing is left.
# 3. If no piece fits, the **whole word** becomes `[UNK]`.
#
# **Predict first:** what are the pieces of *unwatchable*, of *plays* and of *unreal*? Look at the list above. One of
# the three has a trap.


# %% exercise="wordpiece"
def wordpiece(word, vocab):
    """The pieces of one word, a list of strings. vocab: {piece: its number}; `piece in vocab` is True or False."""
    # solution
    found, start = [], 0
    while start < len(word):
        prefix = "##" if start > 0 else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab:
                break
        else:
            return ["[UNK]"]
        found.append(prefix + word[start:end])
        start = end
    return found
    # end


# %%
lessons.check("wordpiece", wordpiece)

# %%
# lessons.hint("wordpiece")      # a question first; call it again for more

# %%
wordpiece = lessons.take("wordpiece", wordpiece)
for word in ("unwatchable", "plays", "unreal"):
    print(f"{word:12}", wordpiece(word, vocab))

# %% [markdown]
# The trap is *unreal*. `un` and `##real` would fit. But WordPiece takes the longer `unre` first, finds nothing for
# *al*, and never goes back. BERT has the same flaw. It is the price of a fast and simple rule.
#
# ## 2. Texts to sequences of numbers
#
# A text is put in lower case and split at spaces and punctuation, and then each word is cut. `[CLS]` is put in front: a
# classifier will read the text's result there. `[SEP]` ends the text.
#
# **Predict first:** how many tokens has *The film was unwatchable.*, `[CLS]` and `[SEP]` included?


# %%
def tokenize(text):
    """[CLS], the pieces of all words, [SEP]."""
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    return ["[CLS]", *(piece for word in words for piece in wordpiece(word, vocab)), "[SEP]"]


texts = ["The film was unwatchable.", "Great!", "The actors played well, but the film was dull."]
tokens = [tokenize(text) for text in texts]
sequences = [[vocab[token] for token in sequence] for sequence in tokens]
for sequence, ids in zip(tokens, sequences, strict=True):
    print(len(ids), "tokens:", " ".join(sequence), "\n  ", ids)

# %% [markdown]
# ## 3. Sequences to a batch
#
# An array has rows of one length. Our sequences have 9, 4 and 15 tokens. Most programs **pad**: they fill each row with
# `[PAD]` up to the longest. Every operation that mixes the tokens of a sequence must then be told which cells are real.
# That is the **mask**.
#
# We **pack**. The tokens of all sequences stand end to end in one array. Letters: $B$ sequences, $T$ tokens of all of
# them together.
#
# | array | shape | holds |
# |---|---|---|
# | `ids` | $(T,)$ | the number of each token in the vocabulary |
# | `positions` | $(T,)$ | the place of each token in its own sequence, from 0 |
# | `offsets` | $(B+1,)$ | where each sequence begins; at the end $T$ |
#
# Sequence $b$ is `ids[offsets[b]:offsets[b + 1]]`. For that to work for the last one, too, there are $B+1$ offsets.
#
# **Predict first:** what are the four offsets of our three sequences?


# %% exercise="pack"
def pack(sequences):
    """Sequences end to end: ids (T,), positions (T,), offsets (B + 1,). sequences: B lists of numbers."""
    # solution
    lengths = [len(sequence) for sequence in sequences]
    ids = np.concatenate(sequences)
    positions = np.concatenate([np.arange(length) for length in lengths])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ids, positions, offsets
    # end


# %%
lessons.check("pack", pack)

# %%
# lessons.hint("pack")

# %%
pack = lessons.take("pack", pack)
ids, positions, offsets = pack(sequences)
print("ids      ", *ids)
print("positions", *positions)
print("offsets  ", *offsets)

# %% figure="The same three sequences, padded and packed. In the packed batch the positions begin again at 0 where a sequence begins." alt="Above, a grid of three rows and fifteen columns; the first row has six hatched cells at its end, the second eleven, the third none. Below, one row of 28 cells without any hatched cell, with the position of each token under it, and the offsets 0, 9, 13 and 28 marked."
fig = plots.padded_and_packed(tokens)

# %% [markdown]
# Why positions? Attention, the subject of lesson 3, does not see the order of the tokens. BERT adds to each token a
# vector that depends on its position. A sentence must get the same vectors wherever it stands in the batch. So
# positions begin again.
#
# ## 4. The mask that nobody can forget
#
# Give each token four random numbers, and take the mean over each sequence. Do so three times: each sequence alone,
# which is what we want; the padded batch, without a mask; the packed batch.
#
# **Predict first:** for which of the three sequences is the mean of the padded batch right?

# %%
table = np.random.default_rng(2).normal(size=(len(vocab), 4))
alone = np.array([table[sequence].mean(axis=0) for sequence in sequences])

grid = np.full((3, 15), vocab["[PAD]"])
for b, sequence in enumerate(sequences):
    grid[b, : len(sequence)] = sequence
padded = table[grid].mean(axis=1)  # (B, longest, 4) -> (B, 4)

x = table[ids]  # (T, 4)
packed = np.array([x[offsets[b] : offsets[b + 1]].mean(axis=0) for b in range(3)])

for b in range(3):
    off = [np.abs(means[b] - alone[b]).max() for means in (padded, packed)]
    print(f"sequence {b}: padded is off by {off[0]:.2f}, packed by {off[1]:.2f}")

# %% [markdown]
# The longest sequence alone is right. Nothing was reported: the shapes fit, the numbers look like numbers, and what
# comes out for a sentence depends on its neighbours in the batch. That is what a forgotten mask does. In the packed
# batch there is no cell to forget.
#
# It gets better. Nearly all of BERT works token by token: the embedding, each product $xW+b$, GELU, LayerNorm, the
# adapter. These need a $(T, D)$ array and never ask where a sequence begins. In the whole encoder, **attention alone**
# reads `offsets`. (A classifier then reads `offsets[:-1]`: the rows of `[CLS]`.)
#
# ## 5. What padding costs
#
# Each padded cell is computed like a real one and then thrown away. How many are there? That depends on how the lengths
# vary. Here are three made-up sets of 2,000 lengths, shaped like those of real texts: questions are nearly all alike,
# sentences vary, reviews have a long tail (cut at 256 tokens).
#
# **Predict first:** in batches of 32 reviews, which share of the cells is padding?


# %%
def share_of_padding(lengths, size):
    """The share of cells that are padding, in batches of `size` sequences, each padded to its own longest."""
    batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    cells = sum(len(batch) * batch.max() for batch in batches)
    return 1 - lengths.sum() / cells


rng = np.random.default_rng(0)
lengths = {
    "questions": rng.normal(14, 2, 2000),
    "sentences": rng.lognormal(np.log(24), 0.45, 2000),
    "reviews": rng.lognormal(np.log(64), 0.8, 2000),
}
lengths = {name: n.astype(int).clip(3, 256) for name, n in lengths.items()}
sizes = [1, 2, 4, 8, 16, 32, 64]
shares = {name: [share_of_padding(n, size) for size in sizes] for name, n in lengths.items()}
for name, found in shares.items():
    print(f"{name}: {100 * found[sizes.index(32)]:.0f} % of the cells are padding in batches of 32")

# %% figure="Left: how long the sequences are. Right: the share of padding grows with the batch, and with the spread of the lengths. A packed batch has none." alt="Left, three histograms: questions are a narrow peak at 14 tokens, sentences a wider one at about 20, reviews a flat one with a tail to 256. Right, the share of padding over the batch size from 1 to 64, three rising lines. All begin at zero; at 64 questions are at about one quarter, sentences at about six tenths, reviews at about two thirds."
fig = plots.waste(lengths, sizes, shares)

# %% [markdown]
# Some programs sort the texts by length before they cut batches: then neighbours are alike. But then the batches of
# training are no longer random. In a packed batch there is nothing to repair.
#
# **Your turn.** What share is left if the reviews are sorted (`np.sort`)? And write a text of your own: which words
# become `[UNK]`?

# %%
print(f"unsorted: {share_of_padding(lengths['reviews'], 32):.3f}")  # and sorted?
print(tokenize("The play is not dull, it is unplayable!"))

# %% [markdown]
# ## What you learned
#
# - WordPiece takes the longest piece that fits, again and again, and never goes back. `##` marks a piece that goes on.
# - A packed batch is three arrays: `ids` and `positions` $(T,)$, `offsets` $(B+1,)$. Positions begin again in each
#   sequence.
# - In a padded batch, whatever mixes tokens needs a mask, and a forgotten one is no error that you see. In a packed
#   batch, attention alone needs to know where sequences begin.
# - Padding can be more than half of the work.
#
# [Next: 3 · Attention](03_attention.ipynb)
