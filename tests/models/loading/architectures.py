"""A tiny model of every architecture that is converted, each option of its that we have on in some case."""

from copy import deepcopy
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
)

from tests.models.loading.in_float64 import float64_throughout, with_order_one_weights

D_VOCAB = 37
N_CTX = 19
N_LAYERS = 3

LLAMA = {
    "hidden_size": 24,
    "intermediate_size": 29,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "vocab_size": D_VOCAB,
    "max_position_embeddings": N_CTX,
    "rms_norm_eps": 1e-3,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
"""Sizes that differ pairwise, so that a swapped pair of axes cannot pass unseen."""

ROPE = {"rope_type": "default", "rope_theta": 300.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 11,
}
LINEAR = {"rope_type": "linear", "rope_theta": 300.0, "factor": 2.5}
GPT2 = {
    "vocab_size": D_VOCAB,
    "n_positions": N_CTX,
    "n_embd": 24,
    "n_layer": N_LAYERS,
    "n_head": 4,
    "n_inner": 29,
    "layer_norm_epsilon": 1e-3,
}
NEOX = {
    "vocab_size": D_VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": N_CTX,
    "layer_norm_eps": 1e-3,
    "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5},
}

GPTJ = {**GPT2, "rotary_dim": 4}
GPT_NEO = {
    "vocab_size": D_VOCAB,
    "max_position_embeddings": N_CTX,
    "hidden_size": 24,
    "num_layers": N_LAYERS,
    "num_heads": 4,
    "intermediate_size": 29,
    "attention_types": [[["global", "local", "local"], 1]],
    "window_size": 5,
    "layer_norm_epsilon": 1e-3,
}
OPT = {
    "vocab_size": D_VOCAB,
    "hidden_size": 24,
    "ffn_dim": 29,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": N_CTX,
    "word_embed_proj_dim": 24,
    "pad_token_id": 0,
}
GEMMA = {**LLAMA, "tie_word_embeddings": True, "rope_parameters": ROPE}
GEMMA2 = {**GEMMA, "query_pre_attn_scalar": 7, "sliding_window": 5}
GEMMA3 = {
    **GEMMA2,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {"full_attention": LINEAR, "sliding_attention": {**ROPE, "rope_theta": 90.0}},
}
NO_HEAD_DIM = {name: size for name, size in LLAMA.items() if name != "head_dim"} | {
    "num_attention_heads": 4,
    "rope_parameters": ROPE,
}
NO_RMS_NORM = {name: value for name, value in NO_HEAD_DIM.items() if name != "rms_norm_eps"}
PHI = {**NO_RMS_NORM, "layer_norm_eps": 1e-3, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.67}}
LLAMA_ROPE = {**LLAMA, "rope_parameters": ROPE}

_WINDOW = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "gpt2, scaled by layer": ("gpt2", {**GPT2, "scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False}),
    "gpt_neo": ("gpt_neo", GPT_NEO),
    "gptj": ("gptj", GPTJ),
    "gpt_neox": ("gpt_neox", NEOX),
    "gpt_neox, sequential": (
        "gpt_neox",
        {**NEOX, "use_parallel_residual": False, "attention_bias": False, "hidden_act": "relu"},
    ),
    "opt": ("opt", OPT),
    "opt, no biases, no norm weights": ("opt", {**OPT, "enable_bias": False, "layer_norm_elementwise_affine": False}),
    "opt, no final norm": ("opt", {**OPT, "_remove_final_layer_norm": True, "tie_word_embeddings": False}),
    "llama": ("llama", LLAMA_ROPE),
    "llama, tied": ("llama", {**LLAMA_ROPE, "tie_word_embeddings": True, "num_key_value_heads": 6}),
    "llama, biases": ("llama", {**LLAMA_ROPE, "attention_bias": True}),
    "llama 3.1": ("llama", {**LLAMA, "rope_parameters": LLAMA3}),
    "llama, linear": ("llama", {**LLAMA, "rope_parameters": LINEAR}),
    "mistral": ("mistral", {**LLAMA_ROPE, "sliding_window": 5}),
    "mistral, no window": ("mistral", {**LLAMA_ROPE, "sliding_window": None}),
    "qwen2": ("qwen2", NO_HEAD_DIM),
    "qwen2, window": ("qwen2", {**NO_HEAD_DIM, **_WINDOW}),
    "qwen3": ("qwen3", LLAMA_ROPE),
    "qwen3, window": ("qwen3", {**LLAMA_ROPE, **_WINDOW, "attention_bias": True}),
    "gemma": ("gemma", GEMMA),
    "gemma2": ("gemma2", GEMMA2),
    "gemma2, no caps": (
        "gemma2",
        {**GEMMA2, "final_logit_softcapping": None, "attn_logit_softcapping": None, "attention_bias": True},
    ),
    "gemma3_text": ("gemma3_text", GEMMA3),
    "gemma3_text, capped": ("gemma3_text", {**GEMMA3, "final_logit_softcapping": 3.0, "tie_word_embeddings": False}),
    "phi": ("phi", PHI),
    "phi3": ("phi3", {**NO_HEAD_DIM, "sliding_window": None}),
    "phi3, window": (
        "phi3",
        {**NO_HEAD_DIM, "sliding_window": 5, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.67}},
    ),
    "olmo": ("olmo", NO_RMS_NORM),
    "olmo, biases": ("olmo", {**NO_RMS_NORM, "attention_bias": True}),
}
"""By architecture, and what is special about the case behind a comma: the `model_type` and the fields of the config."""


def tiny(case: str, seed: int = 0) -> PreTrainedModel:
    """The model of a case, in float64, its weights of order one."""
    model_type, fields = CASES[case]
    with float64_throughout():
        config = AutoConfig.for_model(model_type, **deepcopy(fields))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        return with_order_one_weights(model, seed)
