"""Activations in a few numbers: heavy tails, dimensions that stand out, neurons that fire, how sharp attention is.

Each stands beside what it is where nothing is special.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GAUSSIAN_KURTOSIS = 3.0


def kurtosis(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """The fourth moment over the square of the second, about the mean: 3 for normal numbers, n for a single large one.

    Above 3 over the dimensions of a stream, the basis is privileged: some dimensions are not like others.
    Source: Elhage et al. (2023), "Privileged Bases in the Transformer Residual Stream".
    """
    values = values.double()
    centred = values - values.mean(dim=-1, keepdim=True)
    squares = centred.square()
    return squares.square().mean(dim=-1) / squares.mean(dim=-1).square()


def dimension_sizes(stream: Float[Tensor, "prompt pos d_model"]) -> Float[Tensor, " d_model"]:
    """The root mean square of each dimension over prompts and positions. Their squares sum to the mean |x|^2."""
    return stream.double().square().mean(dim=(0, 1)).sqrt()


def outliers(sizes: Float[Tensor, " d_model"], times: float) -> Bool[Tensor, " d_model"]:
    """Which dimensions are larger than `times` the median dimension. Source: Dettmers et al. (2022), for the name."""
    return sizes > times * sizes.median()


def largest_over_median(activation: Float[Tensor, "*axes"]) -> float:
    """The largest |activation| over the median one. Source: Sun et al. (2024), who call 1000 times massive."""
    sizes = activation.double().abs().flatten()
    return float(sizes.max() / sizes.median())


def normal_largest_over_median(n: int) -> float:
    """What `largest_over_median` of n independent normal numbers is, about: the 1 - 1/n quantile over the median."""
    normal = torch.distributions.Normal(0.0, 1.0)
    largest = normal.icdf(torch.tensor(1 - 0.5 / max(n, 2), dtype=torch.float64))
    return float(largest / normal.icdf(torch.tensor(0.75, dtype=torch.float64)))


def entropy_shares(
    pattern: Float[Tensor, "prompt head query key"], visible: Bool[Tensor, "query key"]
) -> Float[Tensor, "prompt head"]:
    """The mean entropy of a head's rows over the mean ln n that uniform rows would have; NaN if all see one key.

    1 is uniform over all keys that a query may see, 0 a single key. Rows that see one key add nothing to either mean.
    """
    entropy = torch.special.entr(pattern.double()).sum(dim=-1).mean(dim=-1)
    return entropy / visible.sum(dim=-1).double().log().mean()


@dataclass(frozen=True)
class Firing:
    """How often each neuron of a layer fires.

    Attributes:
        rate: the share of tokens on which it does.
        threshold: what the activation must exceed to count as firing; 0 for ReLU.
        n_tokens: on how many tokens that was seen.
    """

    rate: Float[Tensor, " d_mlp"]
    threshold: float
    n_tokens: int

    @property
    def dead(self) -> Bool[Tensor, " d_mlp"]:
        """Which neurons never fired."""
        return self.rate == 0


def firing(activated: Float[Tensor, "prompt pos d_mlp"], share: float) -> Firing:
    """The firing of each neuron; it fires where its activation exceeds `share` of the layer's root mean square.

    With a share of 0 it fires above 0, as with ReLU. Smooth functions are hardly ever exactly 0, and their small
    negative values are no firing either.
    """
    activated = activated.double()
    threshold = share * float(activated.square().mean().sqrt())
    return Firing((activated > threshold).double().mean(dim=(0, 1)), threshold, activated[..., 0].numel())


def highest_rate_of_the_silent(n_seen: int) -> float:
    """How often something may happen that was not seen in n independent looks: 1 - 0.05^(1/n), about 3/n, at 95 %.

    Source: Hanley and Lippman-Hand (1983), "If nothing goes wrong, is everything all right?".
    """
    return -math.expm1(math.log(0.05) / n_seen)
