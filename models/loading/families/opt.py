"""OPT, with its norms before the layers. Source: Zhang et al. (2022), "OPT: Open Pre-trained Transformer"."""

from typing import Any

from .family import Family
from .fields import Fields, refused
from .layout import Layout, Names, Rows
from .options import activation

_FIRST_POSITION = 2
"""The table of positions begins with rows that are never used."""

_PROJECTIONS = {"Q": "q_proj", "K": "k_proj", "V": "v_proj", "O": "out_proj"}
_WEIGHTS: Names = {
    **{f"attn.W_{ours}": f"self_attn.{theirs}.weight" for ours, theirs in _PROJECTIONS.items()},
    "mlp.W_in": "fc1.weight",
    "mlp.W_out": "fc2.weight",
}
_BIASES: Names = {
    **{f"attn.b_{ours}": f"self_attn.{theirs}.bias" for ours, theirs in _PROJECTIONS.items()},
    "mlp.b_in": "fc1.bias",
    "mlp.b_out": "fc2.bias",
}
_NORMS: Names = {
    "ln1.w": "self_attn_layer_norm.weight",
    "ln1.b": "self_attn_layer_norm.bias",
    "ln2.w": "final_layer_norm.weight",
    "ln2.b": "final_layer_norm.bias",
}


def _config(fields: Fields) -> dict[str, Any]:
    fields.require("do_layer_norm_before", True)
    if fields["word_embed_proj_dim"] != fields["hidden_size"]:
        raise refused("word_embed_proj_dim", fields["word_embed_proj_dim"])
    return {
        "d_model": fields["hidden_size"],
        "d_head": fields.ratio("hidden_size", "num_attention_heads"),
        "n_layers": fields["num_hidden_layers"],
        "n_ctx": fields["max_position_embeddings"],
        "n_heads": fields["num_attention_heads"],
        "d_mlp": fields["ffn_dim"],
        "d_vocab": fields["vocab_size"],
        "act_fn": activation("activation_function", fields["activation_function"]),
        "normalization_type": "LN" if fields["layer_norm_elementwise_affine"] else "LNPre",
        "eps": 1e-5,  # not in the config: PyTorch's default
        "final_norm": not fields["_remove_final_layer_norm"],
        "qkv_bias": bool(fields["enable_bias"]),
        "tie_word_embeddings": bool(fields["tie_word_embeddings"]),
    }


def _layout(fields: Fields) -> Layout:
    stream: Names = {
        "embed.W_E": "decoder.embed_tokens.weight",
        "pos_embed.W_pos": Rows("decoder.embed_positions.weight", _FIRST_POSITION),
    }
    if fields["layer_norm_elementwise_affine"] and not fields["_remove_final_layer_norm"]:
        final = "decoder.final_layer_norm"
        stream = {**stream, "ln_final.w": f"{final}.weight", "ln_final.b": f"{final}.bias"}
    block = {
        **_WEIGHTS,
        **(_BIASES if fields["enable_bias"] else {}),
        **(_NORMS if fields["layer_norm_elementwise_affine"] else {}),
    }
    return Layout(stream, block, blocks="decoder.layers.{layer}.")


_NEEDED = (
    "vocab_size", "hidden_size", "ffn_dim", "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
)  # fmt: skip
OPT = Family(_config, _layout, _NEEDED)
