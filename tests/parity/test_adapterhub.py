"""Our adapters sit where the AdapterHub library puts its `double_seq_bn`: same numbers in, same hidden states out."""

import numpy as np
import torch
from adapters import BertAdapterModel, DoubleSeqBnConfig
from transformers import AutoTokenizer

from minibert import AdapterConfig, Model, load_backbone
from minibert.gradcheck import away_from_identity


def load_adapters(theirs, ours):
    """Copy our adapters and LayerNorms into their model; each of them must find its place."""
    names = {"attention": "attention.output", "feed_forward": "output"}
    weights = theirs.state_dict()
    for name, value in ours.trained().items():
        path = name.split("/")
        if path[0] == "head":
            continue
        kind = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}[path[-1]]
        if path[0] == "embeddings":
            key = f"bert.embeddings.LayerNorm.{kind}"
        else:
            module = {"norm": "LayerNorm", "down": "adapters.task.adapter_down.0", "up": "adapters.task.adapter_up"}
            key = f"bert.encoder.layer.{path[2]}.{names[path[3]]}.{module[path[-2]]}.{kind}"
        assert key in weights, key
        weights[key].copy_(torch.from_numpy(np.ascontiguousarray(value.T)))


def test_hidden_states_with_adapters_equal_those_of_adapterhub(backbone_path, hf_folder, texts):
    backbone = load_backbone(backbone_path)
    model = Model(backbone, adapter=AdapterConfig(size=16))
    away_from_identity(model, std=0.05)
    theirs = BertAdapterModel.from_pretrained(hf_folder)
    config = DoubleSeqBnConfig(reduction_factor=backbone.config.hidden_size / 16, non_linearity="gelu")
    theirs.add_adapter("task", config=config)
    theirs.set_active_adapters("task")
    load_adapters(theirs, model)
    theirs.eval()

    inputs = AutoTokenizer.from_pretrained(hf_folder)(texts[0], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        padded = theirs.bert(**inputs).last_hidden_state.numpy()
    expected = padded[inputs["attention_mask"].numpy().astype(bool)]
    batch = backbone.encode(texts[0])
    worst = np.abs(model.hidden(batch) - expected).max()
    print(f"\nAdapterHub: {len(batch)} texts, largest difference {worst:.1e}")
    assert worst <= 1e-4
    assert np.abs(backbone.forward(batch) - expected).max() > 0.1  # the adapters do change something
