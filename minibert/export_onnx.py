"""A trained task as one ONNX file, backbone, adapters and head inside: for ONNX Runtime, in any language.

The graph is bert.py's forward pass without dropout, function by function, over padded batches, as everyone feeds them:

    input_ids, attention_mask, token_type_ids   (batch, sequence) int64, padded at the end; the mask is 0 where padded
    logits                                      (batch, C); for spans start_logits and end_logits, (batch, sequence)

The file's metadata hold the labels, the backbone's fingerprint, max_length, and the tokenizer as the `tokenizers`
library reads it ("tokenizer.json"), so that nothing else need go along. It needs the package onnx: the extra `onnx`.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np

from minibert.config import AdapterConfig, BertConfig
from minibert.errors import InputError, list_some, need, require
from minibert.model import Model
from minibert.params import unflatten
from minibert.storage import TaskRecord, cannot_be_written
from minibert.storage.atomic import replacing
from minibert.trained import max_length

OPSET, IR_VERSION = 17, 8  # the first with LayerNormalization, and the format of its time: ONNX Runtime from 1.12 on
MOST_BYTES = 2**31 - 2**20  # of the weights: a file of protobuf ends at 2 GiB
MASKED = np.float32(-1e30)  # added to the score of a padded token: exp gives 0
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# The settings that the graph below knows. What computes by another one must not be written as if it did not.
KNOWN = {
    AdapterConfig: (
        *("size", "init_std", "sublayers", "layers", "activation", "layernorm", "depth", "parallel", "multiplicative"),
        *("reads_norm", "layernorm_eps"),
    ),
    BertConfig: (
        *("vocab_size", "hidden_size", "n_layers", "n_heads", "feed_forward_size", "max_positions", "n_segments"),
        *("layernorm_eps", "activation", "hidden_dropout", "attention_dropout", "pooler"),
    ),
}
KNOWN_OPTIONS = ("top_k", "pooled", "train_layernorm", "train_pooler")


def export_onnx(model: Model, record: TaskRecord, path: str | Path, force: bool = False) -> None:
    """Write a trained task (see `trained.open_trained`) as an ONNX file.

    Raises InputError: the package onnx is not there, the path holds a file and `force` is False, the model has a
    setting that the graph does not know, or is too large for one file.
    """
    onnx = require("an ONNX file", "onnx", "onnx")
    need(not Path(path).is_dir(), f"{path}: is a folder; give the name of a file, such as {Path(path) / 'task.onnx'}")
    if Path(path).exists() and not force:
        raise InputError(f"{path} is there already: give another file (in Python force=True replaces it)")
    check_exportable(model, record)
    proto = build(onnx, model)
    onnx.helper.set_model_props(proto, metadata(model, record))
    file = proto.SerializeToString(deterministic=True)
    del proto  # as large as the file
    onnx.checker.check_model(file, full_check=True)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(file)
    except OSError as error:
        raise cannot_be_written(path, error) from error


def check_exportable(model: Model, record: TaskRecord) -> None:
    """Raise InputError that names what of the model the graph does not know, or its size if that is too large."""
    where, unknown = f"task {record.name}", [name for name in model.options if name not in KNOWN_OPTIONS]
    for config in (model.adapter, model.config):
        for f in fields(config) if config is not None else ():
            if f.name not in KNOWN[type(config)] and getattr(config, f.name) != f.default:
                unknown.append(f"{f.name}={getattr(config, f.name)!r}")
    need(not unknown, f"{where}: an ONNX file cannot hold {list_some(unknown)} yet")
    need(model.backbone.dtype == np.float32, f"{where}: an ONNX file holds float32, the model {model.backbone.dtype}")
    size = sum(a.nbytes for a in model.parameters().values())
    need(
        size <= MOST_BYTES,
        f"{where}: the weights have {size:,} bytes, and one ONNX file holds at most {MOST_BYTES:,}: use a smaller "
        "backbone, or run the task with minibert predict",
    )


def metadata(model: Model, record: TaskRecord) -> dict[str, str]:
    """What a program that runs the file must know, {name: text}."""
    tokenizer = model.backbone.tokenizer
    return {
        "task": record.name,
        "head": record.head,
        "labels": json.dumps(list(record.labels), ensure_ascii=False),
        "pairs": json.dumps(bool(record.training.get("pairs", False))),
        "max_length": str(max_length(record)),
        "dev": json.dumps(record.dev),
        "backbone_fingerprint": record.backbone_fingerprint,
        "tokenizer.json": tokenizer.json if tokenizer else "",
    }


def build(onnx, model: Model):
    """The model as an ONNX ModelProto. Raises InputError if it has parameters that the graph does not compute with."""
    helper, float32, int64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph, per_token = _Graph(onnx, model.parameters()), model.head_record.reads_all_tokens
    outputs = _head(graph, _encoder(graph, model), graph.tree, per_token)
    unused = sorted(set(graph.params) - graph.used)
    need(not unused, f"an ONNX file cannot hold {list_some(unused)}: the graph has no place for such parameters yet")
    shape = ["batch", "sequence"]
    declared = [helper.make_tensor_value_info(name, float32, ["batch", model.n_out]) for name in outputs]
    if per_token:
        declared = [helper.make_tensor_value_info(name, float32, shape) for name in outputs]
    inputs = [helper.make_tensor_value_info(name, int64, shape) for name in INPUTS]
    made = helper.make_graph(graph.nodes, "minibert", inputs, declared)
    opset = helper.make_opsetid("", OPSET)
    made = helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="minibert")
    while graph.arrays:  # one by one, as each is copied: at no time are all there twice
        made.graph.initializer.append(graph.arrays.pop())
    return made


class _Graph:
    """The nodes and arrays so far. tree: the parameters' names as a tree like that of the layers, p["W"], p["b"]."""

    def __init__(self, onnx, params: dict[str, np.ndarray]):
        self.onnx, self.params, self.tree = onnx, params, unflatten({name: name for name in params})
        self.nodes, self.arrays, self.used = [], [], set()

    def add(self, op: str, *inputs, output: str | None = None, **attributes) -> str:
        """Add a node, and return the name of its output. An input is a name, or an array, which becomes a constant."""
        inputs = [self._constant(i) if isinstance(i, np.ndarray | np.generic) else self._named(i) for i in inputs]
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, value) -> str:
        name, dtype = f"constant_{len(self.arrays)}", np.int64 if value.dtype.kind == "i" else np.float32
        self.arrays.append(self.onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def _named(self, name: str) -> str:
        """An output of another node, an input of the graph, or a parameter, whose array is then put into the graph."""
        if name in self.params and name not in self.used:
            self.used.add(name)
            self.arrays.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(self.params[name]), name))
        return name


