"""The variants of the adapter: each another formula, each told from the paper's, each setting under the gradient check.

The gradients themselves are checked in test_gradcheck.py.
"""

from argparse import Namespace
from dataclasses import dataclass, field, make_dataclass

import numpy as np
import pytest
from adapter_forms import CONFIGS, FORMS, never_varied

from minibert.adapter import adapter_backward, adapter_forward
from minibert.adapter_variants import BY_OTHERS, VARIANTS, variant_backward, variant_forward
from minibert.cli import reports
from minibert.config import HEADS, METHODS, AdapterConfig
from minibert.gradcheck import away_from_identity, tiny_batch, tiny_model
from minibert.layers import Context
from minibert.params import unflatten


def test_forms_of_the_adapter_give_different_scores():
    """Else an option that nothing reads would pass the gradient check."""
    scores = []
    for variant in (VARIANTS | BY_OTHERS).values():
        model = tiny_model("adapter", "classify", variant=variant)
        away_from_identity(model, std=0.3)
        scores.append(model.forward(tiny_batch(model.config, "classify")[0]))
    for i, one in enumerate(scores):
        assert not any(np.allclose(one, other) for other in scores[:i])


# ------------------------------------------------------------------------------------ the paper's form, or another one


def one_adapter(config, seed=0):
    """Parameters of an adapter of D = 6, away from zero; places for their gradients; and what it reads."""
    model = tiny_model("adapter", "classify")
    rng = np.random.default_rng(seed)
    shapes = AdapterConfig.shapes(config, model.config)
    first = next(iter(shapes)).partition("/adapter/")[0] + "/adapter/"
    shapes = {name.removeprefix(first): s for name, s in shapes.items() if name.startswith(first)}
    p = unflatten({name: rng.standard_normal(shape) for name, shape in shapes.items()})
    grads = unflatten({name: np.zeros(shape) for name, shape in shapes.items()})
    x, sublayer_input, dy = rng.standard_normal((3, 5, model.config.hidden_size))
    return p, grads, x, sublayer_input, dy, Context(model.config, None, None, config)


def computes_the_papers_form(config):
    """Whether adapter_variants.py and adapter.py give the same, forward and backward."""
    p, grads, x, sublayer_input, dy, context = one_adapter(config)
    norm = {"gamma": np.linspace(1, 2, x.shape[1]), "beta": np.ones(x.shape[1])}
    block, block_grads = {"adapter": p, "norm": norm}, {"adapter": grads}
    y, cache = variant_forward(x, sublayer_input, block, block_grads, context)
    dx, d_input = variant_backward(dy, np.zeros_like(dy), block, cache, block_grads, context)
    papers_y, papers_cache = adapter_forward(x, p, grads)
    papers_dx = adapter_backward(dy, p, papers_cache, grads)
    return np.allclose(y, papers_y) and np.allclose(dx, papers_dx) and not d_input.any()


@pytest.mark.parametrize("form", FORMS)
def test_what_computes_something_else_is_a_variant(form):
    """bert.py looks at is_variant alone: a variant that is not told would run as the paper's adapter."""
    assert CONFIGS[form].is_variant != computes_the_papers_form(CONFIGS[form])


def test_a_variant_that_is_not_told_would_be_seen():
    @dataclass(frozen=True)
    class Silent(AdapterConfig):
        is_variant = False

    config = Silent(4, multiplicative=True)
    assert not config.is_variant and not computes_the_papers_form(config)


# ----------------------------------------------------------------------------- what the gradient check varies


def configs_of_the_command(monkeypatch):
    """The settings of every adapter that `minibert gradcheck` checks."""
    models = []
    monkeypatch.setattr(reports, "compile_kernels", lambda *_: None)
    monkeypatch.setattr(reports.checks, "check_gradients", lambda model, *_: models.append(model) or [])
    assert reports.gradcheck(Namespace(method=METHODS, head=list(HEADS))) == 0
    return [model.adapter for model in models if model.adapter]


def test_every_setting_is_varied_by_a_gradient_check(monkeypatch):
    """A field of AdapterConfig that keeps its default in all forms may have any gradient: a wrong one passed once.

    Add a form to VARIANTS, or to tests/support/adapter_forms.py if the paper did not try it.
    """
    assert never_varied(AdapterConfig, CONFIGS.values()) == []
    command = configs_of_the_command(monkeypatch)
    where_and_start = {"layers", "init_std"}  # which layers have adapters, and how far from the identity they begin
    assert set(never_varied(AdapterConfig, command)) <= where_and_start


def test_a_setting_that_nobody_varies_is_found(monkeypatch):
    wider = make_dataclass("Wider", [("gate", bool, field(default=False))], bases=(AdapterConfig,), frozen=True)
    configs = [wider(**vars(config)) for config in CONFIGS.values()]
    assert never_varied(wider, configs) == ["gate"]
    assert never_varied(wider, [*configs, wider(gate=True)]) == []
    fewer = [config for config in CONFIGS.values() if config.depth == 1]
    assert never_varied(AdapterConfig, fewer) == ["depth"]
