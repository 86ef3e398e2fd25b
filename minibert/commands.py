"""What the commands of the command line do. Each takes the parsed arguments and returns an exit code or None."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import kernels
from kernels.examples import warm_up
from minibert import files
from minibert import gradcheck as checks
from minibert.config import PRESETS, AdapterConfig, InputError, TrainConfig
from minibert.data import CSV_OPTIONS, limit_train, load_task
from minibert.data.builtin import opinion_kinds
from minibert.model import Model, load_backbone
from minibert.run_folder import RunFolder
from minibert.train import Split, Training, evaluate, tokenize
from minibert.train import predict as predict_batch
from minibert.tuning import DEFAULT_LR, format_table, parameter_table, trained_names


def train(args) -> int:
    """Tune a backbone on a task and write RUN/."""
    config = TrainConfig(
        lr=DEFAULT_LR[args.method] if args.lr is None else args.lr,
        epochs=args.epochs,
        batch_size=args.batch_size,
        max_length=args.max_length,
        warmup=args.warmup,
        weight_decay=args.weight_decay,
        clip_norm=args.clip,
        seed=args.seed,
        max_steps=args.max_steps,
    )
    folder = RunFolder(args.out)
    folder.check_free(args.force, args.resume)
    task = _load_task(args)
    backbone = load_backbone(args.backbone)
    model = Model(
        backbone,
        task.head,
        len(task.labels) or 1,
        args.method,
        _adapter_config(args),
        args.seed,
        top_k=args.top_k,
        pooled=args.pooled_head,
        train_layernorm=not args.freeze_layernorm,
    )
    training = Training(model, task, config, folder.path, args.quiet)
    if args.resume:
        training.resume()
    _announce(training, args.quiet)
    warm_up()
    if not args.resume:
        folder.clear()
    result = training.run()
    if result["finished"]:
        _score_test(training, result)
    _summarize(training, result)
    return 0 if result["finished"] else 130


def _adapter_config(args) -> AdapterConfig:
    given = {"size": args.adapter_size, "init_std": args.init_std, "activation": args.adapter_activation}
    given = {key: value for key, value in given.items() if value is not None}
    if given and args.method != "adapter":
        raise InputError(
            f"--adapter-size, --init-std and --adapter-activation need --method adapter, not {args.method}"
        )
    if args.top_k and args.method != "top_k":
        raise InputError(f"--top-k needs --method top_k, not {args.method}")
    if args.freeze_layernorm and args.method != "adapter":
        raise InputError(f"--freeze-layernorm needs --method adapter, not {args.method}")
    return AdapterConfig(**given)


def _load_task(args):
    task = load_task(args.task, args.data, **{name: getattr(args, name) for name in CSV_OPTIONS})
    rows = getattr(args, "train_rows", None)
    return task if rows is None else limit_train(task, rows, seed=0)


def _announce(training: Training, quiet: bool) -> None:
    """What is trained, on what: before step 1."""
    if quiet:
        return
    model, task, config = training.model, training.task, training.config
    shapes = {name: a.shape for name, a in model.parameters().items()}
    for note in task.notes:
        print(f"note: {note}")
    sizes = f"{len(task.train)} train, " + ", ".join(f"{len(split)} {name}" for name, split in task.dev.items())
    print(f"task {task.name} ({sizes}), method {model.method}, seed {config.seed}")
    for name, split in {"train": training.train, **training.dev}.items():
        if split.batch.truncated:
            print(
                f"note: {split.batch.truncated} of {len(split.batch)} {name} texts are cut to {config.max_length} tokens"
            )
    print(format_table(parameter_table(shapes, set(model.trained()))))
    print(f"{training.total_steps} steps of {config.batch_size} texts, learning rate {config.lr:g}", flush=True)


def _score_test(training: Training, result: dict) -> None:
    """Score the best epoch on the test split, if the release has labels for it."""
    test = training.task.test
    if test is None or test.labels is None:
        return
    model = training.best_model()
    split = tokenize(model.backbone, test, training.config.max_length)
    result["test"] = evaluate(model, split, training.task.metrics)
    training.folder.write_result(result)


def _summarize(training: Training, result: dict) -> None:
    lines = [f"trained {result['trained_params']:,} of {result['total_params']:,} parameters"]
    lines[0] += f" ({100 * result['trained_fraction']:.2f} %) in {result['seconds']:.0f} s"
    for split in ("dev", "test"):
        if result.get(split):
            scores = ", ".join(f"{name} {value:.4f}" for name, value in result[split].items())
            lines.append(f"{split}: {scores} (epoch {result['best_epoch']})")
    folder = training.folder
    lines.append(f"{folder.bank} ({folder.bank.stat().st_size / 1e6:.1f} MB), {folder.result}, {folder.history}")
    if not result["finished"] and folder.state.exists():
        lines.append("go on with the same command and --resume")
    training.say("\n".join(lines))


def _open_task(args) -> Model:
    """The model of a task in a bank, and the record it was built from."""
    path = Path(args.bank)
    path = path / "bank.h5" if path.is_dir() else path
    records = files.read_bank(path)
    name = args.name or next(iter(records))
    if args.name is None and len(records) > 1:
        raise InputError(f"{path} holds {len(records)} tasks; choose one with --name: {', '.join(records)}")
    if name not in records:
        raise InputError(f"{path} has no task {name!r}; it has {', '.join(records)}")
    return Model.from_record(load_backbone(args.backbone), records[name], path), records[name]


def eval(args) -> None:
    """Score a trained task on a split."""
    model, record = _open_task(args)
    task = _load_task(args)
    if task.head != record.head or task.labels != record.labels:
        raise InputError(
            f"task {record.name} in the bank ({record.head}, labels {', '.join(record.labels)}) does not fit "
            f"task {task.name} ({task.head}, labels {', '.join(task.labels)})"
        )
    splits = task.dev if args.split == "dev" else {args.split: getattr(task, args.split)}
    if any(examples is None or examples.labels is None for examples in splits.values()):
        raise InputError(f"task {task.name} has no labelled {args.split} split")
    max_length = record.training["train"]["max_length"]
    for name, examples in splits.items():
        split = tokenize(model.backbone, examples, max_length)
        scores = evaluate(model, split, task.metrics)
        if args.json:
            print(json.dumps({"task": task.name, "split": name, "examples": len(examples), **scores}))
            continue
        print(f"{task.name} {name} ({len(examples)}): " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        if task.name == "opinions":
            _print_kinds(model, split, opinion_kinds()[args.split])


def _print_kinds(model: Model, split: Split, kinds: list[str]) -> None:
    """Accuracy by kind of sentence: where the linear head on frozen features fails, and adapters do not."""
    right = predict_batch(model, split.batch).argmax(axis=1) == split.labels
    for kind in sorted(set(kinds), key=kinds.index):
        rows = np.array([k == kind for k in kinds])
        print(f"  {kind:<10}{right[rows].mean():.3f}  of {rows.sum()}")


def predict(args) -> None:
    """Label texts: one line each, label, probability, text."""
    model, record = _open_task(args)
    texts = _texts(args)
    pairs = None
    if record.training.get("pairs"):
        for i, text in enumerate(texts, 1):
            if text.count("\t") != 1:
                raise InputError(f"text {i}: task {record.name} reads pairs, two texts with one tab between them")
        texts, pairs = (list(column) for column in zip(*(text.split("\t") for text in texts), strict=True))
    batch = model.backbone.encode(texts, pairs, record.training["train"]["max_length"])
    if batch.truncated:
        print(f"note: {batch.truncated} texts were cut to their first tokens", file=sys.stderr)
    for i, row in enumerate(predict_batch(model, batch)):
        out = {"text": texts[i]} if pairs is None else {"text": texts[i], "pair": pairs[i]}
        if record.head == "classify":
            best = int(row.argmax())
            out |= {"label": record.labels[best], "probability": float(row[best])}
            out["probabilities"] = dict(zip(record.labels, map(float, row), strict=True))
        else:
            out["score"] = float(row)
        if args.json:
            print(json.dumps(out, ensure_ascii=False))
        else:
            head = f"{out['label']}\t{out['probability']:.4f}" if "label" in out else f"{out['score']:.4f}"
            print("\t".join([head, texts[i]] + ([] if pairs is None else [pairs[i]])))


def _texts(args) -> list[str]:
    if args.texts and args.file:
        raise InputError("give texts as arguments or with --file, not both")
    if args.texts:
        return args.texts
    try:
        data = Path(args.file).read_bytes() if args.file else sys.stdin.buffer.read()
        lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise InputError(f"{args.file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{args.file or 'standard input'}: line {line} is not UTF-8") from None
    if lines and lines[-1] == "":
        lines.pop()  # the last line's end is not another line
    if not lines:
        raise InputError("there is no text to label: give texts as arguments, --file, or on standard input")
    return lines


def bank(args) -> None:
    """Show a bank, after adding the tasks of other banks to it."""
    path = Path(args.bank)
    path = path / "bank.h5" if path.is_dir() else path
    for other in args.add:
        source = Path(other)
        for record in files.read_bank(source / "bank.h5" if source.is_dir() else source).values():
            files.add_task(path, record, replace=args.replace)
    for record in files.read_bank(path).values():
        size = sum(a.size for a in record.params.values())
        if args.json:
            row = {"task": record.name, "head": record.head, "labels": record.labels, "method": record.method}
            print(json.dumps({**row, "parameters": size, "dev": record.dev}))
        else:
            scores = ", ".join(f"{k} {v:.4f}" for k, v in record.dev.items()) or "not scored"
            print(f"{record.name:<16}{record.method:<11}{size:>12,} parameters   dev {scores}")


def params(args) -> None:
    """Print the table of what is trained for the shapes of known backbones."""
    for name in args.config:
        config = PRESETS[name]
        head = {"head/W": (config.hidden_size, args.classes), "head/b": (args.classes,)}
        backbone = {n: s for n, s in config.shapes().items() if not n.startswith("pooler/")}
        for size in args.adapter_size if args.method == "adapter" else [None]:
            adapter = AdapterConfig(size).shapes(config) if size else {}
            shapes = backbone | adapter | head
            trained = trained_names(shapes, args.method, config.n_layers, args.top_k)
            print(f"{name}, method {args.method}" + (f", M = {size}" if size else "") + f", {args.classes} classes")
            print(format_table(parameter_table(shapes, trained)), end="\n\n")


def gradcheck(args) -> int:
    """Check every gradient of every method and head, dropout off and on; print the worst case of each tensor."""
    worst: dict[str, tuple[int, checks.Check]] = {}
    settings = 0
    for method in args.method:
        for head in args.head:
            for step in (None, 0):
                model = checks.tiny_model(method, head)
                settings += 1
                for check in checks.check_gradients(model, *checks.tiny_batch(model.config, head), step):
                    seen, before = worst.get(check.name, (0, None))
                    worse = before is None or (check.passed, -check.relative_error) < (
                        before.passed,
                        -before.relative_error,
                    )
                    worst[check.name] = (seen + 1, check if worse else before)
    print(f"{'tensor':<48}{'settings':>9}{'difference':>12}{'relative':>10}  result")
    for name, (seen, c) in worst.items():
        relative = "zero" if c.zero else f"{c.relative_error:.1e}"
        print(f"{name:<48}{seen:>9}{c.largest_difference:>12.1e}{relative:>10}  {'pass' if c.passed else 'FAIL'}")
    failed = sum(not c.passed for _, c in worst.values())
    print(f"{len(worst)} tensors in {settings} settings (method x head x dropout), float64, ", end="")
    print(f"tolerance {checks.TOLERANCE:g}: {'all pass' if not failed else f'{failed} FAIL'}")
    return 1 if failed else 0


def download(args) -> None:
    """Get the data of a task."""
    from minibert.data.download import download as get

    get(args.name, args.out, args.mirror)


def env(args) -> None:
    """Print what the program runs on, and what to do if something is amiss."""
    import numba

    warnings = []
    for package in ("minibert", "numpy", "numba", "tokenizers", "h5py"):
        print(f"{package:<18}{version(package)}")
    print(f"{'python':<18}{platform.python_version()} on {platform.system()} {platform.machine()}")
    print(f"{'kernels':<18}{kernels.BACKEND}")
    if kernels.BACKEND == "numba":
        from kernels._compile import CACHE_FOLDER, CACHE_IS_KEPT, vector_bits

        warm_up()
        size = sum(file.stat().st_size for file in CACHE_FOLDER.rglob("*") if file.is_file())
        print(f"{'threads':<18}{numba.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}")
        print(f"{'threading layer':<18}{numba.threading_layer()}")
        print(f"{'vectors':<18}{vector_bits() or 'unknown'} bits")
        print(f"{'kernel cache':<18}{CACHE_FOLDER} ({size / 1e6:.1f} MB)")
        if not CACHE_IS_KEPT:
            warnings.append(
                "kernels are compiled anew in every run: set NUMBA_CACHE_DIR to a folder that can be written"
            )
        if numba.get_num_threads() == 1:
            warnings.append("only one thread: unset NUMBA_NUM_THREADS, or give the program more cores")
    else:
        warnings.append("the NumPy reference runs: slow, for reading and debugging; unset MINIBERT_KERNELS for speed")
    print("OK" if not warnings else "\n".join(f"to do: {warning}" for warning in warnings))
