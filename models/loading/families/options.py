"""What several architectures share: activations, rotary positions, windows."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ...config import Activation
from ...errors import CheckpointError
from .fields import refused
from .impossible import nowhere

_NEEDED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
_TYPES = {"full_attention": "global", "sliding_attention": "local"}


def activation(field: str, name: str) -> str:
    """The activation function that Hugging Face calls by this name.

    Raises:
        CheckpointError: one that we do not have, or that nobody has.
    """
    from transformers.activations import ACT2FN  # loaded with the config already

    name = "silu" if name == "swish" else name
    if name not in get_args(Activation) or name.startswith("solu"):
        raise refused(field, name) if name in ACT2FN else nowhere(field, name, ACT2FN)
    return name


def rotary(rope: Mapping[str, Any], d_head: int, partial: bool = False) -> dict[str, Any]:
    """The fields of a rotation, from Hugging Face's `rope_parameters`.

    Args:
        partial: whether the architecture can rotate a part of each head.

    Raises:
        CheckpointError: another type than default, linear or llama3; a number that is missing; a part of each head
            where that has no meaning.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # loaded with the config already

    needed = _NEEDED.get(rope.get("rope_type", "default"), ())
    missing = [name for name in ("rope_theta", *needed) if not isinstance(rope.get(name), (int, float))]
    if missing:
        raise CheckpointError(f"{', '.join(missing)} is missing among the rope_parameters")
    share = rope.get("partial_rotary_factor") or 1.0
    if share != 1.0 and not partial:
        raise refused("partial_rotary_factor", share)
    found = {
        "positional_embedding_type": "rotary",
        "rotary_dim": int(d_head * share),
        "rotary_base": rope["rope_theta"],
    }
    match rope.get("rope_type", "default"):
        case "default":
            return found
        case "linear":
            return {**found, "rotary_scaling_factor": rope["factor"]}
        case "llama3":
            return {
                **found,
                "use_NTK_by_parts_rope": True,
                "NTK_by_parts_factor": rope["factor"],
                "NTK_by_parts_low_freq_factor": rope["low_freq_factor"],
                "NTK_by_parts_high_freq_factor": rope["high_freq_factor"],
                "NTK_original_ctx_len": rope["original_max_position_embeddings"],
            }
        case other if other in ROPE_INIT_FUNCTIONS:
            raise refused("rope_type", other)
        case other:
            raise nowhere("rope_type", other, ["default", *ROPE_INIT_FUNCTIONS])


def windows(types: Sequence[str], window: int | None) -> dict[str, Any]:
    """The fields of local attention, from Hugging Face's `layer_types` and `sliding_window`.

    Both count the query's own position among those that a window holds.

    Raises:
        CheckpointError: a type of layer that is neither full nor sliding, or a window of nothing.
    """
    unknown = sorted(set(types) - set(_TYPES))
    if unknown:
        raise refused("layer_types", unknown)
    if "sliding_attention" not in types:
        return {}
    if not window:
        raise CheckpointError(f"sliding_window={window!r} must be at least 1, since some layers are sliding")
    return {"use_local_attn": True, "window_size": window, "attn_types": [_TYPES[kind] for kind in types]}


def rotary_and_windows(rope: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    """Both, where local layers turn as the others do.

    Raises:
        CheckpointError: angles slowed as a whole, which our local blocks leave out (as Gemma 3 does).
    """
    if local and "rotary_scaling_factor" in rope:
        raise refused("rope_type", "linear with a sliding window")
    return {**rope, **local}
