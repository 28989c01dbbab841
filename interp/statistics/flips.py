"""Is an effect beyond chance: by itself, and as the largest of a whole grid?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .units import by_unit

N_FLIPS = 10_000
ENUMERATED = 13
"""Up to so many units all flips are run; there are 2^(n - 1) that differ."""
BLOCK = 2**21
"""Flipped sizes that are held at once."""
_TIE = 1e-12


@dataclass(frozen=True)
class SignFlips:
    """The p values of every cell of a grid.

    Attributes:
        single: how often a random flip makes this cell as large as it is.
        adjusted: how often it makes *any* cell as large as this one: adjusted for the number of cells.
        smallest: what no p value can be below, with so few prompts or flips.
    """

    single: Float[Tensor, "..."]
    adjusted: Float[Tensor, "..."]
    smallest: float


def sign_flips(
    values: Float[Tensor, "prompt ..."],
    clusters: Sequence[str] = (),
    generator: torch.Generator | None = None,
    n_flips: int = N_FLIPS,
) -> SignFlips:
    """For each cell how often flipping the signs of whole prompts makes it, or any cell (max-T), as large as it is.

    If no cell had an effect and effects were symmetric around zero, the chance of a single adjusted value below 0.05
    anywhere is 5 %. Sizes are compared as t statistics. All flips are enumerated up to 13 prompts, so that the smallest
    value with n prompts is 2^(1 - n); above, `n_flips` are drawn and the data's own is one of them, so that it is
    1 / n_flips. With clusters, whole clusters are flipped, and what is said of prompts holds of clusters. 1 where all
    values are zero, and everywhere with a single prompt.
    Sources: Westfall and Young (1993), section 2.6; Phipson and Smyth (2010) for counting the data's own.

    Raises:
        AlignmentError: not one name of a cluster for each prompt.
    """
    sums, _ = by_unit(values, clusters)
    signs = _signs(len(sums), generator, n_flips).to(sums)
    # |sum| / sqrt(n sum of squares) grows with |t| and, unlike it, is defined where all values are equal.
    scale = (len(sums) * sums.square().sum(dim=0)).sqrt()
    scaled = torch.where(scale > 0, sums / scale.clamp_min(1e-300), 0.0)
    # Flips that tie with the data in exact arithmetic must count as ties, whatever the order of summation.
    reach = scaled.sum(dim=0).abs() - _TIE
    largest, single = signs.new_zeros(len(signs)), []
    width = max(1, BLOCK // len(signs))
    for part, reached in zip(scaled.split(width, dim=1), reach.split(width), strict=True):
        sizes = (signs @ part).abs_()
        single.append((sizes >= reached).sum(dim=0))
        largest = torch.maximum(largest, sizes.amax(dim=1))
    below = torch.searchsorted(largest.sort().values, reach)
    shape = values.shape[1:]
    return SignFlips(
        single=(torch.cat(single).double() / len(signs)).reshape(shape),
        adjusted=((len(signs) - below).double() / len(signs)).reshape(shape),
        smallest=smallest_p(len(sums), n_flips),
    )


def sign_flip_p_values(
    values: Float[Tensor, "prompt ..."],
    generator: torch.Generator | None = None,
    n_flips: int = N_FLIPS,
    clusters: Sequence[str] = (),
) -> Float[Tensor, "..."]:
    """The p value of each cell, adjusted for the number of cells: `sign_flips` has the details."""
    return sign_flips(values, clusters, generator, n_flips).adjusted


def smallest_p(n_units: int, n_flips: int = N_FLIPS) -> float:
    """What no sign-flip p value of so many prompts, or clusters of them, can be below."""
    return 2.0 ** (1 - n_units) if n_units <= ENUMERATED else 1 / n_flips


def _signs(n_units: int, generator: torch.Generator | None, n_flips: int) -> Float[Tensor, "flip unit"]:
    """The flips, that of the data itself first."""
    if n_units <= ENUMERATED:
        # The first unit's sign is fixed: flipping all of them changes no size.
        bits = torch.arange(2 ** (n_units - 1))[:, None] >> torch.arange(n_units)
        return 1.0 - 2.0 * (bits & 1).double()
    generator = generator or torch.Generator().manual_seed(0)
    signs = 2.0 * torch.randint(2, (n_flips, n_units), generator=generator).double() - 1.0
    signs[0] = 1.0
    return signs
