# %% [markdown]
# # 13 · Many tasks, and a variant of your own
#
# **You will** teach one BERT four tasks, send sentences of all of them through it in one batch, add a task without
# touching the others, and then invent an adapter that nobody has checked before you.
#
# **One idea:** one backbone, many tasks. What a task learned is a small file of its own. The backbone never changes, so
# tasks cannot disturb each other.
#
# **Time** 50 minutes, of which training takes 1 · **Needs** [lesson 4](04_backprop_and_its_check.ipynb),
# [lesson 8](08_the_adapter.ipynb), [lesson 10](10_optimizer_and_loop.ipynb) · **Paper** section 1 (tasks arrive in a
# stream) and 3.6 (variants)
#
# *The stored outputs are those of the solved lesson.*

# %%
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from minibert import AdapterConfig, Model, lessons, load_backbone
from minibert.data import load_task
from minibert.evaluate import predict
from minibert.lessons.plain import adapter, adapter_backward, central_difference
from minibert.lessons.plots import tasks as plots
from minibert.mixed import MixedModel
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.storage import add_task, fingerprint, read_bank, write_bank

backbone = load_backbone(lessons.weights())

# %% [markdown]
# ## 1. Four tasks from one set of sentences
#
# The built-in sentences are opinions, negative or positive. Three further questions can be answered by rules, so we get
# their labels for nothing: does the sentence deny something? Does the writer appear in it? Has it more than ten words?
# To save time we take the short sentences alone.


# %% compare="full"
data = load_task("opinions")
RULES = {
    "negation": lambda text: bool(re.search(r"\b(no|not|never|nothing|nobody|none|without)\b|n't", text.lower())),
    "speaker": lambda text: bool(re.search(r"\b(i|me|my|we|us|our|i'm|i've)\b", text.lower())),
    "long": lambda text: len(text.split()) > 10,
}


def short(*splits, most):
    """Up to `most` sentences of at most 14 words, and {task: their labels}."""
    pairs = [pair for split in splits for pair in zip(split.texts, split.labels, strict=True)]
    pairs = [(text, label) for text, label in pairs if len(text.split()) <= 14][:most]
    texts = [text for text, _ in pairs]
    by_rule = {name: np.array([int(rule(text)) for text in texts]) for name, rule in RULES.items()}
    return texts, {"opinion": np.array([label for _, label in pairs])} | by_rule


texts, labels = short(data.train, most=lessons.setting(480, 64))
unseen, truth = short(data.dev["dev"], data.test, most=1000)
TASKS = list(labels)
print(f"{len(texts)} sentences to learn from, {len(unseen)} unseen; the first of these:")
print(unseen[0], {task: int(truth[task][0]) for task in TASKS})

# %% [markdown]
# Each task gets its own model: adapters of $M = 16$, LayerNorms and a head, on the **same** backbone. The loop is that
# of [lesson 10](10_optimizer_and_loop.ipynb).

# %%
batch, unseen_batch = backbone.encode(texts), backbone.encode(unseen)


def train(task, epochs):
    """A model of one task."""
    model = Model(backbone, n_out=2, adapter=AdapterConfig(size=16), seed=0)
    optimizer, rng = Adam(model.trained()), np.random.default_rng(0)
    steps_of_epoch = -(-len(texts) // 32)
    for epoch in range(epochs):
        order = rng.permutation(len(texts))
        for i in range(steps_of_epoch):
            rows, step = order[32 * i : 32 * i + 32], epoch * steps_of_epoch + i
            _, grads = model.loss_and_grads(batch.take(rows), labels[task][rows], dropout_step=step)
            clip_by_global_norm(grads, 1.0)
            optimizer.step(grads, learning_rate(step, epochs * steps_of_epoch, 3e-3))
    return model


# %% compare="full" tolerance=0.05
models = {task: train(task, epochs=lessons.setting(3, 1)) for task in TASKS}
for task, model in models.items():
    right = (predict(model, unseen_batch).argmax(axis=1) == truth[task]).mean()
    share = truth[task].mean()
    print(f"{task:9} {right:.2f} of the unseen are right; always the more frequent answer: {max(share, 1 - share):.2f}")

# %% [markdown]
# ## 2. Whose adapters serve which task?
#
# Take the adapters of one task as they are, and fit only a new linear layer for another task on the hidden states of
# `[CLS]`. If that works well, what the adapters bring to `[CLS]` is of use to the other task, too.
#
# **Predict first:** opinions often turn on a negation. Will the adapters of *negation* do better on *opinion* than the
# plain BERT does? Those of *long*?


# %% figure="Accuracy of a linear layer on the hidden states that each task's adapters give; none: the plain BERT. With 216 unseen sentences a number is uncertain by 0.03. Framed: the best of a column." alt="A table of shades with a row for each task's adapters and one for none, and a column for each task. Where row and column are the same task the accuracy is at or near the best of its column." compare="full"
def states(model, batch):
    """[CLS] of each sentence after the last layer, and a 1 for the bias.   -> (B, D + 1)"""
    x = np.concatenate([model.hidden(part)[part.first_rows] for part in batch.parts(64)])
    return np.c_[x, np.ones(len(x))]


def readout(x, y, x_unseen, y_unseen, ridge=10.0):
    """Accuracy on unseen sentences of the linear layer that fits y, 0 or 1, best on x (least squares)."""
    w = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (2 * y - 1))
    return ((x_unseen @ w > 0) == y_unseen).mean()