# ------------------------------------------------------------------------------------- the layers: bert.py's, as nodes
# N sequences in a batch, S tokens in each, padded; x is (N, S, D).


def _linear(graph: _Graph, x, p):
    return graph.add("Add", graph.add("MatMul", x, p["W"]), p["b"])


def _norm(graph: _Graph, x, p, eps: float):
    return graph.add("LayerNormalization", x, p["gamma"], p["beta"], axis=-1, epsilon=eps)


def _activation(graph: _Graph, x, name: str):
    half, one = np.float32(0.5), np.float32(1)
    if name in ("relu", "tanh"):
        return graph.add(name.capitalize(), x)
    if name == "swish":
        return graph.add("Mul", x, graph.add("Sigmoid", x))
    if name == "gelu":
        u = graph.add("Erf", graph.add("Mul", x, np.float32(math.sqrt(0.5))))
    else:
        need(name == "gelu_tanh", f"an ONNX file cannot hold the activation {name} yet")
        cube = graph.add("Mul", graph.add("Mul", x, x), x)
        u = graph.add("Add", x, graph.add("Mul", cube, np.float32(0.044715)))
        u = graph.add("Tanh", graph.add("Mul", u, np.float32(math.sqrt(2 / math.pi))))
    return graph.add("Mul", graph.add("Mul", x, half), graph.add("Add", u, one))  # x (1 + u) / 2


