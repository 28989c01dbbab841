"""The plain engine: one hooked forward pass for each change, on any model of the protocol: the oracle of the other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..hooks import Edit, edited
from ..interventions import add, freeze, patch
from ..metrics import Metric
from ..replacing import Change, Replacement
from ..sites import Cell

Activations = Mapping[str, Shaped[Tensor, "batch ..."]]


@torch.no_grad()
def activations(
    model: Any, tokens: Int[Tensor, "batch pos"], names: Iterable[str]
) -> tuple[Float[Tensor, "batch pos d_vocab"], dict[str, Tensor]]:
    """The logits of a run, and its activation at each of the points."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def read(activation: Tensor) -> Tensor:
            kept[name] = activation
            return activation

        return read

    with edited(model, {name: keep(name) for name in names}, allow_nonfinite=True):
        logits = model(tokens)
    return logits, kept


@torch.no_grad()
def run(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    changes: Iterable[Change],
    replacements: Mapping[str, Replacement],
    metrics: Sequence[Metric],
    frozen: Activations | None = None,
) -> Iterable[Float[Tensor, "metric batch"]]:
    """Each metric of each prompt with one change in place, for one change after the other.

    Args:
        replacements: by hook name, what stands in there: whole activations, of which a cell takes its own part.
        frozen: by hook name, activations that stay what they are given here.
    """
    held: dict[str | Cell, Edit] = {name: freeze(values) for name, values in (frozen or {}).items()}
    for change in changes:
        edits = held | {cell: _edit(cell, replacements[cell.name]) for cell in change}
        with edited(model, edits):
            logits = model(tokens)
        yield torch.stack([metric(logits) for metric in metrics])


def _edit(cell: Cell, replacement: Replacement) -> Edit:
    values = cell.read(replacement.values)
    return add(values) if replacement.added else patch(values)
