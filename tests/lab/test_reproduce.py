"""Every experiment of the paper from its trials to its files, on a tiny random backbone and the built-in task."""

import json
import math
from argparse import Namespace
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sweeping import rows_of
from tiny import CONFIG, VOCAB

from minibert.backbone import load_backbone, random_backbone
from minibert.cli import main
from minibert.cli.arguments import EXPERIMENTS
from minibert.errors import InputError, counted
from minibert.lab import experiment, figures, reproduce, stream, tables
from minibert.lab.experiment import Measurement, Scope, best, format_rows, points, rates, summary
from minibert.lab.ledger import read_ledger
from minibert.methods import DEFAULT_LR
from minibert.storage import bert_tokenizer, read_bank, write_backbone


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "tiny.h5"
    config = replace(CONFIG, max_positions=128)
    write_backbone(path, config, random_backbone(config, std=0.15).params, bert_tokenizer(VOCAB), "random", "0" * 64)
    return path


@pytest.fixture(scope="module")
def ledger_of_figure4(backbone_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("figure4") / "ledger.jsonl"
    command = ["reproduce", "figure4", "--quick", "--backbone", str(backbone_file), "--out", str(path.parent)]
    assert main([*command, "--train-rows", "32", "--dev-rows", "24", "--epochs", "1"]) == 0
    return str(path)


@pytest.fixture
def run(backbone_file, tmp_path, capsys):
    def run(name, *options, backbone=backbone_file):
        command = ["reproduce", name, "--quick", "--out", str(tmp_path / name)]
        command += ["--backbone", str(backbone)] if backbone else []
        code = main([*command, "--train-rows", "32", "--dev-rows", "24", "--epochs", "1", *options])
        return code, tmp_path / name, capsys.readouterr()

    return run


def test_the_command_line_knows_every_experiment():
    assert set(EXPERIMENTS) == set(reproduce.RECIPES)


def test_figure4_gives_a_row_a_point_and_a_picture(run):
    code, out, printed = run("figure4")
    assert code == 0, printed.err
    rows = rows_of(out / "figure4.csv")
    assert [(row["method"], row["size_or_k"]) for row in rows] == [
        *(("adapter", size) for size in ("1", "8", "64", "512")),
        *(("top_k", k) for k in ("1", "2")),
        ("layernorm", ""),
    ]
    params = [int(row["params"]) for row in rows]
    assert params[:4] == sorted(params[:4]) and min(params) == params[-1]
    adapters = [record for record in read_ledger(out / "ledger.jsonl") if record["trial"]["method"] == "adapter"]
    results = {record["trial"]["adapter"]["size"]: record["result"] for record in adapters}
    assert float(rows[1]["mean"]) == pytest.approx(100 * results[8]["dev"]["accuracy"])
    assert rows[1]["sem"] == "", "the error of one seed is not known"
    assert (out / "figure4.png").stat().st_size > 5000
    assert "predicted machine time" in printed.out and "adapter" in printed.out


def test_a_second_run_trains_nothing_and_finds_the_same(run):
    _, out, _ = run("figure4")
    before, lines = (out / "figure4.csv").read_text(), (out / "ledger.jsonl").read_text()
    code, _, printed = run("figure4")
    assert code == 0 and printed.out.count(" in the ledger, 0 to run") == 2
    assert ((out / "figure4.csv").read_text(), (out / "ledger.jsonl").read_text()) == (before, lines)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("table1", "extensions", "stream")]


@pytest.mark.parametrize("name", ["figure3", "figure6", "table2", *SLOW])
def test_from_the_ledger_all_is_written_again_without_data_weights_and_training(run, name, tmp_path, monkeypatch):
    code, out, printed = run(name)
    assert code == 0, printed.err
    files = sorted(out.glob("*.csv"))
    before = [path.read_bytes() for path in files]
    for path in (*files, *out.glob("*.png")):
        path.unlink()
    forbidden = ("run.run_trial", "lab.sweep.run_trials", "data.load_task", "run.load_backbone")
    for function in forbidden:
        monkeypatch.setattr(f"minibert.{function}", lambda *_, **__: pytest.fail("this trains, or reads a file"))
    ledger = (out / "ledger.jsonl").read_bytes()
    code, _, again = run(name, "--from-ledger", "--data", str(tmp_path / "nowhere"), backbone=None)
    assert code == 0, again.err
    assert [path.read_bytes() for path in files] == before and (out / "ledger.jsonl").read_bytes() == ledger
    assert again.out.split("\n\n", 1)[1] == printed.out.split("\n\n", 1)[1]


