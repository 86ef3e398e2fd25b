# %% [markdown]
# # 10 · Optimizer and loop
#
# **You will** write Adam, the schedule of the learning rate, clipping, and the loop around them, and train adapters in
# a real BERT with nothing but these four functions.
#
# **One idea:** a model gives a loss and its gradients. All the rest of training is your own code, about thirty lines.
#
# **Time** 45 minutes, 1 of them the machine's · **Needs** [lesson 8](08_the_adapter.ipynb) · **Paper** section 3.1:
# Adam, a learning rate that rises over the first 10 % of the steps and then falls to zero, batches of 32
#
# *The stored outputs are those of the solved lesson.*

# %%
import math

import numpy as np

from minibert import AdapterConfig, Model, lessons, load_backbone
from minibert.data import load_task
from minibert.evaluate import predict
from minibert.lessons.plots import training as plots
from minibert.optim import Adam, clip_by_global_norm

rng = np.random.default_rng(10)

# %% [markdown]
# ## 1. What is given
#
# The model is a frozen BERT with adapters of size $M = 16$. `model.trained()` is what trains, `{name: array}`:
# adapters, LayerNorms, and the linear layer (the *head*) that reads the class from `[CLS]`. `model.loss_and_grads`
# gives the mean cross-entropy of a batch, and the gradient with respect to each of these arrays. In lessons 4 to 9 you
# wrote what it does. The task is `opinions`: is a sentence positive or negative?
#
# **Predict first:** there are two classes, and the new head knows nothing. What is the loss, about? ($-\log$ of which
# probability?)

# %%
backbone = load_backbone(lessons.weights())
task = load_task("opinions")
sentences, labels = backbone.encode(task.train.texts), task.train.labels


def new_model(seed=0):
    return Model(backbone, adapter=AdapterConfig(size=16), seed=seed)


model = new_model()
loss, grads = model.loss_and_grads(sentences.take(range(256)), labels[:256])
print(f"{len(grads)} arrays train, {sum(g.size for g in grads.values()):,} numbers of {len(labels):,} sentences")
print(f"loss {loss:.2f}, guessing {math.log(2):.2f}")

# %% [markdown]
# ## 2. Adam
#
# Gradient descent, $p - \eta\,g$, moves each parameter in proportion to its gradient. In [lesson
# 8](08_the_adapter.ipynb) you saw that near the identity those of `W_down` are some fifteen times smaller than those
# of `b_up`. No one rate $\eta$ fits both. Adam (Kingma and Ba, 2014) divides by the size of the gradient. It keeps two
# running means for each element:
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\,g,\qquad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2$$
#
# with $\beta_1 = 0.9$, $\beta_2 = 0.999$. Both begin at zero, so at first they are too small. After $t$ steps the
# weights of all gradients in $m$ add up to $1-\beta_1^t$; the **bias correction** divides by that:
#
# $$\hat m = \frac{m}{1-\beta_1^t},\qquad \hat v = \frac{v}{1-\beta_2^t},\qquad
#   p \leftarrow p - \eta\,\lambda\,p - \eta\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}$$
#
# $\lambda$ is the **weight decay**. $\varepsilon$ stands outside the root. The first step is $t = 1$.


# %% exercise="adam_step"
def adam_step(p, g, m, v, step, lr, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8):
    """New p, m and v (three arrays like p); the given ones stay as they are. step is 1 for the first."""
    # solution
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    return p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
    # end


# %%
lessons.check("adam_step", adam_step)

# %%
# lessons.hint("adam_step")      # remove the first #: a question first; run it again for more

# %% [markdown]
# **Predict first:** three elements have the gradients 0.0001, 1 and −10,000. The rate is 0.001, and this is the first
# step. How far does each of them move, and in which direction?

# %%
adam_step = lessons.take("adam_step", adam_step)
zero = np.zeros(3)
moved, _, _ = adam_step(zero, np.array([1e-4, 1.0, -1e4]), zero, zero, 1, 0.001)
print("moved by", moved.round(6))

