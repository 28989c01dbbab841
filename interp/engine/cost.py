"""What a wave costs before it is run: matrix products and bytes, counted from the rows it will compute."""

from typing import Any

import numpy as np
from jaxtyping import Int

from .schedule import LayerRows


def layer_flops(at: LayerRows, cfg: Any, n_keys: int) -> int:
    """The floating-point operations of one layer's matrix products, two a multiply-add."""
    d_model, d_head, n_heads = cfg.d_model, cfg.d_head, cfg.n_heads
    asked, sources = int((at.queries & at.pre).sum()), int(at.pre.sum())
    if not at.queries.any():
        asked = sources = 0
    projections = (asked * n_heads + 2 * sources * key_value_heads(cfg)) * d_model * d_head
    attention = 2 * int(at.queries.sum()) * n_keys * n_heads * d_head
    output = int(at.z.sum()) * n_heads * d_head * d_model
    return 2 * (projections + attention + output + _mlp(at, cfg))


def forward_flops(cfg: Any, n_prompts: int, length: int) -> int:
    """The floating-point operations of one whole forward pass, unembedding included."""
    everywhere = np.ones((n_prompts, length), dtype=bool)
    at = LayerRows(0, *(everywhere,) * 10)
    unembedding = 2 * n_prompts * length * cfg.d_model * cfg.d_vocab_out
    return cfg.n_layers * layer_flops(at, cfg, length) + unembedding


def lane_bytes(n_rows: Int[np.ndarray, " lane"], n_keys: int, cfg: Any, itemsize: int) -> Int[np.ndarray, " lane"]:
    """The memory that each lane takes at most while a layer is computed, from the rows it carries."""
    attended = cfg.n_heads * cfg.d_head
    hidden = 0 if cfg.attn_only else (4 if cfg.gated_mlp else 2) * (cfg.d_mlp or 0)
    a_row = max(8 * cfg.d_model + 6 * attended, 6 * cfg.d_model + hidden)
    a_key = 3 * attended
    return (n_rows * a_row + n_keys * a_key) * itemsize


def key_value_heads(cfg: Any) -> int:
    """The heads whose keys and values are computed."""
    ungrouped = getattr(cfg, "ungroup_grouped_query_attention", False)
    return cfg.n_heads if ungrouped else getattr(cfg, "n_key_value_heads", None) or cfg.n_heads


def _mlp(at: LayerRows, cfg: Any) -> int:
    # A bridge's config need not have every field.
    if getattr(cfg, "attn_only", False):
        return 0
    inputs = int((at.pre & at.mid).sum()) if getattr(cfg, "parallel_attn_mlp", False) else int(at.mid.sum())
    return (inputs * (2 if getattr(cfg, "gated_mlp", False) else 1) + int(at.neurons.sum())) * cfg.d_model * cfg.d_mlp