every = {"none": Model(backbone, method="head"), **models}
inputs = {name: (states(model, batch), states(model, unseen_batch)) for name, model in every.items()}
matrix = [[readout(own, labels[task], new, truth[task]) for task in TASKS] for own, new in inputs.values()]
fig = plots.task_matrix(matrix, list(every), TASKS)

# %% [markdown]
# Each task is served best, or as well, by its own adapters, so each sentence goes through those of its task. Others
# help, too: *negation* lifts *opinion* from 0.70 to 0.80. But do not conclude that knowledge of negations was needed,
# for *long* does nearly the same. The `[CLS]` of the plain BERT says little about a sentence; after training it says
# more.
#
# ## 3. One batch, many tasks
#
# A packed batch holds sequences of different tasks. Sequence $b$ is the rows `offsets[b]:offsets[b+1]`, and belongs to
# task `tasks[b]`. The rows stay in the order of the batch.
#
# **Your turn.** `adapter(x, p)` returns `y` and a cache, as in lesson 8.


# %% exercise="mixed_adapter"
def mixed_adapter(x, offsets, tasks, adapters):
    """Each sequence through its task's adapter. x (T, D), tasks B names, adapters {task: parameters} -> (T, D)"""
    # solution
    y = np.zeros_like(x)
    for b, task in enumerate(tasks):
        rows = slice(offsets[b], offsets[b + 1])
        y[rows], _ = adapter(x[rows], adapters[task])
    return y
    # end


# %%
lessons.check("mixed_adapter", mixed_adapter)

# %% [markdown]
# If it is right, try a wrong one, such as `adapters[tasks[0]]` for all. A batch of a single task would not notice that,
# nor one where the tasks come in the order of the alphabet.
#
# **Predict first:** below, one sentence is in the batch four times, once for each task. Through the first layer's
# adapters the four copies become different. Are two of them further from each other than from the sentence as it was?

# %% compare="full" tolerance=0.2
mixed_adapter = lessons.take("mixed_adapter", mixed_adapter)
place = "encoder/layers/0/attention/adapter/"
adapters = {
    task: {name.removeprefix(place): a for name, a in model.trained().items() if name.startswith(place)}
    for task, model in models.items()
}
hidden = backbone.forward(backbone.encode(unseen[:1]))
x, offsets = np.concatenate([hidden] * 4), len(hidden) * np.arange(5)
moved = (mixed_adapter(x, offsets, TASKS, adapters) - x).reshape(4, -1) / np.linalg.norm(hidden)
apart = [np.linalg.norm(moved[a] - moved[b]) for a in range(4) for b in range(a)]
print(f"moved by {np.linalg.norm(moved, axis=1).mean():.3f}, two copies apart by {np.mean(apart):.3f} (means)")

# %% [markdown]
# They are: the tasks pull the same sentence in different directions.
#
# The whole model does the same in every layer (`minibert/mixed.py`). Products with frozen weights are computed once for
# all rows, and only adapters, LayerNorms and heads task by task.
#
# **Predict first:** does a sentence get another answer because others, of other tasks, are in its batch?

# %% compare="full" tolerance=0.2
records = {task: model.to_record(task, labels=("no", "yes")) for task, model in models.items()}
mixed = MixedModel(backbone, records)
print(unseen[0])
for task, p in zip(TASKS, mixed.predict(unseen[:1] * 4, TASKS), strict=True):
    print(f"{task:9} yes: {p[1]:.2f}   truth: {truth[task][0]}")
