"""The commands that compute: train, eval, predict. Each takes the parsed arguments and returns an exit
code or None. Everything that can be wrong with the arguments is found before any work starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from minibert.class_weights import weight_lines
from minibert.cli.answers import check_answers, check_eval, eval_predictions, write_predictions
from minibert.cli.class_tables import class_lines
from minibert.cli.inputs import open_rows, open_task, print_notes
from minibert.cli.mixed import predict_mixed, several_tasks, shows_all_text
from minibert.cli.rows_out import check_list_options, predict_rows
from minibert.cli.texts import texts_and_pairs
from minibert.data.builtin import opinion_kinds
from minibert.data.labels import class_counts
from minibert.data.squad import unlabelled
from minibert.data.task import count_empty
from minibert.errors import counted, one_line, printable
from minibert.evaluate import format_scores, tokenize
from minibert.evaluate import predict as predict_batch
from minibert.interrupt import compile_kernels, sigterm_as_ctrl_c
from minibert.methods import percent
from minibert.progress import Saving
from minibert.resume import TRAIN_LONGER, is_finished, resume
from minibert.run import load, open_backbone, prepare, train_and_test
from minibert.storage import RunFolder
from minibert.train import Training
from minibert.trained import Labelled, Scored, max_length, unscored_note
from minibert.trial import TRIAL_OPTIONS, make_trial

# ------------------------------------------------------------------------------------------------------------- train


def train(args) -> int:
    """Tune a backbone on a task and write RUN/."""
    folder, saving = RunFolder(args.out), Saving(args.save_minutes)
    with sigterm_as_ctrl_c(), folder.in_use():
        if not (args.force or args.resume):
            folder.check_free()
        trial = make_trial(**{name: getattr(args, name) for name in TRIAL_OPTIONS})
        task = load(trial)
        training = prepare(trial, task, open_backbone(args.backbone), folder.path, args.quiet, saving)
        if args.resume and is_finished(training):
            training.say(f"{folder.path} holds this run, finished: see {folder.result}; {TRAIN_LONGER}")
            return 0
        goes_on = args.resume and resume(training, replace=args.force)
        compile_kernels()  # which may take a minute: only after all that can be wrong has been looked at
        notes = _announce(training)
        if not goes_on:
            folder.clear()
        result = train_and_test(training, lambda training, result: _report(training, result, notes))
    _summarize(training, result, Path(args.backbone))
    return 0 if result["finished"] else 130


def _announce(training: Training) -> list[str]:
    """Say what is trained, on what: before step 1. Returns the notes among it, for the report."""
    model, task, config, say = training.model, training.task, training.config, training.say
    about_rows, weights = [*task.notes, *training.notes()], weight_lines(training.class_weights)
    for note in about_rows:
        say(f"note: {note}")
    sizes = [f"{len(task.train)} train", *(f"{len(split)} {name}" for name, split in task.dev.items())]
    say(f"task {task.name} ({', '.join(sizes)}), method {model.method}, seed {config.seed}")
    for line in class_counts(task):
        say(line)
    for line in weights:
        say(line)
    splits = {"train": training.train, **training.dev}.items()
    about_texts = [note for name, split in splits for note in split.notes(name)]
    for note in about_texts:
        say(f"note: {note}")
    say(model.table())
    steps = counted(training.total_steps, "step")
    if 0 < config.max_steps < training.total_steps:
        steps = f"{config.max_steps} (--max-steps) of {steps}"
    say(f"{steps} of up to {config.batch_size} texts, learning rate {config.lr:g}")
    if training.optimizer.steps:
        say(f"going on after epoch {training.progress.epoch}, step {training.optimizer.steps}")
    return [*about_rows, *weights, *about_texts]


def _report(training: Training, result: dict, notes: list[str]) -> None:
    """Write report.html. The run is over, and all its other files are there: no error here may end it as if it had
    failed. Ctrl-C does, and the state stays: --resume writes the report."""
    if not result["best_epoch"]:
        return
    try:
        from minibert.report import write_report

        write_report(training, result, notes)
    except KeyboardInterrupt:
        print_notes([f"no {training.folder.report.name} yet: the same command and --resume writes it"])
        raise
    except Exception as error:
        print_notes([f"no {training.folder.report.name}: {one_line(error)}"])


def _summarize(training: Training, result: dict, backbone: Path) -> None:
    folder, say = training.folder, training.say
    if training.out_of_patience:
        epochs = f"epoch {training.progress.epoch} of {training.config.epochs}"
        say(f"ended after {epochs}: no better dev score than in epoch {result['best_epoch']} (--patience)")
    trained, total = result["trained_params"], result["total_params"]
    say(f"trained {trained:,} of {total:,} parameters ({percent(trained, total)} %) in {result['seconds']:.0f} s")
    for split in ("dev", "test"):
        if result.get(split):
            say(f"{split}: {format_scores(result[split])} (epoch {result['best_epoch']})")
    written = [f"{folder.bank} ({folder.bank.stat().st_size / 1e6:.1f} MB)", str(folder.result)]
    say(", ".join(written + [str(file) for file in (folder.history, folder.report) if file.exists()]))
    whole, name = f"{backbone} ({backbone.stat().st_size / 1e6:.1f} MB)", training.model.backbone.fingerprint[:12]
    say(f"to use the task elsewhere: {written[0]}, and the backbone {whole}, whose fingerprint begins with {name}")
    if not result["finished"]:
        say("go on with the same command and --resume")


# ---------------------------------------------------------------------------------------------------- eval, predict


def eval(args) -> None:
    """Score a trained task on a split, or answers in a file."""
    check_eval(args)
    if args.predictions is not None:
        return eval_predictions(args)
    model, record = open_task(args)
    check_answers(args, record)
    rows = open_rows(args, model, record)
    compile_kernels("predict")
    for scored in rows.splits:
        outputs = predict_batch(model, scored.split.batch, scored.name)
        if args.predictions_out is not None:
            write_predictions(args.predictions_out, scored.split.predictions(outputs))
        (_print_json if args.json else _print_scores)(rows, scored, outputs)
        if rows.task == "opinions" and args.dev_rows is None and not args.json:
            _print_kinds(outputs.argmax(axis=1) == scored.split.labels, opinion_kinds()[scored.name])
        if not args.json:
            for line in class_lines(scored.split.report(outputs)):
                print(line)


def _print_scores(rows: Labelled, scored: Scored, outputs: np.ndarray) -> None:
    """A line of scores, and one for the rows that the training did not see, if it saw others."""
    split, where = scored.split, f"{rows.task} {scored.name}"
    print(f"{where} ({split.n_examples}): {format_scores(split.score(outputs, rows.metrics))}")
    if scored.unseen is not None:
        scores = split.score(outputs, rows.metrics, scored.unseen)
        print(f"{where}, not in training ({scored.unseen.sum()}): {format_scores(scores)}")


def _print_json(rows: Labelled, scored: Scored, outputs: np.ndarray) -> None:
    """The same as an object. What the bank does not know is null."""
    split = scored.split
    found = {"task": rows.task, "split": scored.name, "examples": split.n_examples}
    found |= split.score(outputs, rows.metrics)
    found |= {"is_trained_data": rows.is_trained, "unknown_labels": scored.unknown}
    for name in ("trained_on", "chose_epoch"):
        mask = getattr(scored, name)
        found[name] = None if mask is None else int(mask.sum())
    if scored.unseen is not None:
        n, scores = int(scored.unseen.sum()), split.score(outputs, rows.metrics, scored.unseen)
        found["not_in_training"] = {"examples": n, **scores}
    if (report := split.report(outputs)) is not None:
        found["report"] = report
    print(json.dumps(found))


def _print_kinds(right: np.ndarray, kinds: list[str]) -> None:
    """Accuracy by kind of sentence: where the linear head on frozen features fails, and adapters do not."""
    for kind in dict.fromkeys(kinds):
        rows = np.array([k == kind for k in kinds])
        print(f"  {kind:<10}{right[rows].mean():.3f}  of {rows.sum()}")


def predict(args) -> None:
    """Label texts, or answer questions: one line each, label, probability, text. With --data: the rows of a file; with
    several tasks: each text by its own, or by each."""
    if args.data:
        return predict_rows(args)
    check_list_options(args)
    records = several_tasks(args)
    if records is not None:
        return predict_mixed(args, records)
    model, record = open_task(args)
    texts, pairs = texts_and_pairs(args, record)
    head = model.head_record
    examples = unlabelled(texts, pairs, head.reads_all_tokens)
    split = tokenize(model.backbone, examples, max_length(record))
    compile_kernels("predict")
    empty = count_empty(examples)
    told = [f"{empty} of {len(examples)} rows have an empty text"] if empty else []
    print_notes([*unscored_note(record), *told, *split.notes()])
    for i, row in enumerate(split.answers(predict_batch(model, split.batch, "predict"))):
        fields, answer = head.describe(row, record.labels)
        out = {"text": texts[i]} if pairs is None else {"text": texts[i], "pair": pairs[i]}
        if args.json:
            print(json.dumps(out | answer, ensure_ascii=not shows_all_text()))
        else:
            print("\t".join(map(printable, [*fields, *out.values()])))
