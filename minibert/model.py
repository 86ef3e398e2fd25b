"""A model: a backbone with a method of tuning, and a head for one task."""

from __future__ import annotations

from copy import copy

import numpy as np

import kernels
from minibert.adapter import adapter_init
from minibert.backbone import Backbone, read_only
from minibert.bert import context_of, encoder_backward, encoder_forward
from minibert.config import SUBLAYERS, AdapterConfig, BertConfig
from minibert.errors import InputError
from minibert.heads import Head, check_weights, head_backward, head_forward, head_init, head_record, pooler_init
from minibert.layers import NO_DROPOUT, Context, dropout_of_step
from minibert.methods import check_options, check_pooler, format_table, parameter_table, trained_names, used_options
from minibert.params import FlatParams, unflatten
from minibert.storage import TOKENS, TaskRecord, check_backbone
from minibert.text import Batch, Features


class Model:
    """A task's model. What is trained is its own; what is frozen is the backbone's very arrays.

    Python threads may share a model, and models: their passes are made one after the other, each on all cores.

    head: see heads.py; "classify" has n_out classes, "multilabel" n_out labels, "regress" one output,
    "span" two (start and end of an answer).
    method: see methods.py; "top_k" needs top_k. adapter (default: the paper's) and train_layernorm=False, which freezes
    the LayerNorms, are for method "adapter" alone. pooled puts BERT's pooler before the head. This and frozen
    LayerNorms are choices of other sources, not the paper's. With train_pooler the pooler is the task's own: it starts
    from the backbone's, if that has one, is trained, and reads what the head reads. seed: of new weights and of
    dropout's masks.

    Raises InputError if something does not fit, or if an option is given that the method does not use.
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
        train_pooler: bool = False,
    ):
        check_options(method, adapter, top_k, train_layernorm)
        check_pooler(method, pooled, train_pooler)
        self.head_record = head_record(head)
        self.head_record.check_outputs(n_out)
        if pooled and not train_pooler:
            _check_pooled(self.head_record, backbone.config)
        self.backbone, self.config, self.head, self.n_out, self.method = backbone, backbone.config, head, n_out, method
        self.adapter = (adapter or AdapterConfig()) if method == "adapter" else None
        self.seed = seed
        flat = {name: a for name, a in backbone._arrays.items() if pooled or not name.startswith("pooler/")}
        if self.adapter is not None:
            flat |= adapter_init(self.adapter, self.config, seed, backbone.dtype)
        if train_pooler and "pooler/W" not in flat:
            flat |= pooler_init(self.config.hidden_size, seed, backbone.dtype)
        flat |= head_init(self.config.hidden_size, n_out, seed, backbone.dtype)
        names = trained_names(flat, method, self.config.n_layers, top_k, train_layernorm, train_pooler)
        self.options = {"top_k": int(top_k or 0), "pooled": bool(pooled), "train_layernorm": bool(train_layernorm)}
        self.options |= {"train_pooler": True} if train_pooler else {}
        self._trained = FlatParams.copy_of({name: a for name, a in flat.items() if name in names})
        self._flat = {name: self._trained.get(name, a) for name, a in flat.items()}
        self._tree = backbone.tree(self._flat)

    @property
    def tree(self) -> dict:
        """What layers compute with: its own arrays, and the backbone's as all of its models share them."""
        return self._tree

    def parameters(self) -> dict[str, np.ndarray]:
        """Flat name -> array, of everything the model computes with; what is frozen is read-only."""
        return {name: a if name in (self._trained or ()) else read_only(a) for name, a in self._flat.items()}

    def trained(self) -> FlatParams:
        """Flat name -> array, of what trains. Changing an array changes the model.

        Raises RuntimeError if adapters were taken out of the model.
        """
        if self._trained is None:
            raise RuntimeError(
                "this model is for scoring only: adapters were taken out of it (without_adapters), so it can neither "
                "be trained nor kept; take the model that it was made from"
            )
        return self._trained

    def table(self) -> str:
        """What is trained: groups, counts, percent."""
        shapes = {name: a.shape for name, a in self._flat.items()}
        return format_table(parameter_table(shapes, set(self.trained())))

    def without_adapters(self, layers) -> Model:
        """This model with the adapters of those layers taken out, and nothing trained again. Arrays are shared.

        What is returned is for scoring only: to train it, or to make a record of it, is a RuntimeError.
        """
        left = copy(self)
        cut = tuple(f"encoder/layers/{i}/{sublayer}/adapter/" for i in layers for sublayer in SUBLAYERS)
        left._flat = {name: a for name, a in self._flat.items() if not name.startswith(cut)}
        left._trained = None
        left._tree = self.backbone.tree(left._flat)
        return left

    def _context(self, batch: Batch, dropout_step: int | None = None) -> Context:
        """The context of a pass; dropout_step None is without dropout."""
        dropout = NO_DROPOUT if dropout_step is None else dropout_of_step(self.config, self.seed, dropout_step)
        return context_of(batch, self.config, self.adapter, dropout, all_rows=self.head_record.reads_all_tokens)

    def _scores(self, batch: Batch, context: Context) -> np.ndarray:
        with kernels.computing(self.backbone.dtype):
            if isinstance(batch, Features):
                states = batch.states
            else:
                states, _ = encoder_forward(batch, self._tree, None, context)
            return head_forward(states, self._tree, None, self.head_record.context(context))[0]

    def hidden(self, batch: Batch) -> np.ndarray:
        """Hidden states of the last layer, adapters included, without dropout.   -> (T, D)"""
        with kernels.computing(self.backbone.dtype):
            return encoder_forward(batch, self._tree, None, context_of(batch, self.config, self.adapter))[0]

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether nothing trains but the head and its pooler: what they read never changes, but for dropout."""
        return not any(name.startswith(("embeddings/", "encoder/")) for name in self.trained())

    @property
    def has_features(self) -> bool:
        """Whether the encoder is frozen, and its output is read of [CLS] alone."""
        return self.encoder_is_frozen and not self.head_record.reads_all_tokens

    def features(self, batch: Batch) -> Features:
        """What the head reads of each sequence, without dropout; all methods take it in place of the batch.

        Raises RuntimeError unless the model `has_features`: else they would leave out what trains.
        """
        if not self.has_features:
            raise RuntimeError("features are for a model whose encoder is frozen, and whose head reads [CLS] alone")
        with kernels.computing(self.backbone.dtype):
            return Features(encoder_forward(batch, self._tree, None, self._context(batch))[0])

    def forward(self, batch: Batch) -> np.ndarray:
        """Scores, without dropout.   -> (B, C): logits of the classes; (B, 1); or (T, 2): logits of start and end"""
        return self._scores(batch, self._context(batch))

    def predict(self, batch: Batch) -> np.ndarray:
        """Probabilities of classes or labels (B, C); for a regression the scores (B,); for spans logits of start and
        end (T, 2)."""
        return self.head_record.to_prediction(self.forward(batch))

    def loss(self, batch: Batch, labels, dropout_step: int | None = None, weights=None) -> float:
        """The loss alone, for finite differences. Arguments as for `loss_and_grads`."""
        labels, weights = self._checked(labels, weights, batch)
        context = self._context(batch, dropout_step)
        return float(self.head_record.mean_loss(self._scores(batch, context), labels, batch.offsets, weights)[0])

    def loss_and_grads(self, batch: Batch, labels, dropout_step: int | None = None, weights=None):
        """Mean loss of the batch, and its gradient with respect to every trained parameter.

        labels (B,): class numbers, or target scores; for several labels a text 0 and 1 (B, C); for spans
        (B, 2), the positions of the answer's first and last token in its sequence, 0 being [CLS]. dropout_step None is
        without dropout; a number is the training step whose dropout masks are used. weights (B,), finite and not
        negative: the loss is sum(w l) / sum(w) over the sequences' losses l, as in PyTorch's CrossEntropyLoss(weight)
        and scikit-learn, and 0 if all weights are 0; None: 1 each.
        Returns (loss, gradients), the latter as FlatParams: {flat name: array shaped as the parameter}.
        """
        labels, weights = self._checked(labels, weights, batch)
        context = self._context(batch, dropout_step)
        flat_grads = FlatParams.zeros_like(self.trained())
        grads = unflatten(flat_grads)

        head_context = self.head_record.context(context)
        with kernels.computing(self.backbone.dtype, "train"):
            if isinstance(batch, Features):
                states, caches = batch.states, None
            else:
                states, caches = encoder_forward(batch, self._tree, grads, context)
            scores, head_cache = head_forward(states, self._tree, grads, head_context)
            loss, dscores = self.head_record.mean_loss(scores, labels, batch.offsets, weights)
            dstates = head_backward(dscores, self._tree, head_cache, grads, head_context)
            if caches is not None:
                encoder_backward(dstates, batch, self._tree, caches, grads, context)
        return float(loss), flat_grads

    def caches(self, batch: Batch, dropout_step: int | None = None) -> list:
        """What the encoder's forward pass of a training step keeps for backward: of the embeddings, of each layer."""
        grads = unflatten(FlatParams.zeros_like(self.trained()))
        with kernels.computing(self.backbone.dtype, "train"):
            return encoder_forward(batch, self._tree, grads, self._context(batch, dropout_step))[1]

    def _checked(self, labels, weights, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        if len(batch) == 0:
            raise InputError("the batch has no sequences, so it has no loss")
        labels = self.head_record.to_labels(np.asarray(labels), self.n_out, np.diff(batch.offsets))
        return labels, check_weights(weights, len(batch))

    def to_record(self, name: str, labels=(), training=None, dev=None, rows=None) -> TaskRecord:
        """What a bank file keeps of this model: the trained arrays, and how to build the rest around them.

        The other arguments are fields of TaskRecord.
        """
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
            rows=dict(rows or {}),
            rows_of=TOKENS,
            backbone_fingerprint=self.backbone.fingerprint,
            backbone_tokenizer=self.backbone.tokenizer_fingerprint,
            backbone_config=self.config,
        )

    @classmethod
    def from_record(cls, backbone: Backbone, record: TaskRecord, path="the bank") -> Model:
        """Build the model of a task in a bank.

        Its seed, which further training takes its dropout masks from, is that of the training (`training["train"]
        ["seed"]`), or 0 if the record has none. Raises InputError if the task was trained on another backbone, one with
        another config or tokenizer, or has options that are not known here.
        """
        tokenizer = backbone.tokenizer.json if backbone.tokenizer else ""
        check_backbone(record, backbone.fingerprint, backbone.config, path, tokenizer)
        try:
            options = used_options(record.method, record.model_options)
        except InputError as error:
            raise InputError(f"{path}: task {record.name!r} {error}") from None
        adapter = record.adapter if record.method == "adapter" else None
        model = cls(backbone, record.head, record.n_out, record.method, adapter, _seed_of(record), **options)
        model.load_trained(record.params)
        return model

    def load_trained(self, params: dict[str, np.ndarray]) -> None:
        """Copy values into the trained parameters, all of them, {flat name: array shaped as the parameter}.

        Raises InputError if a name or a shape is another one; then nothing has been copied.
        """
        trained = self.trained()
        if set(params) != set(trained):
            raise InputError(f"these are not this model's trained parameters: {sorted(set(params) ^ set(trained))[0]}")
        for name, value in params.items():
            if np.shape(value) != trained[name].shape:
                raise InputError(f"parameter {name} must have the shape {trained[name].shape}, got {np.shape(value)}")
        trained.update(params)


def _check_pooled(head: Head, config: BertConfig) -> None:
    """Raise InputError unless a pooler can stand before the head."""
    if head.reads_all_tokens:
        raise InputError(
            f"the pooler reads the first token alone, head {head.name} every token: it cannot be pooled, unless the "
            "pooler is the task's own (train_pooler)"
        )
    if not config.pooler:
        raise InputError(
            "this backbone has no pooler, which a pooled head reads: its checkpoint was saved without one; leave out "
            "--pooled-head (pooled), or take another backbone"
        )


def _seed_of(record: TaskRecord) -> int:
    """That of the training; a record that was made by hand need not have one."""
    settings = record.training.get("train")
    seed = settings.get("seed", 0) if isinstance(settings, dict) else 0
    return seed if isinstance(seed, int) and seed >= 0 else 0
