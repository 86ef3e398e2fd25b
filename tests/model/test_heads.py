"""What the heads take, give and refuse."""

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model


def test_a_regression_has_one_score_a_text(backbone):
    model, batch = make_model(backbone, head="regress", n_out=1), encode(backbone, TEXTS, pairs=TEXTS[::-1])
    assert model.predict(batch).shape == (4,)
    targets = np.array([0.0, 1.0, 2.5, 5.0])
    loss, _ = model.loss_and_grads(batch, targets)
    assert loss == pytest.approx(np.mean((model.predict(batch) - targets) ** 2), rel=1e-5)