def test_what_the_ledger_lacks_is_named(run):
    code, out, printed = run("figure6")
    assert "ablated spans of layers: measured now, on opinions adapter M=64" in printed.out
    code, out, printed = run("figure6")
    assert "ablated spans of layers: as measured before" in printed.out and "measured now" not in printed.out
    code, _, printed = run("figure6", "--from-ledger", "--seeds", "0,1")
    assert code == 2 and "lacks trials (opinions 1 of 2), such as opinions adapter" in printed.err
    lines = (out / "ledger.jsonl").read_text().splitlines(keepends=True)
    (out / "ledger.jsonl").write_text("".join(line for line in lines if '"measured"' not in line))
    code, _, printed = run("figure6", "--from-ledger")
    assert code == 2 and "lacks what is measured beside the trials (ablated spans of layers)" in printed.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tasks", "nonsense"), "has no trials of nonsense; it has opinions"),
        (("--top-ks", "99"), "--top-ks names 99, and the backbone has 2 layers"),
        (("--top-ks", "0"), "--top-ks names 0"),
        (("--seeds", "0,0"), "--seeds names a value twice: 0, 0"),
        (("--dry-run",), "--from-ledger runs nothing: leave out --dry-run"),
        (("--retry-failed",), "--from-ledger runs nothing"),
    ],
)
def test_options_that_do_not_fit_a_ledger(ledger_of_figure4, run, options, told):
    code, _, printed = run("figure4", "--from-ledger", "--ledger", ledger_of_figure4, *options)
    assert code == 2 and told in printed.err


def test_a_ledger_that_does_not_tell_its_backbone_needs_one(ledger_of_figure4, run, tmp_path):
    code, out, _ = run("figure4", "--from-ledger", "--ledger", ledger_of_figure4, backbone=None)
    assert code == 0
    other = changed(ledger_of_figure4, tmp_path / "other", result={"backbone": "b" * 64})
    code, _, printed = run("figure4", "--from-ledger", "--ledger", other, backbone=None)
    assert code == 2 and "has trials on 2 backbones: give the one that is meant by --backbone" in printed.err
    header, *lines = Path(ledger_of_figure4).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["result"]["backbone_config"]
    old = tmp_path / "old"
    old.write_text("\n".join([header, *map(json.dumps, records), ""]))
    config = {**asdict(CONFIG), "max_positions": 128}
    for first, last in ((config | {"n_heads": 1}, config), (config, config | {"n_heads": 1})):
        two = [json.loads(json.dumps(record)) for record in records]
        two[0]["result"]["backbone_config"], two[-1]["result"]["backbone_config"] = first, last
        (tmp_path / "two").write_text("\n".join([header, *map(json.dumps, two), ""]))
        code, _, printed = run("figure4", "--from-ledger", "--ledger", str(tmp_path / "two"), backbone=None)
        told = f"n_heads was {first['n_heads']}, now it is {last['n_heads']}"
        assert code == 2 and told in printed.err, "the last trial counts"
    before = (out / "figure4.csv").read_bytes()
    assert run("figure4", "--from-ledger", "--ledger", str(old))[0] == 0
    assert (out / "figure4.csv").read_bytes() == before
    code, _, printed = run("figure4", "--from-ledger", "--ledger", str(old), backbone=None)
    assert code == 2 and "does not tell the config of its backbone" in printed.err and "--backbone" in printed.err
    old.write_text(header + "\n")
    code, _, printed = run("figure4", "--from-ledger", "--ledger", str(old), backbone=None)
    assert code == 2 and "has no trial that is done" in printed.err


def test_runs_need_a_backbone(run):
    code, _, printed = run("figure4", backbone=None)
    assert code == 2 and "reproduce needs a --backbone" in printed.err


def test_figure5_needs_trials_of_squad(ledger_of_figure4, run):
    code, _, printed = run("figure5", "--from-ledger", "--ledger", ledger_of_figure4)
    assert code == 2 and "has no trials of its tasks: squad" in printed.err


def changed(path, out, **changes):
    """The ledger with each trial once more, its result changed."""
    header, *lines = Path(path).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    more = [
        {**r, "id": f"x{r['id']}", **changes, "result": {**r["result"], **changes.get("result", {})}} for r in records
    ]
    out.write_text("\n".join([header, *lines, *map(json.dumps, more), ""]))
    return str(out)


def test_what_a_ledger_has_twice_is_not_guessed(ledger_of_figure4, run, tmp_path):
    code, out, _ = run("figure4", "--from-ledger", "--ledger", ledger_of_figure4)
    assert code == 0
    expected = (out / "figure4.csv").read_bytes()
    of_another_backbone = changed(
        ledger_of_figure4, tmp_path / "b", result={"backbone": "b" * 64, "dev": {"accuracy": 0.0}}
    )
    assert run("figure4", "--from-ledger", "--ledger", of_another_backbone)[0] == 0
    assert (out / "figure4.csv").read_bytes() == expected
    failed = changed(ledger_of_figure4, tmp_path / "f", status="failed", error="nan")
    assert run("figure4", "--from-ledger", "--ledger", failed)[0] == 0, "what is done stays done"
    assert (out / "figure4.csv").read_bytes() == expected
    on_other_data = changed(ledger_of_figure4, tmp_path / "d", result={"data": "d" * 64})
    code, _, printed = run("figure4", "--from-ledger", "--ledger", on_other_data)
    assert code == 2 and "on 2 data sets that differ in their rows" in printed.err
    config = {**asdict(CONFIG), "max_positions": 128, "n_heads": 1}
    other_heads = changed(ledger_of_figure4, tmp_path / "h", result={"backbone_config": config})
    code, _, printed = run("figure4", "--from-ledger", "--ledger", other_heads)
    assert code == 2 and "same weights with another config (n_heads was 1" in printed.err
    path = tmp_path / "only"
    header, *lines = Path(of_another_backbone).read_text().splitlines()
    path.write_text("\n".join([header, *(line for line in lines if '"id": "x' in line), ""]))
    code, _, printed = run("figure4", "--from-ledger", "--ledger", str(path))
    assert code == 2 and "has no trials on this --backbone" in printed.err


