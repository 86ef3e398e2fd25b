"""Forms of the adapter that the tests check the gradients of: the paper's, its variants, and what they leave out."""

from dataclasses import fields

from minibert.adapter_variants import BY_OTHERS, VARIANTS
from minibert.config import AdapterConfig

EVERYTHING = {"layernorm": True, "depth": 2, "parallel": True, "multiplicative": True, "activation": "swish"}
FORMS = VARIANTS | BY_OTHERS
FORMS |= {
    "gelu_tanh": {"activation": "gelu_tanh"},
    "everything": EVERYTHING,
    "everything, by Pfeiffer": EVERYTHING | {"parallel": False, "reads_norm": True},
    "one layer": {"layers": (1,)},
    "wide initialization": {"init_std": 0.1},
}


def settings_of(form):
    """Those of AdapterConfig by which `minibert gradcheck` and the tests build a form: four units, and what it says."""
    return {"size": 4} | FORMS[form]


CONFIGS = {form: AdapterConfig(**settings_of(form)) for form in FORMS}


def never_varied(config_class, configs):
    """The names of the fields that no config has at another value than the default: nobody checks their gradient."""
    return [
        field.name
        for field in fields(config_class)
        if all(getattr(config, field.name, field.default) == field.default for config in configs)
    ]
