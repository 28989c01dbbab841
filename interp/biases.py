"""Biases of a layer that need not have any."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def bias(layer: Any, name: str, beside: Float[Tensor, "*axes"]) -> Float[Tensor, "*bias"]:
    """The layer's bias in float64, zeros where it has none, as a bridge's need not.

    Args:
        name: `b_O`, `b_V` ...
        beside: the weight that it goes with, whose last axis is the bias's, and whose first is the heads', except of
            `b_O` and `b_out`, which are one for all.
    """
    found = getattr(layer, name, None)
    if isinstance(found, Tensor):
        return found.detach().double()
    shape = beside.shape[-1:] if name in ("b_O", "b_out", "b_in") else (beside.shape[0], beside.shape[-1])
    return torch.zeros(shape, dtype=torch.float64, device=beside.device)
