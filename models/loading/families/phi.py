"""Phi 1, 1.5 and 2 (parallel, with biases), and Phi 3 (Llama with fused matrices).

Sources: Li et al. (2023), "Textbooks Are All You Need II: phi-1.5", section 2; Abdin et al. (2024), "Phi-3 Technical
Report", section 2.
"""

from typing import Any

from .family import Family
from .fields import Fields
from .layout import Copied, Fused, Layout, Names
from .llama_like import NEEDED, NORMS, QKV_BIASES, STREAM, gated, sizes
from .options import activation, rotary, rotary_and_windows, windows

_PHI_STREAM: Names = {
    "embed.W_E": "embed_tokens.weight",
    "ln_final.w": "final_layernorm.weight",
    "ln_final.b": "final_layernorm.bias",
}
_PHI_BLOCK: Names = {
    # One norm in the file: attention and MLP get a copy each, as in TransformerLens.
    ("ln1.w", "ln2.w"): Copied("input_layernorm.weight"),
    ("ln1.b", "ln2.b"): Copied("input_layernorm.bias"),
    "attn.W_Q": "self_attn.q_proj.weight",
    "attn.W_K": "self_attn.k_proj.weight",
    "attn.W_V": "self_attn.v_proj.weight",
    **QKV_BIASES,
    "attn.W_O": "self_attn.dense.weight",
    "attn.b_O": "self_attn.dense.bias",
    "mlp.W_in": "mlp.fc1.weight",
    "mlp.b_in": "mlp.fc1.bias",
    "mlp.W_out": "mlp.fc2.weight",
    "mlp.b_out": "mlp.fc2.bias",
}
_PHI3_BLOCK: Names = {
    **NORMS,
    ("attn.W_Q", "attn.W_K", "attn.W_V"): Fused("self_attn.qkv_proj.weight"),
    "attn.W_O": "self_attn.o_proj.weight",
    ("mlp.W_gate", "mlp.W_in"): Fused("mlp.gate_up_proj.weight"),
    "mlp.W_out": "mlp.down_proj.weight",
}


def _phi(fields: Fields) -> dict[str, Any]:
    fields.require("qk_layernorm", False)
    config = sizes(fields)
    return {
        **config,
        "act_fn": activation("hidden_act", fields["hidden_act"]),
        "normalization_type": "LN",
        "eps": fields["layer_norm_eps"],
        "parallel_attn_mlp": True,
        **rotary(fields["rope_parameters"], config["d_head"], partial=True),
        "default_prepend_bos": False,
    }


def _phi3(fields: Fields) -> dict[str, Any]:
    fields.get("partial_rotary_factor")  # rope_parameters has it too
    fields.get("original_max_position_embeddings")  # belongs to rotary positions of a type that is refused
    config = gated(fields)
    window = fields["sliding_window"]
    types = ["full_attention" if window is None else "sliding_attention"] * config["n_layers"]
    rope = rotary(fields["rope_parameters"], config["d_head"], partial=True)
    return {**config, **rotary_and_windows(rope, windows(types, window))}


def _phi_layout(fields: Fields) -> Layout:
    return Layout(_PHI_STREAM, _PHI_BLOCK, head={"unembed.W_U": "lm_head.weight", "unembed.b_U": "lm_head.bias"})


PHI = Family(_phi, _phi_layout, (*NEEDED, "layer_norm_eps"))
PHI3 = Family(_phi3, lambda fields: Layout(STREAM, _PHI3_BLOCK), (*NEEDED, "rms_norm_eps"))
