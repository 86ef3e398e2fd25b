# %% [markdown]
# # 1 · The first minute
#
# **You will** teach a real BERT a task in about a minute, and read off what it learned and what it did not.
#
# **One idea:** 2.6 % of the parameters are enough. The rest of the network stays as it is, and serves any number of
# tasks.
#
# **Time** 20 minutes, of which the computer takes one or two · **Paper** sections 1 and 2.1 of
# [Houlsby et al. (2019)](https://arxiv.org/abs/1902.00751) · **Needs** a little Python and NumPy
#
# Get the weights once (91 MB), in the project's folder. If you were given the whole course in a folder, they are in it:
# cut to fewer word pieces, so that all counts below are smaller.
#
# ```
# python -m weights_convert fetch minilm-l6 --out models/minilm-l6.h5
# ```
#
# The stored outputs of all lessons are those of a solved notebook. If you like to guess before you look, clear them
# first (in the menu, *Clear Outputs of All Cells*).

# %%
from minibert import AdapterConfig, Model, lessons, load_backbone
from minibert.data import load_task
from minibert.data.builtin import KINDS, opinion_kinds
from minibert.lessons.plain import share_interval
from minibert.lessons.plots import first as plots
from minibert.methods import parameter_table
from minibert.run import train_task
from minibert.trial import make_trial

backbone = load_backbone(lessons.weights())
D, L = backbone.config.hidden_size, backbone.config.n_layers
count = sum(a.size for a in backbone.parameters().values())
print(f"{count:,} parameters in {len(backbone.parameters())} arrays: {L} layers, {D} numbers for each token")

# %% [markdown]
# ## 1. The task
#
# `opinions` comes with the program: sentences that praise or complain. Most say what they mean: they are `plain`. A
# third is harder: `negation`, `contrast` (but, although), `irony`, and `mixed` (good and bad in one sentence). The
# program cuts them into three parts: `train` to learn from, `dev` to choose the best epoch (an *epoch* is one pass
# through `train`), and `test`, which is looked at once, at the end.

# %%
task, kinds = load_task("opinions"), opinion_kinds()
print(f"train {len(task.train):,}, dev {len(task.dev['dev'])}, test {len(task.test)}")
for kind in KINDS:
    i = kinds["train"].index(kind)
    print(f"{kind:9} {task.labels[task.train.labels[i]]:9} {task.train.texts[i]}")

# %% [markdown]
# ## 2. What is trained
#
# BERT turns each token (a word, or a piece of one) into a row of $D$ numbers, again in each of its $L$ layers. Each
# sentence begins with a token `[CLS]`. The **head** is a linear layer that reads the row of that token in the last
# layer, and gives $C$ scores, one for each class.
#
# Adapter tuning (Houlsby et al.) freezes BERT and puts two small **adapters** into each layer, one after attention and
# one after the feed-forward block:
#
# ```
#   x (D numbers) ──┬── W_down, b_down ── gelu ── W_up, b_up ──(+)── y (D numbers)
#                   │          (M numbers)                      │
#                   └───────────────────────────────────────────┘
# ```
#
# Three things are trained:
#
# - the adapters: each goes from $D$ down to $M$ numbers, and up to $D$ again, by two linear layers with biases,
# - every LayerNorm: two vectors $\gamma$ and $\beta$ of $D$ numbers each. There is one after each of the two blocks of
#   a layer, and one after the embeddings, below the first layer,
# - the head: from $D$ to $C$ numbers, with biases.
#
# **Your turn.** How many parameters is that? No network is needed, only counting.


# %% exercise="adapter_parameters"
def adapter_parameters(D, M, L, C):
    """How many parameters adapter tuning trains: D hidden size, M adapter size, L layers, C classes. -> a number"""
    # solution
    one_adapter = D * M + M + M * D + D
    one_layernorm = 2 * D
    head = D * C + C
    return 2 * L * one_adapter + (2 * L + 1) * one_layernorm + head
    # end


# %%
lessons.check("adapter_parameters", adapter_parameters)

# %%
# lessons.hint("adapter_parameters")      # remove the first #: a question first; run it again for more

# %% [markdown]
# The checker knows the usual mistakes by name. Here is an answer that looks right. Which numbers are missing? Decide
# before you run it.


# %%
def looks_right(D, M, L, C):
    return 2 * L * (D * M + M * D) + (2 * L + 1) * 2 * D + D * C + C


print(lessons.check("adapter_parameters", looks_right))

# %% [markdown]
# Now let the program count. The paper tries $M = 8$, 64 and 256; we take 64. The first line is in every lesson:
# `lessons.take` goes on with your function if it is right, and with ours until then.

# %%
adapter_parameters = lessons.take("adapter_parameters", adapter_parameters)
M, C = 64, len(task.labels)
model = Model(backbone, head="classify", n_out=C, method="adapter", adapter=AdapterConfig(size=M))
print(f"\ncounted by the formula: {adapter_parameters(D, M, L, C):,}\n")
print(model.table())

