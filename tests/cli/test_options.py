"""Every setting of an adapter and of training has an option, in `train` and in `sweep`, also one that is new."""

import argparse
import re
from dataclasses import fields, make_dataclass

import pytest

from minibert.cli.arguments import build_parser
from minibert.cli.settings import ADAPTER_HELP, TRAIN_HELP, field_arguments
from minibert.config import AdapterConfig, TrainConfig
from minibert.methods import DEFAULTS
from minibert.options import ADAPTER_OPTIONS, TRAIN_OPTIONS, TUPLE_OPTIONS
from minibert.trial import TRIAL_OPTIONS, Trial, grid, make_trial

TRAIN = ["train", "--backbone", "b.h5", "--out", "run", "--task", "opinions"]
SWEEP = ["sweep", "--backbone", "b.h5", "--ledger", "l.jsonl", "--tasks", "opinions"]


@pytest.mark.parametrize("command", [TRAIN, SWEEP], ids=["train", "sweep"])
def test_every_option_of_a_trial_is_an_argument(command):
    args = build_parser().parse_args(command)
    missing = [name for name in TRIAL_OPTIONS if not hasattr(args, name)]
    assert missing == []


@pytest.mark.parametrize("config, options, texts", [
    (AdapterConfig, ADAPTER_OPTIONS, ADAPTER_HELP), (TrainConfig, TRAIN_OPTIONS, TRAIN_HELP),
], ids=["adapter", "training"])  # fmt: skip
def test_every_field_has_an_option_and_a_line_of_help(config, options, texts):
    names = [field.name for field in fields(config)]
    assert list(options.values()) == names
    assert set(options) <= set(TRIAL_OPTIONS)
    without = [name for name in names if not texts.get(name, {}).get("help")]
    assert without == [], "minibert/cli/settings.py has no help for these fields"


def test_help_tells_the_default_of_every_number():
    """Those of the methods that have their own, too."""
    told = [(field.name, field.default, ADAPTER_HELP) for field in fields(AdapterConfig)]
    told += [(field.name, field.default, TRAIN_HELP) for field in fields(TrainConfig)]
    told += [(name, value, TRAIN_HELP) for own in DEFAULTS.values() for name, value in own.items()]
    number = re.compile(r"\d[\d.]*(?:e-?\d+)?")
    for name, default, texts in told:
        if type(default) in (int, float) and (default or (texts is TRAIN_HELP and name != "max_steps")):
            assert default in [float(text) for text in number.findall(texts[name]["help"])], (name, default)


def test_what_is_given_reaches_the_setting():
    given = ["--adapter-size", "3", "--init-std", "0.2", "--adapter-activation", "relu", "--adapter-layernorm"]
    given += ["--adapter-depth", "2", "--adapter-sublayers", "attention", "--adapter-layers", "0,2"]
    given += ["--adapter-multiplicative", "--lr", "0.5", "--epochs", "7", "--batch-size", "9"]
    given += ["--max-length", "11", "--warmup", "0.3", "--weight-decay", "0.4", "--clip", "2", "--seed", "5"]
    given += ["--max-steps", "6", "--metric", "macro_f1", "--patience", "4", "--class-weights", "balanced"]
    given += ["--adapter-layernorm-eps", "1e-5"]
    for one, other in (("parallel", "reads_norm"), ("reads_norm", "parallel")):  # which exclude each other
        args = build_parser().parse_args([*TRAIN, *given, f"--adapter-{one.replace('_', '-')}"])
        trial = make_trial(**{name: getattr(args, name) for name in TRIAL_OPTIONS})
        for made, usual in ((trial.adapter, AdapterConfig()), (trial.train, TrainConfig())):
            same = [name for name, value in vars(made).items() if value == getattr(usual, name) and name != other]
            assert same == [], "these settings do not differ from their defaults: give them in this test"


def test_a_new_field_has_an_option_by_itself():
    wider = make_dataclass("Wider", [("gain", "float", 1.0), ("skip", "bool", False)])
    parser = argparse.ArgumentParser()
    field_arguments(parser, wider, {"adapter_gain": "gain", "adapter_skip": "skip"}, ADAPTER_HELP)
    given = parser.parse_args(["--adapter-gain", "2", "--adapter-skip"])
    assert vars(given) == {"adapter_gain": 2, "adapter_skip": True}


@pytest.mark.parametrize("command", [TRAIN, SWEEP], ids=["train", "sweep"])
def test_labels_to_drop_are_one_setting_and_kept_as_json_gives_them_back(command):
    given = ["--drop-label", "-", "--drop-label=", "--drop-label", "-1", "--drop-label=a,b"]
    args = build_parser().parse_args([*command, *given])
    assert args.drop_label == ("-", "", "-1", "a,b")
    (trial,) = grid(task="csv", data="f.csv", text_column="t", label_column="l", drop_label=args.drop_label)
    assert trial.task_options["drop_label"] == ["-", "", "-1", "a,b"]
    assert Trial.from_dict(trial.to_dict()) == trial
    assert build_parser().parse_args(command).drop_label is None


def test_options_with_several_values_in_one():
    assert TUPLE_OPTIONS == ("adapter_sublayers", "adapter_layers", "class_weights", "columns", "drop_label")
