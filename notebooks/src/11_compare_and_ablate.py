# %% [markdown]
# # 11 · Compare and ablate
#
# **You will** compare adapters of several sizes, say how sure the difference is, look at the test split once, and take
# adapters out of a trained model to see where they do their work.
#
# **One idea:** honest evidence. A score is an estimate; a choice that was made on some examples makes their score too
# good; and two models that answered the same examples are compared example by example.
#
# **Time** 50 minutes, 2 of them the machine's · **Needs** [lesson 1](01_first_minute.ipynb) · **Paper** sections 3.3 to
# 3.6: choice on the validation set, accuracy against size, ablation (figure 6)
#
# *The stored outputs are those of the solved lesson.*

# %%
from dataclasses import replace

import numpy as np

from minibert import Model, lessons, load_backbone
from minibert.data import load_task
from minibert.evaluate import predict
from minibert.lessons.plots import evidence as plots
from minibert.run import train_task
from minibert.trial import make_trial

rng = np.random.default_rng(11)

# %% [markdown]
# ## 1. A score is an estimate
#
# Of $n$ sentences a model answers the share $\hat p$ rightly. With other sentences of the same kind it would be another
# share. Its standard error is $\sqrt{\hat p(1-\hat p)/n}$, and $\hat p \pm 1.96$ standard errors covers the true
# accuracy in 95 % of cases: the **95 % interval**.
#
# **Predict first:** the dev split of `opinions` has 246 sentences. If 75 % are right, how wide is the interval, in
# points (percent)?

# %%
task = load_task("opinions")
dev, test = task.dev["dev"], task.test
n = len(dev)
half = 1.96 * np.sqrt(0.75 * 0.25 / n)
print(f"{n} sentences: 75.0 ± {100 * half:.1f} points")

# %% [markdown]
# A difference of one or two points between two such scores says little. The comparison can be made sharper, though.
#
# ## 2. The same sentences
#
# Two models answered the same sentences. Most are easy for both, or too hard for both, and say nothing about which is
# better. Let $a_i$ and $b_i$ be 1 where a model is right, and 0 where it is wrong, and take $d_i = a_i - b_i$: 1, 0 or
# −1. The difference of the two accuracies is the mean of the $d_i$, and
#
# $$\overline d \pm z\,\frac{s}{\sqrt n},\qquad s^2 = \frac{1}{n-1}\sum_i \left(d_i - \overline d\right)^2$$
#
# is its interval, 95 % with $z = 1.96$. It is a normal approximation: fine where the two differ on some ten sentences
# or more. NumPy does not subtract arrays of truth values: make them numbers first, by `right_a.astype(float)`.


# %% exercise="paired_interval"
def paired_interval(right_a, right_b, z=1.96):
    """(low, high) of the accuracy of a minus that of b. right_a, right_b (n,) bool, of the same n examples."""
    # solution
    difference = right_a.astype(float) - right_b.astype(float)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return difference.mean() - z * error, difference.mean() + z * error
    # end


# %%
lessons.check("paired_interval", paired_interval)

# %%
# lessons.hint("paired_interval")      # remove the first #: a question first; run it again for more

# %% [markdown]
# **Predict first:** two models have 75 % and 71 % of 246 sentences right, and differ on 30 of them. How much narrower
# is the paired interval than the one that treats them as models of different sentences, $\sqrt{\hat p_a(1-\hat p_a)/n +
# \hat p_b(1-\hat p_b)/n}$?

# %%
paired_interval = lessons.take("paired_interval", paired_interval)
right_a, right_b = np.zeros(246, bool), np.zeros(246, bool)
right_a[:184] = True  # both are right on 164, a alone on 20, b alone on 10
right_b[:164], right_b[184:194] = True, True
low, high = paired_interval(right_a, right_b)
unpaired = 1.96 * np.sqrt(sum(r.mean() * (1 - r.mean()) for r in (right_a, right_b)) / 246)
print(f"difference {100 * (right_a.mean() - right_b.mean()):.1f} points")
print(f"paired   ± {100 * (high - low) / 2:.1f}")
print(f"unpaired ± {100 * unpaired:.1f}")

# %% [markdown]
# The same answers, and an interval about half as wide. For an unpaired one as narrow, three times as many sentences
# would be needed. The checker knows the unpaired interval, and others that are often seen. **Try it:** leave out the
# root of $n$, or $z$.


# %%
def as_if_of_different_sentences(right_a, right_b, z=1.96):
    p_a, p_b = right_a.mean(), right_b.mean()
    error = np.sqrt((p_a * (1 - p_a) + p_b * (1 - p_b)) / len(right_a))
    return p_a - p_b - z * error, p_a - p_b + z * error


print(lessons.check("paired_interval", as_if_of_different_sentences))

# %% [markdown]
# ## 3. Accuracy against size
#
# Section 3.4 of the paper: how large must adapters be? We train with minibert's own loop: once LayerNorms and head
# alone (no adapter, $M = 0$), then adapters of three sizes. The program would score the test split at the end of each
# run. We take the test split away from it, so that nobody looks.
#
# **Predict first:** which size will be best on dev? Will the data tell the sizes apart? It takes some minutes.