def test_a_failure_on_one_of_two_backbones_is_not_taken_for_that_of_the_asked_one(ledger_of_figure4, run, tmp_path):
    header, first, *lines = Path(ledger_of_figure4).read_text().splitlines()
    failed = {**json.loads(first), "status": "failed", "error": "nan"}
    other = json.loads(lines[0])
    other = {**other, "id": "other", "result": {**other["result"], "backbone": "b" * 64}}
    path = tmp_path / "ledger.jsonl"
    path.write_text("\n".join([header, *lines, json.dumps(failed), ""]))
    code, _, printed = run("figure4", "--from-ledger", "--ledger", str(path))
    assert code == 1 and "1 trial failed" in printed.out
    path.write_text("\n".join([header, *lines, json.dumps(failed), json.dumps(other), ""]))
    code, _, printed = run("figure4", "--from-ledger", "--ledger", str(path))
    assert code == 2 and "lacks trials (opinions 1 of" in printed.err


def test_only_the_asked_sizes_are_tried(run):
    code, out, printed = run("figure4", "--sizes", "3,5", "--dry-run")
    assert code == 0 and "5 trials" in printed.out, "two sizes, two top-k, LayerNorms"
    code, out, printed = run("figure4", "--sizes", "3", "--top-ks", "2", "--dry-run")
    assert code == 0 and "3 trials" in printed.out, "one size, all layers, LayerNorms"
    code, out, printed = run("table1", "--sizes", "64")
    assert [row["method"] for row in rows_of(out / "table1.csv")][1:] == ["adapters (best of 64)", "adapters (64)"]
    tried = [record["trial"]["adapter"] for record in read_ledger(out / "ledger.jsonl")]
    assert {adapter["size"] for adapter in tried if adapter} == {64}


def test_a_task_may_have_its_own_number_of_training_rows(run, scope):
    some = scope("cola", "trec", train_rows=1000, train_rows_of={"cola": 3000})
    assert [some.trial(task, "full", 0).train_rows for task in ("cola", "trec")] == [3000, 1000]
    code, out, printed = run("table1", "--train-rows", "40,opinions=48", "--sizes", "64")
    assert code == 0, printed.err
    assert {record["trial"]["train_rows"] for record in read_ledger(out / "ledger.jsonl")} == {48}
    code, out, printed = run("table1", "--train-rows", "opinion=48")
    assert code == 2 and "--train-rows names 'opinion', which is none of the tasks: opinions" in printed.err
    for wrong in ("40,50", "opinions=", "x", "0"):
        with pytest.raises(SystemExit):
            run("table1", "--train-rows", wrong)


@pytest.mark.parametrize(
    "name, n_trials", [("figure4", 7), ("figure6", 3), ("table1", 3), ("table2", 3), ("stream", 1)]
)
def test_a_dry_run_counts_the_trials_of_all_stages(run, name, n_trials):
    code, out, printed = run(name, "--dry-run")
    assert code == 0 and f"{counted(n_trials, 'trial')}: 0 in the ledger, {n_trials} to run" in printed.out, printed.err
    assert "predicted machine time" in printed.out and not out.exists()


def test_figure6_removes_adapters_and_varies_their_start(run):
    code, out, printed = run("figure6")
    assert code == 0, printed.err
    assert [(row["first"], row["last"]) for row in rows_of(out / "figure6_ablation.csv")] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "1"),
    ]
    assert [float(row["std"]) for row in rows_of(out / "figure6_init.csv")] == [1e-7, 1e-2, 1.0]
    assert (out / "figure6.png").exists() and len(list((out / "runs").iterdir())) == 1


def test_figure6_averages_the_spans_over_seeds():
    same = {"task": "a", "first": 0, "last": 1, "metric": "f1"}
    one, two, nothing = ([same | {"score": score, "full": full}] for score, full in ((0.45, 0.5), (0.2, 0.4), (0.1, 0)))
    (row,) = figures._mean_spans([one, two])
    expected = {"score": 32.5, "full": 45.0, "change": -12.5, "relative": -30.0, "sem": 20.0, "seeds": 2}
    assert row == same | {name: pytest.approx(value) for name, value in expected.items()}
    (row,) = figures._mean_spans([one, nothing])
    assert math.isnan(row["relative"]) and math.isnan(row["sem"]) and row["change"] == pytest.approx(2.5)


