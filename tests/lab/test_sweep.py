"""Sweeps: every trial is run once and recorded once, whatever fails, dies or is interrupted."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
from sweeping import (
    command,
    four_seeds,
    interrupted_at_seed_2,
    noted,
    options,
    raises_for_seed_1,
    rows_of,
    statuses,
    sweep,
    wrong_name,
)
from tqdm import tqdm

import kernels
from minibert import run as run_module
from minibert.backbone import load_backbone
from minibert.cli import main
from minibert.config import AdapterConfig, TrainConfig
from minibert.data import data_fingerprint
from minibert.errors import InputError
from minibert.lab.executors import InProcess
from minibert.lab.ledger import Ledger, read_ledger
from minibert.lab.plan import format_seconds, make_plan
from minibert.lab.summary import best_settings, mean_and_error, settings_of, summarize, write_summary
from minibert.run import load, open_backbone, run_trial
from minibert.storage import RunFolder, write_backbone
from minibert.trial import Trial, grid, make_trial, trial_id

pytestmark = pytest.mark.usefixtures("runs")

# ------------------------------------------------------------------------------------------------------------ trials


def name_of(trial, place, backbone="b"):
    return trial_id(trial, data_fingerprint(load(trial)), backbone)


def test_a_trial_has_one_name_wherever_its_data_lie_and_however_it_is_written(place, tmp_path):
    trial = make_trial(**options(place))
    (tmp_path / "moved.csv").write_bytes((place / "data.csv").read_bytes())
    same = [make_trial(**options(place, data=tmp_path / "moved.csv")), Trial.from_dict(trial.to_dict())]
    same += [make_trial(**options(place, adapter_size=64, lr=1e-3, seed=0, batch_size=32, train_rows=None))]
    same += [make_trial(**options(place, weight_decay=0.01, clip=1))]
    assert {name_of(t, place) for t in same} == {name_of(trial, place)}
    assert json.loads(json.dumps(trial.to_dict())) == trial.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"lr": 2e-3},
        {"epochs": 2},
        {"adapter_size": 8},
        {"init_std": 0.1},
        {"method": "full", "lr": 1e-3},
        {"method": "top_k", "top_k": 1},
        {"train_rows": 20},
        {"freeze_layernorm": True},
        {"pooled_head": True},
        {"pooled_head": True, "train_pooler": True},
        {"adapter_reads_norm": True},
        {"adapter_layernorm": True, "adapter_layernorm_eps": 1e-5},
        {"split_seed": 1},
        {"max_steps": 1},
    ],
)
def test_whatever_changes_the_result_changes_the_name(place, change):
    assert name_of(make_trial(**options(place, **change)), place) != name_of(make_trial(**options(place)), place)


def test_other_data_or_another_backbone_change_the_name(place, tmp_path):
    trial = make_trial(**options(place))
    text = (place / "data.csv").read_text()
    (tmp_path / "data.csv").write_text(text.replace("good", "fine", 1))
    assert name_of(make_trial(**options(tmp_path)), place) != name_of(trial, place)
    assert name_of(trial, place, backbone="other") != name_of(trial, place)


def test_a_grid_leaves_out_what_a_method_does_not_have(place):
    trials = grid(task=["opinions", "cola"], data="GLUE", method=["adapter", "full"], adapter_size=[8, 64], seed=[0, 1])
    found = {(t.task, t.data, t.method, t.adapter and t.adapter.size, t.train.seed, t.train.lr) for t in trials}
    assert len(trials) == len(found) == 2 * (2 + 1) * 2
    assert ("opinions", None, "adapter", 8, 0, 1e-3) in found
    assert ("cola", "GLUE", "full", None, 1, 1e-4) in found
    with pytest.raises(InputError, match="need --method adapter, not full"):
        grid(task="cola", method=["full"], adapter_size=[8, 64])
    with pytest.raises(InputError, match="no option adaptersize"):
        make_trial(task="cola", adaptersize=8)


def test_a_trial_checks_itself():
    with pytest.raises(InputError, match="method must be one of"):
        Trial("cola", method="lora")
    with pytest.raises(InputError, match="top-k needs"):
        Trial("cola", top_k=1)
    with pytest.raises(InputError, match="does not know"):
        Trial.from_dict(Trial("cola").to_dict() | {"new_setting": 1})
    with pytest.raises(InputError, match="TrainConfig has no setting named decay"):
        Trial.from_dict(Trial("cola").to_dict() | {"train": {"decay": 1}})
    assert Trial("cola").describe() == "cola adapter M=64 lr=0.001 epochs=10 seed=0"
    trial = Trial("cola", adapter=AdapterConfig(8, init_std=0.1), train=TrainConfig(batch_size=16))
    assert trial.describe(seed=False) == "cola adapter M=8 lr=0.001 epochs=10 init_std=0.1 batch_size=16"


# ------------------------------------------------------------------------------------------------------------- sweeps


def test_numbers_of_numpy_are_numbers(place):
    given = make_trial(
        **options(place, method="top_k", top_k=np.int64(2), train_rows=np.int32(40), split_seed=np.int64(3))
    )
    usual = make_trial(**options(place, method="top_k", top_k=2, train_rows=40, split_seed=3))
    assert Trial.from_dict(given.to_dict()) == usual and data_fingerprint(load(given)) == data_fingerprint(load(usual))


def test_a_trial_gives_what_minibert_train_gives(place, tmp_path):
    trial = make_trial(**options(place, adapter_size=8, lr=1e-2, seed=3, train_rows=40))
    result = run_trial(trial, place / "tiny.h5")
    arguments = ["--data", place / "data.csv", "--text-column", "text", "--label-column", "label", "--train-rows", 40]
    arguments += ["--max-length", 24, "--epochs", 1, "--adapter-size", 8, "--lr", 0.01, "--seed", 3]
    command = ["train", "--quiet", "--backbone", place / "tiny.h5", "--task", "csv", "--out", tmp_path / "run"]
    assert main([str(a) for a in command + arguments]) == 0
    trained = json.loads((tmp_path / "run" / "result.json").read_text())
    for key in ("dev", "test", "best_epoch", "steps", "trained_params", "total_params", "trained_fraction", "lr"):
        assert result[key] == trained[key]
    assert result["metric"] == "accuracy" and result["train_rows"] == 40 and result["wall_seconds"] > 0
    assert result["arithmetic"] == kernels.arithmetic() and {"numpy", "numba"} <= set(result["versions"])


def test_a_trial_in_a_folder_that_a_run_has_in_use(place, tmp_path):
    trial = make_trial(**options(place))
    run_trial(trial, place / "tiny.h5", tmp_path / "run")
    before = (tmp_path / "run" / "bank.h5").read_bytes()
    with RunFolder(tmp_path / "run").in_use(), ThreadPoolExecutor(1) as other:
        error = other.submit(run_trial, trial, place / "tiny.h5", tmp_path / "run").exception()
    assert isinstance(error, InputError) and "is in use by another run (process " in str(error)
    assert (tmp_path / "run" / "bank.h5").read_bytes() == before
    assert sorted(f.name for f in (tmp_path / "run").iterdir()) == ["bank.h5", "history.csv", "result.json"]


def test_the_same_trial_is_never_run_twice(place, tmp_path, runs):
    path, trials = tmp_path / "ledger.jsonl", four_seeds(place)
    records = sweep(place, path, [*trials[:2], trials[0]], run=noted)
    assert runs() == [0, 1] and records[0] is records[2]
    records = sweep(place, path, trials, run=noted)
    assert runs() == [0, 1, 2, 3]
    assert [record["result"]["dev"]["accuracy"] for record in records] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [Trial.from_dict(record["trial"]) for record in read_ledger(path)] == trials


def test_a_trial_that_raises_is_recorded_and_the_others_go_on(place, tmp_path, runs):
    path, trials = tmp_path / "ledger.jsonl", four_seeds(place)
    records = sweep(place, path, trials, run=raises_for_seed_1)
    assert statuses(records) == ["done", "failed", "done", "done"]
    assert records[1]["error"] == "NonFiniteLoss: the loss is nan"
    assert statuses(sweep(place, path, trials, run=noted)) == statuses(records) and runs() == [0, 2, 3]
    assert statuses(sweep(place, path, trials, run=noted, retry_failed=True)) == ["done"] * 4
    assert runs() == [0, 2, 3, 1] and len(read_ledger(path)) == 5


def test_an_interrupted_sweep_goes_on_where_it_stopped(place, tmp_path, runs):
    path, trials = tmp_path / "ledger.jsonl", four_seeds(place)
    with pytest.raises(KeyboardInterrupt):
        sweep(place, path, trials, run=interrupted_at_seed_2)
    assert statuses(read_ledger(path)) == ["done", "done"]
    with open(path, "ab") as file:
        file.write(b'{"id": "torn')
    assert statuses(sweep(place, path, trials, run=noted)) == ["done"] * 4
    assert runs() == [0, 1, 2, 3] and statuses(read_ledger(path)) == ["done"] * 4


def test_a_folder_that_cannot_be_made_fails_no_trial(place, tmp_path, runs):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        sweep(place, tmp_path / "ledger.jsonl", four_seeds(place), run=noted, keep=tmp_path / "file")
    assert runs() == [] and read_ledger(tmp_path / "ledger.jsonl") == []


@pytest.mark.parametrize("owner, name", [(Ledger, "append"), (tqdm, "get_lock")])
def test_ctrl_c_waits_until_a_trial_is_recorded_and_told(place, tmp_path, runs, capsys, monkeypatch, owner, name):
    """tqdm's own answer to Ctrl-C while it takes its lock is a RuntimeError."""
    do, path, pressed = getattr(owner, name), tmp_path / "ledger.jsonl", []

    def interrupted(*arguments):
        if runs() == [0, 1] and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return do(*arguments)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(place, path, four_seeds(place), run=noted, quiet=False)
    assert runs() == [0, 1] and statuses(read_ledger(path)) == ["done", "done"]
    out, err = capsys.readouterr()
    assert "2/4 csv" in out and "interrupted: 2 of 4 trials were run; the same command goes on" in err


