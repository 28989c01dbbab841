"""GPT-NeoX, and with it Pythia.

Sources: Black et al. (2022), "GPT-NeoX-20B", section 2; Biderman et al. (2023), "Pythia", section 2.
"""

from typing import Any

from .family import Family
from .fields import Fields
from .layout import Either, Fused, Layout, Names
from .options import activation, rotary

_STREAM: Names = {
    "embed.W_E": "embed_in.weight",
    "ln_final.w": "final_layer_norm.weight",
    "ln_final.b": "final_layer_norm.bias",
}
_BLOCK: Names = {
    "ln1.w": "input_layernorm.weight",
    "ln1.b": "input_layernorm.bias",
    ("attn.W_Q", "attn.W_K", "attn.W_V"): Fused("attention.query_key_value.weight", by_head=True),
    "attn.W_O": "attention.dense.weight",
    "ln2.w": "post_attention_layernorm.weight",
    "ln2.b": "post_attention_layernorm.bias",
    "mlp.W_in": "mlp.dense_h_to_4h.weight",
    "mlp.b_in": "mlp.dense_h_to_4h.bias",
    "mlp.W_out": "mlp.dense_4h_to_h.weight",
    "mlp.b_out": "mlp.dense_4h_to_h.bias",
}
_BIASES: Names = {
    ("attn.b_Q", "attn.b_K", "attn.b_V"): Fused("attention.query_key_value.bias", by_head=True),
    "attn.b_O": "attention.dense.bias",
}


def _config(fields: Fields) -> dict[str, Any]:
    d_head = fields.ratio("hidden_size", "num_attention_heads")
    return {
        "d_model": fields["hidden_size"],
        "d_head": d_head,
        "n_layers": fields["num_hidden_layers"],
        "n_ctx": fields["max_position_embeddings"],
        "n_heads": fields["num_attention_heads"],
        "d_mlp": fields["intermediate_size"],
        "d_vocab": fields["vocab_size"],
        "act_fn": activation("hidden_act", fields["hidden_act"]),
        "normalization_type": "LN",
        "eps": fields["layer_norm_eps"],
        "parallel_attn_mlp": bool(fields["use_parallel_residual"]),
        **rotary(fields["rope_parameters"], d_head, partial=True),
        "qkv_bias": bool(fields["attention_bias"]),
        "tie_word_embeddings": bool(fields["tie_word_embeddings"]),
        "default_prepend_bos": False,
    }


def _layout(fields: Fields) -> Layout:
    return Layout(
        stream=_STREAM,
        block={**_BLOCK, **(_BIASES if fields["attention_bias"] else {})},
        head={"unembed.W_U": Either("embed_out.weight", "lm_head.weight")},
        base="gpt_neox.",
        redundant=r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
    )


_NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "layer_norm_eps",
)  # fmt: skip
GPT_NEOX = Family(_config, _layout, _NEEDED)
