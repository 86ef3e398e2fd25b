"""The SHA-256 of files: whether one is that which somebody else has, too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from minibert.errors import InputError


def sha256_of(*paths: Path) -> str:
    """SHA-256 (hex) of a file, or of several end to end. Raises InputError if one cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()