def test_figure6_where_the_score_with_all_adapters_is_0(monkeypatch):
    scope = Namespace(trained=lambda trial: None, reopened=lambda *_: (None, None, ("matthews",)))
    monkeypatch.setattr(figures, "ablated_scores", lambda *_: (0.0, np.array([[0.1, 0.2], [np.nan, 0.3]])))
    rows = figures._spans(scope, Namespace(task="cola"))
    json.dumps(rows, allow_nan=False)  # a ledger holds them
    means = figures._mean_spans([rows, rows])
    assert all(math.isnan(row["relative"]) and math.isnan(row["sem"]) for row in means)
    assert [row["change"] for row in means] == pytest.approx([10, 20, 30])


def test_table1_has_the_papers_rows_and_columns(run):
    code, out, printed = run("table1")
    assert code == 0, printed.err
    full, best_size, fixed = rows_of(out / "table1.csv")
    assert [row["method"] for row in (full, best_size, fixed)] == [
        "full fine-tuning",
        "adapters (best of 8, 64)",
        "adapters (64)",
    ]
    assert float(full["total_params"]) == 1.0 and float(full["trained_percent"]) > 99
    assert float(fixed["total_params"]) == pytest.approx(1 + float(fixed["trained_percent"]) / 100)
    assert float(best_size["opinions"]) >= float(fixed["opinions"])


def test_table2_compares_with_no_bert(run):
    code, out, printed = run("table2")
    assert code == 0, printed.err
    task, average, percent, total = rows_of(out / "table2.csv")
    assert task["task"] == "opinions" and all(0 < float(task[key]) <= 100 for key in ("no BERT", "full", "adapters"))
    assert average["full"] == task["full"] and float(percent["adapters"]) < float(percent["full"])
    assert float(total["adapters"]) == pytest.approx(1 + float(percent["adapters"]) / 100)


def test_figure3_is_relative_to_full_fine_tuning(run):
    code, out, printed = run("figure3")
    assert code == 0, printed.err
    rows, tasks = rows_of(out / "figure3.csv"), rows_of(out / "figure3_tasks.csv")
    (full,) = [row for row in rows if (row["method"], row["size_or_k"]) == ("top_k", "2")]
    assert full["suite"] == "further tasks" and {float(full[key]) for key in ("p20", "p50", "p80")} == {0.0}
    mean = {(row["method"], row["size_or_k"]): float(row["mean"]) for row in tasks}
    (adapter,) = [row for row in rows if (row["method"], row["size_or_k"]) == ("adapter", "8")]
    assert float(adapter["p50"]) == pytest.approx(mean["adapter", "8"] - mean["top_k", "2"])


# What follows drives the experiments with made-up results, so that many tasks and seeds cost nothing.


def drive(experiment, scope, score):
    """The tables of an experiment on invented trials, and all trials that were asked for. score(trial) gives the
    result's dev score, or (dev, test), from 0 to 1."""
    report, asked = driven(experiment, scope, score)
    return report.tables, asked


def driven(experiment, scope, score):
    """The same with the whole report."""
    asked = []

    def run(trials):
        if isinstance(trials, Measurement):
            return trials.rows()
        asked.extend(trials)
        results = {}
        for trial in trials:
            value = score(trial)
            dev, test = value if isinstance(value, tuple) else (value, None)
            if math.isnan(dev):
                continue
            params = {"full": 1000, "layernorm": 1}.get(trial.method) or 10 * (trial.top_k or trial.adapter.size)
            halved = ("accuracy", "accuracy_mismatched") if trial.task == "mnli" else ("accuracy",)
            halved = () if trial.task == "stsb" else halved
            dev, test = (x and {"score": x} | dict.fromkeys(halved, x / 2) for x in (dev, test))
            results[trial] = {"task": trial.task, "metric": "score", "dev": dev, "test": test, "trained_params": params}
        return results

    return reproduce._drive(experiment(scope), run), asked


@pytest.fixture
def scope(backbone_file, tmp_path):
    config = load_backbone(backbone_file).config
    return lambda *tasks, **settings: Scope(backbone_file, config, tasks, str(tmp_path), tmp_path, **settings)


def test_table1_tries_each_size_as_often_as_full_fine_tuning_and_takes_the_best(scope):
    tables_scope = scope("cola", "mnli", epochs=(3, 10))
    size_bonus = {8: 0.3, 64: 0.1, 256: 0.2}

    def score(trial):
        bonus = size_bonus[trial.adapter.size] if trial.adapter else 0.1
        right = trial.train.lr == (3e-4 if trial.method == "adapter" else 3e-5) and trial.train.epochs == 10
        return 0.4 + bonus + 0.1 * right + 0.01 * trial.train.seed

    found, asked = drive(tables.table1, tables_scope, score)
    tried = {t for t in asked if t.task == "cola" and t.train.seed == 0}
    labels = [(t.method, t.adapter and t.adapter.size) for t in tried]
    assert Counter(labels) == dict.fromkeys([("full", None), *(("adapter", size) for size in (8, 64, 256))], 6)
    full, best_size, fixed = found["table1"]
    assert (full["cola"], best_size["cola"], fixed["cola"]) == tuple(map(pytest.approx, (61, 81, 61)))
    assert full["mnli_mismatched"] == pytest.approx(30.5) and full["mean"] == pytest.approx((61 + 61 + 30.5) / 3)
    errors = [full[f"{task} sem"] for task in ("cola", "mnli", "mnli_mismatched", "mean")]
    both = 1 + 0.5  # these two of MNLI are of the same models, and vary together
    assert errors == pytest.approx([e / 3**0.5 for e in (1, 1, 0.5, math.hypot(1, both) / 3)])
    backbone = tables_scope.backbone_params
    assert full["total_params"] == 2 and fixed["total_params"] == pytest.approx(1 + 2 * 640 / backbone)
    assert best_size["trained_percent"] == pytest.approx(100 * 80 / backbone)
    for row in found["table1_details"]:
        assert row["sem"] == pytest.approx(1 / 3**0.5) and row["seeds"] == 3 and "epochs=10" in row["setting"]


