"""The table of formats. Each name gives a function that prepares valid files once, and returns the maker of mutated
ones: make(rng, folder, mutate=True) -> Case. A format that the program learns to read (JSONL, say) gets a line here."""

from __future__ import annotations

from . import hdf5_files

FORMATS = {
    "backbone": hdf5_files.backbones,
    "bank": hdf5_files.banks,
    "state": hdf5_files.states,
}
