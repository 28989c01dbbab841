"""What a sweep changes: places of one run, and which of its rows each place touches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from ..replacing import Change, Replacement
from ..sites import Cell

Ranges = tuple[tuple[int, int], ...]
"""The first and the end of what is selected on each axis behind the positions."""

STAGES = (
    "hook_resid_pre", "hook_q", "hook_k", "hook_v", "hook_attn_scores", "hook_pattern", "hook_z", "hook_attn_out",
    "hook_resid_mid", "hook_post", "hook_mlp_out", "hook_resid_post",
)  # fmt: skip
"""The points of a block at which rows can be changed, in the order of the forward pass."""


@dataclass(eq=False)
class RowReplacement:
    """What stands in at one point, row by row, beside what stood there.

    Attributes:
        base: the activation of the run that is edited, as rows.
        values: what replaces it, or with `added` is added to it.
    """

    base: Shaped[Tensor, "prompt pos ..."]
    values: Shaped[Tensor, "prompt pos ..."]
    added: bool = False
    _touched: dict[Ranges, Bool[np.ndarray, "prompt pos"]] = field(default_factory=dict)

    def touched(self, ranges: Ranges) -> Bool[np.ndarray, "prompt pos"]:
        """The rows whose part within the ranges is not what it was: no other row needs a run."""
        if ranges not in self._touched:
            part = (slice(None), slice(None), *(slice(*ends) for ends in ranges))
            reference = torch.zeros_like(self.values[part]) if self.added else self.base[part]
            differs = self.values[part] != reference
            self._touched[ranges] = differs.flatten(2).any(dim=2).numpy(force=True)
        return self._touched[ranges]


@dataclass(frozen=True, eq=False)
class PlacedEdit:
    """One cell of a change: where in the forward pass it acts, and on which rows.

    Attributes:
        name: its hook name.
        layer: its block.
        stage: the last part of the hook name, one of `STAGES`.
        selected: the positions that the cell selects (of scores and patterns: of the queries).
        ranges: what it selects of the further axes.
        touched: of the selected rows those in which it changes something.
    """

    name: str
    layer: int
    stage: str
    selected: Bool[np.ndarray, " pos"]
    ranges: Ranges
    touched: Bool[np.ndarray, "prompt pos"]


def as_rows(activation: Shaped[Tensor, "prompt ..."], axes: Sequence[str]) -> Shaped[Tensor, "prompt pos ..."]:
    """The activation with its positions behind the prompts: of scores and patterns the queries, then head and key."""
    return activation.permute(_row_order(axes))


def row_replacement(replacement: Replacement, axes: Sequence[str]) -> RowReplacement:
    """The replacement, with the positions of both activations behind the prompts."""
    base, values = as_rows(replacement.base, axes), as_rows(replacement.values, axes)
    return RowReplacement(base, values, replacement.added)


def looks_ahead(name: str, replacement: RowReplacement) -> bool:
    """Whether what stands in lets a query see a later key, as causal attention never does: zeroed scores do.

    What is added to scores does not: it leaves the mask's -inf as it is.
    """
    if name.endswith("attn_scores") and not replacement.added:
        seen = replacement.values != -torch.inf
    elif name.endswith("pattern"):
        seen = replacement.values != 0
    else:
        return False
    n_queries, n_keys = seen.shape[1], seen.shape[3]
    later = torch.ones(n_queries, n_keys, dtype=torch.bool, device=seen.device).triu(1)
    return bool((seen & later[:, None]).any())


def placed(change: Change, replacements: Mapping[str, RowReplacement]) -> list[PlacedEdit]:
    """The change's cells with the rows they touch."""
    return [_placed(cell, replacements[cell.name]) for cell in change]


def is_rows(cell: Cell) -> bool:
    """Whether the cell selects ranges of rows, for all prompts: not every second position, not a single prompt."""
    plain = all(not isinstance(at, slice) or at.step in (None, 1) for at in cell.fixed)
    return plain and (not cell.fixed or cell.fixed[0] == slice(None))


def _placed(cell: Cell, replacement: RowReplacement) -> PlacedEdit:
    shape = replacement.base.shape
    fixed = [cell.fixed[at] for at in _row_order(cell.site.axes)] if cell.fixed else [slice(None)] * len(shape)
    chosen = [range(size)[at] for at, size in zip(fixed[1:], shape[1:], strict=True)]
    ends = [(at, at + 1) if isinstance(at, int) else (at.start, at.stop) for at in chosen]
    selected = np.zeros(shape[1], dtype=bool)
    selected[slice(*ends[0])] = True
    ranges = tuple(ends[1:])
    _, layer, *_, stage = cell.name.split(".")
    return PlacedEdit(cell.name, int(layer), stage, selected, ranges, replacement.touched(ranges) & selected)


def _row_order(axes: Sequence[str]) -> tuple[int, ...]:
    return (0, 2, 1, 3) if tuple(axes[1:3]) == ("head", "query") else tuple(range(len(axes)))