def test_a_result_from_other_data_is_no_result(place, tmp_path):
    (record,) = sweep(place, tmp_path / "ledger.jsonl", four_seeds(place)[:1], run=wrong_name)
    assert record["status"] == "failed" and "data or backbone are not the ones" in record["error"]


def test_what_cannot_be_used_is_told_before_any_work(place, tmp_path, runs):
    for change in ({"data": "missing.csv"}, {"max_length": 500}, {"method": "top_k", "top_k": 9}, {"task": "none"}):
        trials = [*four_seeds(place), make_trial(**options(place, **change))]
        with pytest.raises(InputError):
            sweep(place, tmp_path / "ledger.jsonl", trials, run=noted)
    assert not (tmp_path / "runs").exists()


def test_any_executor_will_do(place, tmp_path, runs):
    with ThreadPoolExecutor(2) as executor:
        assert statuses(sweep(place, tmp_path / "l.jsonl", four_seeds(place), executor, run=noted)) == ["done"] * 4
    assert sorted(runs()) == [0, 1, 2, 3]


def test_two_threads_do_not_train_at_once(place, tmp_path, monkeypatch):
    """The kernels' pool of memory is not made for it."""
    inside, most = [], []

    def slow_load(trial):
        inside.append(trial)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(trial)
        return load(trial)

    monkeypatch.setattr(run_module, "load", slow_load)
    trials = grid(**options(place, lr=1e-2, seed=[0, 1, 2]))
    with ThreadPoolExecutor(3) as executor:
        together = sweep(place, tmp_path / "one.jsonl", trials, executor)
    assert max(most) == 1 and len(most) == 4  # the first to measure the speed
    alone = sweep(place, tmp_path / "two.jsonl", trials)
    assert [r["result"]["dev"] for r in together] == [r["result"]["dev"] for r in alone]


