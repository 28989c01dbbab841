"""Gemma 1, 2 and 3 (text).

Norms are stored as what they add to one, and the embedding is multiplied by the root of its width on the way into
the stream. As in TransformerLens, both are done once in the weights, and the unembedding, which the second does not
concern, is then a matrix of its own.

Sources: Gemma Team (2024), "Gemma", section 2; (2024) "Gemma 2", section 2; (2025) "Gemma 3", section 2.
"""

from typing import Any

import torch

from ...errors import CheckpointError
from .family import Family, State
from .fields import Fields, refused
from .layout import Layout, Names
from .llama_like import ATTENTION, GATED_MLP, HEAD_NORMS, NEEDED, NORMS, STREAM, attention_biases, sizes
from .options import activation, rotary, rotary_and_windows, windows

_AROUND: Names = {
    "ln1.w": "input_layernorm.weight",
    "ln1_post.w": "post_attention_layernorm.weight",
    "ln2.w": "pre_feedforward_layernorm.weight",
    "ln2_post.w": "post_feedforward_layernorm.weight",
}


def _shared(fields: Fields, act_field: str) -> dict[str, Any]:
    fields.require("use_bidirectional_attention", False)
    fields.get("hidden_act"), fields.get("hidden_activation")  # released files have both, and each class reads one
    return {
        **sizes(fields),
        "act_fn": activation(act_field, fields[act_field]),
        "gated_mlp": True,
        "normalization_type": "RMS",
        "eps": fields["rms_norm_eps"],
        "qkv_bias": bool(fields["attention_bias"]),
        "tie_word_embeddings": False,
    }


def _gemma(fields: Fields) -> dict[str, Any]:
    config = _shared(fields, "hidden_act")
    return {**config, **rotary(fields["rope_parameters"], config["d_head"])}


def _gemma2(fields: Fields) -> dict[str, Any]:
    config = _shared(fields, "hidden_activation")
    rope = rotary(fields["rope_parameters"], config["d_head"])
    return {
        **config,
        **rotary_and_windows(rope, windows(fields["layer_types"], fields["sliding_window"])),
        "use_normalization_before_and_after": True,
        "attn_scale": _attn_scale(fields["query_pre_attn_scalar"]),
        "attn_scores_soft_cap": _cap(fields["attn_logit_softcapping"]),
        "output_logits_soft_cap": _cap(fields["final_logit_softcapping"]),
    }


def _gemma3(fields: Fields) -> dict[str, Any]:
    fields.require("attn_logit_softcapping", None)
    fields.get("sliding_window_pattern"), fields.get("_sliding_window_pattern")  # layer_types says what follows
    config = _shared(fields, "hidden_activation")
    ropes, local = fields["rope_parameters"], windows(fields["layer_types"], fields["sliding_window"])
    return {
        **config,
        **rotary(ropes["full_attention"], config["d_head"]),
        **local,
        **({"rotary_base_local": _local_base(ropes["sliding_attention"], config["d_head"])} if local else {}),
        "use_normalization_before_and_after": True,
        "use_qk_norm": True,
        "attn_scale": _attn_scale(fields["query_pre_attn_scalar"]),
        "output_logits_soft_cap": _cap(fields["final_logit_softcapping"]),
    }


def _local_base(rope: dict[str, Any], d_head: int) -> float:
    if set(found := rotary(rope, d_head)) != {"positional_embedding_type", "rotary_dim", "rotary_base"}:
        raise refused("rope_parameters['sliding_attention']", rope)
    return float(found["rotary_base"])


def _attn_scale(scalar: float | int) -> float:
    if scalar <= 0:
        raise CheckpointError(f"query_pre_attn_scalar={scalar} must be positive: its root divides the scores")
    return float(scalar**0.5)


def _cap(cap: float | None) -> float:
    if cap == 0:
        raise CheckpointError(f"softcapping={cap!r} must not be zero: scores or logits are divided by it")
    if cap is not None and cap < 0:
        raise refused("softcapping", cap)
    return -1.0 if cap is None else cap


def _rewritten(fields: Fields, state: State) -> State:
    norms = {name: 1 + weight for name, weight in state.items() if name.endswith(".w")}
    embedding = state["embed.W_E"]
    # Rounded to the weights' own type, as the released models multiply.
    scale = torch.tensor(fields["hidden_size"] ** 0.5, dtype=embedding.dtype)
    return {**state, **norms, "embed.W_E": embedding * scale}


def _layout(fields: Fields, norms: Names) -> Layout:
    return Layout(STREAM, {**norms, **ATTENTION, **GATED_MLP, **attention_biases(fields)})


_NEEDED = (*NEEDED, "rms_norm_eps", "head_dim")
GEMMA = Family(_gemma, lambda fields: _layout(fields, NORMS), _NEEDED, _rewritten)
GEMMA2 = Family(_gemma2, lambda fields: _layout(fields, _AROUND), _NEEDED, _rewritten)
GEMMA3 = Family(_gemma3, lambda fields: _layout(fields, {**_AROUND, **HEAD_NORMS}), _NEEDED, _rewritten)
