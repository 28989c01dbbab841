"""A tiny model of every architecture that is converted, each option of its that we have on in some case."""

from collections.abc import Callable
from typing import Any

from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
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

Maker = Callable[[], PreTrainedModel]


def _llama(**changes: Any) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**LLAMA, "rope_parameters": ROPE, **changes}))


def _mistral(**changes: Any) -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**{**LLAMA, "rope_parameters": ROPE, **changes}))


def _qwen2(**changes: Any) -> PreTrainedModel:
    sizes = {name: size for name, size in LLAMA.items() if name != "head_dim"}
    return Qwen2ForCausalLM(Qwen2Config(**{**sizes, "num_attention_heads": 4, "rope_parameters": ROPE, **changes}))


def _qwen3(**changes: Any) -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**{**LLAMA, "rope_parameters": ROPE, **changes}))


def _gpt2(**changes: Any) -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(**{**GPT2, **changes}))


def _neox(**changes: Any) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**{**NEOX, **changes}))


_WINDOW = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}

CASES: dict[str, Maker] = {
    "gpt2": _gpt2,
    "gpt2, scaled by layer": lambda: _gpt2(scale_attn_by_inverse_layer_idx=True, scale_attn_weights=False),
    "gpt_neox": _neox,
    "gpt_neox, sequential": lambda: _neox(use_parallel_residual=False, attention_bias=False, hidden_act="relu"),
    "llama": _llama,
    "llama, tied": lambda: _llama(tie_word_embeddings=True, num_key_value_heads=6, head_dim=None),
    "llama, biases": lambda: _llama(attention_bias=True),
    "llama 3.1": lambda: _llama(rope_parameters=LLAMA3),
    "llama, linear": lambda: _llama(rope_parameters=LINEAR),
    "mistral": lambda: _mistral(sliding_window=5),
    "mistral, no window": lambda: _mistral(sliding_window=None),
    "qwen2": _qwen2,
    "qwen2, window": lambda: _qwen2(**_WINDOW),
    "qwen3": _qwen3,
    "qwen3, window": lambda: _qwen3(attention_bias=True, **_WINDOW),
}
"""By architecture, and what is special about the case behind a comma."""


def tiny(case: str, seed: int = 0) -> PreTrainedModel:
    """The model of a case, in float64, its weights of order one."""
    with float64_throughout():
        model = CASES[case]()
        model.set_attn_implementation("eager")
        return with_order_one_weights(model, seed)
