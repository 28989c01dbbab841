"""Uncertainty over prompts: the prompt is the unit that could have been another one, so it is what is resampled."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts and how far it could be off.

    Attributes:
        mean: the mean over the prompts.
        standard_error: the sample standard deviation over sqrt(prompts); NaN for a single prompt.
        low: the lower end of the 95 % percentile-bootstrap interval.
        high: its upper end.
    """

    mean: Float[Tensor, "..."]
    standard_error: Float[Tensor, "..."]
    low: Float[Tensor, "..."]
    high: Float[Tensor, "..."]


def over_prompts(
    values: Float[Tensor, "prompt ..."], generator: torch.Generator | None = None, n_resamples: int = 2000
) -> Estimate:
    """The mean over prompts with its standard error and 95 % bootstrap interval.

    With a single prompt neither can be known: the standard error and both ends are NaN. The interval is too narrow
    below about ten prompts, as every percentile bootstrap is. Source: Efron and Tibshirani (1993), chapter 13.

    Args:
        generator: draws the resamples; by default one seeded with 0, so that the same values give the same interval.
    """
    n_prompts = values.shape[0]
    mean = values.mean(dim=0)
    if n_prompts == 1:
        unknown = torch.full_like(mean, torch.nan)
        return Estimate(mean, unknown, unknown, unknown)
    standard_error = values.std(dim=0) / n_prompts**0.5
    generator = generator or torch.Generator().manual_seed(0)
    drawn = torch.randint(n_prompts, (n_resamples, n_prompts), generator=generator)
    counts = torch.nn.functional.one_hot(drawn, n_prompts).sum(dim=1).to(values)
    means = (counts @ values.flatten(1) / n_prompts).reshape(n_resamples, *values.shape[1:])
    low, high = (means.quantile(end, dim=0) for end in (0.025, 0.975))
    return Estimate(mean, standard_error, low, high)
