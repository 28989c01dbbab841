"""A mean and how far it could be off."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts or seeds and how far it could be off.

    Attributes:
        mean: the mean.
        standard_error: the sample standard deviation over sqrt(n); NaN for a single one.
        low: the lower end of the 95 % interval.
        high: its upper end.
    """

    mean: Float[Tensor, "..."]
    standard_error: Float[Tensor, "..."]
    low: Float[Tensor, "..."]
    high: Float[Tensor, "..."]


def unknown(mean: Float[Tensor, "..."]) -> Estimate:
    """The estimate from a single one, of which nothing is known but its value."""
    nan = torch.full_like(mean, torch.nan)
    return Estimate(mean, nan, nan, nan)
