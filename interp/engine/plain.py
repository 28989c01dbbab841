"""The plain engine: one hooked forward pass for each cell. For any model of the protocol, and the oracle of others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..hooks import edited
from ..interventions import patch
from ..metrics import Metric
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
    model: Any, tokens: Int[Tensor, "batch pos"], cells: Sequence[Cell], values: Activations, metric: Metric
) -> Float[Tensor, "batch cell"]:
    """The metric of each prompt with one cell changed, for each cell.

    Args:
        values: what stands at the points of the cells instead, each a whole activation; a cell takes its own part.
    """
    columns = []
    for cell in cells:
        with edited(model, {cell: patch(cell.read(values[cell.name]))}):
            columns.append(metric(model(tokens)))
    return torch.stack(columns, dim=1)
