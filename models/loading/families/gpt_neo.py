"""GPT-Neo: GPT-2 with every other block local, and scores that are not divided.

Source: Black et al. (2021), "GPT-Neo: Large Scale Autoregressive Language Modeling with Mesh-Tensorflow".
"""

from collections.abc import Sequence
from typing import Any

from .family import Family
from .fields import Fields
from .layout import Layout, Names
from .options import activation, windows

_STREAM: Names = {
    "embed.W_E": "wte.weight",
    "pos_embed.W_pos": "wpe.weight",
    "ln_final.w": "ln_f.weight",
    "ln_final.b": "ln_f.bias",
}
_BLOCK: Names = {
    "ln1.w": "ln_1.weight",
    "ln1.b": "ln_1.bias",
    "attn.W_Q": "attn.attention.q_proj.weight",
    "attn.W_K": "attn.attention.k_proj.weight",
    "attn.W_V": "attn.attention.v_proj.weight",
    "attn.W_O": "attn.attention.out_proj.weight",
    "attn.b_O": "attn.attention.out_proj.bias",
    "ln2.w": "ln_2.weight",
    "ln2.b": "ln_2.bias",
    "mlp.W_in": "mlp.c_fc.weight",
    "mlp.b_in": "mlp.c_fc.bias",
    "mlp.W_out": "mlp.c_proj.weight",
    "mlp.b_out": "mlp.c_proj.bias",
}
_TYPES = {"global": "full_attention", "local": "sliding_attention"}


def _config(fields: Fields) -> dict[str, Any]:
    fields.get("attention_layers")  # attention_types, expanded
    types = [_TYPES.get(kind, kind) for kind in _expanded(fields["attention_types"])]
    return {
        "d_model": fields["hidden_size"],
        "d_head": fields.ratio("hidden_size", "num_heads"),
        "n_layers": fields["num_layers"],
        "n_ctx": fields["max_position_embeddings"],
        "n_heads": fields["num_heads"],
        "d_mlp": fields["intermediate_size"] or 4 * fields["hidden_size"],
        "d_vocab": fields["vocab_size"],
        "act_fn": activation("activation_function", fields["activation_function"]),
        "normalization_type": "LN",
        "eps": fields["layer_norm_epsilon"],
        "use_attn_scale": False,
        **windows(types, fields["window_size"]),
        "qkv_bias": False,
        "tie_word_embeddings": bool(fields["tie_word_embeddings"]),
    }


def _expanded(types: Sequence[Any]) -> list[str]:
    """Each block's type, from pairs of a pattern and how often it comes."""
    return [kind for pattern, times in types for _ in range(times) for kind in pattern]


def _layout(fields: Fields) -> Layout:
    return Layout(
        _STREAM,
        _BLOCK,
        base="transformer.",
        blocks="h.{layer}.",
        redundant=r"h\.\d+\.attn\.attention\.(bias|masked_bias)",
    )


_NEEDED = (
    "vocab_size", "hidden_size", "num_layers", "num_heads", "max_position_embeddings", "attention_types",
    "layer_norm_epsilon",
)  # fmt: skip
GPT_NEO = Family(_config, _layout, _NEEDED)
