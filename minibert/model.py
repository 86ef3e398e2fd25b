"""A backbone, and a model: the backbone with a method of tuning and a head for one task."""

from __future__ import annotations

from copy import copy

import numpy as np

import kernels
from kernels.runtime.examples import ensure_compiled
from kernels.runtime.pool import aligned_copy
from minibert.adapter import adapter_init
from minibert.attention import PROJECTIONS
from minibert.bert import encoder_backward, encoder_forward
from minibert.config import HEADS, SUBLAYERS, AdapterConfig, BertConfig, InputError
from minibert.heads import LOSSES, head_backward, head_forward, head_init, softmax
from minibert.layers import NO_DROPOUT, Dropout, Run
from minibert.methods import format_table, parameter_table, trained_names
from minibert.params import Packed, flatten, unflatten
from minibert.storage import TaskRecord, check_backbone, fingerprint, read_backbone
from minibert.text import Batch, Tokenizer


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


class Backbone:
    """A pre-trained BERT, shared by models and changed by none.

    config; params, a tree of read-only arrays; tokenizer (None for a random backbone); fingerprint of the parameters.
    Matrix products read a weight, and its transpose in backward, in an order of their own (kernels/matmul.py); what
    never changes is put into that order once, here.
    """

    def __init__(self, config: BertConfig, flat: dict[str, np.ndarray], tokenizer: Tokenizer | None, fingerprint: str):
        self.config, self.tokenizer, self.fingerprint = config, tokenizer, fingerprint
        self._arrays = {name: aligned_copy(a) for name, a in flat.items()}
        ensure_compiled(self._arrays["embeddings/word/W"].dtype)
        self.params = unflatten(self.parameters())
        self._prepared: dict[str, dict] = {}

    def _tree_of(self, flat: dict[str, np.ndarray], frozen) -> dict:
        """The tree that layers compute with: the arrays, and beside frozen weights what is prepared of them."""
        weights = {n for n in self._arrays if n in frozen and n.endswith("/W") and not n.startswith("embeddings/")}
        prepared = {}
        for i in range(self.config.n_layers):
            attention = f"encoder/layers/{i}/attention"
            three = [f"{attention}/{name}" for name in PROJECTIONS]
            if all(f"{name}/{leaf}" in frozen for name in three for leaf in "Wb"):
                weights -= {f"{name}/W" for name in three}
                prepared |= self._prepare(f"{attention}/projections", three)
        for weight in weights:
            prepared |= self._prepare(weight)
        return unflatten(flat | prepared)

    def _prepare(self, name: str, linears=()) -> dict:
        """What is prepared of a weight, or of several linear layers, when a model first asks for it."""
        if name not in self._prepared and linears:
            both = [[self._arrays[f"{linear}/{leaf}"] for linear in linears] for leaf in "Wb"]
            self._prepared[name] = {name: kernels.prepare_each(*both)}
        elif name not in self._prepared:
            names = f"{name}_strips", f"{name}_t_strips"
            self._prepared[name] = dict(zip(names, kernels.prepare(self._arrays[name]), strict=True))
        return self._prepared[name]

    def __deepcopy__(self, memo) -> Backbone:
        """Itself: copies of a model share the backbone, too."""
        return self

    def parameters(self) -> dict[str, np.ndarray]:
        """Flat name -> array, read-only; `params` is the same as a tree."""
        return {name: read_only(a) for name, a in self._arrays.items()}

    def encode(self, texts, pairs=None, max_length: int = 128) -> Batch:
        """Texts, or pairs of texts, to a packed batch of at most max_length tokens a sequence."""
        self.check_length(max_length)
        return self.tokenizer.encode(texts, pairs, max_length)

    def check_length(self, max_length: int) -> None:
        """Raise InputError if sequences of max_length tokens are too long for this backbone."""
        if max_length > self.config.max_positions:
            raise InputError(f"max_length is {max_length}, but this backbone has {self.config.max_positions} positions")

    def forward(self, batch: Batch) -> np.ndarray:
        """Hidden states of the last layer, without dropout.   -> (T, D)"""
        tree = self._tree_of(self._arrays, self._arrays)
        return encoder_forward(batch, tree, None, Run(self.config, batch.offsets))[0]

    def astype(self, dtype) -> Backbone:
        """The same backbone in another precision: float64 to check gradients."""
        flat = {name: a.astype(dtype) for name, a in self._arrays.items()}
        return Backbone(self.config, flat, self.tokenizer, self.fingerprint)


def load_backbone(path) -> Backbone:
    """Read a backbone file. Raises InputError if it is missing, damaged, or something else."""
    file = read_backbone(path)
    tokenizer = Tokenizer(file.vocab, file.lowercase, file.strip_accents, file.tokenize_chinese)
    return Backbone(file.config, flatten(file.params), tokenizer, file.fingerprint)


