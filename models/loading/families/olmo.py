"""OLMo 1: Llama with a LayerNorm that has no weights. Source: Groeneveld et al. (2024), "OLMo", section 2.1."""

from typing import Any

from .family import Family
from .fields import Fields
from .layout import Layout
from .llama_like import ATTENTION, GATED_MLP, NEEDED, attention_biases, sizes
from .options import activation, rotary


def _config(fields: Fields) -> dict[str, Any]:
    fields.require("clip_qkv", None)
    config = sizes(fields)
    return {
        **config,
        "act_fn": activation("hidden_act", fields["hidden_act"]),
        "gated_mlp": True,
        "normalization_type": "LNPre",
        "eps": 1e-5,  # not in the config: a constant of the architecture
        **rotary(fields["rope_parameters"], config["d_head"]),
        "qkv_bias": bool(fields["attention_bias"]),
    }


def _layout(fields: Fields) -> Layout:
    return Layout({"embed.W_E": "embed_tokens.weight"}, {**ATTENTION, **GATED_MLP, **attention_biases(fields)})


OLMO = Family(_config, _layout, NEEDED)