# %% figure="Where the parameters of the network are, and which of them are trained (black)." alt="Horizontal bars for embeddings, attention, feed-forward, LayerNorms, adapters and head. Embeddings, feed-forward and attention are large and grey, frozen. Adapters are a short black bar, and LayerNorms and head are too small to be seen."
table = parameter_table({name: a.shape for name, a in model.parameters().items()}, set(model.trained()))
fig = plots.share_trained(table)

# %% [markdown]
# ## 3. Train twice
#
# First the head alone, on what BERT gives for `[CLS]`; then the adapters. Each method has the learning rate that it
# needs: 0.03 for the head, 0.001 for adapters. Both keep the epoch that was best on `dev`.
#
# **Predict first.** A coin is right in half of the cases. Which share of `test` will each be right in? Write your
# guess. (The first training on a machine compiles the program's kernels: up to 45 seconds, once.)

# %%
my_guess = {"head alone": 0.5, "adapters": 0.5}  # <- your numbers


# %% compare="full"
def train(method, quiet, **settings):
    """Train on the task. -> the trained model"""
    trial = make_trial(task="opinions", method=method, **settings)
    record, result, _ = train_task(trial, task, backbone, quiet=quiet)
    print(f"{method}: {result['trained_params']:,} parameters trained")
    return Model.from_record(backbone, record)


head_model = train("head", quiet=True)

# %% [markdown]
# The next cell takes up to a minute on a laptop. *Loss* says how surprised the model is by the right answers: guessing
# has $\log 2 = 0.69$.

# %% compare="never"
adapter_model = train("adapter", quiet=False, adapter_size=M, epochs=lessons.setting(full=3, fast=1))

# %% [markdown]
# ## 4. Read the result
#
# `test` was not used until now. Both models answer the same sentences, so look at the pairs: where only one is right.

# %% compare="full" tolerance=0.3
test = backbone.encode(task.test.texts)
right = {
    "head alone": head_model.predict(test).argmax(axis=1) == task.test.labels,
    "adapters": adapter_model.predict(test).argmax(axis=1) == task.test.labels,
}
for name, answers in right.items():
    low, high = share_interval(answers)
    print(f"{name:10} {answers.mean():.2f} (95 % interval {low:.2f} to {high:.2f}); your guess: {my_guess[name]}")
head, adapters = right.values()
print(f"only the head is right: {(head & ~adapters).sum()}, only the adapters: {(adapters & ~head).sum()}")

# %% [markdown]
# The intervals say how far chance alone may move such a share of 246 sentences. The pairs say more: where only one
# model is right, it is far more often the one with adapters. ([Lesson 11](11_compare_and_ablate.ipynb) makes an
# interval of that.)
#
# **Predict first:** does the gain come from the plain sentences, or from the hard ones?

# %% figure="Share of test sentences answered right, by kind. Lines are 95 % intervals: the hard kinds have few sentences." alt="Five groups of two points with vertical intervals: plain, negation, contrast, irony, mixed. For plain sentences the adapters are at 0.88 and the head at 0.73, with short intervals. In the other kinds both are lower, and their wide intervals overlap."
fig = plots.accuracy_by_kind(right, kinds["test"], KINDS)

# %% [markdown]
# From the plain ones. In the hard kinds the intervals overlap, and most of them contain a half: with so few sentences,
# nothing can be said of a single kind.
#
# **Try it.** Change these sentences, add yours, and run the cell again. Can you fool it?

# %% compare="never"
mine = [
    "The soup was wonderful and the waiter made us laugh.",
    "The soup was cold and the waiter was rude.",
    "I have never slept better on a train.",
    "Oh good, another hour in the queue.",
]
for text, p in zip(mine, adapter_model.predict(backbone.encode(mine)), strict=True):
    print(f"positive with probability {p[1]:.2f}: {text}")

# %% [markdown]
# ## 5. What it costs to keep
#
# BERT itself has not changed by one bit. A second task adds only what it trains.
#
# **Predict first:** how many tasks with adapters take as much memory as a second BERT? Use your formula for another
# BERT, too: that of the paper, BERT-large, has $D = 1024$, $L = 24$ and 335 million parameters.

# %%
trained = adapter_parameters(D, M, L, C)
print(f"a second BERT takes as much as {count / trained:.0f} tasks")
large = adapter_parameters(1024, M, 24, C)
print(f"BERT-large with M = 64: {large / 1e6:.1f} million trained, {large / 335e6:.1%} of its own")

# %% [markdown]
# ## What you learned
#
# - Adapter tuning trains $2L(2MD + D + M) + (2L+1)\,2D + DC + C$ parameters; here 2.6 % of all.
# - A head alone reads what BERT happens to put into `[CLS]`. Adapters change, in every layer, what gets there.
# - `train` teaches, `dev` chooses, `test` judges, once. Few sentences make wide intervals.
# - A task costs 2.4 MB; BERT (91 MB) is shared.
#
# [Next: 2 · Text to tensors](02_text_to_tensors.ipynb)
