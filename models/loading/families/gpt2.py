"""GPT-2. Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", section 2.3."""

from typing import Any

from .family import Family
from .fields import Fields
from .layout import Fused, Layout, Names
from .options import activation

_BLOCK: Names = {
    "ln1.w": "ln_1.weight",
    "ln1.b": "ln_1.bias",
    ("attn.W_Q", "attn.W_K", "attn.W_V"): Fused("attn.c_attn.weight"),
    ("attn.b_Q", "attn.b_K", "attn.b_V"): Fused("attn.c_attn.bias"),
    "attn.W_O": "attn.c_proj.weight",
    "attn.b_O": "attn.c_proj.bias",
    "ln2.w": "ln_2.weight",
    "ln2.b": "ln_2.bias",
    "mlp.W_in": "mlp.c_fc.weight",
    "mlp.b_in": "mlp.c_fc.bias",
    "mlp.W_out": "mlp.c_proj.weight",
    "mlp.b_out": "mlp.c_proj.bias",
}


def _config(fields: Fields) -> dict[str, Any]:
    fields.require("add_cross_attention", False)
    scaled = bool(fields["scale_attn_weights"])
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
        "use_attn_scale": scaled,
        "scale_attn_by_inverse_layer_idx": bool(fields["scale_attn_by_inverse_layer_idx"]),
        "tie_word_embeddings": bool(fields["tie_word_embeddings"]),
    }


def _layout(fields: Fields) -> Layout:
    return Layout(
        stream={
            "embed.W_E": "wte.weight",
            "pos_embed.W_pos": "wpe.weight",
            "ln_final.w": "ln_f.weight",
            "ln_final.b": "ln_f.bias",
        },
        block=_BLOCK,
        base="transformer.",
        blocks="h.{layer}.",
        input_first=True,
        redundant=r"h\.\d+\.attn\.(bias|masked_bias)",
    )


GPT2 = Family(_config, _layout, ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "layer_norm_epsilon"))
