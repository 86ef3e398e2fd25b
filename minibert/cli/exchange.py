"""The commands `bank export` and `bank import`: tasks to other libraries and from them."""

from __future__ import annotations

from pathlib import Path

from minibert.cli.inputs import print_notes
from minibert.errors import InputError, list_some, need, printable, readable
from minibert.storage import TaskRecord, add_task, bank_file, choose, read_backbone, read_bank
from minibert.trained import unscored_note

ADAPTERHUB, ONNX = "adapterhub", "onnx"
TARGETS = (ADAPTERHUB, ONNX)


def exchange_arguments(actions) -> None:
    """The two subcommands, for the subparsers of `bank`."""
    told = "write a task for another library"
    p = actions.add_parser(
        "export", help=told, description=f"{told}.", epilog="example: minibert bank export RUN --to adapterhub DIR"
    )
    p.add_argument("bank", metavar="BANK", help="a run folder or a bank file")
    p.add_argument(
        "--to", required=True, choices=TARGETS, help="adapterhub: the library `adapters`; onnx: ONNX Runtime"
    )
    p.add_argument("out", metavar="OUT", help="a new folder for adapterhub, a file for onnx")
    p.add_argument("--name", metavar="TASK", help="which task of the bank, if it holds several")
    p.add_argument("--backbone", metavar="FILE.h5", help="for onnx, whose file holds the whole model")

    told = "add a task that the library `adapters` saved (AdapterHub)"
    example = "example: minibert bank import DIR --backbone minilm-l6.h5 --out BANK.h5"
    p = actions.add_parser("import", help=told, description=f"{told}.", epilog=example)
    p.add_argument("folder", metavar="DIR", help="what model.save_adapter(DIR, NAME) wrote, with its head")
    p.add_argument("--backbone", required=True, metavar="FILE.h5", help="the model that the adapter was trained on")
    p.add_argument("--out", required=True, metavar="BANK", help="a bank file or a run folder; a new file ends in .h5")
    p.add_argument("--as", dest="new_name", metavar="NAME", help="what to call the task")
    p.add_argument("--pairs", action="store_true", help="the task reads pairs of texts, which a folder does not say")
    p.add_argument("--replace", action="store_true", help="a task of the same name is replaced")


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
    record, notes = import_(Path(args.folder), read_backbone(args.backbone), args.new_name, args.pairs or None)
    add_task(path, record, replace=args.replace)
    print_notes(map(printable, notes))
    print(printable(f"{path}: {_told(record)}"))


def _told(record: TaskRecord) -> str:
    """What came in: the task, its adapters, its head."""
    form, labels = record.adapter, list_some(readable(label) for label in record.labels)
    of = f" ({labels})" if labels else ""
    size = sum(array.size for array in record.params.values())
    placed = " and ".join(form.sublayers)
    return f"task {record.name}, {form.size} units in {placed}, head {record.head}{of}, {size:,} parameters"