# %% [markdown]
# All move by the rate; only the sign of the gradient is left. Later steps are as long only where the gradients agree:
# $\hat m$ is small where they change their sign.
#
# **Decoupled weight decay** (Loshchilov and Hutter, 2017, "AdamW"). Weight decay pulls weights towards zero. The older
# way, L2 regularization, adds $\lambda p$ to the gradient $g$. But then Adam divides $\lambda p$ by the size of the
# gradient, too. Decoupled, $\eta\lambda p$ is subtracted from $p$ itself, as above. To see the difference, take three
# groups of 1,000 weights that are all 1. Their gradients are pure noise, of size 0.1, 1 and 10.
#
# **Predict first:** after 500 steps, in which group is least left of the weights with L2? And decoupled?

# %%
noise = np.array([0.1, 1.0, 10.0])
for name, in_gradient, decoupled in (("L2", 0.2, 0.0), ("decoupled", 0.0, 0.2)):
    p, m, v = np.ones((1000, 3)), np.zeros((1000, 3)), np.zeros((1000, 3))
    for step in range(1, 501):
        g = noise * rng.normal(size=p.shape) + in_gradient * p
        p, m, v = adam_step(p, g, m, v, step, 0.01, decoupled)
    print(f"{name:10} left of the weights, by noise {noise}: {abs(p.mean(axis=0)).round(1)}")

# %% [markdown]
# With L2 the decay depends on the gradients: it is strong where they are small, and nearly absent where they are large.
# Decoupled, all shrink by the same factor, $(1-\eta\lambda)^{500} = 0.37$.
#
# ## 3. The schedule
#
# With bias correction the first steps are as long as all others, though $\hat m$ and $\hat v$ are means over one or two
# batches only. So the rate begins small (*warm-up*). With `rising = round(warmup * steps)`, step $s = 0, 1, \dots$ has
# the rate
#
# $$\eta_s = \eta\,\frac{s+1}{\mathrm{rising}}\ \text{ for } s < \mathrm{rising},\qquad
#   \eta_s = \eta\,\frac{\mathrm{steps}-s}{\mathrm{steps}-\mathrm{rising}}\ \text{ after that.}$$
#
# **Predict first:** with 10 of 100 steps rising, what are the rates of step 0 and of step 99, in percent of the peak?


# %% exercise="learning_rate"
def learning_rate(step, steps, peak, warmup=0.1):
    """The rate of a step, a number. step is 0 for the first."""
    # solution
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)
    # end


# %%
lessons.check("learning_rate", learning_rate)

# %% figure="The rate of each of 100 steps, with and without warm-up. It is never zero: every batch moves something." alt="A solid line rises steeply over the first ten steps and then falls in a straight line to nearly zero at step 99. A dashed line falls from its peak at step 0."
learning_rate = lessons.take("learning_rate", learning_rate)
rates = {f"warm-up {share:.0%}": [learning_rate(s, 100, 1e-3, share) for s in range(100)] for share in (0.1, 0)}
print("step 0 and step 99, percent of the peak:", [round(1e5 * rates["warm-up 10%"][s], 1) for s in (0, 99)])
fig = plots.schedules(rates)

# %% [markdown]
# ## 4. Clipping
#
# The norm of the whole gradient is $\lVert g\rVert = \sqrt{\sum g_i^2}$, over all elements of all arrays. If it exceeds
# a limit, **all** arrays are multiplied by one factor, so that it equals the limit. The direction stays.


# %% exercise="clip"
def clip(grads, largest):
    """{name: gradient}: new arrays, scaled by one factor so that their norm together is at most `largest`."""
    # solution
    norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
    factor = min(1.0, largest / norm)
    return {name: g * factor for name, g in grads.items()}
    # end


# %%
lessons.check("clip", clip)

# %% [markdown]
# Adam divides by the size of the gradient, so what is clipping for? Let a parameter have the gradient 1 in each of 100
# steps, but 1,000 in step 20: one odd batch. The rate is 1.
#
# **Predict first:** without clipping, how far does step 50 move, compared with step 19?

# %%
clip = lessons.take("clip", clip)
for largest in (math.inf, 1.0):
    p, m, v, lengths = np.zeros(1), np.zeros(1), np.zeros(1), []
    for step in range(1, 101):
        g = clip({"w": np.array([1000.0 if step == 20 else 1.0])}, largest)["w"]
        new, m, v = adam_step(p, g, m, v, step, 1.0)
        lengths.append(abs(new - p).item())
        p = new
    print(f"limit {largest}: step 19 moves by {lengths[18]:.2f}, step 50 by {lengths[49]:.3f}")

