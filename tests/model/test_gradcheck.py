"""Every gradient against finite differences in float64; then the same check on planted mistakes, which it must find."""

import functools
import inspect
import sys
import textwrap

import pytest
from adapter_forms import CONFIGS, FORMS, settings_of

import kernels
from kernels import reference
from minibert import adapter, adapter_variants, attention, bert, heads, layers, losses
from minibert.adapter_variants import BY_OTHERS, VARIANTS
from minibert.backbone import random_backbone
from minibert.config import HEADS, METHODS, AdapterConfig, BertConfig
from minibert.gradcheck import (
    away_from_identity,
    check_gradients,
    compare,
    numerical_gradient,
    tiny_batch,
    tiny_model,
    true_gradient_is_zero,
)
from minibert.model import Model


def assert_all_pass(model, dropout_step=None):
    batch, labels = tiny_batch(model.config, model.head)
    checks = check_gradients(model, batch, labels, dropout_step)
    is_read = model.options["pooled"] or (model.adapter is not None and model.adapter.reads_norm)
    shifts = ["head/b"] + [f"{TOP}/norm/beta"] * (not is_read)  # the same for all tokens
    zero = {"classify": [], "multilabel": [], "regress": [], "span": shifts}
    assert {check.name for check in checks} == set(model.trained())
    assert not [check for check in checks if not check.passed]
    for check in checks:
        assert check.zero == (check.name.endswith("attention/key/b") or check.name in zero[model.head])
        assert check.relative_error <= 1e-6
        assert (check.largest_gradient < 1e-10) if check.zero else (check.largest_gradient > 1e-4), check


