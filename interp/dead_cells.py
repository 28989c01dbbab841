"""Cells of a sweep that cannot change the metric, and why: known beforehand, so they need no run."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from .metrics import Metric
from .sites import Cell

SAME = "the intervention changes nothing there: the value is the same in both runs"
UNREAD = "nothing that the metric reads comes after it"

_BEHIND_KEYS_AND_VALUES = (
    "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "hook_mlp_in", "hook_q", "hook_rot_q",
    "hook_attn_scores", "hook_pattern", "hook_z", "hook_result", "hook_pre", "hook_pre_linear", "hook_post",
)  # fmt: skip
"""Points of a block from which a position reaches other positions only through later blocks."""


def why_dead(
    model: Any,
    cells: Sequence[Cell],
    base: Mapping[str, Shaped[Tensor, "batch ..."]],
    values: Mapping[str, Shaped[Tensor, "batch ..."]],
    metric: Metric,
    length: int,
) -> list[str | None]:
    """For each cell the reason why it cannot matter, or None.

    Args:
        base: the activations of the run that is edited.
        values: what is put in their place.
    """
    return [
        SAME
        if torch.equal(cell.read(base[cell.name]), cell.read(values[cell.name]))
        else UNREAD
        if _unread(model, cell, metric, length)
        else None
        for cell in cells
    ]


def _unread(model: Any, cell: Cell, metric: Metric, length: int) -> bool:
    position = _position(cell)
    if position is None or metric.positions is None:
        return False
    read = {at % length for at in metric.positions}
    causal = getattr(model.cfg, "attention_dir", None) == "causal"
    if causal and position % length > max(read):
        return True
    last = cell.name.startswith(f"blocks.{model.cfg.n_layers - 1}.")
    point = cell.name.rpartition(".")[2]
    return last and point in _BEHIND_KEYS_AND_VALUES and position % length not in read


def _position(cell: Cell) -> int | None:
    # Of a score it is the query that decides which position is changed.
    for axis, at in zip(cell.site.axes, cell.fixed, strict=False):
        if axis in ("pos", "query") and isinstance(at, int):
            return at
    return None
