"""Uncertainty over what could have been another: prompts, which are resampled, and seeds, which are few."""

import math
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
        return _unknown(mean)
    standard_error = values.std(dim=0) / n_prompts**0.5
    generator = generator or torch.Generator().manual_seed(0)
    drawn = torch.randint(n_prompts, (n_resamples, n_prompts), generator=generator)
    counts = torch.nn.functional.one_hot(drawn, n_prompts).sum(dim=1).to(values)
    means = (counts @ values.flatten(1) / n_prompts).reshape(n_resamples, *values.shape[1:])
    low, high = (means.quantile(end, dim=0) for end in (0.025, 0.975))
    return Estimate(mean, standard_error, low, high)


def over_seeds(values: Float[Tensor, "seed ..."]) -> Estimate:
    """The mean over independent runs with its 95 % t-interval, which is honest for as few as three of them.

    With a single seed the standard error and both ends are NaN.
    """
    n_seeds = values.shape[0]
    mean = values.mean(dim=0)
    if n_seeds == 1:
        return _unknown(mean)
    standard_error = values.std(dim=0) / n_seeds**0.5
    reach = _t_quantile(n_seeds - 1) * standard_error
    return Estimate(mean, standard_error, mean - reach, mean + reach)


def _t_quantile(degrees: int) -> float:
    """The 97.5 % point of Student's t, exact for 1 and 2 degrees of freedom, else within 0.2 %.

    Source: Abramowitz and Stegun (1964), 26.7.5.
    """
    if degrees == 1:
        return math.tan(math.pi * 0.475)
    if degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))


def _unknown(mean: Float[Tensor, "..."]) -> Estimate:
    nan = torch.full_like(mean, torch.nan)
    return Estimate(mean, nan, nan, nan)
