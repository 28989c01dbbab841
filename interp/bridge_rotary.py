"""By how much a model turns its queries and keys, and what it divides their products by.

A bridge's own config says neither; the config of the wrapped `transformers` model and its attention modules do.
"""

import math
from dataclasses import dataclass
from typing import Any

from .bridge_points import of_transformers

_GPTJ_BASE = 10000.0
"""GPT-J's base stands in no config: `transformers` has it in the code."""


@dataclass(frozen=True)
class Rotation:
    """Pairs of coordinates turned by position / base^(2 i / n_dims) / factor.

    Attributes:
        n_dims: how many coordinates of a head are turned, the first ones.
        base: the base of the frequencies.
        adjacent: whether a pair is two neighbours, rather than a coordinate of either half.
        factor: what positions are divided by (linear interpolation).
    """

    n_dims: int
    base: float
    adjacent: bool
    factor: float = 1.0


def rotation(model: Any) -> Rotation | None:
    """The rotation of every layer, or None where there is another kind, or more than one."""
    return _of_a_bridge(model) if of_transformers(model) else _of_our_config(model.cfg)


def _of_a_bridge(bridge: Any) -> Rotation | None:
    config = bridge.original_model.config
    if config.model_type == "gptj":
        return Rotation(config.rotary_dim or bridge.cfg.d_head, _GPTJ_BASE, True)
    given = getattr(config, "rope_parameters", None) or {}
    if given.get("rope_type") not in ("default", "linear"):
        return None
    n_dims = int(bridge.cfg.d_head * given.get("partial_rotary_factor", 1.0))
    return Rotation(n_dims, float(given["rope_theta"]), False, float(given.get("factor") or 1.0))


def _of_our_config(cfg: Any) -> Rotation | None:
    named = ("use_NTK_by_parts_rope", "use_yarn_rope", "rotary_base_local")
    other = any(getattr(cfg, name, False) for name in named) or getattr(cfg, "rotary_scaling_factor", 1.0) != 1.0
    if other or not hasattr(cfg, "rotary_adjacent_pairs"):
        return None
    return Rotation(cfg.rotary_dim, float(cfg.rotary_base), cfg.rotary_adjacent_pairs)


def score_scale(model: Any, layer: int) -> float:
    """What a layer's products of queries and keys are divided by."""
    cfg = model.cfg
    if of_transformers(model) and getattr(cfg, "positional_embedding_type", None) == "rotary":
        module = model.blocks[layer].attn.original_component
        for found in (getattr(module, "scaling", None), 1 / getattr(module, "scale_attn", math.inf)):
            if isinstance(found, float) and found > 0:
                return 1 / found
    scale = (cfg.attn_scale if cfg.attn_scale > 0 else math.sqrt(cfg.d_head)) if cfg.use_attn_scale else 1.0
    return scale * (layer + 1) if getattr(cfg, "scale_attn_by_inverse_layer_idx", False) else scale
