"""The layers below attention: what embeddings take and refuse."""

import pytest

from minibert.config import InputError
from minibert.text import pack


@pytest.mark.parametrize(
    "ids, segments, table", [([1, 999], [0, 0], "word"), ([1, -1], [0, 0], "word"), ([1, 2], [0, 2], "segment")]
)
def test_ids_beyond_a_table_are_refused(backbone, ids, segments, table):
    """Kernels do not check bounds, so this would read foreign memory."""
    with pytest.raises(InputError, match=f"{table} ids must be from 0 to"):
        backbone.forward(pack([ids], [segments]))
    with pytest.raises(InputError, match="position ids must be from 0 to 23"):
        backbone.forward(pack([[1] * 25], [[0] * 25]))