def test_table2_gives_each_number_of_top_layers_a_rate_of_its_own(scope, monkeypatch):
    for module in (tables, experiment):
        monkeypatch.setattr(
            module, "load", lambda trial: Namespace(labelled_test=(), metrics=("score",), task=trial.task)
        )
    monkeypatch.setattr(tables, "no_bert", lambda data, *_: {"dev": {"score": 0.1}, "test": {"score": 0.2}})

    def score(trial):
        of_seed = 0.01 * trial.train.seed * (1 + (trial.task == "trec"))
        best_lr = 3e-4 if trial.top_k == 1 else 3e-5
        dev = 0.5 + 0.1 * (trial.top_k == 1) + 0.1 * (trial.train.lr == best_lr)
        return dev, 0.3 + 0.1 * (trial.task == "trec") + of_seed

    found, _ = drive(tables.table2, scope("trec", "sms_spam", seeds=(0, 1), epochs=(2,)), score)
    one, two, average, *_ = found["table2"]
    assert (one["full"], two["full"], average["full"]) == tuple(map(pytest.approx, (41, 30.5, 35.75)))
    assert one["no BERT"] == pytest.approx(20)
    sems = one["full sem"], two["full sem"], average["full sem"]
    assert sems == tuple(map(pytest.approx, (1, 0.5, math.hypot(1, 0.5) / 2)))
    settings = {row["method"]: row for row in found["table2_details"] if row["task"] == "trec"}
    assert "lr=3e-05" in settings["full"]["setting"] and settings["full"]["dev"] == pytest.approx(60)
    assert "top_k=1" in settings["variable"]["setting"] and "lr=0.0003" in settings["variable"]["setting"]
    assert settings["variable"]["dev"] == pytest.approx(70)


@pytest.mark.parametrize(("of_paper", "tasks"), [(tables.table2, ("trec",)), (figures.figure3, ("cola", "trec"))])
def test_a_task_that_is_scored_on_test_needs_labels_there(scope, monkeypatch, of_paper, tasks):
    for module in (tables, experiment):
        monkeypatch.setattr(module, "load", lambda _: Namespace(labelled_test=None, metrics=("score",)))
    asked = []
    with pytest.raises(InputError, match="task trec has no labelled test split"):
        drive(of_paper, scope(*tasks), lambda trial: asked.append(trial) or 0.5)
    assert asked == [], "nothing was trained"
    monkeypatch.setattr(tables, "no_bert", lambda *_: {"dev": {"score": 0.1}, "test": {"score": 0.2}})
    with pytest.raises(InputError, match="task trec has no score on test"):  # from a ledger that lacks it
        drive(of_paper, scope(*tasks, recalls=True), lambda _: 0.5)


def test_figure3_takes_percentiles_over_tasks_of_glue_on_dev_and_of_others_on_test(scope, monkeypatch):
    monkeypatch.setattr(experiment, "load", lambda _: Namespace(labelled_test=()))
    gain = {"cola": 0.01, "mrpc": 0.02, "rte": 0.06, "trec": 0.05}

    def score(trial):
        dev = 0.5 + (gain[trial.task] if trial.method == "adapter" else 0)
        return (dev, 0.8) if trial.task in ("trec", "mrpc") else dev  # MRPC's release has test labels, too

    found, asked = drive(figures.figure3, scope(*gain, epochs=(3,), rates=1), score)
    assert {trial.method for trial in asked} == {"adapter", "top_k", "full"}, "LayerNorms alone are of figure 4"
    bands = {(row["suite"], row["method"], row["size_or_k"]): row for row in found["figure3"]}
    glue, further = bands["GLUE", "adapter", 64], bands["further tasks", "adapter", 64]
    assert [glue[key] for key in ("p20", "p50", "p80")] == pytest.approx(list(np.percentile([1, 2, 6], (20, 50, 80))))
    assert (glue["tasks"], further["tasks"]) == (3, 1) and further["p50"] == pytest.approx(0)
    assert bands["GLUE", "top_k", 2]["p80"] == 0 and bands["GLUE", "top_k", 2]["params"] == 1000
    assert {row["task"]: row["split"] for row in found["figure3_tasks"]} == dict.fromkeys(gain, "dev") | {
        "trec": "test"
    }


