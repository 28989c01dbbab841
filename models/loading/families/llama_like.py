"""Llama and what was made after it: RMSNorm, rotary positions, gated MLPs, grouped keys and values.

Sources: Touvron et al. (2023), "LLaMA", section 2.2; Jiang et al. (2023), "Mistral 7B", section 2; Yang et al. (2024),
"Qwen2 Technical Report", section 2.2; Yang et al. (2025), "Qwen3 Technical Report", section 2.
"""

from typing import Any

from .family import Family
from .fields import Fields
from .layout import Layout, Names
from .options import activation, rotary, rotary_and_windows, windows

NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings",
)  # fmt: skip

STREAM: Names = {"embed.W_E": "embed_tokens.weight", "ln_final.w": "norm.weight"}
ATTENTION: Names = {
    "attn.W_Q": "self_attn.q_proj.weight",
    "attn.W_K": "self_attn.k_proj.weight",
    "attn.W_V": "self_attn.v_proj.weight",
    "attn.W_O": "self_attn.o_proj.weight",
}
QKV_BIASES: Names = {
    "attn.b_Q": "self_attn.q_proj.bias",
    "attn.b_K": "self_attn.k_proj.bias",
    "attn.b_V": "self_attn.v_proj.bias",
}
OUTPUT_BIAS: Names = {"attn.b_O": "self_attn.o_proj.bias"}
HEAD_NORMS: Names = {"attn.q_norm.w": "self_attn.q_norm.weight", "attn.k_norm.w": "self_attn.k_norm.weight"}
NORMS: Names = {"ln1.w": "input_layernorm.weight", "ln2.w": "post_attention_layernorm.weight"}
GATED_MLP: Names = {
    "mlp.W_gate": "mlp.gate_proj.weight",
    "mlp.W_in": "mlp.up_proj.weight",
    "mlp.W_out": "mlp.down_proj.weight",
}


def sizes(fields: Fields) -> dict[str, Any]:
    """The fields that all of them share: sizes, heads, the tied unembedding."""
    n_heads, n_kv_heads = fields["num_attention_heads"], fields["num_key_value_heads"]
    return {
        "d_model": fields["hidden_size"],
        "d_head": fields.get("head_dim") or fields.ratio("hidden_size", "num_attention_heads"),
        "n_layers": fields["num_hidden_layers"],
        "n_ctx": fields["max_position_embeddings"],
        "n_heads": n_heads,
        "n_key_value_heads": None if n_kv_heads in (None, n_heads) else n_kv_heads,
        "d_mlp": fields["intermediate_size"],
        "d_vocab": fields["vocab_size"],
        "tie_word_embeddings": bool(fields["tie_word_embeddings"]),
    }


def gated(fields: Fields) -> dict[str, Any]:
    """The fields of a gated RMSNorm model without QKV biases."""
    return {
        **sizes(fields),
        "act_fn": activation("hidden_act", fields["hidden_act"]),
        "gated_mlp": True,
        "normalization_type": "RMS",
        "eps": fields["rms_norm_eps"],
        "qkv_bias": False,
    }


def _llama(fields: Fields) -> dict[str, Any]:
    fields.require("mlp_bias", False)
    config = gated(fields)
    return {
        **config,
        **rotary(fields["rope_parameters"], config["d_head"]),
        "qkv_bias": bool(fields["attention_bias"]),
    }


def _mistral(fields: Fields) -> dict[str, Any]:
    fields.require("layer_types", None)
    config = gated(fields)
    window = fields["sliding_window"]
    types = ["full_attention" if window is None else "sliding_attention"] * config["n_layers"]
    rope = rotary(fields["rope_parameters"], config["d_head"])
    return {**config, **rotary_and_windows(rope, windows(types, window))}


def _qwen(fields: Fields) -> dict[str, Any]:
    fields.get("use_sliding_window"), fields.get("max_window_layers")  # layer_types says what follows from them
    config = gated(fields)
    rope = rotary(fields["rope_parameters"], config["d_head"])
    local = windows(fields["layer_types"], fields["sliding_window"])
    return {**config, **rotary_and_windows(rope, local), "default_prepend_bos": False}


def _qwen2(fields: Fields) -> dict[str, Any]:
    return {**_qwen(fields), "qkv_bias": True}


def _qwen3(fields: Fields) -> dict[str, Any]:
    return {**_qwen(fields), "qkv_bias": bool(fields["attention_bias"]), "use_qk_norm": True}


def attention_biases(fields: Fields) -> Names:
    """The biases of all four projections, where the config has them."""
    return {**QKV_BIASES, **OUTPUT_BIAS} if fields["attention_bias"] else {}


def _block(more: Names) -> Layout:
    return Layout(STREAM, {**NORMS, **ATTENTION, **GATED_MLP, **more})


_NEEDED = (*NEEDED, "rms_norm_eps")
LLAMA = Family(_llama, lambda fields: _block(attention_biases(fields)), _NEEDED)
MISTRAL = Family(_mistral, lambda fields: _block({}), _NEEDED)
QWEN2 = Family(_qwen2, lambda fields: _block(QKV_BIASES), _NEEDED)
QWEN3 = Family(_qwen3, lambda fields: _block({**attention_biases(fields), **HEAD_NORMS}), _NEEDED)