# %% compare="never"
backbone = load_backbone(lessons.weights())
without_test = replace(task, test=None)
EPOCHS, ROWS = lessons.setting(full=2, fast=1), lessons.setting(full=len(task.train), fast=64)
SIZES = (0, 4, 16, 64)


def trained(size, seed=0):
    """A model that was trained with adapters of that size; 0: LayerNorms and head alone."""
    method = {"method": "adapter", "adapter_size": size} if size else {"method": "layernorm"}
    trial = make_trial(task="opinions", lr=3e-3, epochs=EPOCHS, seed=seed, **method)
    rows = replace(without_test, train=task.train.take(range(ROWS)))
    record, _, _ = train_task(trial, rows, backbone)
    return Model.from_record(backbone, record)


dev_batch = backbone.encode(dev.texts)
models = {size: trained(size) for size in SIZES}
right = {size: predict(model, dev_batch).argmax(axis=1) == dev.labels for size, model in models.items()}
for size, answers in right.items():
    count = sum(a.size for a in models[size].trained().values())
    print(f"M = {size:2}: {count:7,} parameters train, dev {100 * answers.mean():.1f} %")

# %% compare="never" figure="Left the accuracy of each size with its 95 % interval, right the difference to M = 0 with the paired interval. An interval that contains 0 leaves it open which one is better." alt="Two panels of points with error bars. On the left four accuracies between 65 and 85 percent, each plus or minus 5. On the right three differences to M = 0, in points, with a dashed line at zero."
accuracies = [right[size].mean() for size in SIZES]
errors = [1.96 * np.sqrt(p * (1 - p) / n) for p in accuracies]
differences = [paired_interval(right[size], right[0]) for size in SIZES[1:]]
fig = plots.accuracy_by_size([str(size) for size in SIZES], accuracies, errors, differences)

# %% [markdown]
# Which intervals on the right contain 0? And the sizes among themselves: are any two of them told apart?

# %% compare="never"
for a, b in ((16, 4), (64, 4), (64, 16)):
    low, high = paired_interval(right[a], right[b])
    verdict = "told apart" if low > 0 or high < 0 else "not told apart"
    print(f"M = {a} minus M = {b}: {100 * low:+.1f} to {100 * high:+.1f} points, {verdict}")

# %% [markdown]
# The paper finds the quality stable from 8 to 256, over eight tasks and with the best settings of each (section 3.6),
# and training the LayerNorms alone 3.5 to 4 points worse (section 3.4). Ours is one task, one rate, one seed: it can
# neither confirm that nor deny it. And **the interval does not cover everything:** it says what other *sentences* could
# give. Another seed gives another model. That is why the paper gives means over seeds.
#
# ## 4. The best of many
#
# You would now choose the size with the best score on dev. Is that score what you may report? Suppose 20 settings that
# are all equally good: 75 %. Each is scored on the same number of other sentences as dev has.
#
# **Predict first:** what does the best of the 20 score?

# %%
scores = rng.binomial(n, 0.75, size=(10_000, 20)) / n
again = rng.binomial(n, 0.75, size=10_000) / n
print(f"the best of 20 scores on average {100 * scores.max(axis=1).mean():.1f} %")
print(f"the same setting, on sentences that did not choose it: {100 * again.mean():.1f} %")

# %% [markdown]
# Choosing makes a score too good, though each single score was honest. So there are three splits: **train** to learn,
# **dev** to choose, **test** once, at the end, for what was chosen. If you choose on test, no test is left.
#
# ## 5. Where do the adapters work?
#
# Section 3.6: take trained adapters out of a span of layers, train nothing again, and score. An adapter is $x$ plus
# something, so without it $x$ passes as it is. Names are like `encoder/layers/3/attention/adapter/down/W`; each layer
# has two adapters, in `attention` and in `feed_forward`. The LayerNorms stay as they were trained.


# %% exercise="ablate"
def ablate(params, first, last):
    """A new dict {name: array}: params without the adapters of layers first to last, last included."""
    # solution
    left = {}
    for name, array in params.items():
        parts = name.split("/")
        if "adapter" not in parts or not first <= int(parts[2]) <= last:
            left[name] = array
    return left
    # end


# %%
lessons.check("ablate", ablate)

# %%
# lessons.hint("ablate")      # remove the first #: a question first; run it again for more

# %% [markdown]
# In minibert an adapter whose parameters are all zero is exactly the identity. So we put zeros where your function took
# parameters out, into a **second** model: the trained one stays as it is. minibert has `without_adapters` for the same.
# Do both give the same scores?

# %%
ablate = lessons.take("ablate", ablate)
model = models[64]
scored = Model(backbone, adapter=model.adapter)