@pytest.mark.parametrize("failed, tasks", [("adapter", 2), ("full", 2)])
def test_figure3_leaves_out_what_failed(scope, failed, tasks):
    def score(trial):
        return math.nan if (trial.task, trial.method) == ("rte", failed) else 0.6 if trial.method == "adapter" else 0.5

    alone, _ = driven(figures.figure3, scope("rte", epochs=(3,), rates=1), score)
    assert (alone.tables["figure3"] == []) == (alone.draw is None) == (failed == "full"), "nothing cannot be drawn"

    def of_two_seeds(trial):
        return math.nan if (trial.task, trial.train.seed) == ("rte", 2) else score(trial)

    found, _ = drive(figures.figure3, scope("cola", "mrpc", "rte", epochs=(3,), rates=1), of_two_seeds)
    (band,) = (row for row in found["figure3"] if (row["method"], row["size_or_k"]) == ("adapter", 64))
    assert (band["p20"], band["p80"], band["tasks"]) == (pytest.approx(10), pytest.approx(10), tasks)
    assert band["seeds"] == 3, "those of a task that is left out do not count"


def test_each_point_of_a_curve_takes_the_rate_and_epochs_that_are_best_for_it(scope):
    def wanted(trial):
        if trial.method == "adapter":
            return (3e-3, 10) if trial.adapter.size < 64 else (3e-4, 3)
        return {"full": (3e-5, 3), "top_k": (3e-4, 10), "layernorm": (1e-3, 10)}[trial.method]

    def score(trial):
        return 0.5 + 0.1 * ((trial.train.lr, trial.train.epochs) == wanted(trial))

    found, asked = drive(figures.figure4, scope("trec", epochs=(3, 10)), score)
    assert [row["mean"] for row in found["figure4"]] == pytest.approx([60] * 13)
    assert len(found["figure4"]) == 10 + 2 + 1 and len(set(asked)) == (3 * 2 + 2) * 13
    assert {row["lr"] for row in found["figure4"]} == {3e-3, 3e-4, 3e-5, 1e-3}
    assert not any(trial.top_k == 2 for trial in asked), "all layers are full fine-tuning, and the same trial"


def test_two_rates_are_the_usual_one_and_the_more_promising_beside_it(scope):
    two = scope("trec", epochs=(3,), rates=2)
    found = {method: [options["lr"] for options in rates(two, method)] for method in DEFAULT_LR}
    assert found["adapter"] == found["layernorm"] == [1e-3, 3e-3] and found["full"] == found["top_k"] == [1e-4, 3e-4]


def test_figure4_tells_how_far_apart_sizes_are_on_each_task_and_in_the_mean(scope):
    of_sizes = {
        "cola": {2: 0.9, 8: 0.5, 64: 0.6, 256: 0.4, 512: 0.9},
        "trec": {2: 0.1, 8: 0.6, 64: 0.7, 256: 0.9, 512: 0.1},
    }

    def score(trial):
        if trial.method != "adapter":
            return 0.99
        return of_sizes[trial.task][trial.adapter.size] + 0.01 * (trial.train.seed - 1) * (trial.adapter.size == 64)

    sizes = scope("cola", "trec", epochs=(3,), rates=1, sizes=(2, 256, 64, 8, 512))
    cola, trec, *in_accuracy, both = drive(figures.figure4, sizes, score)[0]["figure4_sizes"]
    assert [(row["task"], row["metric"]) for row in (cola, *in_accuracy)] == [
        ("cola", "score"),
        ("cola", "accuracy"),
        ("trec", "accuracy"),
    ]
    assert in_accuracy[0]["difference"] == pytest.approx(cola["difference"] / 2)
    sem = 1 / 3**0.5
    assert (cola["task"], cola["best"], cola["worst"]) == ("cola", 64, 256)
    assert (cola["difference"], cola["sem"]) == pytest.approx((20, sem)) and cola["M = 8"] == pytest.approx(50)
    assert (trec["best"], trec["difference"], trec["sem"]) == (256, pytest.approx(30), pytest.approx(0))
    assert [both[f"M = {size}"] for size in (8, 64, 256)] == pytest.approx([55 / 2, 65 / 2, 65 / 2])
    assert (both["task"], both["metric"]) == ("mean of 2", "accuracy"), "as the paper's mean"
    assert (both["worst"], both["difference"]) == (8, pytest.approx(5))
    assert [name for name in both if name.startswith("M")] == ["M = 8", "M = 64", "M = 256"]
    curve = drive(figures.figure4, sizes, score)[0]["figure4"]

    def spread_without(*failed):
        """Where all seeds of some (task, size) failed."""
        rows = [row | {"mean": np.nan} if (row["task"], row["size_or_k"]) in failed else row for row in curve]
        return figures.spread_over_sizes(rows)

    cola, trec, _, _, both = spread_without(("cola", 64))
    assert (cola["best"], "M = 64" in cola, "M = 64" in both) == (8, False, False) and trec["M = 64"] == trec["M = 64"]
    assert (both["M = 8"], both["task"]) == (pytest.approx(55 / 2), "mean of 2")
    left = spread_without(("cola", 64), ("cola", 256), ("trec", 8))
    assert [row["task"] for row in left] == ["cola", "trec"] * 2, "no size is there on both: no mean"
    alone = drive(figures.figure4, scope("cola", epochs=(3,), rates=1, sizes=(64,)), score)[0]["figure4_sizes"]
    assert [(row["metric"], row["difference"]) for row in alone] == [("score", 0), ("accuracy", 0)]
    stsb = scope("stsb", epochs=(3,), rates=1, sizes=(8, 64))
    (scored,) = drive(figures.figure4, stsb, lambda _: 0.5)[0]["figure4_sizes"]
    assert (scored["task"], scored["metric"]) == ("stsb", "score"), "which has no accuracy"
    assert drive(figures.figure4, scope("cola", epochs=(3,), rates=1, sizes=(2,)), score)[0]["figure4_sizes"] == []


