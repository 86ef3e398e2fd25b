"""The table of formats. Each name gives a function that prepares valid files once, and returns the maker of mutated
ones: make(rng, folder, mutate=True) -> Case. A format that the program learns to read gets a line here."""

from __future__ import annotations

from . import archives, bin_files, checkpoints, delimited_files, glue_files, hdf5_files, json_files, json_line_files

FORMATS = {
    "backbone": hdf5_files.backbones,
    "bank": hdf5_files.banks,
    "state": hdf5_files.states,
    "safetensors": checkpoints.weights,
    "shards": bin_files.shards,
    "bin": bin_files.bins,
    "checkpoint": checkpoints.settings,
    "csv": delimited_files.tables,
    "jsonl": json_line_files.tables,
    "glue": glue_files.glues,
    "squad": json_files.squads,
    "predictions": json_files.predictions,
    "ledger": json_files.ledgers,
    "archive": archives.archives,
}