def scores_without(first, last, batch):
    left = ablate(model.trained(), first, last)
    scored.load_trained({name: left.get(name, np.zeros_like(a)) for name, a in model.trained().items()})
    return predict(scored, batch)


few = dev_batch.take(range(32))
theirs = predict(model.without_adapters(range(2, 5)), few)
print("largest difference of a probability:", np.abs(scores_without(2, 4, few) - theirs).max().round(6))

# %% [markdown]
# How much does each adapter change what passes through it? `lessons.watch` keeps what it reads, $x$, and what it gives,
# $y$. **Predict first:** will the adapters that change most be those that are missed most?

# %% compare="full" tolerance=0.2
changes = lessons.watch(model, dev_batch).changes()
for i in range(backbone.config.n_layers):
    attention, feed_forward = changes[f"layer {i} attention"], changes[f"layer {i} feed_forward"]
    print(f"layer {i}: |y - x| / |x| = {attention:.2f} after attention, {feed_forward:.2f} after feed-forward")

# %% [markdown]
# Now every span of layers. Row $i$ and column $j$ of the picture are the accuracy without the adapters of layers $i$ to
# $j$, minus that with all of them. **Predict first:** which single layer is missed most? And what is left without all
# of them?

# %% compare="never" figure="The change of the accuracy on dev without the adapters of a span of layers, in points. The framed diagonal is single layers, the upper right corner all of them. Hatched cells are no spans." alt="A triangle of numbers on a grid of six by six cells. Those on the diagonal are small. Towards the upper right corner, where all adapters are taken out, more than ten points are lost. The cells below the diagonal are hatched."
L = backbone.config.n_layers
change, spans = np.full((L, L), np.nan), {}
for i in range(L):
    for j in range(i, L):
        spans[i, j] = scores_without(i, j, dev_batch).argmax(axis=1) == dev.labels
        change[i, j] = 100 * (spans[i, j].mean() - right[64].mean())
fig = plots.ablation_heatmap(change)

# %% [markdown]
# These are 21 comparisons on 246 sentences. Of 95 % intervals, one in twenty misses by luck alone. So ask few
# questions, and ask them before you look. The paper asks about single layers, lower against higher ones, and all.

# %% compare="never"
missed_most = int(change.diagonal().argmin())
for name, span in {
    "layer 0": (0, 0),
    f"layer {L - 1}": (L - 1, L - 1),
    f"layer {missed_most}, the most": (missed_most, missed_most),
    "lower half": (0, L // 2 - 1),
    "upper half": (L // 2, L - 1),
    "all": (0, L - 1),
}.items():
    low, high = paired_interval(spans[span], right[64])
    print(f"without {name:17} {change[span]:+6.1f} points, from {100 * low:+.1f} to {100 * high:+.1f}")
print(f"guessing the more frequent class: {100 * max(dev.labels.mean(), 1 - dev.labels.mean()):.1f} %")

# %% [markdown]
# In the paper, to take out one layer's adapters costs at most 2 %: the single layer that is missed most decides that,
# the third line. But it was chosen as the worst of six, so by section 4 its loss looks larger than it is. Without all
# of them, the model guesses the more frequent class. The lower ones are missed less than the higher ones. Which of
# these three does your run confirm, and for which are the intervals too wide? Note what an ablation asks: what a
# *trained* model loses without a part. How well a model would have learned without it is another experiment.
#
# ## 6. The test split, once
#
# The question is fixed: is the size that was best on dev better than LayerNorms and head alone? One look. (Whoever
# dislikes the answer, changes a setting and looks again, has made a second dev split of it. Lesson 1 has looked, too:
# at one size, and it chose nothing.)

# %% compare="never"
best = max(SIZES[1:], key=lambda size: right[size].mean())
test_batch = backbone.encode(test.texts)
final = {size: predict(models[size], test_batch).argmax(axis=1) == test.labels for size in (0, best)}
low, high = paired_interval(final[best], final[0])
print(f"chosen on dev: M = {best}, dev {100 * right[best].mean():.1f} %, test {100 * final[best].mean():.1f} %")
print(f"LayerNorms and head alone: test {100 * final[0].mean():.1f} %")
print(f"difference on test, 95 %: {100 * low:+.1f} to {100 * high:+.1f} points")

# %% [markdown]
# ## What you learned
#
# - Report an accuracy with its interval. On 246 sentences it is five points to each side.
# - Compare two models on the same examples by their differences: the paired interval is narrower, at no cost.
# - "Not told apart" is a result, and does not mean "equal".
# - Choose on dev. The score that made the choice is too good. Test once.
# - An ablation takes out what it names and nothing else, and leaves the model as it was.
# - Ask few questions, before you look. Seeds vary, too.
#
# **Go on:** `minibert sweep --backbone models/minilm-l6.h5 --tasks opinions --adapter-size 4,16,64 --seeds 0,1,2
# --ledger sizes.jsonl` trains the sizes with three seeds each; with `--dry-run` it tells how long that takes.
#
# [Next: 12 · Kernels](12_kernels.ipynb)
