"""An HDF5 file as it is laid out in memory, before plain Python writes it: HDF5 does not survive a full disk."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from minibert.storage.atomic import replacing


class Image(io.RawIOBase):
    """A file in memory, as HDF5 lays it out, without its arrays: those stay where they are until they are written.

    HDF5 itself never sees a disk: it does not survive one that is full. It reserves room for an array and leaves it
    empty (`add`), so only pages with something else take memory.
    """

    _PAGE = 4096
    _open: dict[int, Image] = {}  # noqa: RUF012 (by the number that HDF5 gives an open file)

    def __init__(self):
        self._pages: dict[int, bytearray] = {}
        self._arrays: list[tuple[int, np.ndarray]] = []
        self._place = self._size = 0

    @contextmanager
    def known_as(self, file: h5py.File) -> Iterator[None]:
        """For the body: `of` any node of the file is this image."""
        number = h5py.h5o.get_info(file.id).fileno
        self._open[number] = self
        try:
            yield
        finally:
            del self._open[number]

    @classmethod
    def of(cls, node: h5py.HLObject) -> Image:
        """The image of the file in which a node is being written."""
        return cls._open[h5py.h5o.get_info(node.id).fileno]

    def add(self, group: h5py.Group, name: str, array: np.ndarray) -> None:
        """Lay out a data set for a little-endian, C-contiguous array, which is not to change until it is written."""
        if array.nbytes <= self._PAGE:
            group.create_dataset(name, data=array)
            return
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        dataset = group.create_dataset(name, shape=array.shape, dtype=array.dtype, dcpl=layout)
        self._arrays.append((dataset.id.get_offset(), array))

    def write_to(self, path: str | Path) -> None:
        """Replace the file `path`. Raises OSError."""
        with replacing(path) as temporary, open(temporary, "r+b") as file:
            for number, page in self._pages.items():
                file.seek(number * self._PAGE)
                file.write(page)
            for offset, array in self._arrays:
                file.seek(offset)
                file.write(array.reshape(-1).view(np.uint8).data)
            file.truncate(self._size)

    def _parts(self, length: int) -> Iterator[tuple[int, slice, slice]]:
        """The next `length` bytes: (number of a page, which of its bytes, which of the bytes asked for)."""
        first, end = self._place, self._place + length
        while self._place < end:
            number, start = divmod(self._place, self._PAGE)
            n = min(self._PAGE - start, end - self._place)
            done = self._place - first
            yield number, slice(start, start + n), slice(done, done + n)
            self._place += n

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        for number, inside, part in self._parts(len(view)):
            view[part] = self._pages.get(number, bytes(self._PAGE))[inside]
        return len(view)

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        for number, inside, part in self._parts(len(view)):
            self._pages.setdefault(number, bytearray(self._PAGE))[inside] = view[part]
        self._size = max(self._size, self._place)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        return self._size

    def readable(self) -> bool:
        return True

    writable = seekable = readable
