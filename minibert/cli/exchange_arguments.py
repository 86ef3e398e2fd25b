"""The arguments of `bank export` and `bank import`; exchange.py does what they say, and needs more of minibert."""

from __future__ import annotations

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
    example = "example: minibert bank import DIR --backbone models/minilm-l6.h5 --out BANK.h5"
    p = actions.add_parser("import", help=told, description=f"{told}.", epilog=example)
    p.add_argument("folder", metavar="DIR", help="what model.save_adapter(DIR, NAME) wrote, with its head")
    p.add_argument("--backbone", required=True, metavar="FILE.h5", help="the model that the adapter was trained on")
    p.add_argument("--out", required=True, metavar="BANK", help="a bank file or a run folder; a new file ends in .h5")
    p.add_argument("--as", dest="new_name", metavar="NAME", help="what to call the task")
    p.add_argument("--pairs", action="store_true", help="the task reads pairs of texts, which a folder does not say")
    p.add_argument("--replace", action="store_true", help="a task of the same name is replaced")
