"""The README.md of an exported folder: the lines that load it, and what the library does not say by itself."""

from __future__ import annotations

import json

from minibert.storage import TaskRecord
from weights_convert.adapterhub import heads

LOAD = """\
from adapters import AutoAdapterModel  # pip install adapters==1.3.0
from transformers import AutoTokenizer
model = AutoAdapterModel.from_pretrained("BACKBONE").eval()
model.load_adapter("FOLDER", set_active=True)
tokens = AutoTokenizer.from_pretrained("BACKBONE")({texts}, truncation=True{length}, return_tensors="pt")
scores = model(**tokens)
"""
NORMS = """\
The task trained the LayerNorms of the model, too. They lie in the adapter's file, and `load_adapter` writes them over
the model's own. **`delete_adapter({name!r})` does not put the model's own back**: for another task, or for the plain
model, load the model anew with `from_pretrained`. Two tasks like this cannot be in one model at the same time.
"""


def text(record: TaskRecord, name: str) -> str:
    """The whole file. name: what the task is called in the library."""
    texts = '["a text"], ["its pair"]' if record.reads_pairs else '["a text"]'
    length = record.settings("train").get("max_length")
    length = f", max_length={length}" if isinstance(length, int) else ""
    bert, form = record.backbone_config, record.adapter
    lines = [
        f"# {name}: an adapter for BERT",
        "",
        f"A task that minibert trained, as the AdapterHub library loads it: {form.size} units, in "
        f"{' and '.join(form.sublayers)} of {bert.n_layers if form.layers is None else len(set(form.layers))} layers.",
        "",
        "```python",
        LOAD.format(texts=texts, length=length).rstrip(),
        "```",
        "",
        "FOLDER is this folder. BACKBONE is the model that the task was trained on, whose fingerprint is "
        f"`{record.backbone_fingerprint[:12]}`: as a folder by `python -m weights_convert to-hf FILE.h5 --out "
        "BACKBONE`, or its name on the hub. Take `AutoAdapterModel`: `AutoModelForSequenceClassification` leaves out "
        "the head with no more than a warning.",
        "",
        *_scores(record),
        "",
    ]
    if any("/norm/" in array and "/adapter/" not in array for array in record.params):
        lines += [NORMS.format(name=name)]
    return "\n".join(lines)


def _scores(record: TaskRecord) -> list[str]:
    """What the scores mean, and how good they were."""
    meaning = {
        "classify": f"`scores.logits` are those of the labels {json.dumps(list(record.labels), ensure_ascii=False)}.",
        "multilabel": "the sigmoid of `scores.logits` is the probability of each of the labels "
        f"{json.dumps(list(record.labels), ensure_ascii=False)}.",
        "regress": "`scores.logits[:, 0]` are the predicted numbers.",
        "span": "`scores.start_logits` and `scores.end_logits` are those of the answer's first and last token.",
    }
    dev = ", ".join(f"{metric} {value:.4f}" for metric, value in record.dev.items())
    pooled = " The head has a pooler of its own." if heads.own_pooler(record) else ""
    return [meaning[record.head] + pooled, "", f"On the dev set: {dev or 'not scored'}."]
