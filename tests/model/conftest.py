"""A tiny random backbone, read from a file."""

import pytest
from tiny import write_tiny_backbone

from minibert import load_backbone


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.h5"))