names = [TASKS[b % 4] for b in range(len(unseen))]
together = mixed.predict(unseen, names)
alone = {task: predict(model, unseen_batch) for task, model in models.items()}
difference = max(np.abs(p - alone[task][b]).max() for b, (task, p) in enumerate(zip(names, together, strict=True)))
print("in one batch or task by task, the same but for rounding:", difference < 1e-4)

# %% [markdown]
# **Your turn: backward.** All sequences of a task share its parameters, so their gradients are added. Give them as one
# dict with the keys `"task/name"`, such as `"opinion/down/W"`. Use `adapter(x, p)` and `adapter_backward(dy, cache)`.


# %% exercise="mixed_gradients"
def mixed_gradients(dy, x, offsets, tasks, adapters):
    """dx (T, D), and {"task/name": gradient} of the parameters of all tasks in the batch."""
    # solution
    dx, gradients = np.zeros_like(x), {}
    for b, task in enumerate(tasks):
        rows = slice(offsets[b], offsets[b + 1])
        _, cache = adapter(x[rows], adapters[task])
        dx[rows], own = adapter_backward(dy[rows], cache)
        for name, gradient in own.items():
            key = f"{task}/{name}"
            gradients[key] = gradients.get(key, 0) + gradient
    return dx, gradients
    # end


# %%
lessons.check("mixed_gradients", mixed_gradients)

# %% [markdown]
# **Predict first:** the batch has four copies of a sentence, one for each task. We leave out all but that of *opinion*.
# Which of the gradients of *opinion* change?

# %%
mixed_gradients = lessons.take("mixed_gradients", mixed_gradients)
dy = np.random.default_rng(13).normal(size=x.shape).astype(np.float32)
_, all_four = mixed_gradients(dy, x, offsets, TASKS, adapters)
n = len(hidden)
_, one = mixed_gradients(dy[:n], x[:n], offsets[:2], TASKS[:1], adapters)
print("gradients:", len(all_four), "and", len(one))
print("those of opinion are the same:", all(np.allclose(all_four[key], one[key]) for key in one))

# %% [markdown]
# ## 4. A further task
#
# In the paper, tasks arrive one after another, and an old one must not be forgotten when a new one is learned. Networks
# that are trained further do forget. A **bank** is one file with what several tasks have trained, each under its name:
# adapters, LayerNorms, head, and no backbone. **Predict first:** a bank holds three tasks. We add the fourth. How many
# bits of the other three change, and how many of the backbone?

# %%
with TemporaryDirectory() as folder:
    bank = Path(folder) / "bank.h5"
    write_bank(bank, {task: records[task] for task in TASKS[:3]})
    before = {task: fingerprint(record.params) for task, record in read_bank(bank).items()}
    answers = MixedModel(backbone, read_bank(bank)).predict(unseen[:30], TASKS[:3] * 10)
    add_task(bank, records[TASKS[3]])
    after = read_bank(bank)
    again = MixedModel(backbone, after).predict(unseen[:30], TASKS[:3] * 10)
print("tasks now:", ", ".join(after))
print("parameters have equal bits:", all(fingerprint(after[task].params) == before[task] for task in before))
print("answers have equal bits:   ", all(np.array_equal(a, b) for a, b in zip(answers, again, strict=True)))
print("backbone has equal bits:   ", fingerprint(backbone.parameters()) == backbone.fingerprint)

# %% [markdown]
# None at all. On the command line, `minibert bank add` and `minibert predict --mixed` do the same.
#
# **Predict first:** BERT has 22.7 million parameters here, of four bytes each. A task has adapters with $M = 16$ in two
# places of six layers. How many megabytes do ten tasks take, as ten copies of BERT and as one with ten tasks?

# %% figure="Memory for one to ten tasks. Each copy of BERT costs as much as the first; each set of adapters about one percent of it." alt="Two lines over the number of tasks. The one for copies rises steeply to about 900 megabytes at ten tasks, the one for adapters is nearly flat at about 100."
whole = sum(a.nbytes for a in backbone.parameters().values()) / 1e6
own = sum(a.nbytes for a in models["opinion"].trained().values()) / 1e6
print(f"BERT {whole:.1f} MB, a task {own:.2f} MB; ten tasks: {10 * whole:.0f} MB or {whole + 10 * own:.0f} MB")
fig = plots.memory(10, whole, own)

