"""A matrix in three numbers, and what they are for a random matrix of its shape."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .low_rank import effective_rank


@dataclass(frozen=True)
class Spectrum:
    """The size of a matrix and how its singular values are spread.

    Attributes:
        norm: the Frobenius norm, from the entries.
        largest: the largest singular value.
        rank: the effective rank.
        identity_error: |sum of squared singular values / norm^2 - 1|, or 0 for a matrix of zeros.
    """

    norm: float
    largest: float
    rank: float
    identity_error: float


def spectrum(matrix: Float[Tensor, "rows columns"]) -> Spectrum:
    """The spectrum, from the Gram matrix of the shorter side: exact for all but the very smallest singular values.

    The effective rank of a matrix of zeros is NaN.
    """
    matrix = matrix.double()
    gram = matrix.T @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.T
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    squared = float(matrix.square().sum())
    error = abs(float(values.square().sum()) / squared - 1) if squared else 0.0
    return Spectrum(squared**0.5, float(values.max()), float(effective_rank(values)), error)


def random_rank(rows: int, columns: int) -> float:
    """The effective rank of a matrix of independent normal numbers, seeded with 0: what a matrix has before training.

    It falls short of min(rows, columns), because random singular values differ (Marchenko and Pastur, 1967).
    """
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return spectrum(drawn).rank