class Model:
    """A task's model. What is trained is its own; what is frozen is the backbone's very arrays.

    head is "classify" (n_out classes), "regress" (n_out 1) or "span" (n_out 2: start and end of an answer). method: see
    tuning.py; "top_k" needs top_k. pooled puts BERT's pooler before the head, and train_layernorm=False freezes the
    LayerNorms: choices of other sources, not the paper's.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: str = "classify",
        n_out: int = 2,
        method: str = "adapter",
        adapter: AdapterConfig | None = None,
        seed: int = 0,
        *,
        top_k: int = 0,
        pooled: bool = False,
        train_layernorm: bool = True,
    ):
        if head not in HEADS:
            raise InputError(f"head must be one of {', '.join(HEADS)}; got {head!r}")
        if n_out < 2 if head == "classify" else n_out != {"regress": 1, "span": 2}[head]:
            wanted = "classify needs 2 or more, regress exactly 1, span exactly 2"
            raise InputError(f"head {head} cannot have {n_out} outputs: {wanted}")
        if pooled and head == "span":
            raise InputError("the pooler reads the first token alone, and head span every token: it cannot be pooled")
        self.backbone, self.config, self.head, self.n_out, self.method = backbone, backbone.config, head, n_out, method
        self.adapter = (adapter or AdapterConfig()) if method == "adapter" else None
        self.options = {"top_k": top_k, "pooled": pooled, "train_layernorm": train_layernorm}
        self.seed = seed
        flat = {name: a for name, a in backbone._arrays.items() if pooled or not name.startswith("pooler/")}
        dtype = flat["embeddings/word/W"].dtype
        if self.adapter is not None:
            flat |= adapter_init(self.adapter, self.config, seed, dtype)
        flat |= head_init(self.config.hidden_size, n_out, seed, dtype)
        names = trained_names(flat, method, self.config.n_layers, top_k, train_layernorm)
        self._trained = Packed.copy_of({name: a for name, a in flat.items() if name in names})
        self._flat = {name: self._trained.get(name, a) for name, a in flat.items()}
        self._tree = backbone._tree_of(self._flat, set(flat) - names)

    def parameters(self) -> dict[str, np.ndarray]:
        """Flat name -> array, of everything the model computes with; what is frozen is read-only."""
        return {name: a if name in self._trained else read_only(a) for name, a in self._flat.items()}

    def trained(self) -> dict[str, np.ndarray]:
        """Flat name -> array, of what trains. Changing an array changes the model."""
        return self._trained

    def table(self) -> str:
        """What is trained: groups, counts, percent."""
        shapes = {name: a.shape for name, a in self._flat.items()}
        return format_table(parameter_table(shapes, self._trained))

    def without_adapters(self, layers) -> Model:
        """This model with the adapters of those layers taken out, and nothing trained again. Arrays are shared."""
        left = copy(self)
        cut = tuple(f"encoder/layers/{i}/{sublayer}/adapter/" for i in layers for sublayer in SUBLAYERS)
        left._flat = {name: a for name, a in self._flat.items() if not name.startswith(cut)}
        left._trained = {name: a for name, a in self._trained.items() if name in left._flat}
        left._tree = unflatten({name: a for name, a in flatten(self._tree).items() if not name.startswith(cut)})
        return left

    def _run(self, batch: Batch, dropout: Dropout = NO_DROPOUT) -> Run:
        return Run(self.config, batch.offsets, self.adapter, dropout, first_only=self.head != "span")

    def _head_run(self, run: Run) -> Run:
        """BERT has dropout before the classifier, and none before the span head."""
        return run.at("head") if self.head != "span" else run._replace(dropout=NO_DROPOUT)

    def _dropout(self, step: int | None) -> Dropout:
        if step is None:
            return NO_DROPOUT
        return Dropout(self.config.hidden_dropout, self.config.attention_dropout, (self.seed, step))

    def hidden(self, batch: Batch) -> np.ndarray:
        """Hidden states of the last layer, adapters included, without dropout.   -> (T, D)"""
        return encoder_forward(batch, self._tree, None, self._run(batch)._replace(first_only=False))[0]

    def forward(self, batch: Batch) -> np.ndarray:
        """Scores, without dropout.   -> (B, C): logits of the classes; (B, 1); or (T, 2): logits of start and end"""
        run = self._run(batch)
        states, _ = encoder_forward(batch, self._tree, None, run)
        return head_forward(states, self._tree, None, self._head_run(run))[0]

    def predict(self, batch: Batch) -> np.ndarray:
        """Class probabilities (B, C); for a regression the scores (B,); for spans logits of start and end (T, 2)."""
        scores = self.forward(batch)
        return {"classify": softmax, "regress": lambda scores: scores[:, 0], "span": np.asarray}[self.head](scores)

    def loss(self, batch: Batch, labels, dropout_step: int | None = None) -> float:
        """The loss alone, for finite differences. Arguments as for `loss_and_grads`."""
        return self._loss_forward(batch, labels, None, self._run(batch, self._dropout(dropout_step)))[0]

    def loss_and_grads(self, batch: Batch, labels, dropout_step: int | None = None):
        """Mean loss of the batch, and its gradient by every trained parameter.

        labels (B,): class numbers, or target scores; for spans (B, 2), the places of the answer's first and last token
        in their sequence, 0 being [CLS]. dropout_step None is without dropout; a number is the training
        step whose dropout masks are used. Returns (loss, {flat name: array shaped as the parameter}).
        """
        run = self._run(batch, self._dropout(dropout_step))
        flat_grads = Packed.zeros_like(self.trained())
        grads = unflatten(flat_grads)
        loss, dscores, head_cache, caches = self._loss_forward(batch, labels, grads, run)
        dstates = head_backward(dscores, self._tree, head_cache, grads, self._head_run(run))
        encoder_backward(dstates, batch, self._tree, caches, grads, run)
        return loss, flat_grads

    def caches(self, batch: Batch, labels, dropout_step: int | None = 0) -> list:
        """What a training forward pass keeps for the backward pass: a cache of the embeddings and one of each layer."""
        run = self._run(batch, self._dropout(dropout_step))
        return self._loss_forward(batch, labels, unflatten(self.trained()), run)[3]

    def _loss_forward(self, batch: Batch, labels, grads, run: Run):
        labels = self._checked(labels, batch)
        states, caches = encoder_forward(batch, self._tree, grads, run)
        scores, head_cache = head_forward(states, self._tree, grads, self._head_run(run))
        where = (batch.offsets,) if self.head == "span" else ()  # the others have one row a sequence
        loss, dscores = LOSSES[self.head](scores, labels, *where)
        return float(loss), dscores, head_cache, caches

    def _checked(self, labels, batch: Batch) -> np.ndarray:
        labels = np.asarray(labels)
        if len(batch) == 0:
            raise InputError("the batch has no sequences, so it has no loss")
        span = self.head == "span"
        if labels.shape != ((len(batch), 2) if span else (len(batch),)):
            n = "two (first and last token)" if span else "one"
            raise InputError(f"labels must be {n} a sequence: {len(batch)} sequences, labels of shape {labels.shape}")
        if self.head == "regress":
            return labels.astype(np.float64)
        if span:
            last, fit = "the last token", labels.min() >= 0 and (labels < np.diff(batch.offsets)[:, None]).all()
        else:
            last, numbers = self.n_out - 1, labels.tolist()
            fit = min(numbers) >= 0 and max(numbers) <= last
        if labels.dtype.kind not in "iu" or not fit:
            raise InputError(f"labels must be whole numbers from 0 to {last}")
        return labels.astype(np.int64)

    def to_record(self, name: str, labels=(), training=None, dev=None) -> TaskRecord:
        """What a bank file keeps of this model: the trained arrays, and how to build the rest around them."""
        return TaskRecord(
            name=name,
            head=self.head,
            labels=tuple(labels),
            method=self.method,
            params={n: a.astype(np.float32) for n, a in self.trained().items()},
            adapter=self.adapter,
            model_options=dict(self.options),
            training=dict(training or {}),
            dev=dict(dev or {}),
            backbone_fingerprint=self.backbone.fingerprint,
            backbone_config=self.config,
        )

    @classmethod
    def from_record(cls, backbone: Backbone, record: TaskRecord, path="the bank") -> Model:
        """Build the model of a task in a bank. Raises InputError if it was trained on another backbone."""
        check_backbone(record, backbone.fingerprint, path)
        n_out = record.params["head/b"].size
        try:
            model = cls(backbone, record.head, n_out, record.method, record.adapter, **record.model_options)
        except TypeError:
            raise InputError(
                f"{path}: task {record.name!r} has settings that this version does not know: {record.model_options}"
            ) from None
        model.load_trained(record.params)
        return model

    def load_trained(self, params: dict[str, np.ndarray]) -> None:
        """Copy values into the trained parameters, all of them, by flat name."""
        trained = self.trained()
        if set(params) != set(trained):
            raise InputError(f"these are not this model's trained parameters: {sorted(set(params) ^ set(trained))[0]}")
        for name, value in params.items():
            trained[name][...] = value


def random_backbone(config: BertConfig, seed: int = 0, dtype=np.float32, std: float = 0.02) -> Backbone:
    """A backbone that was never trained, for gradient checks and timings; it has no tokenizer."""
    rng = np.random.default_rng(seed)
    flat = {}
    for name, shape in config.shapes().items():
        values = std * rng.standard_normal(shape)
        flat[name] = (1.0 + values if name.endswith("gamma") else values).astype(dtype)
    return Backbone(config, flat, None, fingerprint(flat))
