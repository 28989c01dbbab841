"""State dicts that TransformerLens saved, from its first versions to 3.9: old names and axes become today's."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import HookedTransformerConfig, require_field_names
from ..errors import CheckpointError, ConfigError
from ..masks import visibility
from ..positions import Rotary
from .pickle import described, is_state_dict, load_content
from .saved import Saved
from .tl_shapes import completed

_STATES, _CONFIGS = ("model", "state_dict", "model_state_dict"), ("config", "cfg")
_PREFIX = re.compile(r"(_orig_mod\.|module\.)+")
# The first SoLU models called their norms otherwise.
_OLD_NORM = re.compile(r"(blocks\.\d+\.)norm([12]\.[wb])")
_OLD_FINAL_NORM = re.compile(r"norm(\.[wb])")


def read_tl_checkpoint(path: str | Path, config: HookedTransformerConfig | Mapping[str, Any] | None = None) -> Saved:
    """The config and the weights in a `.pt` or `.pth` file: a state dict, or a dictionary that has one.

    Names are brought up to date (`norm1` to `ln1`), matrices that a first version stored as `[out, in]` are
    transposed, and the buffers that were saved among the weights (masks, rotary tables) must be those of the config.

    Args:
        config: all of it, or what the shapes of the weights do not say; the error names what is missing. A config
            that stands in the file as a dictionary is used where this is silent.

    Raises:
        CheckpointError: no such file, code in it, no state dict of TransformerLens', fields that are missing, fields
            that contradict the weights or one another.
    """
    return tl_saved(path, load_content(path), config)


def tl_saved(
    path: str | Path, content: Any, config: HookedTransformerConfig | Mapping[str, Any] | None = None
) -> Saved:
    """As `read_tl_checkpoint`, of a file whose content has been read.

    Raises:
        CheckpointError: no state dict of TransformerLens', or a config that is not enough or is contradicted.
    """
    found = _unpacked(content)
    if found is None:
        raise CheckpointError(
            f"{path} holds {described(content)}; expected TransformerLens' weights, embed.W_E among them"
        )
    state, stored = found
    current = {_current(name): value for name, value in state.items()}
    state = _right_facing(path, current, is_old=current.keys() != state.keys())
    try:
        if not isinstance(config, HookedTransformerConfig):
            _require_readable(stored)
            given = {**stored, **(config or {})}
            config = HookedTransformerConfig.from_dict(completed(state, given))
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    _require_buffers(path, state, config)
    return Saved(config, state)


def _require_readable(stored: Mapping[str, Any]) -> None:
    try:
        require_field_names(stored)
    except ConfigError as error:
        raise CheckpointError(
            f"the config in the file is not TransformerLens' alone: {error} Give a whole HookedTransformerConfig, "
            "load_tl_checkpoint(path, config) of models.loading.foreign, and the file's is not used"
        ) from error


def holds_tl_weights(content: Any) -> bool:
    """Whether the content of a file is a state dict of TransformerLens', or a dictionary that has one."""
    return _unpacked(content) is not None


def _unpacked(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    state: Any = content
    config: dict[str, Any] = {}
    if isinstance(content, dict) and not is_state_dict(content):
        state = next((content[name] for name in _STATES if name in content), None)
        config = next((content[name] for name in _CONFIGS if isinstance(content.get(name), dict)), {})
    if is_state_dict(state):
        state = {_PREFIX.sub("", name): value for name, value in state.items()}
        if "embed.W_E" in state:
            return state, config
    return None


def _current(name: str) -> str:
    name = _OLD_NORM.sub(r"\1ln\2", name)
    return f"ln_final{match[1]}" if (match := _OLD_FINAL_NORM.fullmatch(name)) else name


def _right_facing(path: str | Path, state: dict[str, Tensor], is_old: bool) -> dict[str, Tensor]:
    """The matrices as `[in, out]`: the widths that biases and embeddings share tell which way they are stored."""
    d_model = _width(state)
    facing = {name: _faces_right(name, value, d_model) for name, value in state.items()}
    left = [name for name, right in facing.items() if right is False and not name.startswith("pos_embed")]
    right = [name for name, right in facing.items() if right and not name.startswith("pos_embed")]
    if left and right:
        raise CheckpointError(f"{path}: {left[0]} is stored as [out, in], and {right[0]} as [in, out]")
    turned = {name for name in state if left and _is_matrix(name) and not name.startswith("pos_embed")}
    positions = facing.get("pos_embed.W_pos")
    if is_old and not left and positions is None and "pos_embed.W_pos" in state:
        # One of the first models has nothing turned but its positions.
        raise CheckpointError(
            f"{path}: pos_embed.W_pos is square, and files with such old names hold it either way round; rename "
            "norm1, norm2 and norm to ln1, ln2 and ln_final, and turn it where it must be turned"
        )
    if positions is False or (left and positions is None):
        turned |= {"pos_embed.W_pos"} & state.keys()
    return {name: value.transpose(-2, -1) if name in turned else value for name, value in state.items()}


def _width(state: Mapping[str, Tensor]) -> int | None:
    """The width of the stream, from a bias or a norm; None where there is neither, and all is as it is today."""
    vectors = [state[name] for name in ("blocks.0.attn.b_O", "blocks.0.ln1.w", "ln_final.w") if name in state]
    return vectors[0].shape[0] if vectors and vectors[0].ndim == 1 else None


def _is_matrix(name: str) -> bool:
    return name.rsplit(".", 1)[-1].lstrip("_").startswith("W_")


def _faces_right(name: str, value: Tensor, d_model: int | None) -> bool | None:
    """Whether the matrix stands as today; None where its shape does not tell."""
    if d_model is None or not _is_matrix(name) or value.ndim < 2 or value.shape[-1] == value.shape[-2]:
        return None
    if d_model not in value.shape[-2:]:
        return None
    kind = name.rsplit(".", 1)[-1]
    writes = kind in ("W_E", "W_pos", "W_O", "W_out")
    return (value.shape[-1] == d_model) is writes


def _require_buffers(path: str | Path, state: Mapping[str, Tensor], config: HookedTransformerConfig) -> None:
    for layer in range(config.n_layers):
        mask = state.get(f"blocks.{layer}.attn.mask")
        if mask is not None and mask.numel() and config.attention_dir == "causal":
            places = torch.arange(len(mask))
            if not torch.equal(mask.bool(), visibility(config, layer).allowed(places, places)):
                raise CheckpointError(
                    f"{path}: the mask of layer {layer} is not that of the config; give use_local_attn, window_size "
                    "and attn_types, or attention_dir"
                )
        cos = state.get(f"blocks.{layer}.attn.rotary_cos")
        if cos is not None and not _same_rotation(cos, config, layer):
            raise CheckpointError(
                f"{path}: the rotary tables of layer {layer} are not those of the config; give rotary_base, "
                "rotary_dim, rotary_adjacent_pairs and the scaling it was trained with"
            )


def _same_rotation(cos: Tensor, config: HookedTransformerConfig, layer: int) -> bool:
    if config.positional_embedding_type != "rotary":
        return False
    ours = Rotary(config, layer).cos.float()[: len(cos)]
    both = torch.cat([ours, ours], dim=1) if not config.rotary_adjacent_pairs else ours.repeat_interleave(2, dim=1)
    cos = cos[: len(ours)].float()
    return cos.shape == both.shape and bool((cos - both).abs().max() < 1e-2)