# %% [markdown]
# ## 5. A variant of your own
#
# So far a checker knew the answer. For a new idea there is none. What is left is what
# [lesson 4](04_backprop_and_its_check.ipynb) built: central differences tell whether a backward pass belongs to its
# forward pass. Here is a judge, for any `forward(x, p) -> y, cache` and `backward(dy, cache) -> dx, gradients`.
#
# A judge must be able to say no. Below it judges lesson 8's adapter, and then one whose backward pass forgets the skip
# connection. **Predict first:** which of the five gradients will be wrong?


# %%
def returns_two(found, names):
    """Whether a function returned two things; if not, say so."""
    if found is None:
        print("not written yet")
    elif not isinstance(found, tuple) or len(found) != 2:
        print(f"it must return two things: {names}")
    else:
        return True
    return False


def judge(forward, backward, seed=0):
    """Compare each gradient with central differences, away from the identity: T = 3, D = 5, M = 4."""
    rng = np.random.default_rng(seed)
    shapes = {"down/W": (5, 4), "down/b": (4,), "up/W": (4, 5), "up/b": (5,)}
    x, dy = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    p = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    if not returns_two(forward(x, p), "y, cache"):
        return
    found = backward(dy, forward(x, p)[1])
    if not returns_two(found, "dx, gradients"):
        return
    dx, gradients = found
    for name, value in {"x": x, **p}.items():

        def loss(value, name=name):
            y, _ = forward(value, p) if name == "x" else forward(x, p | {name: value})
            return float((y * dy).sum())

        if name != "x" and name not in gradients:
            print(f"gradients has no {name}; it has {', '.join(gradients)}")
            continue
        numeric = central_difference(loss, value)
        gradient = dx if name == "x" else gradients[name]
        if np.shape(gradient) != numeric.shape:
            print(f"{name:8} must have the shape {numeric.shape}, has {np.shape(gradient)}")
            continue
        error = np.abs(gradient - numeric).max() / max(np.abs(numeric).max(), 1e-3)
        print(f"{name:8}", "right" if error < 1e-6 else f"wrong by {error:.0%} of its largest element")


def no_skip(dy, cache):
    dx, gradients = adapter_backward(dy, cache)
    return dx - dy, gradients


judge(adapter, adapter_backward)
print()
judge(adapter, no_skip)

# %% [markdown]
# **Your turn.** Change the adapter as you like, and write its backward pass by hand. Ideas, all with the same four
# parameters: tanh for GELU; half of the bottleneck's output; $u\,\sigma(u)$; a square; the adapter twice. (The output
# that is stored below is that of ours: tanh for GELU, and half of the bottleneck's output.)


# %% exercise="own_variant"
def variant(x, p):
    """y = x + your own function of x W_down + b_down. (T, D), parameters -> y (T, D), cache"""
    # solution
    h = np.tanh(x @ p["down/W"] + p["down/b"])
    y = x + 0.5 * (h @ p["up/W"] + p["up/b"])
    return y, (x, h, p)
    # end


def variant_backward(dy, cache):
    """dx (T, D), and {name: gradient} of the four parameters."""
    # solution
    x, h, p = cache
    dz = 0.5 * dy
    du = (dz @ p["up/W"].T) * (1 - h**2)
    gradients = {"up/W": h.T @ dz, "up/b": dz.sum(axis=0), "down/W": x.T @ du, "down/b": du.sum(axis=0)}
    return dy + du @ p["down/W"].T, gradients
    # end


# %%
judge(variant, variant_backward)

# %% [markdown]
# Five times *right* means that the gradients are those of your forward pass. It does not mean that the idea is good. If
# forward is not what you meant, backward agrees with it all the same. For that you need a second oracle (a formula on
# paper, another program), and for the question whether it helps, a fair comparison
# ([lesson 11](11_compare_and_ablate.ipynb)). The paper tried several variants of its own in section 3.6, and found none
# that was better than the plain adapter.
#
# ## What you learned
#
# - A task is its adapters, LayerNorms and head; all else is shared, in memory and in the computation.
# - In a batch of many tasks each sequence goes through its own task's adapters. Tests need several tasks, out of order.
# - A further task changes no bit of the others.
# - A new idea is judged by central differences first, and by a fair comparison next.
#
# This was the last lesson. `python -m minibert.lessons` has your own files, and `docs/bank.md`, `docs/extending.md` and
# `docs/experiments.md` lead on.
