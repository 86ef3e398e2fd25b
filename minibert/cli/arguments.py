"""The arguments of every command, for argparse. What the commands do with them stands elsewhere: cli.MODULES."""

from __future__ import annotations

import argparse

from minibert.cli.bank_arguments import add_bank
from minibert.cli.parser import Parser, Version
from minibert.cli.settings import Lists, comma_separated, method_arguments, rows_of_tasks, setting_arguments
from minibert.config import HEADS, METHODS, PRESETS
from minibert.data import TASK_NAMES
from minibert.data.download import SOURCES

# The tables and figures that `reproduce` knows; see lab/reproduce.py.
EXPERIMENTS = ("table1", "table2", "figure3", "figure4", "figure5", "figure6", "extensions", "stream")

SAVE_HELP = "within an epoch, write what --resume needs every X minutes (5; 0: only after an epoch)"

# A line for each command, below its help and below what it says of arguments that it cannot use.
EXAMPLES = {
    "train": "minibert train --backbone models/minilm-l6.h5 --task opinions --out RUN",
    "eval": "minibert eval --backbone models/minilm-l6.h5 --bank RUN --split test",
    "predict": 'minibert predict --backbone models/minilm-l6.h5 --bank RUN "Not bad at all."',
    "bank": "minibert bank add all.h5 RUN",
    "sweep": "minibert sweep --backbone models/minilm-l6.h5 --tasks opinions --lr 3e-4,1e-3 --ledger sweep.jsonl",
    "reproduce": "minibert reproduce table1 --backbone models/minilm-l6.h5 --quick",
    "ablate": "minibert ablate RUN --backbone models/minilm-l6.h5",
    "baseline": "minibert baseline --task opinions",
    "bench": "minibert bench matmul",
    "params": "minibert params --config bert-base --adapter-size 64",
    "gradcheck": "minibert gradcheck --method adapter",
    "download": "minibert download mrpc --out data",
    "env": "minibert env",
}
_MAIN = ("train", "eval", "sweep", "predict")


class _OneMore(argparse.Action):
    """The values of an option that may be given again, in a tuple: for a sweep one value, and no list of them."""

    def __call__(self, parser, namespace, value, option_string=None):
        setattr(namespace, self.dest, (*(getattr(namespace, self.dest) or ()), value))


def _task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="NAME", help=", ".join(TASK_NAMES))
    _data_arguments(parser)


def _labelled_arguments(parser: argparse.ArgumentParser) -> None:
    """Rows to score a trained task on."""
    parser.add_argument(
        "--split",
        choices=("train", "dev", "test", "all"),
        help="default dev; all rows of a file without splits that was not trained on",
    )
    usual = "; as in the training, like all options of the data that are not given"
    parser.add_argument("--task", metavar="NAME", help=", ".join(TASK_NAMES) + usual)
    _data_arguments(parser)


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="PATH", help="the folder that holds the tasks' folders, or the task's own folder or file"
    )
    parser.add_argument("--dev-rows", type=int, metavar="N", help="score on this many dev rows, drawn with seed 0")
    csv = parser.add_argument_group("task csv: your own file, delimited or of JSON Lines (.jsonl)")
    csv.add_argument("--text-column", metavar="NAME", help="the column with the text")
    csv.add_argument("--label-column", metavar="NAME", help="the column with the label")
    csv.add_argument("--pair-column", metavar="NAME", help="the column with a second text")
    _format_arguments(csv)
    csv.add_argument("--label-separator", metavar="CHAR", help="a cell has any number of labels: a|b (empty: none)")
    csv.add_argument("--regress", action="store_true", help="the label is a number to predict")
    csv.add_argument(
        "--drop-label", action=_OneMore, metavar="TEXT", help="leave out rows with this label; may be given again"
    )
    split = parser.add_argument_group("a task that comes without a split: csv, and those that are no GLUE task")
    split.add_argument("--dev-share", type=float, metavar="X", help="share of the rows for dev (default 0.1)")
    split.add_argument("--test-share", type=float, metavar="X", help="share of the rows for test (default 0.1)")
    split.add_argument("--split-seed", type=int, metavar="N", help="seed of that split (default 0)")


