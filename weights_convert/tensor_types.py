"""The dtypes of tensors in the files of others, as safetensors spells them, and their bytes as NumPy arrays."""

from __future__ import annotations

from math import prod

import numpy as np

from minibert.errors import need

# NumPy has no bfloat16: its 16 bits are the upper half of a float32.
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
_NUMPY |= {"U8": "u1", "BOOL": "?"}
ITEM_SIZE = {dtype: np.dtype(kind).itemsize for dtype, kind in _NUMPY.items()}
MOST_DIMENSIONS = 8
MOST_ELEMENTS = 1 << 48
FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # what weights may be: each is exact as float32


def is_shape(shape: tuple[int, ...]) -> bool:
    """Whether NumPy can make such an array. Beside a 0 a file may have any numbers, and NumPy multiplies them."""
    return len(shape) <= MOST_DIMENSIONS and prod(max(n, 1) for n in shape) < MOST_ELEMENTS


def to_array(raw, dtype: str) -> np.ndarray:
    """Bytes as an array of one dimension; bfloat16 becomes float32, exactly. Raises InputError for another dtype."""
    need(dtype in _NUMPY, f"has dtype {dtype}, which is not read; expected one of {', '.join(_NUMPY)}")
    numbers = np.frombuffer(raw, _NUMPY[dtype])
    return (numbers.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else numbers
