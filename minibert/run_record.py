"""What a run records of itself: its settings, in the state, the result and the bank; and its result."""

from __future__ import annotations

import json
from dataclasses import asdict

from minibert.config import TrainConfig
from minibert.data import Task, data_fingerprint, training_fingerprint
from minibert.model import Model
from minibert.progress import Progress


def run_settings(model: Model, task: Task, config: TrainConfig, task_options: dict) -> dict:
    """What must be the same in a resumed run, and what the result and the bank record of a run.

    task: as it is trained on. task_options: how it was read (the options of task csv).
    """
    adapter, backbone = model.adapter, model.backbone
    return {
        "task": task.name,
        "task_options": task_options,
        "method": model.method,
        "adapter": json.loads(adapter.to_json()) if adapter else None,
        "model_options": model.options,
        "train": asdict(config),
        "train_rows": len(task.train),
        "pairs": task.train.pairs is not None,
        "data": data_fingerprint(task),
        "data_whole": task.drawn_from or training_fingerprint(task),
        "backbone": backbone.fingerprint,
        "tokenizer": backbone.tokenizer_fingerprint,
        "backbone_config": asdict(backbone.config),
        **({"features": True} if model.has_features else {}),  # read once, without dropout
    }


def run_result(model: Model, settings: dict, progress: Progress, steps: int, finished: bool) -> dict:
    """What result.json holds after so many steps, but for the test split's scores. settings: of `run_settings`."""
    trained = sum(a.size for a in model.trained().values())
    total = sum(a.size for a in model.parameters().values())
    config = settings["train"]
    return {
        "task": settings["task"],
        "method": model.method,
        "seed": config["seed"],
        "lr": config["lr"],
        "epochs": config["epochs"],
        "adapter_size": model.adapter.size if model.adapter else None,
        "trained_params": trained,
        "total_params": total,
        "trained_fraction": trained / total,
        "dev": progress.best_dev or {},
        "best_epoch": progress.best_epoch,
        "steps": steps,
        "seconds": progress.seconds,
        "tokens_per_second": progress.tokens / progress.seconds if progress.seconds else 0.0,
        "finished": finished,
        "settings": settings,
    }
