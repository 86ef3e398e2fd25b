"""The command line: arguments in, calls out. What the commands do stands in commands.py."""

from __future__ import annotations

import argparse
import sys

from minibert.config import ACTIVATIONS, HEADS, METHODS, PRESETS, InputError
from minibert.data import TASK_NAMES


def _task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, help=", ".join(TASK_NAMES))
    parser.add_argument("--data", help="the folder that holds the GLUE folders, or the task's own folder or file")
    csv = parser.add_argument_group("task csv: your own delimited file")
    csv.add_argument("--text-column", help="name of the column with the text")
    csv.add_argument("--label-column", help="name of the column with the label")
    csv.add_argument("--pair-column", help="name of the column with a second text")
    csv.add_argument("--columns", help="names of the columns, comma-separated, if the file has no header line")
    csv.add_argument("--delimiter", help="the character between fields, or: tab, comma, semicolon")
    csv.add_argument("--quoting", choices=("csv", "none"), help="none: quotes are ordinary characters")
    csv.add_argument("--encoding", help="default utf-8")
    csv.add_argument("--regress", action="store_true", help="the label is a number to predict")
    csv.add_argument("--dev-share", type=float, help="share of the rows for dev if there is no split (default 0.1)")
    csv.add_argument("--test-share", type=float, help="share of the rows for test (default 0.1)")
    csv.add_argument("--split-seed", type=int, help="seed of that split (default 0)")


def _common(parser: argparse.ArgumentParser, backbone: bool = True) -> None:
    if backbone:
        parser.add_argument("--backbone", required=True, metavar="FILE.h5", help="made by python -m weights_convert")
    parser.add_argument("--threads", type=int, help="threads of the kernels (default: all cores)")


def _bank_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bank", required=True, metavar="RUN", help="a run folder or a bank file")
    parser.add_argument("--name", help="which task of the bank, if it holds several")


def _train_parser(commands) -> None:
    p = commands.add_parser("train", help="tune a backbone on a task")
    _common(p)
    _task_arguments(p)
    p.add_argument("--out", required=True, metavar="RUN", help="folder for the result")
    p.add_argument("--method", choices=METHODS, default="adapter")
    p.add_argument("--adapter-size", type=int, metavar="M", help="units of the bottleneck (default 64)")
    p.add_argument("--init-std", type=float, help="standard deviation of the adapters' start (default 0.01)")
    p.add_argument("--adapter-activation", choices=ACTIVATIONS, help="default gelu")
    p.add_argument("--top-k", type=int, default=0, metavar="K", help="layers to train with --method top_k")
    p.add_argument("--freeze-layernorm", action="store_true", help="adapters without the LayerNorms")
    p.add_argument("--pooled-head", action="store_true", help="the head reads BERT's pooler")
    p.add_argument("--lr", type=float, help="default 1e-3; 1e-4 for full and top_k")
    p.add_argument("--epochs", type=int, default=5)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--max-length", type=int, default=128, help="tokens of a text or pair; longer ones are cut")
    p.add_argument("--warmup", type=float, default=0.1, help="share of the steps over which the rate rises")
    p.add_argument("--weight-decay", type=float, default=0.01)
    p.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradients, 0: no clipping")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--max-steps", type=int, default=0, help="end the run early")
    p.add_argument("--train-rows", type=int, help="train on this many rows, drawn with seed 0")
    p.add_argument("--force", action="store_true", help="replace the run that is in --out")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out after its last epoch")
    p.add_argument("--quiet", action="store_true")


def build_parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    parser = argparse.ArgumentParser(prog="minibert", description="Adapter tuning of BERT on a CPU.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _train_parser(commands)

    p = commands.add_parser("eval", help="score a trained task")
    _common(p)
    _bank_arguments(p)
    _task_arguments(p)
    p.add_argument("--split", choices=("train", "dev", "test"), default="dev")
    p.add_argument("--json", action="store_true")

    p = commands.add_parser("predict", help="label texts given as arguments, in a file, or on standard input")
    _common(p)
    _bank_arguments(p)
    p.add_argument("texts", nargs="*", metavar="TEXT", help="a pair of texts is written with a tab between them")
    p.add_argument("--file", help="a file with one text a line")
    p.add_argument("--json", action="store_true", help="one JSON object a line")

    p = commands.add_parser("bank", help="show the tasks of a bank, or add those of other runs to it")
    p.add_argument("bank", metavar="BANK", help="a run folder or a bank file")
    p.add_argument("--add", nargs="+", default=[], metavar="RUN", help="run folders or banks whose tasks are added")
    p.add_argument("--replace", action="store_true", help="a task of the same name is replaced")
    p.add_argument("--json", action="store_true")

    p = commands.add_parser("params", help="count what each method trains, before training anything")
    p.add_argument("--config", nargs="+", default=list(PRESETS), choices=PRESETS)
    p.add_argument("--adapter-size", nargs="+", type=int, default=[8, 64, 256], metavar="M")
    p.add_argument("--method", choices=METHODS, default="adapter")
    p.add_argument("--top-k", type=int, default=0, metavar="K")
    p.add_argument("--classes", type=int, default=2)

    p = commands.add_parser("gradcheck", help="compare every gradient with finite differences")
    _common(p, backbone=False)
    p.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    p.add_argument("--head", nargs="+", choices=HEADS, default=list(HEADS))

    p = commands.add_parser("download", help="get the data of a GLUE task or SQuAD")
    p.add_argument("name", help="a task")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--mirror", help="URL or folder to use in place of the public hosts")

    p = commands.add_parser("env", help="versions, threads, vector width, cache: OK, or what to do")
    _common(p, backbone=False)
    return parser


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    import numba

    if not 1 <= threads <= numba.config.NUMBA_NUM_THREADS:
        raise InputError(f"--threads must be from 1 to {numba.config.NUMBA_NUM_THREADS} here, got {threads}")
    numba.set_num_threads(threads)


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 2 for unusable input; 1 if training failed; 130 after Ctrl-C."""
    args = build_parser().parse_args(arguments)
    from minibert import commands  # after the arguments are checked: `minibert --help` need not wait for Numba
    from minibert.train import NonFiniteLoss

    try:
        _set_threads(getattr(args, "threads", None))
        return getattr(commands, args.command)(args) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NonFiniteLoss as error:
        print(f"error: training stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
