"""GPT-J: attention and MLP read the same normalised stream, and neighbouring coordinates are rotated.

Source: Wang and Komatsuzaki (2021), "GPT-J-6B: A 6 Billion Parameter Autoregressive Language Model".
"""

from typing import Any

from .family import Family
from .fields import Fields
from .layout import Copied, Layout, Names
from .options import activation

_STREAM: Names = {"embed.W_E": "wte.weight", "ln_final.w": "ln_f.weight", "ln_final.b": "ln_f.bias"}
_BLOCK: Names = {
    # One norm in the file: attention and MLP get a copy each, as in TransformerLens.
    ("ln1.w", "ln2.w"): Copied("ln_1.weight"),
    ("ln1.b", "ln2.b"): Copied("ln_1.bias"),
    "attn.W_Q": "attn.q_proj.weight",
    "attn.W_K": "attn.k_proj.weight",
    "attn.W_V": "attn.v_proj.weight",
    "attn.W_O": "attn.out_proj.weight",
    "mlp.W_in": "mlp.fc_in.weight",
    "mlp.b_in": "mlp.fc_in.bias",
    "mlp.W_out": "mlp.fc_out.weight",
    "mlp.b_out": "mlp.fc_out.bias",
}


def _config(fields: Fields) -> dict[str, Any]:
    return {
        "d_model": fields["n_embd"],
        "d_head": fields.ratio("n_embd", "n_head"),
        "n_layers": fields["n_layer"],
        "n_ctx": fields["n_positions"],
        "n_heads": fields["n_head"],
        "d_mlp": fields["n_inner"] or 4 * fields["n_embd"],
        "d_vocab": fields["vocab_size"],
        "act_fn": activation("activation_function", fields["activation_function"]),
        "normalization_type": "LN",
        "eps": fields["layer_norm_epsilon"],
        "parallel_attn_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_dim": fields["rotary_dim"],
        "rotary_adjacent_pairs": True,
        "qkv_bias": False,
        "tie_word_embeddings": bool(fields["tie_word_embeddings"]),
    }


def _layout(fields: Fields) -> Layout:
    return Layout(
        _STREAM,
        _BLOCK,
        head={"unembed.W_U": "lm_head.weight", "unembed.b_U": "lm_head.bias"},
        base="transformer.",
        blocks="h.{layer}.",
        redundant=r"h\.\d+\.attn\.(bias|masked_bias|embed_positions)",
    )


_NEEDED = ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "rotary_dim", "layer_norm_epsilon")
GPTJ = Family(_config, _layout, _NEEDED)
