"""TransformerLens 4's `TransformerBridge`: where its hook points are not what `HookedTransformer` had of that name.

The bridge offers the old names beside its own. Three kinds of them are not what they say, and none says a word:
points that never fire, points whose edits are thrown away, and `hook_resid_mid`, which is the input of the MLP's norm,
so that an edit there does not reach the stream that goes past the MLP. Measured on TransformerLens 4.3.
"""

import re
from typing import Any

_OURS = {
    "hook_in": "hook_resid_pre",
    "hook_out": "hook_resid_post",
    "ln1_post.hook_out": "hook_attn_out",
    "ln2_post.hook_out": "hook_mlp_out",
    "attn.hook_out": "hook_attn_out",
    "mlp.hook_out": "hook_mlp_out",
    "attn.hook_q_input": "hook_q_input",
    "attn.hook_k_input": "hook_k_input",
    "attn.hook_v_input": "hook_v_input",
    "attn.hook_attn_in": "hook_attn_in",
    "attn.q.hook_out": "attn.hook_q",
    "attn.k.hook_out": "attn.hook_k",
    "attn.v.hook_out": "attn.hook_v",
    "attn.o.hook_in": "attn.hook_z",
    "mlp.gate.hook_out": "mlp.hook_pre",
    "mlp.in.hook_out": "mlp.hook_pre",
    "mlp.out.hook_in": "mlp.hook_post",
}
"""Within a block, what the bridge calls a place, and what HookedTransformer called the same."""

_OUTSIDE = {"embed.hook_out": "hook_embed", "pos_embed.hook_out": "hook_pos_embed"}

_INSTEAD = {
    "attn.qkv": "queries, keys and values fire one by one, at attn.hook_q, attn.hook_k and attn.hook_v",
    "attn.hook_rot_": "there attention is turned out of sight; before it is, attn.hook_q and attn.hook_k fire",
    "attn.hook_hidden_states": "what attention writes fires at hook_attn_out",
    "attn.hook_q_normed": "there is no norm of queries; attn.hook_q fires",
    "attn.hook_k_normed": "there is no norm of keys; attn.hook_k fires",
    "attn.hook_pattern": "boot the bridge with attn_implementation='eager'",
    "attn.hook_attn_scores": "boot the bridge with attn_implementation='eager'",
    "mlp.gate.hook_in": "with processed weights the MLP reads at mlp.hook_in",
    "mlp.in.hook_in": "with processed weights the MLP reads at mlp.hook_in",
    "hook_pos_embed": "rotary positions are not added to the stream; they act between attn.hook_q and hook_rot_q",
    "rotary_emb.hook_out": "the angles fire at rotary_emb.hook_cos and rotary_emb.hook_sin",
}  # fmt: skip
"""Points that some bridge declares and never calls, and where to look instead."""


def is_bridge(model: object) -> bool:
    """Whether it is a `TransformerBridge`, without importing that class."""
    return any(base.__name__ == "BridgeCore" for base in type(model).__mro__)


def of_transformers(model: Any) -> bool:
    """Whether it is a bridge around a model of transformers, whose config leaves out windows, scales and angles."""
    return is_bridge(model) and hasattr(getattr(model.original_model, "config", None), "model_type")


_HELD_TO_FORMULAS = {
    "bloom", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox", "gptj", "granite", "llama", "mistral",
    "olmo", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "starcoder2",
}  # fmt: skip
"""Wrapped models whose angles, activations and sums were compared with what their configs say."""


def unknown_formulas(model: Any) -> str | None:
    """The obstacle of a bridge around a kind of model whose config need not say what is computed."""
    kind = model.original_model.config.model_type if of_transformers(model) else None
    known = kind is None or kind in _HELD_TO_FORMULAS
    return None if known else f"this library does not know what a bridge around {kind!r} computes there"


def window(model: Any, layer: int) -> int | None:
    """How many keys a layer of such a bridge sees, as the wrapped model's config says; None for all of them."""
    config = model.original_model.config
    if "local" in (getattr(config, "attention_layers", None) or [])[layer : layer + 1]:
        return int(config.window_size)
    kinds, found = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    return None if found is None or (kinds and kinds[layer] != "sliding_attention") else int(found)


def old_name(name: str, gated: bool = False, normed: bool = False) -> str:
    """HookedTransformer's name (or pattern) for what the bridge calls so; the name itself where there is no other.

    Args:
        gated: the MLP has a gate, whose output is `hook_pre`.
        normed: a norm stands behind each layer, whose output is what is written into the stream.
    """
    block, within = re.fullmatch(r"(blocks\.[^.]+\.)?(.*)", name).groups()  # type: ignore[union-attr]
    if block is None:
        return _OUTSIDE.get(name, name)
    if gated and within == "mlp.in.hook_out":
        return f"{block}mlp.hook_pre_linear"
    if (within in ("attn.hook_out", "mlp.hook_out") and normed) or (within.startswith("mlp.gate.") and not gated):
        return name
    return block + _OURS.get(within, within)


def instead(name: str) -> str | None:
    """Where to look, for a point that a bridge has and does not call."""
    within = re.sub(r"^blocks\.\d+\.", "", name)
    return next((hint for start, hint in _INSTEAD.items() if within.startswith(start)), None)


def why_discarded(model: Any, name: str) -> str | None:
    """Why an edit at this point of the model changes nothing, or None where it is not known to be thrown away."""
    if not is_bridge(model):
        return None
    if name == "rotary_emb.hook_in":
        return "angles depend on positions alone; edit rotary_emb.hook_cos and rotary_emb.hook_sin"
    found = re.fullmatch(r"blocks\.(\d+)\.attn\.hook_(pattern|attn_scores)", name)
    if found is None or _forward_of(model.blocks[int(found[1])].attn) != "AttentionBridge":
        return None
    attention = model.blocks[int(found[1])].attn
    live = getattr(attention.original_component, "accepts_pattern_fn", False)
    if live and found[2] == "pattern":
        return None
    edit = "edit attn.hook_pattern" if live else "edit attn.hook_q, attn.hook_k, attn.hook_v or attn.hook_z"
    return f"the wrapped {type(attention.original_component).__name__} has already used the values; {edit}"


def _forward_of(component: Any) -> str:
    """The class whose forward this component runs: `AttentionBridge`'s own leaves attention to the wrapped module."""
    return next(base.__name__ for base in type(component).__mro__ if "forward" in vars(base))


def past_the_mlp(model: Any, name: str) -> tuple[str, str] | None:
    """For a stream that the bridge shows beside the stream: where the MLP writes, and where the stream is whole again.

    None where the point is the stream itself.
    """
    if not name.endswith(".hook_resid_mid") or not is_bridge(model):
        return None
    points, block = model.hook_dict, name.removesuffix("resid_mid")
    # A point of its own, as in T5's blocks, stands in the stream.
    if not any(point is points[name] for other, point in points.items() if other != name):
        return None
    return f"{block}mlp_out", f"{block}resid_post"
