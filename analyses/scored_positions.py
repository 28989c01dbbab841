"""Which predictions of a model are scored: all of them, unless it is worse than chance over all and good at some."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CLEARLY = 0.5
"""A position at which the loss is below this share of ln V was clearly trained."""


def scored_positions(losses: Float[Tensor, "prompt predicted"], d_vocab: int) -> Bool[Tensor, " predicted"]:
    """Every prediction; or, for a model worse than chance over all, those at which it is clearly better.

    A model that was trained to answer at one position (`12 47 = 0`) says nothing at the others.
    """
    at_each = losses.double().mean(dim=0)
    everywhere, clearly = torch.ones_like(at_each, dtype=torch.bool), at_each < CLEARLY * math.log(d_vocab)
    return clearly if at_each.mean() > math.log(d_vocab) and clearly.any() else everywhere


def said(scored: Bool[Tensor, " predicted"]) -> str:
    """Empty if all predictions count, else a sentence that says which do."""
    if scored.all():
        return ""
    at = ", ".join(str(position) for position in scored.nonzero().flatten().tolist())
    return (
        f"Losses are those of the prediction at position {at} alone: the model is worse than chance over all "
        "positions, and those where it is not clearly better are left out."
    )
