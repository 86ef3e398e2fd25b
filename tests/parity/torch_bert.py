"""transformers' BERT with adapters put in by hand, and our parameters copied into it: the oracle for gradients."""

import numpy as np
import torch
from transformers import BertConfig as HFConfig
from transformers import BertModel

ACTIVATIONS = {
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "swish": torch.nn.functional.silu,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


class Adapter(torch.nn.Module):
    def __init__(self, D, M, activation):
        super().__init__()
        self.down, self.up, self.activation = torch.nn.Linear(D, M), torch.nn.Linear(M, D), ACTIVATIONS[activation]

    def forward(self, x):
        return x + self.up(self.activation(self.down(x)))


def dense_then_adapter(module, adapter):
    """BertSelfOutput and BertOutput: dense, dropout, (adapter), LayerNorm of the sum."""

    def forward(hidden, residual):
        x = module.dropout(module.dense(hidden))
        return module.LayerNorm((adapter(x) if adapter else x) + residual)

    return forward


class TorchModel(torch.nn.Module):
    """The model of a minibert Model: same parameters, same scores."""

    def __init__(self, model):
        super().__init__()
        c = model.config
        self.bert = BertModel(
            HFConfig(
                vocab_size=c.vocab_size,
                hidden_size=c.hidden_size,
                num_hidden_layers=c.n_layers,
                num_attention_heads=c.n_heads,
                intermediate_size=c.feed_forward_size,
                max_position_embeddings=c.max_positions,
                type_vocab_size=c.n_segments,
                layer_norm_eps=c.layernorm_eps,
                hidden_act={"gelu": "gelu", "gelu_tanh": "gelu_new"}[c.activation],
                attn_implementation="eager",
            )
        )
        self.pooled = model.options["pooled"]
        self.head = torch.nn.Linear(c.hidden_size, model.n_out)
        self.adapters = torch.nn.ModuleDict()
        for i, layer in enumerate(self.bert.encoder.layer):
            for sublayer, module in (("attention", layer.attention.output), ("feed_forward", layer.output)):
                adapter = None
                if model.adapter:
                    adapter = Adapter(c.hidden_size, model.adapter.size, model.adapter.activation)
                    self.adapters[f"{i}_{sublayer}"] = adapter
                module.forward = dense_then_adapter(module, adapter)
        self.eval()
        self.ours = self._pair_with(model.parameters())

    def _pair_with(self, parameters):
        """Copy our values in. Returns {our flat name: (torch parameter, whether it is stored transposed)}."""
        pairs = {}
        for name, value in parameters.items():
            tensor, transposed = self._find(name), name.endswith("/W") and not name.startswith("embeddings/")
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(np.array(value.T if transposed else value)))
            pairs[name] = (tensor, transposed)
        return pairs

    def _find(self, name):
        kind = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
        *path, leaf = name.split("/")
        if path[0] == "head":
            return getattr(self.head, kind[leaf])
        if path[0] == "pooler":
            return getattr(self.bert.pooler.dense, kind[leaf])
        if path[0] == "embeddings":
            table = {"word": "word_embeddings", "position": "position_embeddings", "segment": "token_type_embeddings"}
            return getattr(getattr(self.bert.embeddings, table.get(path[1], "LayerNorm")), kind[leaf])
        i, sublayer, what = int(path[2]), path[3], path[4]
        if what == "adapter":
            return getattr(getattr(self.adapters[f"{i}_{sublayer}"], path[5]), kind[leaf])
        layer = self.bert.encoder.layer[i]
        end = layer.attention.output if sublayer == "attention" else layer.output
        module = {
            "query": layer.attention.self.query,
            "key": layer.attention.self.key,
            "value": layer.attention.self.value,
            "output": end.dense,
            "norm": end.LayerNorm,
            "intermediate": layer.intermediate.dense,
        }[what]
        return getattr(module, kind[leaf])

    def scores(self, batch):
        """Scores of a packed batch, which is padded here, as torch needs it."""
        lengths = np.diff(batch.offsets)
        ids, segments, mask = (torch.zeros(len(batch), int(lengths.max()), dtype=torch.long) for _ in range(3))
        for b, n in enumerate(lengths):
            rows = slice(batch.offsets[b], batch.offsets[b + 1])
            ids[b, :n], segments[b, :n] = torch.from_numpy(batch.ids[rows]), torch.from_numpy(batch.segments[rows])
            mask[b, :n] = 1
        out = self.bert(input_ids=ids, token_type_ids=segments, attention_mask=mask)
        return self.head(out.pooler_output if self.pooled else out.last_hidden_state[:, 0])

    def loss_and_grads(self, batch, labels, head):
        """(loss, {our flat name: gradient in our layout}) of every parameter."""
        self.zero_grad()
        scores = self.scores(batch)
        if head == "classify":
            loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(np.asarray(labels)))
        else:
            loss = ((scores[:, 0] - torch.from_numpy(np.asarray(labels, np.float32))) ** 2).mean()
        loss.backward()
        grads = {}
        for name, (tensor, transposed) in self.ours.items():
            grad = tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
            grads[name] = (grad.T if transposed else grad).numpy().copy()
        return loss.item(), grads