def test_a_size_that_one_of_several_tasks_lacks_is_not_in_their_mean():
    row = {"method": "adapter", "metric": "accuracy", "sem": 1.0, "accuracy_sem": 1.0}
    known = [(task, size) for task in ("cola", "trec", "mrpc") for size in (8, 64) if (task, size) != ("mrpc", 64)]
    rows = [row | {"task": task, "size_or_k": size, "mean": size, "accuracy": size} for task, size in known]
    *_, together = figures.spread_over_sizes(rows)
    assert (together["task"], together["M = 8"], "M = 64" in together) == ("mean of 3", 8, False)


def test_extensions_tries_every_variant(run):
    code, out, printed = run("extensions")
    assert code == 0, printed.err
    rows = {row["variant"]: row for row in rows_of(out / "extensions.csv")}
    assert float(rows["paper"]["difference"]) == 0.0 and len(rows) == 12
    assert {row["variant"] for row in rows_of(out / "extensions_mean.csv")} == set(rows)
    assert int(rows["attention only"]["params"]) < int(rows["paper"]["params"]) < int(rows["layernorm"]["params"])


def test_extensions_compare_each_variant_with_the_papers_own(scope):
    def score(trial):
        base = {"trec": 0.9, "cola": 0.5}[trial.task] + 0.01 * trial.train.seed
        if trial.adapter.activation == "tanh":
            return base + {"trec": 0.02, "cola": 0.05}[trial.task] + 0.01 * trial.train.seed
        return base

    found, asked = drive(tables.extensions, scope("trec", "cola", epochs=(3, 10)), score)
    assert len(asked) == 12 * 2 * 3 and {trial.train.epochs for trial in asked} == {3}
    rows = {(row["task"], row["variant"]): row for row in found["extensions"]}
    tanh = rows["cola", "tanh"]
    assert (tanh["mean"], tanh["difference"]) == pytest.approx((57, 6))
    assert tanh["difference_sem"] == pytest.approx(math.hypot(1, 2) / 3**0.5), (
        "deviations of 1 and 2 points over three seeds"
    )
    means = {row["variant"]: row for row in found["extensions_mean"]}
    assert [means["tanh"][key] for key in ("trec", "cola", "mean", "difference")] == pytest.approx([94, 57, 75.5, 4.5])
    assert means["tanh"]["sem"] == pytest.approx(2 / 3**0.5 / 2**0.5)
    assert means["tanh"]["difference_sem"] == pytest.approx(math.hypot(1, 2) / 3**0.5 / 2**0.5)
    assert means["paper"]["difference"] == means["relu"]["difference"] == means["paper"]["difference_sem"] == 0
    assert means["relu"]["difference_sem"] == pytest.approx(2**0.5 / 3**0.5 / 2**0.5), "of two samples, though alike"
    assert rows["cola", "relu"]["difference_sem"] == pytest.approx(2**0.5 / 3**0.5)


def test_stream_leaves_earlier_tasks_as_they_were(run, tmp_path):
    (tmp_path / "sms_spam").mkdir()
    lines = [f"{'spam' if i % 3 else 'ham'}\tmessage {i} {'win' if i % 3 else 'lunch'}" for i in range(60)]
    (tmp_path / "sms_spam" / "SMSSpamCollection").write_text("\n".join(lines))
    (tmp_path / "cf_airline").mkdir()
    tweets = [f"{('negative', 'neutral', 'positive')[i % 3]},flight {i}" for i in range(60)]
    (tmp_path / "cf_airline" / "Tweets.csv").write_text("\n".join(["airline_sentiment,text", *tweets]))
    code, out, printed = run("stream", "--data", str(tmp_path), "--tasks", "sms_spam,cf_airline")
    assert code == 0, printed.err
    first, second = rows_of(out / "stream.csv")
    assert (first["added"], first["earlier_tasks"], first["unchanged"]) == ("sms_spam", "0", "0")
    assert (second["added"], second["earlier_tasks"], second["unchanged"]) == ("cf_airline", "1", "1")
    assert 1 < float(first["total_params"]) < float(second["total_params"])
    assert set(read_bank(out / "runs" / "stream.h5")) == {"sms_spam", "cf_airline"}


