"""The Fourier basis of the numbers modulo p: what a model that turns its numbers around a circle is made of."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError


def fourier_basis(modulus: int) -> Float[Tensor, "wave number"]:
    """The orthonormal waves of Z/p in float64: the constant, then cos and sin of frequencies 1 to (p - 1) / 2.

    Raises:
        ShapeError: a modulus that is even or below 3, whose highest frequency has no sine.
    """
    if modulus < 3 or modulus % 2 == 0:
        raise ShapeError(f"the waves come in pairs for an odd modulus of 3 or more, not for {modulus}")
    numbers = torch.arange(modulus, dtype=torch.float64)
    frequencies = torch.arange(1, modulus // 2 + 1, dtype=torch.float64)
    # The angle of k n is that of k n mod p, which is smaller and so exact.
    angles = 2 * math.pi / modulus * (frequencies[:, None] * numbers % modulus)
    waves = torch.stack([angles.cos(), angles.sin()], dim=1).flatten(0, 1) * math.sqrt(2 / modulus)
    return torch.cat([torch.full((1, modulus), 1 / math.sqrt(modulus), dtype=torch.float64), waves])


def power_by_frequency(values: Float[Tensor, "number d_model"]) -> Float[Tensor, " frequency"]:
    """The squared length of the values along each frequency, 0 first; together they are the values' own.

    Source: Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", 4.1.
    """
    waves = fourier_basis(values.shape[0]).to(values.device)
    power = (waves @ values.double()).square().sum(dim=1)
    return torch.cat([power[:1], power[1:].reshape(-1, 2).sum(dim=1)])


def kept_frequencies(
    values: Float[Tensor, "number d_model"], frequencies: Sequence[int]
) -> Float[Tensor, "number d_model"]:
    """The part of the values that lies in these frequencies (0 is the mean over the numbers)."""
    waves = fourier_basis(values.shape[0]).to(values.device)
    rows = [row for k in frequencies for row in ([0] if k == 0 else [2 * k - 1, 2 * k])]
    chosen = waves[rows]
    return (chosen.T @ (chosen @ values.double())).to(values.dtype)