class Scheduler(InProcess):
    """Tells of a death as Dask's scheduler does, which has then tried on allowed_failures + 1 workers."""

    class KilledWorker(Exception):
        allowed_failures = 3

    deaths = (KilledWorker,)

    def submit(self, function, /, *arguments):
        def killed():
            raise self.KilledWorker("all those workers died")

        return super().submit(killed)


def test_what_the_cluster_has_tried_often_enough_is_not_tried_again(place, tmp_path):
    (record,) = sweep(place, tmp_path / "l.jsonl", four_seeds(place)[:1], Scheduler(), run=noted)
    assert (record["status"], record["deaths"]) == ("failed", 4) and "all those workers died" in record["error"]


class WithoutMinibert(InProcess):
    def submit(self, function, /, *arguments):
        return super().submit(lambda: __import__("no_such_module"))


def test_workers_that_cannot_run_trials_end_the_sweep_and_nothing_is_recorded(place, tmp_path):
    with pytest.raises(InputError, match=r"no_such_module.*Is minibert installed"):
        sweep(place, tmp_path / "l.jsonl", four_seeds(place), WithoutMinibert(), run=noted)
    assert read_ledger(tmp_path / "l.jsonl") == []


# ------------------------------------------------------------------------------------------------------------ summary


def record_of(lr, seed, dev, test=None, method="adapter", status="done"):
    trial = make_trial(task="cola", method=method, lr=lr, seed=seed)
    result = {"metric": "matthews", "dev": {"matthews": dev}, "test": test and {"matthews": test}, "data": "d"}
    result |= {"backbone": "b", "trained_params": 5, "total_params": 100, "wall_seconds": 2.0}
    outcome = {"result": result} if status == "done" else {"error": "NonFiniteLoss: nan"}
    return {"id": f"{method}{lr}{seed}", "status": status, "trial": trial.to_dict(), **outcome}