def _format_arguments(p) -> None:
    """How a delimited file is written."""
    p.add_argument("--columns", metavar="NAMES", help="all columns, if the file has no header line; empty: it has one")
    p.add_argument("--delimiter", metavar="CHAR", help="what separates fields, or one of: tab, comma, semicolon")
    p.add_argument("--quoting", choices=("csv", "none"), help="none: quotes are ordinary characters")
    p.add_argument("--encoding", metavar="NAME", help="default utf-8")


def _threads_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the kernels (default: all cores)")


def _backbone_argument(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument("--backbone", required=required, metavar="FILE.h5", help="made by python -m weights_convert")


def _bank_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument("--bank", required=required, metavar="RUN", help="a run folder or a bank file")
    parser.add_argument("--name", help="which task of the bank, if it holds several")


def _add_train(commands) -> None:
    p = commands.add_parser("train", help="tune a backbone on a task")
    _backbone_argument(p)
    p.add_argument("--out", required=True, metavar="RUN", help="folder for the result")
    _threads_argument(p)
    p.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    p.add_argument("--force", action="store_true", help="replace the run that is in --out")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out where it ended; start it if new")
    p.add_argument("--save-minutes", type=float, default=5.0, metavar="X", help=SAVE_HELP)
    _task_arguments(p)
    method_arguments(p.add_argument_group("what is trained"))
    setting_arguments(p.add_argument_group("how it is trained"))


def _add_baseline(commands) -> None:
    p = commands.add_parser("baseline", help='score the "no BERT" baseline: TF-IDF with logistic regression')
    p.add_argument("--trials", type=int, default=20, metavar="N", help="settings to try, best on dev (default 20)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the random search (default 0)")
    p.add_argument("--train-rows", type=int, metavar="N", help="train on this many rows, drawn with seed 0")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    _task_arguments(p)


def _where_arguments(p) -> None:
    where = p.add_mutually_exclusive_group()
    where.add_argument("--processes", type=int, metavar="N", help="run N trials together, each on its share of cores")
    where.add_argument("--dask", metavar="ADDRESS", help="run them on the workers of a Dask cluster")
    _threads_argument(p)


def _dry_run_argument(p) -> None:
    p.add_argument("--dry-run", action="store_true", help="only print how many trials there are, and their time")


def _add_reproduce(commands) -> None:
    p = commands.add_parser("reproduce", help="a table or figure of the paper, from its trials to the picture")
    p.add_argument("name", choices=EXPERIMENTS)
    p.add_argument("--backbone", metavar="FILE.h5", help="made by python -m weights_convert; needed to run trials")
    p.add_argument("--data", metavar="DIR", help="the folder with the tasks' folders (default: the built-in task)")
    p.add_argument("--quick", action="store_true", help="minutes instead of hours: one seed, few settings")
    p.add_argument("--tasks", type=comma_separated(str), metavar="NAMES", help="default: those that --data holds")
    p.add_argument("--seeds", type=comma_separated(int), metavar="N,…", help="default 0,1,2")
    p.add_argument("--epochs", type=comma_separated(int), metavar="N,…", help="a sweep tries all (3,10)")
    p.add_argument("--rates", type=int, choices=(1, 2, 3), help="learning rates that a sweep tries for a method (3)")
    p.add_argument("--sizes", type=comma_separated(int), metavar="M,…", help="adapter sizes (default: the paper's)")
    p.add_argument(
        "--top-ks",
        type=comma_separated(int),
        metavar="K,…",
        help="how many top layers (default: each number; all are always tried)",
    )
    rows = "at most this many training rows a task (10,000); 1000,cola=3000 gives one task another number"
    p.add_argument("--train-rows", type=rows_of_tasks, metavar="N", help=rows)
    p.add_argument("--dev-rows", type=int, metavar="N", help="at most this many dev rows a task (default: all)")
    p.add_argument("--out", metavar="DIR", help="for tables, pictures and runs (default results/NAME, or NAME_quick)")
    p.add_argument("--ledger", metavar="FILE.jsonl", help="where trials are kept (default: ledger.jsonl in --out)")
    p.add_argument("--from-ledger", action="store_true", help="only write and draw again what the ledger has")
    p.add_argument("--retry-failed", action="store_true", help="run trials again that failed before")
    _dry_run_argument(p)
    _where_arguments(p)


def _add_ablate(commands) -> None:
    p = commands.add_parser("ablate", help="score a trained task without the adapters of spans of layers")
    p.add_argument("bank", metavar="BANK", help="a run folder or a bank file")
    _backbone_argument(p)
    p.add_argument("--name", help="which task of the bank, if it holds several")
    p.add_argument("--csv", metavar="FILE.csv", help="write the table here, too")
    p.add_argument("--plot", metavar="FILE.png", help="draw the heatmap (needs the extra: plots)")
    _threads_argument(p)
    _labelled_arguments(p)


def _add_sweep(commands) -> None:
    p = commands.add_parser("sweep", help="train a grid of settings, and find the best on dev")
    p.add_argument("--ledger", required=True, metavar="FILE.jsonl", help="where results are kept, and looked up")
    p.add_argument("--backbone", metavar="FILE.h5", help="made by python -m weights_convert")
    p.add_argument("--summary", action="store_true", help="only print what the ledger holds")
    _dry_run_argument(p)
    p.add_argument("--retry-failed", action="store_true", help="run trials again that failed before")
    p.add_argument("--all", action="store_true", help="list every setting, not the best of each method alone")
    p.add_argument("--csv", metavar="FILE.csv", help="write the table here, too")
    p.add_argument("--differences", metavar="FILE.csv", help="with --summary: write adapters against full here")
    repeat = "run N trials that it holds again, drawn at random (of --tasks, if given), and compare"
    p.add_argument("--repeat", type=int, metavar="N", help=repeat)
    p.add_argument("--keep", metavar="DIR", help="keep the run folder of every trial, called by its id")
    _where_arguments(p)
    several = p.add_argument_group("what is tried: every combination of the values, which are comma-separated")
    Lists(several).add_argument("--tasks", dest="task", metavar="NAMES", help=", ".join(TASK_NAMES))
    method_arguments(Lists(several))
    setting_arguments(Lists(several))
    _data_arguments(p)


def _add_eval(commands) -> None:
    p = commands.add_parser("eval", help="score a trained task, or a file of answers to SQuAD's questions")
    _backbone_argument(p, required=False)  # --predictions needs neither
    _bank_arguments(p, required=False)
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    _threads_argument(p)
    _labelled_arguments(p)
    squad = p.add_argument_group("task squad: files of answers, {id: answer} as the official scorer reads them")
    squad.add_argument("--predictions", metavar="FILE", help="score this file, without a model")
    squad.add_argument("--predictions-out", metavar="FILE", help="write the model's answers to this file")


def _add_predict(commands) -> None:
    p = commands.add_parser("predict", help="label texts given as arguments, in a file, or on standard input")
    _backbone_argument(p)
    p.add_argument("--bank", required=True, metavar="RUN", help="a run folder or a bank file")
    several = p.add_mutually_exclusive_group()
    several.add_argument(
        "--name", help="which task of the bank, if it holds several; A,B,…: each text by all of these, in one batch"
    )
    several.add_argument(
        "--mixed", action="store_true", help='a line begins with its task and a tab ("none": the backbone\'s [CLS])'
    )
    p.add_argument("texts", nargs="*", metavar="TEXT", help="a pair of texts is written with a tab between them")
    p.add_argument("--pair", metavar="TEXT", help="the second text of every pair, such as the paragraph of questions")
    p.add_argument("--file", help="a file with one text a line, in --encoding (default utf-8)")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    _threads_argument(p)
    rows = p.add_argument_group("all rows of a table, of any length; what is not given is as it was for the training")
    rows.add_argument("--data", metavar="FILE", help="a CSV, TSV or JSON Lines file, or - for standard input")
    rows.add_argument("--out", metavar="FILE", help="the same rows, with their labels as columns; - is standard output")
    rows.add_argument("--force", action="store_true", help="replace the file that is in --out")
    rows.add_argument("--prefix", metavar="TEXT", help="what the names of the added columns begin with")
    rows.add_argument("--text-column", metavar="NAME", help="the column with the text")
    rows.add_argument("--pair-column", metavar="NAME", help="the column with a second text")
    _format_arguments(rows)


def _add_reports(commands) -> None:
    p = commands.add_parser("params", help="count what each method trains, before training anything")
    p.add_argument("--config", nargs="+", default=list(PRESETS), choices=PRESETS)
    p.add_argument("--adapter-size", nargs="+", type=int, default=[8, 64, 256], metavar="M")
    p.add_argument("--method", choices=METHODS, default="adapter")
    p.add_argument("--top-k", type=int, default=0, metavar="K")
    p.add_argument("--classes", type=int, default=2, metavar="C")

    p = commands.add_parser("gradcheck", help="compare every gradient with finite differences")
    p.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    p.add_argument("--head", nargs="+", choices=HEADS, default=list(HEADS))
    _threads_argument(p)

    p = commands.add_parser("download", help="get the data of a GLUE task or SQuAD")
    p.add_argument("name", help=", ".join(SOURCES))
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the data")
    p.add_argument("--mirror", metavar="URL", help="URL or folder to use in place of the public hosts")

    p = commands.add_parser("env", help="versions, threads, vector width, cache: OK, or what to do")
    p.add_argument("--clean-cache", action="store_true", help="remove compiled kernels that other versions have left")
    _threads_argument(p)


def _add_bench(commands) -> None:
    p = commands.add_parser("bench", help="check every kernel, then time kernels, training step and forward pass")
    sections = ("compile", "matmul", "kernels", "step", "busy", "all")
    p.add_argument("section", nargs="?", choices=sections, help="default all: matmul, kernels, step; see docs")
    p.add_argument("--seconds", type=float, default=0.2, metavar="X", help="time for each kernel and shape (0.2)")
    p.add_argument("--plot", metavar="FILE", help="kernels: draw the roofline to a .png, .svg or .pdf file")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    _threads_argument(p)
    step = p.add_argument_group("step")
    step.add_argument("--workload", nargs="+", choices=("natural", "pairs", "full", "base"), help="default: all four")
    step.add_argument("--backbone", metavar="FILE.h5", help="default: a random one with the shape of minilm-l6")
    step.add_argument("--data", metavar="DIR", help="the folder with SST-2/ and MRPC/ (default: random tokens)")
    step.add_argument("--sort-by-length", action="store_true", help="texts of similar length in one batch")
    step.add_argument("--batch-size", type=int, metavar="N", help="sequences a batch (32; base 16)")
    step.add_argument("--repeats", type=int, default=3, metavar="N", help="passes over a workload (3)")
    step.add_argument(
        "--peer", metavar="PYTHON", help="the Python that runs another program in turns with ours (matmul: PyTorch)"
    )
    step.add_argument("--peer-script", metavar="FILE", help="that program, and its own arguments, in one string")
    step.add_argument("--turns", type=int, default=3, metavar="N", help="how often each of the two runs (3)")
    busy = p.add_argument_group("busy")
    busy.add_argument("--busy-cores", type=int, default=1, metavar="N", help="cores that another program holds (1)")


def build_parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    parser = Parser(
        prog="minibert",
        description="Adapter tuning of BERT on a CPU.",
        epilog="\n  ".join(["examples:", *(EXAMPLES[name] for name in _MAIN)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, help="print the versions of minibert and what it computes with")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    daily = (_add_train, _add_eval, _add_predict, add_bank)
    lab = (_add_sweep, _add_reproduce, _add_ablate, _add_baseline, _add_bench)
    for add in (*daily, *lab, _add_reports):
        add(commands)
    for name, command in commands.choices.items():
        command.example = EXAMPLES.get(name, "")
        command.epilog = f"example: {command.example}" if command.example else None
    return parser
