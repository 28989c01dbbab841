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
    means = (counts @ values.reshape(n_prompts, -1) / n_prompts).reshape(n_resamples, *values.shape[1:])
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


def ratio_of_means(
    numerator: Float[Tensor, "prompt ..."],
    denominator: Float[Tensor, " prompt"],
    generator: torch.Generator | None = None,
    n_resamples: int = 2000,
) -> Estimate:
    """Mean of the numerator over mean of the denominator, with its 95 % bootstrap interval over prompts.

    Both are resampled together. The standard error is that of the resamples; with a single prompt it and the interval
    are NaN. Where the denominator changes its sign between resamples, the interval says little: look at the
    denominator's own. Source: Efron and Tibshirani (1993), sections 10.5 and 13.
    """
    n_prompts = numerator.shape[0]
    ratio = numerator.mean(dim=0) / denominator.mean()
    if n_prompts == 1:
        return _unknown(ratio)
    generator = generator or torch.Generator().manual_seed(0)
    drawn = torch.randint(n_prompts, (n_resamples, n_prompts), generator=generator)
    counts = torch.nn.functional.one_hot(drawn, n_prompts).sum(dim=1).to(numerator)
    ratios = (counts @ numerator.flatten(1)) / (counts @ denominator)[:, None]
    ratios = ratios.reshape(n_resamples, *numerator.shape[1:])
    low, high = (ratios.quantile(end, dim=0) for end in (0.025, 0.975))
    return Estimate(ratio, ratios.std(dim=0), low, high)


def sign_flip_p_values(
    values: Float[Tensor, "prompt ..."], generator: torch.Generator | None = None, n_flips: int = 10_000
) -> Float[Tensor, "..."]:
    """For each cell how often a random flip of whole prompts' signs makes *any* cell as large as it (max-T).

    Adjusted for the number of cells: the chance of a single value below 0.05 anywhere, if no cell had an effect and
    effects were symmetric around zero, is 5 %. Sizes are compared as t statistics. All flips are enumerated up to 13
    prompts, so that the smallest value with n prompts is 2^(1 - n); above, `n_flips` are drawn and the data's own is
    one of them. Source: Westfall and Young (1993), section 2.6.
    """
    n_prompts = values.shape[0]
    flat = values.double().flatten(1)
    if n_prompts <= 13:
        # The first prompt's sign is fixed: flipping all of them changes no size.
        bits = torch.arange(2 ** (n_prompts - 1))[:, None] >> torch.arange(n_prompts)
        signs = 1.0 - 2.0 * (bits & 1).double()
    else:
        generator = generator or torch.Generator().manual_seed(0)
        signs = 2.0 * torch.randint(2, (n_flips, n_prompts), generator=generator).double() - 1.0
        signs[0] = 1.0
    # |sum| / sqrt(n sum of squares) grows with |t| and, unlike it, is defined where all values are equal.
    scale = (n_prompts * flat.square().sum(dim=0)).sqrt()
    sizes = torch.where(scale > 0, (signs.to(flat) @ flat).abs() / scale.clamp_min(1e-300), 0.0)
    largest = sizes.amax(dim=1)
    # Flips that tie with the data in exact arithmetic must count as ties, whatever the order of summation.
    reached = largest[:, None] >= sizes[0] - 1e-12
    return reached.double().mean(dim=0).reshape(values.shape[1:])