def test_stream_tells_of_a_task_that_changed(monkeypatch):
    """Two tasks; when the second is there, the first answers something else: not counted as unchanged."""
    answers = iter([np.zeros(3), np.ones(3), np.zeros(3)])
    monkeypatch.setattr(stream, "add_task", lambda *_: None)
    monkeypatch.setattr(stream, "read_bank", lambda _: dict.fromkeys("ab", Namespace(n_params=5)))
    monkeypatch.setattr(stream, "_ask", lambda *_: (next(answers), "accuracy", 0.5))
    bank = Namespace(unlink=lambda **_: None)
    scope = Namespace(
        tasks=("a", "b"),
        seeds=(0,),
        trial=lambda *_: None,
        trained=lambda _: None,
        backbone_params=10,
        runs=type("Runs", (), {"__truediv__": lambda self, name: bank})(),
    )
    report = reproduce._drive(
        stream.stream(scope),
        lambda wanted: wanted.rows() if isinstance(wanted, Measurement) else {trial: {} for trial in wanted},
    )
    rows = report.tables["stream"]
    assert [(row["earlier_tasks"], row["unchanged"], row["total_params"]) for row in rows] == [(0, 0, 1.5), (1, 0, 2.0)]


def test_a_task_whose_trial_failed_is_not_in_the_stream(scope):
    experiment = stream.stream(scope("cola", "trec", "mrpc"))
    cola, _, mrpc = next(experiment)
    assert experiment.send({cola: {}, mrpc: {}}).trials == (cola, mrpc)


def test_a_damaged_task_is_told_and_not_left_out(run, tmp_path):
    (tmp_path / "CoLA").mkdir()
    for file in ("train.tsv", "dev.tsv"):
        (tmp_path / "CoLA" / file).write_text("x\t1\t\ta text\nx\t1\n")
    code, _, printed = run("table1", "--data", str(tmp_path))
    assert code == 2 and "train.tsv, line 2" in printed.err and "--tasks" in printed.err


def test_data_may_be_the_folder_of_one_task(tmp_path):
    lines = "".join(f"x\t{i % 2}\t\ttext {i}\n" for i in range(8))
    for file in ("train.tsv", "dev.tsv"):
        (tmp_path / file).write_text(lines)
    for name in ("table1", "figure3", "stream"):
        args = Namespace(name=name, data=str(tmp_path))
        assert reproduce._tasks_at_hand(args, reproduce.RECIPES[name]) == ("cola",)


def test_without_its_data_an_experiment_says_what_is_missing(run, tmp_path):
    code, _, printed = run("figure5")
    assert code == 2 and "squad" in printed.err and "minibert download squad" in printed.err
    code, _, printed = run("table2", "--data", str(tmp_path))
    assert code == 2 and "none of its tasks is there" in printed.err


def test_failed_trials_are_left_out_and_the_best_is_chosen_on_dev(tmp_path):
    scope = Scope(tmp_path / "none.h5", CONFIG, ("opinions",), None, tmp_path, seeds=(0, 1))
    good, poor = (scope.seeded("opinions", "adapter", adapter_size=size) for size in (4, 8))

    def result(dev, test):
        return {
            "task": "opinions",
            "metric": "accuracy",
            "dev": {"accuracy": dev},
            "test": test and {"accuracy": test},
            "trained_params": 7,
        }

    results = {good[0]: result(0.9, 0.5), good[1]: result(0.7, None), poor[0]: result(0.75, 0.9)}
    assert best([poor, good], results) is good
    expected = {"params": 7, "metric": "accuracy", "mean": pytest.approx(80), "sem": pytest.approx(10)}
    expected |= {"seeds": 2, "failed": 0}
    assert summary(good, results) == expected
    one_seed = summary(poor, results)
    assert summary(poor, results, "test")["mean"] == pytest.approx(90) and np.isnan(one_seed["sem"])
    assert (one_seed["seeds"], one_seed["failed"]) == (1, 1)
    none = summary([scope.trial("opinions", "head", 5)], results)
    assert np.isnan(none["mean"]) and np.isnan(none["params"]) and (none["seeds"], none["failed"]) == (0, 1)
    assert points(result(0.5, 0.25), "test") == 25
    with pytest.raises(InputError, match="opinions has no score on test"):
        points(result(0.5, None), "test")
    assert format_rows([{"a": 1234, "b": 0.5}, {"a": 1}]).splitlines() == ["    a     b", "1,234  0.50", "    1      "]


def test_ablate_prints_writes_and_draws(backbone_file, tmp_path, capsys):
    command = ["--backbone", str(backbone_file), "--task", "opinions", "--dev-rows", "24"]
    options = ["--train-rows", "32", "--epochs", "1", "--adapter-size", "4"]
    assert main(["train", *command, *options, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    files = ["--csv", str(tmp_path / "spans.csv"), "--plot", str(tmp_path / "spans.png")]
    assert main(["ablate", str(tmp_path / "run"), *command, *files]) == 0
    out = capsys.readouterr().out
    assert "first \\ last" in out and len(rows_of(tmp_path / "spans.csv")) == 3
    assert (tmp_path / "spans.png").exists()
