"""Adapters against full fine-tuning: the table, and the real ledger computed once more by other means."""

import csv
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from minibert.cli import main
from minibert.lab.differences import differences, format_differences
from minibert.trial import make_trial

RESULTS = Path(__file__).parents[2] / "results"


def record_of(task, method, seed, dev, test=None, lr=1e-3, rows=100, data="d"):
    trial = make_trial(task=task, method=method, lr=lr, seed=seed, train_rows=rows)
    result = {"metric": "f1", "dev": {"f1": dev}, "test": test and {"f1": test}, "data": data, "backbone": "b"}
    result |= {"trained_params": 5, "total_params": 100, "wall_seconds": 2.0, "threads": 1, "train_rows": rows}
    name = f"{task}{method}{seed}{lr}{data}"
    return {"id": name, "status": "done", "trial": trial.to_dict(), "deaths": 0, "work": 1.0, "result": result}


RECORDS = [
    *(record_of("cola", "adapter", seed, dev) for seed, dev in enumerate((0.30, 0.34))),
    *(record_of("cola", "full", seed, dev) for seed, dev in enumerate((0.40, 0.48))),
    *(record_of("trec", "adapter", seed, 0.9, test) for seed, test in enumerate((0.80, 0.82))),
    *(record_of("trec", "full", seed, 0.8, test) for seed, test in enumerate((0.70, 0.70))),
    *(record_of("trec", method, seed, 0.1, rows=10, data="few") for method in ("adapter", "full") for seed in range(2)),
    *(record_of("trec", "adapter", seed, 0.2, 0.99, lr=1e-2) for seed in range(2)),
    record_of("mrpc", "adapter", 0, 0.99),
]


def on_backbone(name, records):
    return [{**record, "result": {**record["result"], "backbone": name}} for record in records]


def test_each_task_has_a_row_and_their_mean_is_the_last():
    cola, trec, mean = differences(RECORDS)
    assert [row["task"] for row in (cola, trec, mean)] == ["cola", "trec", "mean of 2, 1 on test"]
    assert (cola["dev_one"], cola["dev_other"], cola["dev_difference"]) == pytest.approx((32, 44, -12))
    assert cola["dev_standard_error"] == pytest.approx(math.hypot(2, 4)) and math.isnan(cola["test_one"])
    assert (trec["dev_one"], trec["train_rows"]) == (pytest.approx(90), 100), "not the few rows, not the worse rate"
    assert mean["dev_difference"] == pytest.approx((-12 + 10) / 2)
    assert mean["dev_standard_error"] == pytest.approx(math.hypot(2, 4) / 2)
    assert (mean["test_one"], mean["test_difference"]) == pytest.approx((81, 11)), "of the task that has a test split"
    assert (trec["one_settings"], trec["other_settings"]) == (2, 1)
    last = format_differences(differences(RECORDS)).splitlines()[-1].split()
    assert last == [
        "mean",
        "of",
        "2,",
        "1",
        "on",
        "test",
        "61.00",
        "62.00",
        "-1.00",
        "(2.24)",
        "81.00",
        "70.00",
        "+11.00",
        "(1.00)",
    ]


def test_scores_of_two_metrics_are_not_subtracted():
    def by_accuracy(record):
        result = {**record["result"], "metric": "accuracy", "dev": {"f1": 0.1, "accuracy": 0.7}}
        trial = {**record["trial"], "train": {**record["trial"].get("train", {}), "metric": "accuracy"}}
        return {**record, "id": record["id"] + "a", "trial": trial, "result": result}

    adapter, full = RECORDS[0], RECORDS[2]
    assert differences([by_accuracy(adapter), full]) == []
    first, second, mean = differences([adapter, full, by_accuracy(adapter), by_accuracy(full)])
    assert (first["metric"], first["dev_difference"]) == ("f1", pytest.approx(-10))
    assert (second["metric"], second["dev_difference"], mean["task"]) == ("accuracy", 0, "mean of 2")


def test_two_files_of_ones_own_are_two_tasks_and_one_that_was_renamed_is_one():
    def of_file(record, name, data=None):
        trial, result = record["trial"], record["result"]
        trial = {**trial, "task": "csv", "data": f"/here/{name}", "task_options": {"text": "t", "label": "l"}}
        return {**record, "id": record["id"] + name, "trial": trial, "result": {**result, "data": data or name}}

    adapter, full = RECORDS[0], RECORDS[2]
    both = [of_file(record, name) for name in ("a.csv", "b.csv") for record in (adapter, full)]
    assert [row["task"] for row in differences(both)] == ["csv:a.csv", "csv:b.csv", "mean of 2"]
    renamed = [of_file(adapter, "a.csv"), of_file(full, "later.csv", data="a.csv")]
    assert [row["task"] for row in differences(renamed)] == ["csv:a.csv", "mean of 1"]


