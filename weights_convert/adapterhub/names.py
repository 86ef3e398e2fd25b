"""What the library calls the files and the tensors of a task, and which names of a task it takes.

    bert.encoder.layer.I.attention.output.adapters.NAME.adapter_down.0.weight     (M, D): theirs are (out, in)
    bert.encoder.layer.I.output.adapters.NAME.adapter_up.weight                   (D, M)
    bert.encoder.layer.I.output.LayerNorm.weight                                  of the backbone, if it was trained

Their loader copies every tensor that the model has, so LayerNorms that were trained can lie in the adapter's file.
"""

from __future__ import annotations

from minibert.config import SUBLAYERS, AdapterConfig, BertConfig
from weights_convert.names import AS_IS, TRANSPOSED, name_map

ADAPTER, HEAD, README = "adapter_config.json", "head_config.json", "README.md"
WEIGHTS = {  # {config: (its tensors as torch.save writes them, as safetensors)}
    ADAPTER: ("pytorch_adapter.bin", "adapter.safetensors"),
    HEAD: ("pytorch_model_head.bin", "model_head.safetensors"),
}
PLACES = {"attention": "attention.output", "feed_forward": "output"}
OLD_PLACES = ("attention_text_task_adapters", "attention_text_lang_adapters")
OLD_PLACES += ("layer_text_task_adapters", "layer_text_lang_adapters")

# A task is an entry of two torch.nn.ModuleDict, which refuse what they have as an attribute (of PyTorch 2.13; the last
# one is there as soon as transformers 4.57 is).
_ATTRIBUTES = """
T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double dump_patches
eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items keys
load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
set_extra_state set_submodule share_memory state_dict to to_empty train training type update values xpu zero_grad
smart_apply
"""
ATTRIBUTES = frozenset(_ATTRIBUTES.split())


def library_name(task: str) -> str:
    """The task's name, or one like it that the library takes: without dots, and no attribute of its containers."""
    name = "".join(c if c.isalnum() or c in "_-" else "_" for c in task)
    return f"task_{name}" if name in ATTRIBUTES or name.startswith("_") else name


def adapter_names(task: str, adapter: AdapterConfig, n_layers: int) -> dict[str, tuple[str, bool]]:
    """{their name without "bert.": (our flat name, transposed)} of the tensors of all adapters of a model.

    With a LayerNorm in the adapter, its two tensors have two names each in a file: the library keeps it twice.
    """
    parts = {"adapter_up": "up", "adapter_down.1" if adapter.layernorm else "adapter_down.0": "down"}
    norms = ("adapter_down.0", "adapter_norm_before") if adapter.layernorm else ()
    names = {}
    for i in range(n_layers) if adapter.layers is None else adapter.layers:
        for sublayer in SUBLAYERS:
            if sublayer not in adapter.sublayers:
                continue
            theirs, ours = adapter_prefix(task, i, sublayer), f"encoder/layers/{i}/{sublayer}/adapter"
            for part, name in parts.items():
                names[f"{theirs}{part}.weight"] = (f"{ours}/{name}/W", TRANSPOSED)
                names[f"{theirs}{part}.bias"] = (f"{ours}/{name}/b", AS_IS)
            for part in norms:
                names[f"{theirs}{part}.weight"] = (f"{ours}/norm/gamma", AS_IS)
                names[f"{theirs}{part}.bias"] = (f"{ours}/norm/beta", AS_IS)
    return names


def adapter_prefix(task: str, layer: int, sublayer: str) -> str:
    """What the names of one adapter's tensors begin with."""
    return f"encoder.layer.{layer}.{PLACES[sublayer]}.adapters.{task}."


def layernorm_names(bert: BertConfig) -> dict[str, str]:
    """{their name without "bert.": our flat name} of the backbone's LayerNorms."""
    return {theirs: ours for theirs, (ours, _) in name_map(bert.n_layers).items() if "/norm/" in ours}


def todays_name(name: str) -> str:
    """A tensor's name without the optional "bert." in front, in the words of today's release."""
    name = name.removeprefix("bert.")
    for old in OLD_PLACES:
        name = name.replace(f".{old}.", ".adapters.")
    return name
