"""What the shapes and names of a state dict say about its config, and what they do not say."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..config import UNSET, require_field_names
from ..errors import CheckpointError
from .tl_missing import fields_missing

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_SCALE = ("attn_scale", "use_attn_scale", "scale_attn_by_inverse_layer_idx")


def completed(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config: those given, and those that the weights determine.

    Raises:
        CheckpointError: a field that neither says, all of them named; a field that the weights contradict.
        ConfigError: a name that is no field.
    """
    require_field_names(given)
    found = _inferred(state)
    given = {name: value for name, value in given.items() if not _is_silent(name, value, found)}
    for name in found.keys() & given.keys():
        if given[name] != found[name]:
            raise CheckpointError(f"{name}={given[name]!r} is given, and the weights say {found[name]!r}")
    fields = {**given, **found, "init_weights": False}
    missing = [name for name in _undetermined(state, fields) if name not in fields]
    if missing:
        raise fields_missing(state, fields, missing)
    fields["tie_word_embeddings"] = "unembed.W_U" not in state
    if fields["positional_embedding_type"] == "rotary" and "pos_embed.W_pos" in state:
        raise CheckpointError("positional_embedding_type='rotary' is given, and the weights have pos_embed.W_pos")
    return {name: value for name, value in fields.items() if name not in ("device", "dtype")} | {
        "dtype": state["embed.W_E"].dtype
    }


def _is_silent(name: str, value: Any, found: Mapping[str, Any]) -> bool:
    # None is a choice for the norm, and elsewhere the same as silence; -1 is one for scales and caps, which no shape
    # tells, and elsewhere asks that the field be derived.
    return (value is None and name != "normalization_type") or (value == UNSET and name in found)


def _inferred(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = {int(match[1]) for name in state if (match := _BLOCK.match(name))}
    query = _tensor(state, "blocks.0.attn.W_Q", 3)
    embedding = _tensor(state, "embed.W_E", 2)
    found: dict[str, Any] = {
        "n_layers": max(blocks) + 1,
        "d_vocab": embedding.shape[0],
        "d_model": embedding.shape[1],
        "n_heads": query.shape[0],
        "d_head": query.shape[2],
        "attn_only": not any(".mlp." in name for name in state),
        "qkv_bias": "blocks.0.attn.b_Q" in state,
        "use_qk_norm": "blocks.0.attn.q_norm.w" in state,
        "use_normalization_before_and_after": "blocks.0.ln1_post.w" in state,
    }
    if "unembed.W_U" in state:
        found["d_vocab_out"] = _tensor(state, "unembed.W_U", 2).shape[1]
    if "blocks.0.attn._W_K" in state:
        found["n_key_value_heads"] = state["blocks.0.attn._W_K"].shape[0]
    if not found["attn_only"]:
        found["d_mlp"] = _tensor(state, "blocks.0.mlp.W_in", 2).shape[1]
        found["gated_mlp"] = "blocks.0.mlp.W_gate" in state
    return found | dict(_norms(state)) | dict(_context(state))


def _norms(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    if "blocks.0.ln1.w" in state:
        centred = "blocks.0.ln1.b" in state
        yield "normalization_type", "LN" if centred else "RMS"
        if centred and "ln_final.w" in state:
            yield "final_rms", "ln_final.b" not in state
    if "blocks.0.mlp.ln.w" in state:
        yield "act_fn", "solu_ln"


def _context(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    mask, cos = state.get("blocks.0.attn.mask"), state.get("blocks.0.attn.rotary_cos")
    if "pos_embed.W_pos" in state:
        yield "n_ctx", state["pos_embed.W_pos"].shape[0]
    elif mask is not None and mask.numel():
        yield "n_ctx", len(mask)
    if cos is not None:
        yield "positional_embedding_type", "rotary"
        yield "rotary_dim", cos.shape[1]


def _undetermined(state: Mapping[str, Tensor], fields: Mapping[str, Any]) -> list[str]:
    """The fields without which two different models would have these weights."""
    needed = ["n_ctx", "normalization_type", "positional_embedding_type"]
    if not fields["attn_only"]:
        needed += ["act_fn", "parallel_attn_mlp"]
    if fields.get("normalization_type", "LN") is not None:
        needed.append("eps")
    if fields.get("positional_embedding_type") == "rotary":
        needed += ["rotary_dim", "rotary_base", "rotary_adjacent_pairs"]
    if fields["use_normalization_before_and_after"]:
        needed += ["attn_scores_soft_cap", "output_logits_soft_cap"]
    return needed if any(name in fields for name in _SCALE) else [*needed, "attn_scale"]


def _tensor(state: Mapping[str, Tensor], name: str, axes: int) -> Tensor:
    if name not in state:
        raise CheckpointError(f"{name} is missing, from whose shape the config would follow")
    if state[name].ndim != axes:
        raise CheckpointError(f"{name} has {state[name].ndim} axes; TransformerLens' has {axes}")
    return state[name]