RECORDS = [record_of(1e-3, seed, dev, 0.5) for seed, dev in enumerate((0.40, 0.44, 0.42))]
RECORDS += [record_of(3e-3, seed, dev, 0.6) for seed, dev in enumerate((0.10, 0.90, 0.20))]
RECORDS += [record_of(1e-2, 0, 0.99), record_of(1e-2, 1, 0, status="failed")]
RECORDS += [record_of(1e-4, seed, 0.3, method="full") for seed in range(2)]


def test_the_best_is_chosen_by_its_mean_among_settings_with_all_seeds():
    adapter, full = best_settings(RECORDS)
    assert len(settings_of(RECORDS)) == 4
    assert (adapter.trial.train.lr, full.trial.method) == (1e-3, "full")
    mean, error = mean_and_error(adapter.scores("dev"))
    assert (mean, error) == pytest.approx((0.42, 0.02 / 3**0.5))


def test_the_table_and_its_csv(tmp_path):
    text = summarize(RECORDS)
    assert "9 trials done, 1 failed" in text and "failed: cola adapter M=64 lr=0.01 epochs=10 seed=1: NonFinite" in text
    row = "cola adapter M=64 lr=0.001 epochs=10 3 matthews 42.0 (1.2) 50.0 (0.0) 5.00% 2 s"
    assert row in [" ".join(line.split()) for line in text.split("\n")]
    write_summary(RECORDS, tmp_path / "table.csv")
    rows = rows_of(tmp_path / "table.csv")
    assert [(r["method"], r["split"], r["seeds"]) for r in rows] == [
        ("adapter", "dev", "3"),
        ("adapter", "test", "3"),
        ("full", "dev", "2"),
    ]
    assert float(rows[0]["mean"]) == pytest.approx(0.42) and float(rows[2]["standard_error"]) == 0


