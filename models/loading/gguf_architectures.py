"""The architectures of GGUF files that are read: Hugging Face's type, its names of the tensors, and what to undo.

Source: the tensor names of the GGUF specification; the weight names of the `transformers` classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .gguf_tensors import Undo, key_rows, norm_less_one, query_key_value_by_head, query_rows, transposed


@dataclass(frozen=True)
class Architecture:
    """How files of one architecture become a checkpoint of Hugging Face's.

    Attributes:
        model_type: Hugging Face's name of it.
        outside: names of tensors outside the blocks, without `.weight` and `.bias`.
        blocks: what Hugging Face calls the list of blocks.
        inside: names of tensors within a block.
        undo: what is undone, by the file's name; `norm` stands for every norm.
    """

    model_type: str
    outside: Mapping[str, str]
    blocks: str
    inside: Mapping[str, str]
    undo: Mapping[str, Undo] = field(default_factory=dict)


_LLAMA_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LLAMA_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GEMMA_2_INSIDE = {
    **_LLAMA_INSIDE,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_GPT2_INSIDE = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_NEOX_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "attention.query_key_value",
    "attn_output": "attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}


def _llama_like(model_type: str, inside: Mapping[str, str] = _LLAMA_INSIDE, **undo: Undo) -> Architecture:
    return Architecture(model_type, _LLAMA_OUTSIDE, "model.layers", inside, undo)


ARCHITECTURES = {
    "llama": _llama_like("llama", attn_q=query_rows, attn_k=key_rows),
    "olmo": _llama_like("olmo", attn_q=query_rows, attn_k=key_rows),
    "qwen2": _llama_like("qwen2"),
    "qwen3": _llama_like("qwen3", {**_LLAMA_INSIDE, **_HEAD_NORMS}),
    "gemma": _llama_like("gemma", norm=norm_less_one),
    "gemma2": _llama_like("gemma2", _GEMMA_2_INSIDE, norm=norm_less_one),
    "gemma3": _llama_like("gemma3_text", {**_GEMMA_2_INSIDE, **_HEAD_NORMS}, norm=norm_less_one),
    "gpt2": Architecture(
        "gpt2",
        {
            "token_embd": "transformer.wte",
            "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
        },
        "transformer.h",
        _GPT2_INSIDE,
        {name: transposed for name in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")},
    ),
    "gptneox": Architecture(
        "gpt_neox",
        {"token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out"},
        "gpt_neox.layers",
        _NEOX_INSIDE,
        {"attn_qkv": query_key_value_by_head},
    ),
}
"""By the value of `general.architecture`."""