def _embeddings(graph: _Graph, p, eps: float):
    n_tokens = graph.add("Shape", "input_ids", start=1, end=2)
    positions = graph.add("Slice", p["position"]["W"], np.array([0]), n_tokens)  # (S, D)
    word = graph.add("Gather", p["word"]["W"], "input_ids")
    segment = graph.add("Gather", p["segment"]["W"], "token_type_ids")
    return _norm(graph, graph.add("Add", graph.add("Add", word, segment), positions), p["norm"], eps)


def _attention(graph: _Graph, x_q, x_kv, p, mask, config: BertConfig):
    D, H = config.hidden_size, config.n_heads

    def heads(x, name, order):
        split = graph.add("Reshape", _linear(graph, x, p[name]), np.array([0, 0, H, D // H]))  # 0: as it is
        return graph.add("Transpose", split, perm=order)

    q, k, v = heads(x_q, "query", [0, 2, 1, 3]), heads(x_kv, "key", [0, 2, 3, 1]), heads(x_kv, "value", [0, 2, 1, 3])
    scores = graph.add("Mul", graph.add("MatMul", q, k), np.float32(1 / math.sqrt(D // H)))  # (N, H, S_q, S)
    weights = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    attended = graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    return _linear(graph, graph.add("Reshape", attended, np.array([0, 0, D])), p["output"])


def _adapter(graph: _Graph, x, sublayer_input, p, model: Model):
    """adapter.py and adapter_variants.py: x + z, or x (1 + z)."""
    if "adapter" not in p:
        return x
    config, z = model.adapter, sublayer_input if model.adapter.parallel else x
    if config.reads_norm:
        z = _norm(graph, graph.add("Add", x, sublayer_input), p["norm"], model.config.layernorm_eps)
    p = p["adapter"]
    if config.layernorm:
        z = _norm(graph, z, p["norm"], config.layernorm_eps)
    for layer in (p["down"], *(p["hidden"][name] for name in sorted(p.get("hidden", {}), key=int))):
        z = _activation(graph, _linear(graph, z, layer), config.activation)
    z = _linear(graph, z, p["up"])
    return graph.add("Add", x, graph.add("Mul", x, z) if config.multiplicative else z)


def _layer(graph: _Graph, x_q, x_kv, p, mask, model: Model):
    config, eps = model.config, model.config.layernorm_eps
    a = _attention(graph, x_q, x_kv, p["attention"], mask, config)
    a = _adapter(graph, a, x_q, p["attention"], model)
    x = _norm(graph, graph.add("Add", a, x_q), p["attention"]["norm"], eps)
    h = _activation(graph, _linear(graph, x, p["feed_forward"]["intermediate"]), config.activation)
    h = _linear(graph, h, p["feed_forward"]["output"])
    h = _adapter(graph, h, x, p["feed_forward"], model)
    return _norm(graph, graph.add("Add", h, x), p["feed_forward"]["norm"], eps)


def _encoder(graph: _Graph, model: Model):
    """Hidden states of all tokens (N, S, D), or, for a head that reads no others, of the first ones (N, 1, D)."""
    unmasked = graph.add("Cast", "attention_mask", to=int(graph.onnx.TensorProto.FLOAT))
    mask = graph.add("Mul", graph.add("Sub", np.float32(1), unmasked), MASKED)
    mask = graph.add("Unsqueeze", mask, np.array([1, 2]))  # (N, S) -> (N, 1, 1, S)
    x = _embeddings(graph, graph.tree["embeddings"], model.config.layernorm_eps)
    for i in range(model.config.n_layers):
        x_q = x
        if i == model.config.n_layers - 1 and not model.head_record.reads_all_tokens:
            x_q = graph.add("Slice", x, np.array([0]), np.array([1]), np.array([1]))
        x = _layer(graph, x_q, x, graph.tree["encoder"]["layers"][str(i)], mask, model)
    return x


def _head(graph: _Graph, x, p, per_token: bool) -> list[str]:
    """The names of the outputs."""
    if "pooler" in p:
        x = graph.add("Tanh", _linear(graph, x, p["pooler"]))
    scores = _linear(graph, x, p["head"])
    names, axis = (["start_logits", "end_logits"], 2) if per_token else (["logits"], 1)
    for i, name in enumerate(names):
        graph.add("Gather", scores, np.int64(i), axis=axis, output=name)  # (N, S, 2) -> (N, S); (N, 1, C) -> (N, C)
    return names
