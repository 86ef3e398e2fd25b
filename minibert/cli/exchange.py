"""The commands `bank export` and `bank import`: tasks to other libraries and from them."""

from __future__ import annotations

from pathlib import Path

from minibert.cli.exchange_arguments import ADAPTERHUB
from minibert.cli.inputs import print_notes
from minibert.errors import InputError, list_some, need, printable, readable
from minibert.storage import TaskRecord, add_task, bank_file, check_new_name, choose, read_backbone, read_bank
from minibert.trained import unscored_note

# ----------------------------------------------------------------------------------------------------------------- out


def bank_export(args) -> None:
    """Write a task of a bank for another library."""
    (_to_adapterhub if args.to == ADAPTERHUB else _to_onnx)(args)


def _to_adapterhub(args) -> None:
    from weights_convert.adapterhub import export

    need(args.backbone is None, "--backbone is for --to onnx: an adapter is exported without its model")
    path = bank_file(args.bank)
    record = choose(read_bank(path), path, args.name)
    print_notes(unscored_note(record))
    exported = export(record, Path(args.out))
    print_notes(map(printable, exported.notes))
    print(printable(f"{args.out}: {list_some(exported.files)}"))
    print("README.md has the lines that load it")


def _to_onnx(args) -> None:
    from minibert.export_onnx import export_onnx
    from minibert.run import open_backbone
    from minibert.trained import open_trained

    if args.backbone is None:
        raise InputError("--to onnx writes the whole model: give --backbone FILE.h5")
    model, record = open_trained(open_backbone(args.backbone), args.bank, args.name)
    print_notes(unscored_note(record))
    export_onnx(model, record, Path(args.out))
    print(printable(f"{args.out}: {Path(args.out).stat().st_size / 1e6:.1f} MB"))


# ------------------------------------------------------------------------------------------------------------------ in


def bank_import(args) -> None:
    """Add the task of a folder to a bank."""
    from weights_convert.adapterhub import import_

    path = bank_file(args.out)
    need(path.exists() or path.suffix == ".h5", f"{path} does not exist; the name of a new bank ends in .h5")
    if args.new_name is not None:
        check_new_name(args.new_name)
    record, notes = import_(Path(args.folder), read_backbone(args.backbone), args.new_name, args.pairs or None)
    add_task(path, record, replace=args.replace)
    print_notes(map(printable, notes))
    print(printable(f"{path}: {_told(record)}"))


def _told(record: TaskRecord) -> str:
    """What came in: the task, its adapters, its head."""
    form, labels = record.adapter, list_some(readable(label) for label in record.labels)
    of = f" ({labels})" if labels else ""
    placed = " and ".join(form.sublayers)
    return f"task {record.name}, {form.size} units in {placed}, head {record.head}{of}, {record.n_params:,} parameters"