def test_a_setting_is_one_whatever_path_its_data_was_read_from():
    def at(record, path):
        return {**record, "trial": {**record["trial"], "data": path}}

    records = [at(RECORDS[0], "data"), at(RECORDS[1], "/elsewhere/data"), at(RECORDS[2], "data")]
    (setting,) = settings_of(records)
    assert len(setting.results) == 3 and setting.trial.data == "data"


def test_scores_of_two_metrics_are_not_ranked_together():
    def by(record, metric):
        result = {**record["result"], "metric": metric, "dev": {"matthews": 0.2, "accuracy": 0.8}}
        return {**record, "id": record["id"] + metric, "result": result}

    first, second = best_settings([by(RECORDS[0], "matthews"), by(RECORDS[3], "accuracy")])
    assert (first.metric, second.metric) == ("matthews", "accuracy")


def test_all_lists_every_setting_the_best_first(tmp_path):
    lines = summarize(RECORDS, every=True).split("\n")
    described = ["M=64 lr=0.001", "M=64 lr=0.003", "M=64 lr=0.01", "lr=0.0001"]  # 42.0, 40.0, then one seed; full
    assert [line.partition(" epochs")[0].split("  ")[-1].strip() for line in lines[3:7]] == described
    write_summary(RECORDS, tmp_path / "table.csv", every=True)
    rows = [(r["method"], r["lr"], r["seeds"]) for r in rows_of(tmp_path / "table.csv") if r["split"] == "dev"]
    assert rows == [
        ("adapter", "0.001", "3"),
        ("adapter", "0.003", "3"),
        ("adapter", "0.01", "1"),
        ("full", "0.0001", "2"),
    ]


def test_one_seed_has_no_error_and_nothing_gives_an_empty_table(tmp_path):
    assert summarize([RECORDS[6]]).split("\n")[-1].split()[-5:] == ["99.0", "-", "5.00%", "2", "s"]
    assert summarize([]) == "0 trials done, 0 failed"
    write_summary([], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text().startswith("task,method,")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (45, "45 s"), (99.6, "2 min"), (720, "12 min"), (12000, "3 h 20 min")]
)
def test_lengths_of_time(seconds, text):
    assert format_seconds(seconds) == text


# --------------------------------------------------------------------------------------------------- the command line


def test_the_command_predicts_runs_and_sums_up(place, tmp_path, capsys):
    ledger, table = tmp_path / "l.jsonl", tmp_path / "t.csv"
    settings = ["--method", "adapter,head", "--adapter-size", "4,8", "--lr", "1e-3,1e-2", "--seeds", "0,1"]
    settings += ["--epochs", 2, "--csv", table]
    assert main(command(place, ledger, *settings, "--dry-run")) == 0
    dry = capsys.readouterr().out
    assert "12 trials: 0 in the ledger, 12 to run\npredicted machine time: " in dry and not ledger.exists()
    assert main(command(place, ledger, *settings)) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 trials: 0 in the ledger, 12 to run\npredicted machine time: ")
    assert "\n12/12 csv:data.csv head lr=0.01 epochs=2" in out and "12 trials done, 0 failed" in out
    assert len(table.read_text().split("\n")) == 1 + 2 * 2 + 1
    assert main(["sweep", "--ledger", str(ledger), "--summary"]) == 0
    assert capsys.readouterr().out == out[out.index("12 trials done") :].replace(f"{table}\n", "")
    assert main(command(place, ledger, *settings)) == 0
    assert capsys.readouterr().out.startswith("12 trials: 12 in the ledger, 0 to run\n12 trials done")