# %% [markdown]
# One batch is enough to make all later steps tiny: $g^2 = 10^6$ stays in $v$ for about a thousand steps. Clipped, it is
# a batch like any other.
#
# ## 5. The loop
#
# Now all four together. `gradients(p, step)` is given: it computes the gradients of the batch of a step. In each step:
# the gradients, clipped; the rate; then `adam_step` for each name. The schedule counts steps from 0, Adam from 1.
# Weight decay is for weights alone, whose names end in `/W`: a bias or a LayerNorm's $\gamma$ has no reason to be near
# zero.


# %% exercise="train"
def train(p, gradients, steps, peak, largest=1.0, weight_decay=0.01, warmup=0.1):
    """The parameters {name: array} after all steps; the given ones stay as they are."""
    p = dict(p)  # a dict of its own: p[name] = … does not change the caller's
    # solution
    m = {name: np.zeros_like(a) for name, a in p.items()}
    v = {name: np.zeros_like(a) for name, a in p.items()}
    for step in range(steps):
        grads = clip(gradients(p, step), largest)
        lr = learning_rate(step, steps, peak, warmup)
        for name in p:
            decay = weight_decay if name.endswith("/W") else 0.0
            p[name], m[name], v[name] = adam_step(p[name], grads[name], m[name], v[name], step + 1, lr, decay)
    return p
    # end


# %%
lessons.check("train", train)

# %% [markdown]
# Next comes what `gradients` is for a real BERT: write `p` into the model, draw 16 sentences, compute. Dropout is on,
# with masks that the number of the step decides. A log keeps the loss, and how far each group of parameters has moved
# since the last step, relative to its norm.

# %%
train = lessons.take("train", train)
GROUPS = ("down/W", "up/W", "norm/gamma", "head/W")


def norm(arrays):
    return math.sqrt(sum(float((a**2).sum()) for a in arrays))


def of_model(model, log, seed=0):
    """gradients(p, step) of a model, on sentences that are drawn at random."""

    def gradients(p, step):
        before = {name: a.copy() for name, a in model.trained().items()}
        model.load_trained(p)
        rows = np.random.default_rng([seed, step]).choice(len(labels), 16, replace=False)
        loss, grads = model.loss_and_grads(sentences.take(rows), labels[rows], dropout_step=step)
        log.setdefault("loss", []).append(loss)
        for group in GROUPS if step else ():
            names = [name for name in p if name.endswith(group)]
            moved = norm(p[n] - before[n] for n in names) / norm(before[n] for n in names)
            log.setdefault(group, []).append(moved)
        return grads

    return gradients


def initial(model):
    return {name: a.copy() for name, a in model.trained().items()}


# %% [markdown]
# First a second witness, beside the checker: three steps by your loop, and three by minibert's own `Adam`, from the
# same initialization, on the same batches. Do they arrive at the same place?

# %%
yours = train(initial(model), of_model(model, {}), 3, 1e-3)

other = new_model()
optimizer, their_gradients = Adam(other.trained(), weight_decay=0.01), of_model(other, {})
for step in range(3):
    grads = their_gradients(initial(other), step)
    clip_by_global_norm(grads, 1.0)
    optimizer.step(grads, lessons.EXERCISES["learning_rate"].solution(step, 3, 1e-3))
apart = max(np.abs(yours[name] - a).max() / np.abs(a).max() for name, a in other.trained().items())
print("the same, up to rounding:", apart < 1e-3)

# %% [markdown]
# Now train. It takes half a minute or more. **Predict first:** will the loss fall from the first steps on?

# %% compare="full" tolerance=0.1
STEPS = lessons.setting(full=80, fast=4)
model, log = new_model(), {}
p = train(initial(model), of_model(model, log), STEPS, 3e-3)
model.load_trained(p)
dev = task.dev["dev"]
right = predict(model, backbone.encode(dev.texts)).argmax(axis=1) == dev.labels
print(f"loss of the first 10 steps {np.mean(log['loss'][:10]):.2f}, of the last 10 {np.mean(log['loss'][-10:]):.2f}")
print(f"accuracy on {len(right)} sentences of dev: {right.mean():.2f}")

# %% [markdown]
# A real BERT, trained by your code alone. Now take the safeguards away, one at a time. One run has no warm-up.
# Two have an odd batch: all gradients of step 15 are multiplied by 1,000. One of these clips, the other does not.
#
# **Predict first:** there will be four lines. Which of them will lie on each other, and which one will not learn?


