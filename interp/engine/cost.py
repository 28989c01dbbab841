"""What a wave costs before it is run: matrix products and bytes, counted from the rows it will compute."""

from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Int

from .grouping import NEIGHBOURS, groups
from .schedule import LayerRows


def layer_flops(at: LayerRows, cfg: Any, n_keys: int) -> int:
    """The floating-point operations of one layer's matrix products, two a multiply-add."""
    d_model, d_head, n_heads = cfg.d_model, cfg.d_head, cfg.n_heads
    asked, sources = int((at.queries & at.pre).sum()), int(at.pre.sum())
    if not at.queries.any():
        asked = sources = 0
    projections = (asked * n_heads + 2 * sources * key_value_heads(cfg)) * d_model * d_head
    attention = (
        2 * sum(len(lanes) * len(asked) for lanes, asked in groups(at.queries, n_keys)) * n_keys * n_heads * d_head
    )
    output = int(at.z.sum()) * n_heads * d_head * d_model
    return 2 * (projections + attention + output + _mlp(at, cfg))


def forward_flops(cfg: Any, n_prompts: int, length: int) -> int:
    """The floating-point operations of one whole forward pass, unembedding included."""
    everywhere = np.ones((n_prompts, length), dtype=bool)
    at = LayerRows(0, *(everywhere,) * 10)
    unembedding = 2 * n_prompts * length * cfg.d_model * cfg.d_vocab_out
    return cfg.n_layers * layer_flops(at, cfg, length) + unembedding


def lane_bytes(
    n_rows: Int[np.ndarray, " lane"],
    n_keys: int,
    cfg: Any,
    itemsize: int,
    stages: Collection[str] = (),
    padded: bool = False,
) -> Int[np.ndarray, " lane"]:
    """The memory that each lane takes at most while a layer is computed, from the rows it carries.

    The factors count the tensors of a step that live at once; a test measures them.

    Args:
        itemsize: bytes of a number.
        stages: the points that are changed or frozen, by the last part of their hook names.
        padded: whether each lane has a mask of its own.
    """
    attended = cfg.n_heads * cfg.d_head
    asked = np.minimum(n_rows + NEIGHBOURS - 1, n_keys)
    numbers = n_rows * 8 * cfg.d_model + (asked * 6 + n_keys * 4) * attended
    a_pair = cfg.n_heads * _score_bytes(cfg, itemsize, stages) + (5 + itemsize if padded else 2)
    mlp = n_rows * (6 * cfg.d_model + _hidden(cfg, "hook_post" in stages))
    return np.maximum(numbers * itemsize + asked * n_keys * a_pair, mlp * itemsize)


def _hidden(cfg: Any, edited: bool) -> int:
    """The numbers of an MLP's hidden layer that a row holds at once."""
    if cfg.attn_only:
        return 0
    copies = (4 if cfg.gated_mlp else 2) + {"gelu_fast": 3, "solu": 1, "solu_ln": 2}.get(cfg.act_fn, 0)
    return (max(copies, 5) if edited else copies) * (cfg.d_mlp or 0)


def _score_bytes(cfg: Any, itemsize: int, stages: Collection[str]) -> int:
    """What a score takes, in as many forms as are held at once; nothing where the fused kernel makes none."""
    looked_at = {"hook_attn_scores", "hook_pattern"} & set(stages)
    if not looked_at and cfg.attn_scores_soft_cap <= 0:
        return 0
    # Softmax is taken in 32 bits at least.
    return (6 if looked_at else 4) * itemsize + (8 if itemsize < 4 else 0)


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