@pytest.mark.parametrize("dropout_step", [None, 5], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_head(method, head, dropout_step):
    assert_all_pass(tiny_model(method, head), dropout_step)


@pytest.mark.parametrize("method", ["adapter", "top_k", "head"])
def test_pooled_head(method):
    assert_all_pass(tiny_model(method, "classify", pooled=True), dropout_step=5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", ["adapter", "layernorm", "head"])
def test_a_pooler_of_the_tasks_own(method, head):
    model = tiny_model(method, head, pooled=True, train_pooler=True)
    assert {"pooler/W", "pooler/b"} <= set(model.trained())
    assert_all_pass(model, dropout_step=5)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_adapter(form):
    """With dropout; `minibert gradcheck` does it without, too. That none is missing: test_adapter_variants.py."""
    model = tiny_model("adapter", "classify", variant=settings_of(form))
    assert model.adapter == CONFIGS[form]
    assert_all_pass(model, dropout_step=7)


@pytest.mark.parametrize("form", BY_OTHERS)
def test_forms_of_others_with_spans(form):
    """Where an adapter reads the last LayerNorm, its beta does more than shift all logits."""
    assert_all_pass(tiny_model("adapter", "span", variant=BY_OTHERS[form]), dropout_step=7)


def test_frozen_layernorms_and_gelu_by_tanh_in_the_backbone():
    config = BertConfig(11, 6, 2, 2, 7, max_positions=5, activation="gelu_tanh")
    model = Model(random_backbone(config, 1, "float64", 0.5), n_out=3, adapter=AdapterConfig(3), train_layernorm=False)
    away_from_identity(model)
    assert all("/adapter/" in name or name.startswith("head/") for name in model.trained())
    assert_all_pass(model, dropout_step=5)


def test_dropout_changes_the_loss_that_is_checked():
    """Else "dropout on" would check the same thing twice."""
    model = tiny_model("adapter", "classify")
    batch, labels = tiny_batch(model.config, "classify")
    assert len({model.loss(batch, labels, step) for step in (None, 5, 6)}) == 3
    assert model.loss(batch, labels, 5) == model.loss(batch, labels, 5) == model.loss_and_grads(batch, labels, 5)[0]


# ------------------------------------------------------------------------------------------------- planted mistakes

TOP, UNDER = "encoder/layers/1/feed_forward", "encoder/layers/1/attention"

# (what is wrong, function, its line, the line with the mistake, model, tensors that must fail, that must still pass)
MISTAKES = [
    (
        "a product's gradient without its other factor",
        *(adapter_variants.variant_backward, "(dy * (1 + z), dy * x)", "(dy, dy * x)"),
        "adapter classify multiplicative",
        [f"{UNDER}/norm/gamma", "embeddings/norm/beta"],
        [f"{TOP}/adapter/up/W", f"{TOP}/norm/gamma"],
    ),
    (
        "what a parallel adapter reads gets no gradient",
        *(
            adapter_variants.variant_backward,
            "return dx, bottleneck_backward(dz, p_adapter, z_cache, adapter_grads, context, dx_accum=d_input)",
            "bottleneck_backward(dz, p_adapter, z_cache, adapter_grads, context); return dx, d_input",
        ),
        "adapter classify parallel",
        [f"{UNDER}/norm/gamma", "embeddings/norm/beta"],
        [f"{TOP}/adapter/up/W", f"{TOP}/adapter/down/W"],
    ),
    (
        "the LayerNorm that a Pfeiffer adapter reads has one consumer, the adapter's is forgotten",
        *(
            adapter_variants.variant_backward,
            'add_norm_backward(dn, p["norm"], norm_cache, subtree(grads, "norm"))',
            'add_norm_backward(dn, p["norm"], norm_cache, {})',
        ),
        "adapter classify Pfeiffer",
        [f"{TOP}/norm/gamma", f"{TOP}/norm/beta"],
        [f"{TOP}/adapter/up/W", f"{TOP}/adapter/down/W", f"{UNDER}/norm/gamma", "embeddings/norm/beta"],
    ),
    (
        "what a Pfeiffer adapter reads passes no gradient to the residual",
        *(adapter_variants.variant_backward, "return dx + dsum, d_input + dsum", "return dx + dsum, d_input"),
        "adapter classify Pfeiffer",
        [f"{UNDER}/norm/gamma", "embeddings/norm/beta"],
        [f"{TOP}/adapter/up/W", f"{TOP}/adapter/down/W", f"{TOP}/norm/gamma", f"{TOP}/norm/beta"],
    ),
    (
        "what a Pfeiffer adapter reads passes no gradient to the sublayer",
        *(adapter_variants.variant_backward, "return dx + dsum, d_input + dsum", "return dx, d_input + dsum"),
        "adapter classify Pfeiffer",
        [f"{UNDER}/norm/gamma", "embeddings/norm/beta"],
        [f"{TOP}/adapter/up/W", f"{TOP}/adapter/down/W", f"{TOP}/norm/gamma", f"{TOP}/norm/beta"],
    ),
    (
        "the adapter's skip connection is dropped",
        *(adapter.adapter_backward, "dx_accum=dy", "dx_accum=None"),
        "adapter classify",
        [f"{UNDER}/norm/gamma", f"{UNDER}/adapter/up/W", "embeddings/norm/beta"],
        [f"{TOP}/adapter/up/W", f"{TOP}/adapter/down/W", f"{TOP}/norm/gamma"],
    ),
    (
        "the residual sum passes on one of its two gradients",
        *(bert.layer_backward, "grads_f, context_f, dx_accum)", "grads_f, context_f, None)"),
        "adapter classify",
        [f"{UNDER}/norm/gamma", "embeddings/norm/gamma"],
        [f"{TOP}/adapter/down/W", f"{TOP}/norm/beta"],
    ),
    (
        "the residual sum under attention passes on one of its two gradients",
        *(bert.layer_backward, "grads_a, context_a, dx_accum)", "grads_a, context_a, None)"),
        "adapter classify",
        ["encoder/layers/0/feed_forward/norm/gamma", "embeddings/norm/gamma"],
        [f"{UNDER}/norm/gamma", f"{UNDER}/adapter/down/W"],
    ),
    (
        "an adapter with a LayerNorm adds the skip connection's gradient inside of it",
        *(
            adapter_variants.bottleneck_backward,
            'subtree(grads, "down"))\n',
            'subtree(grads, "down"), dx_accum); dx_accum = 0\n',
        ),
        "adapter classify layernorm",
        [f"{TOP}/adapter/norm/gamma", f"{UNDER}/norm/gamma"],
        [f"{TOP}/adapter/up/W", f"{TOP}/norm/gamma"],
    ),
    (
        "LayerNorm takes mean and variance for constants",
        *(reference.layernorm_backward, " - mean_g - normalized * mean_gn", ""),
        "adapter classify",
        [f"{TOP}/adapter/up/b", "embeddings/norm/gamma"],
        [f"{TOP}/norm/gamma", f"{TOP}/norm/beta"],
    ),
    (
        "GELU without x phi(x)",
        *(
            reference.matmul_gelu,
            "return gelu(x @ W + (0 if b is None else b))",
            "u = x @ W + b; return gelu(u)[0], gelu(u)[0] / u",  # y / u is cdf(u)
        ),
        "adapter classify",
        [f"{TOP}/adapter/down/W", f"{TOP}/adapter/down/b"],
        [f"{TOP}/adapter/up/W", f"{TOP}/norm/gamma"],
    ),
    (
        "the derivative of the activation is forgotten",
        *(layers.feed_forward_backward, ", act_grad=act_grad", ""),
        "full classify pooled",
        [f"{TOP}/intermediate/W", f"{UNDER}/query/W"],
        [f"{TOP}/output/W", f"{TOP}/norm/gamma"],
    ),
    (
        "dropout drops other units in backward",
        *(layers.dropout_backward, "forward(dy, dropout)", "forward(dy, dropout and (dropout[0], dropout[1][::-1]))"),
        "adapter classify",
        [f"{TOP}/norm/gamma", f"{TOP}/adapter/up/W", "embeddings/norm/gamma"],
        ["head/W", "head/b"],
    ),
    (
        "the loss is a mean, its gradient a sum",
        *(reference.softmax_cross_entropy, "(dlogits / len(labels))", "dlogits"),
        "adapter classify",
        ["head/W", "head/b", f"{TOP}/adapter/up/W"],
        [],
    ),
    (
        "the squared error's gradient without its 2",
        *(losses.squared_error, "(2 / len(targets)", "(1 / len(targets)"),
        "head regress",
        ["head/W", "head/b"],
        [],
    ),
    (
        "the softmax over tokens does not pass on its sum",
        *(losses.span_cross_entropy, "dlogits[rows, columns] -= 1", "dlogits[rows, columns] = -1"),
        "adapter span",
        ["head/W", "head/b", f"{TOP}/adapter/up/W"],
        [],
    ),
    (
        "the softmax over tokens runs over the whole batch",
        *(losses.span_cross_entropy, "exps / np.repeat(totals, lengths, axis=0)", "exps / totals.sum(axis=0)"),
        "head span",
        ["head/W", "head/b"],
        [],
    ),
    (
        "softmax without the sum over its row",
        *(reference.attention_backward, " - (dP * P).sum(axis=2, keepdims=True)", ""),
        "full classify pooled",
        [f"{UNDER}/query/W", f"{UNDER}/key/W", f"{UNDER}/key/b"],
        [f"{UNDER}/value/W", f"{UNDER}/value/b"],
    ),
    (
        "dq with its sign flipped",
        *(reference.attention_backward, "_rows(dS @ K", "_rows(-dS @ K"),
        "full classify pooled",
        [f"{UNDER}/query/W", f"{UNDER}/query/b"],
        [f"{UNDER}/key/W", f"{UNDER}/value/W"],
    ),
    (
        "dk without 1 / sqrt(d_head)",
        *(reference.attention_backward, "@ Q / root)", "@ Q)"),
        "full classify pooled",
        [f"{UNDER}/key/W"],
        [f"{UNDER}/query/W", f"{UNDER}/value/W"],
    ),
    (
        "dv without the dropout mask",
        *(reference.attention_backward, "(P * m).transpose", "P.transpose"),
        "full classify pooled",
        [f"{UNDER}/value/W", f"{UNDER}/value/b"],
        [f"{UNDER}/query/W", f"{UNDER}/key/W"],
    ),
    (
        "the value's way back to x is forgotten",
        *(
            attention._project_backward,
            "dx_accum = linear_backward(dy, p[name], cache, subtree(grads, name), dx_accum)",
            "d = linear_backward(dy, p[name], cache, subtree(grads, name), dx_accum)\n"
            "        dx_accum = d if name != 'value' else dx_accum",
        ),
        "full classify pooled",
        ["encoder/layers/0/feed_forward/norm/gamma", "embeddings/word/W"],
        [f"{UNDER}/value/W", f"{UNDER}/query/W"],
    ),
    (
        "the frozen value's way back to x is forgotten",
        *(
            attention._project_backward,
            "matmul_dx_each(dys,",
            "matmul_dx_each([dy * (name != 'value') for dy, name in zip(dys, names)],",
        ),
        "adapter classify",
        ["encoder/layers/0/feed_forward/norm/gamma", "embeddings/norm/gamma"],
        [f"{TOP}/adapter/up/W", "head/W"],
    ),
    (
        "biases get no gradient",
        *(reference.matmul_backward, "bias_db(dy, db)", "pass"),
        "full classify pooled",
        ["head/b", "pooler/b", f"{TOP}/intermediate/b", f"{UNDER}/query/b"],
        ["head/W", f"{UNDER}/query/W", f"{UNDER}/key/b"],
    ),
    (
        "tokens that share a row overwrite each other's gradient",
        *(reference.embedding_backward, "np.add.at(dW, index, dx)", "dW[index] = dx"),
        "full classify pooled",
        ["embeddings/word/W", "embeddings/segment/W", "embeddings/position/W"],
        ["embeddings/norm/gamma", "head/W"],
    ),
    (
        "the pooler's tanh is forgotten",
        *(heads.head_backward, "dx * (1 - pooled**2)", "dx"),
        "full classify pooled",
        ["pooler/W", "pooler/b", f"{TOP}/norm/gamma"],
        ["head/W", "head/b"],
    ),
]


@functools.cache
def measured_model(setup):
    """A clean model with dropout, its batch, its labels and its finite differences: {name: array}."""
    forms = VARIANTS | BY_OTHERS
    method, head, *more = setup.split()
    variant = next((forms[name] for name in more if name in forms), None)
    model = tiny_model(method, head, variant=variant, pooled="pooled" in more)
    batch, labels = tiny_batch(model.config, head)
    arrays = model.trained().items()
    return model, batch, labels, {n: numerical_gradient(lambda: model.loss(batch, labels, 5), a) for n, a in arrays}


def failures(setup):
    """Names of the tensors that fail, and of those that pass, by the gradients as the program computes them now."""
    model, batch, labels, measured = measured_model(setup)
    _, grads = model.loss_and_grads(batch, labels, 5)
    checks = [compare(name, grads[name], measured[name], model) for name in grads]
    return {c.name for c in checks if not c.passed}, {c.name for c in checks if c.passed}


def plant(monkeypatch, function, line, mistake):
    """Compile the function once more with another line in it, and put it wherever the program has the right one."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(line) == 1, (
        f"{function.__name__} has changed: {line!r} is not there once; plant another mistake"
    )
    scope = dict(vars(sys.modules[function.__module__]))
    exec(compile(source.replace(line, mistake), f"<{function.__name__}, broken>", "exec"), scope)
    name, broken = function.__name__, scope[function.__name__]
    right = getattr(kernels, name) if function.__module__ == reference.__name__ else function
    for module in (
        kernels,
        layers,
        attention,
        adapter,
        adapter_variants,
        bert,
        heads,
        losses,
        sys.modules["minibert.model"],
    ):
        if vars(module).get(name) is right:
            monkeypatch.setattr(module, name, broken)
    for head in heads.RECORDS.values():
        if head.loss is right:
            monkeypatch.setitem(vars(head), "loss", broken)


@pytest.mark.parametrize(
    "function, line, mistake, setup, wrong, right", [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_a_planted_mistake_is_found(monkeypatch, function, line, mistake, setup, wrong, right):
    assert failures(setup)[0] == set(), "the program as it is must pass"
    plant(monkeypatch, function, line, mistake)
    failed, passed = failures(setup)
    assert set(wrong) <= failed
    assert set(right) <= passed


def test_the_check_as_a_whole_finds_a_mistake(monkeypatch):
    model = tiny_model("head", "classify")
    batch, labels = tiny_batch(model.config, "classify")
    right = layers.kernels.matmul_backward
    monkeypatch.setattr(layers.kernels, "matmul_backward", lambda dy, x, W, dW, *rest: right(dy, x, W, None, *rest))
    assert {check.name: check.passed for check in check_gradients(model, batch, labels)} == {
        "head/W": False,
        "head/b": True,
    }


def test_a_gradient_too_small_to_judge_fails():
    """Where nothing moves the loss, exact and measured are both zero, and that proves nothing."""
    zeros, tiny = measured_model("head regress")[3]["head/W"] * 0, measured_model("head regress")[3]["head/W"] * 1e-9
    assert not compare("head/W", zeros, zeros).passed
    assert not compare("head/W", tiny, tiny).passed
    assert compare(f"{UNDER}/key/b", zeros, zeros).passed and true_gradient_is_zero(f"{UNDER}/key/b")
    assert not compare("head/W", zeros * float("nan"), zeros + 1).passed