def test_results_of_another_config_are_not_taken(place, tmp_path):
    """The id names a backbone by its weights alone, and these do not tell the number of heads."""
    trials, path = grid(**options(place, seed=[0], method="head")), tmp_path / "l.jsonl"
    sweep(place, path, trials)
    records, backbone = read_ledger(path), load_backbone(place / "tiny.h5")
    assert records[0]["result"]["backbone_config"] == asdict(backbone.config)
    assert make_plan(trials, place / "tiny.h5", records).done == 1
    config = replace(backbone.config, n_heads=4)
    write_backbone(tmp_path / "tiny.h5", config, backbone.params, backbone.tokenizer.json, "random", "0" * 64)
    with pytest.raises(InputError, match=r"the ledger has it, on .* another config \(n_heads was 2, now it is 4\)"):
        make_plan(trials, tmp_path / "tiny.h5", records)
    del records[0]["result"]["backbone_config"]  # as older versions wrote it
    assert make_plan(trials, tmp_path / "tiny.h5", records).done == 1


def test_speeds_come_from_the_ledger_if_it_has_some(place, tmp_path, monkeypatch):
    trials, path = four_seeds(place), tmp_path / "l.jsonl"
    sweep(place, path, trials[:3])
    records = read_ledger(path)
    plan = make_plan(trials, place / "tiny.h5", records)
    for record, seconds in zip(records, (2.0, 500.0, 3.0), strict=True):  # the second one was halted
        record["result"]["wall_seconds"] = seconds
    plan.predict(InProcess(), records, place / "tiny.h5")
    assert [job.seconds for job in plan.jobs] == pytest.approx([3.0])
    backbone = open_backbone(place / "tiny.h5")
    task = load(trials[0])
    tokens = [backbone.encode(split.texts, None, 24).n_tokens for split in (task.train, task.dev["dev"], task.test)]
    assert plan.jobs[0].work == pytest.approx(tokens[0] + 0.4 * (tokens[1] + tokens[2]))


def test_the_work_of_a_head_does_not_depend_on_its_epochs(place):
    """Each text is read once, by the encoder alone."""
    plan = make_plan(grid(**options(place, method="head", epochs=[1, 9])), place / "tiny.h5", [])
    backbone, task = open_backbone(place / "tiny.h5"), load(plan.jobs[0].trial)
    tokens = [backbone.encode(split.texts, None, 24).n_tokens for split in (task.train, task.dev["dev"], task.test)]
    assert [job.work for job in plan.jobs] == [sum(tokens)] * 2


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--lr", "1e-3,x"], "argument --lr"),
        (["--method", "adapter,lora"], "method must be one of"),
        (["--tasks", "csv,none"], "there is no task 'none'"),
        (["--processes", "0"], "--processes must be a whole number above 0"),
        (["--processes", "2", "--dask", "x"], "not allowed with"),
        (["--adapter-size", "0,8"], "adapter size must be"),
        (["--data", "nothing.csv"], "nothing.csv does not exist"),
    ],
)
def test_bad_arguments_are_told_in_one_line(place, tmp_path, capsys, more, told):
    try:
        code = main(command(place, tmp_path / "l.jsonl", *more))
    except SystemExit as exit_by_argparse:
        code = exit_by_argparse.code
    err = capsys.readouterr().err
    line, *example = err.splitlines()
    assert code == 2 and told in line and line.startswith("error: ")
    assert len(example) <= 1 and all(below.startswith("example: minibert sweep ") for below in example)


def test_what_a_sweep_needs_is_told(tmp_path, capsys):
    assert main(["sweep", "--ledger", str(tmp_path / "l.jsonl")]) == 2
    assert "a sweep needs --backbone and --tasks" in capsys.readouterr().err
    assert main(["sweep", "--ledger", str(tmp_path / "l.jsonl"), "--summary"]) == 2
    assert not (tmp_path / "l.jsonl").exists()