# %% compare="full" tolerance=0.2
def with_odd_batch(gradients, at=15):
    return lambda p, step: {name: g * (1000 if step == at else 1) for name, g in gradients(p, step).items()}


def loss_of_run(change=lambda gradients: gradients, **options):
    fresh, found = new_model(), {}
    train(initial(fresh), change(of_model(fresh, found)), STEPS, 3e-3, **options)
    return found["loss"]


losses = {
    "as above": log["loss"],
    "no warm-up": loss_of_run(warmup=0.0),
    "odd batch, clipped": loss_of_run(with_odd_batch),
    "odd batch, not clipped": loss_of_run(with_odd_batch, largest=math.inf),
}
for name, values in losses.items():
    print(f"{name:24} loss of the last 10 steps {np.mean(values[-10:]):.2f}")

# %% figure="The loss, each point the mean of ten steps. Clipped, the odd batch of step 15 changes nothing: its line lies on the first one. Not clipped, it throws the model back, and the steps after it are too short to repair that." alt="Four lines over the steps, and a dotted line at 0.69, the loss of guessing. Three of them fall together to about 0.5, two of these exactly on each other. That of the odd batch that was not clipped rises above 0.7 after step 15, and ends near 0.65."
fig = plots.learning_curves(losses, math.log(2))

# %% [markdown]
# Two lines are one: the gradient of step 15 had a norm above 1 anyway, and is clipped to the same with the factor and
# without.
#
# Leaving out the warm-up changes the run, but not clearly for the worse. What warm-up is for shows in the very first
# update. We make just one, on 16 sentences, at a full rate of 0.01, and at a tenth of that, as warm-up would begin.
#
# **Predict first:** before it the loss of 128 sentences is about 0.7. What is it after each of the two?

# %% compare="full" tolerance=0.2
some, some_labels, after = sentences.take(range(128)), labels[:128], {0.001: [], 0.01: []}
for seed in range(lessons.setting(full=4, fast=1)):
    fresh = new_model(seed)
    start, gradients = initial(fresh), of_model(fresh, {}, seed)
    for rate, found in after.items():
        moved = train(start, gradients, 1, rate, warmup=0.0)  # one step
        fresh.load_trained(moved)
        found.append(fresh.loss(some, some_labels))
for rate, found in after.items():
    print(f"rate {rate}: loss {np.round(found, 2)} after one update, one number a seed")

# %% [markdown]
# At a high rate, a full step in the direction of one batch can do harm. A model may recover from that, as it did above
# at 0.003. But one run each is an anecdote: [lesson 11](11_compare_and_ablate.ipynb) is about evidence.
#
# ## 6. How far does a step go?
#
# **Predict first:** the adapters' weights began with a standard deviation of 0.01, a LayerNorm's $\gamma$ is about 1.
# Adam moves an element by at most about the rate, here up to 0.003. By which share of their size do they move in a
# step?

# %% figure="The change of a step relative to the parameters, by group, in the first run of section 5. It follows the learning rate: up over the first steps, then down to the end." alt="Four lines on a logarithmic axis. Those of the adapters' weights begin near 0.04, rise above 0.1, and fall to 0.001. The line of the head is about half as high. That of the LayerNorms is more than fifty times lower."
fig = plots.update_sizes({group: log[group] for group in GROUPS})

# %% [markdown]
# The adapters' small weights move by more than a tenth of their size in one step, $\gamma$ by a fifth of a percent. So
# at this rate adapters are learned in tens of steps. BERT's own weights would not bear it: for full fine-tuning
# minibert's rate is 0.0001. Such a plot is worth a look in every training: a group whose line is at zero is not
# trained.
#
# ## What you learned
#
# - Adam moves each element by about the rate, whatever the size of its gradient. The bias correction makes that true
#   from the first step on.
# - Weight decay belongs outside of the gradient: else Adam divides it, too.
# - Warm-up keeps the first steps short, while $\hat m$ and $\hat v$ know one or two batches. Clipping keeps one odd
#   batch from filling $v$.
# - The schedule counts from 0, Adam from 1. `m` and `v` outlive the step.
# - The checker and minibert's own Adam, two witnesses, agree with your loop.
#
# [Next: 11 · Compare and ablate](11_compare_and_ablate.ipynb)
