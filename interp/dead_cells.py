"""Changes of a sweep that cannot matter, and why: known beforehand, so they need no run."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .metrics import Metric
from .replacing import Change, Replacement
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
    changes: Sequence[Change],
    replacements: Mapping[str, Replacement],
    metrics: Sequence[Metric],
    length: int,
) -> list[str | None]:
    """For each change the reason why it cannot matter, or None."""
    if not _is_ours_alone(model):
        # Hooks of the user's, or parts that are not ours, may carry anything anywhere.
        return [_why(model, change, replacements, None, length) for change in changes]
    every = any(metric.positions is None for metric in metrics)
    read = set(range(length)) if every else {at % length for metric in metrics for at in metric.positions or ()}
    return [_why(model, change, replacements, read, length) for change in changes]


def _why(
    model: Any, change: Change, replacements: Mapping[str, Replacement], read: set[int] | None, length: int
) -> str | None:
    differing = [cell for cell in change if _differs(cell, replacements[cell.name])]
    if not differing:
        return SAME
    if read is None:
        return None
    return UNREAD if all(_unread(model, cell, read, length) for cell in differing) else None


def _is_ours_alone(model: Any) -> bool:
    return hasattr(model, "context_of") and not any(point.hooked for point in model.hook_dict.values())


def _differs(cell: Cell, replacement: Replacement) -> bool:
    values = cell.read(replacement.values)
    return bool(values.any()) if replacement.added else not torch.equal(cell.read(replacement.base), values)


def _unread(model: Any, cell: Cell, read: set[int], length: int) -> bool:
    position = _position(cell)
    if position is None:
        return False
    position %= length
    causal = getattr(model.cfg, "attention_dir", None) == "causal"
    if causal and position > max(read):
        return True
    last = cell.name.startswith(f"blocks.{model.cfg.n_layers - 1}.")
    point = cell.name.rpartition(".")[2]
    return last and point in _BEHIND_KEYS_AND_VALUES and position not in read


def _position(cell: Cell) -> int | None:
    # Of a score it is the query that decides which position is changed.
    for axis, at in zip(cell.site.axes, cell.fixed, strict=False):
        if axis in ("pos", "query") and isinstance(at, int):
            return at
    return None