def test_backbones_are_not_mixed():
    both = differences([*on_backbone("first", RECORDS[:4]), *on_backbone("second", RECORDS)])
    assert [(row["backbone"], row["task"]) for row in both] == [
        ("first", "cola"),
        ("first", "mean of 1"),
        ("second", "cola"),
        ("second", "trec"),
        ("second", "mean of 2, 1 on test"),
    ]
    assert str(both[2:]) == str(differences(on_backbone("second", RECORDS)))
    assert format_differences(both).splitlines()[1].split()[:2] == ["first", "cola"]


def test_differences_without_a_summary_are_refused(tmp_path, capsys):
    assert main(["sweep", "--ledger", str(tmp_path / "l"), "--differences", str(tmp_path / "d.csv")]) == 2
    assert "--differences is for --summary" in capsys.readouterr().err


def test_methods_that_share_no_task_have_no_row():
    assert differences(RECORDS[:2]) == [] == differences([])


def test_the_results_here_are_those_of_the_ledger(tmp_path, capsys):
    """`sweep --summary --all` writes the very files that are kept beside the ledger."""
    files = {"--csv": "settings.csv", "--differences": "differences.csv"}
    options = [str(part) for option, name in files.items() for part in (option, tmp_path / name)]
    assert main(["sweep", "--summary", "--all", "--ledger", str(RESULTS / "ledger.jsonl"), *options]) == 0
    for name in files.values():
        assert (tmp_path / name).read_text() == (RESULTS / name).read_text(), f"results/{name} is not up to date"


def test_the_real_ledger_computed_once_more():
    """The best setting of each method by its mean on dev, its test scores, and the means over tasks, from the lines of
    the ledger by nothing but the standard library."""
    scores = defaultdict(lambda: defaultdict(dict))
    for line in (RESULTS / "ledger.jsonl").read_text().splitlines()[1:]:
        record = json.loads(line)
        if record["status"] != "done":
            continue
        trial, result = record["trial"], record["result"]
        seed = trial["train"].pop("seed")
        trial.pop("data")
        trial.setdefault("train_pooler", False)
        for name, usual in (("metric", ""), ("class_weights", ""), ("patience", 0)):
            trial["train"].setdefault(name, usual)
        group = trial["task"], result["data"], result["train_rows"], trial["method"]
        setting = json.dumps(trial, sort_keys=True)
        metric = result["metric"]
        of_test = (result.get("test") or {}).get(metric)
        scores[group][setting][seed] = result["dev"][metric], of_test
    best = {}
    for group, settings in scores.items():
        most = max(map(len, settings.values()))
        whole = [list(seeds.values()) for seeds in settings.values() if len(seeds) == most]
        best[group] = max(whole, key=lambda found: statistics.fmean(dev for dev, _ in found))
    with open(RESULTS / "differences.csv", newline="") as file:
        *tasks, mean = csv.DictReader(file)
    means = defaultdict(list)
    for row in tasks:
        sizes = {(rows, data) for task, data, rows, method in best if task == row["task"] and method == "full"}
        rows, data = max(pair for pair in sizes if (row["task"], pair[1], pair[0], "adapter") in best)
        assert int(row["train_rows"]) == rows
        for split, place in (("dev", 0), ("test", 1)):
            for part, method in (("one", "adapter"), ("other", "full")):
                found = [seed[place] for seed in best[row["task"], data, rows, method]]
                if None in found:
                    assert row[f"{split}_{part}"] == ""
                else:
                    value = 100 * statistics.fmean(found)
                    assert float(row[f"{split}_{part}"]) == pytest.approx(value, abs=1e-9)
                    means[f"{split}_{part}"].append(value)
    of_test = sum(row["test_one"] != "" for row in tasks)
    assert len(tasks) >= 7 and mean["task"] == f"mean of {len(tasks)}, {of_test} on test"
    for name, values in means.items():
        assert float(mean[name]) == pytest.approx(statistics.fmean(values), abs=1e-9)
