"""The variants of the adapter, each another formula."""

import numpy as np

from minibert.adapter_variants import VARIANTS
from minibert.gradcheck import away_from_identity, tiny_batch, tiny_model


def test_forms_of_the_adapter_give_different_scores():
    """Else an option that nothing reads would pass the check above."""
    scores = []
    for variant in VARIANTS.values():
        model = tiny_model("adapter", "classify", variant=variant)
        away_from_identity(model, std=0.3)
        scores.append(model.forward(tiny_batch(model.config, "classify")[0]))
    for i, one in enumerate(scores):
        assert not any(np.allclose(one, other) for other in scores[:i])
