"""Means over prompts, with intervals from resampling them."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .estimate import Estimate, unknown
from .units import by_unit

N_RESAMPLES = 2000
BLOCK = 2**20
"""Resampled values that are held at once."""


def over_prompts(
    values: Float[Tensor, "prompt ..."],
    generator: torch.Generator | None = None,
    n_resamples: int = N_RESAMPLES,
    clusters: Sequence[str] = (),
) -> Estimate:
    """The mean over prompts with its standard error and 95 % bootstrap interval.

    With a single prompt neither can be known: the standard error and both ends are NaN. The interval is too narrow
    below about ten prompts, as every percentile bootstrap is. With clusters, whole clusters are resampled, what is
    said of prompts holds of clusters, and the standard error is that of a ratio, total over number of prompts.
    Sources: Efron and Tibshirani (1993), chapter 13; Davison and Hinkley (1997), section 3.8; Cochran (1977), 9A.

    Args:
        generator: draws the resamples; by default one seeded with 0, so that the same values give the same interval.
        clusters: each prompt's cluster, such as its template; by default the prompts are independent.

    Raises:
        AlignmentError: not one name of a cluster for each prompt.
    """
    mean = values.mean(dim=0)
    sums, sizes = by_unit(values, clusters)
    if len(sums) == 1:
        return unknown(mean)
    low, high, _ = _resampled(sums, sizes, _counts(len(sums), n_resamples, generator))
    ends = (each.to(values).reshape(mean.shape) for each in (low, high))
    return Estimate(mean, standard_error(values, clusters), *ends)


def standard_error(values: Float[Tensor, "prompt ..."], clusters: Sequence[str] = ()) -> Float[Tensor, "..."]:
    """The standard error of the mean over prompts, that of a ratio with clusters; NaN for a single one.

    Raises:
        AlignmentError: not one name of a cluster for each prompt.
    """
    mean = values.mean(dim=0)
    sums, sizes = by_unit(values, clusters)
    n_units = len(sums)
    if n_units == 1:
        return torch.full_like(mean, torch.nan)
    residuals = sums - sizes[:, None] * mean.double().flatten()
    error = (residuals.square().sum(dim=0) * n_units / (n_units - 1)).sqrt() / len(values)
    return error.to(values).reshape(mean.shape)


def ratio_of_means(
    numerator: Float[Tensor, "prompt ..."],
    denominator: Float[Tensor, " prompt"],
    generator: torch.Generator | None = None,
    n_resamples: int = N_RESAMPLES,
    clusters: Sequence[str] = (),
) -> Estimate:
    """Mean of the numerator over mean of the denominator, with its 95 % bootstrap interval over prompts.

    Both are resampled together, with clusters whole clusters of both. The standard error is that of the resamples.
    With a single prompt, or where a resample's denominator is zero, it and the interval are NaN. Where the denominator
    changes its sign between resamples, the interval says little: look at the denominator's own.
    Source: Efron and Tibshirani (1993), sections 10.5 and 13.

    Raises:
        AlignmentError: not one name of a cluster for each prompt.
    """
    ratio = numerator.mean(dim=0) / denominator.mean()
    sums, _ = by_unit(numerator, clusters)
    below, _ = by_unit(denominator, clusters)
    if len(sums) == 1:
        return unknown(ratio)
    counts = _counts(len(sums), n_resamples, generator)
    if bool((counts.to(below) @ below == 0).any()):
        return unknown(ratio)
    low, high, spread = _resampled(sums, below[:, 0], counts)
    return Estimate(ratio, *(each.to(numerator).reshape(ratio.shape) for each in (spread, low, high)))


def _counts(n_units: int, n_resamples: int, generator: torch.Generator | None) -> Float[Tensor, "resample unit"]:
    """How often each unit is in each resample."""
    generator = generator or torch.Generator().manual_seed(0)
    drawn = torch.randint(n_units, (n_resamples, n_units), generator=generator)
    return torch.zeros(n_resamples, n_units, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(1, dtype=torch.float64).expand_as(drawn)
    )


def _resampled(
    above: Float[Tensor, "unit cell"], below: Float[Tensor, " unit"], counts: Float[Tensor, "resample unit"]
) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"], Float[Tensor, " cell"]]:
    """The 2.5 % and 97.5 % points and the standard deviation, over resamples, of one sum over the other."""
    denominators = counts @ below.cpu()
    above, width = above.cpu(), max(1, BLOCK // len(counts))
    low, high, spread = above.new_empty(3, above.shape[1])
    # A grid has tens of thousands of cells: all their resamples at once would take gigabytes.
    for first in range(0, above.shape[1], width):
        part = slice(first, first + width)
        ratios = ((above[:, part].T @ counts.T) / denominators).numpy()
        spread[part] = torch.from_numpy(ratios.std(axis=1, ddof=1))
        # A partition of each row, which is many times faster than the sort that torch.quantile is.
        ends = np.quantile(ratios, (0.025, 0.975), axis=1, overwrite_input=True)
        low[part], high[part] = torch.from_numpy(ends)
    return low, high, spread
