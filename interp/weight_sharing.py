"""The direct path W_E W_U and what sharing one matrix for both makes of it, without a matrix of d_vocab x d_vocab."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor
from torch.nn import functional as F

from .low_rank import product_eigenvalues, product_norm


@dataclass(frozen=True)
class DirectPath:
    """The matrix W_E W_U, which says how far each token that is read raises each token that is predicted.

    Attributes:
        own: its diagonal: how far each token raises itself.
        others_mean: the mean of the entries off the diagonal.
        others_rms: their root mean square.
        diagonal_share: the diagonal's share of the sum of squares; 1 / d_vocab if no entry is special.
        symmetric_share: the symmetric part's share of the sum of squares: 1 for a shared matrix, 1/2 by chance.
        eigenvalues: those that can differ from zero, from the product W_U W_E of d_model x d_model.
        positivity: sum of the eigenvalues over the sum of their sizes: 1 if all are positive, 0 by chance.
    """

    own: Float[Tensor, " d_vocab"]
    others_mean: float
    others_rms: float
    diagonal_share: float
    symmetric_share: float
    eigenvalues: Complex[Tensor, " d_model"]
    positivity: float


def direct_path(W_E: Float[Tensor, "d_vocab d_model"], W_U: Float[Tensor, "d_model d_vocab"]) -> DirectPath:
    """The direct path in numbers, in float64.

    The symmetric part's squares are (|M|^2 + Tr M^2) / 2, and Tr M^2 is the trace of (W_U W_E)^2. A shared matrix makes
    M = W_E W_E^T, which is symmetric and has no negative eigenvalue.

    Source: Elhage et al. (2021), "Zero-layer transformers", for the path; Sylvester's identity for the eigenvalues.
    """
    W_E, W_U = W_E.double(), W_U.double()
    n = len(W_E)
    own = (W_E * W_U.T).sum(dim=-1)
    squares = float(product_norm(W_E, W_U)) ** 2 or math.nan
    own_squares = float(own.square().sum())
    inner = W_U @ W_E
    total = float(W_E.sum(dim=0) @ W_U.sum(dim=1))
    eigenvalues = product_eigenvalues(W_E, W_U)
    n_others = max(1, n * (n - 1))
    return DirectPath(
        own=own,
        others_mean=(total - float(own.sum())) / n_others,
        others_rms=(max(0.0, squares - own_squares) / n_others) ** 0.5,
        diagonal_share=own_squares / squares,
        symmetric_share=(1 + float((inner * inner.T).sum()) / squares) / 2,
        eigenvalues=eigenvalues,
        positivity=float(eigenvalues.sum().real / eigenvalues.abs().sum()),
    )


def own_on_top(
    W_E: Float[Tensor, "d_vocab d_model"], W_U: Float[Tensor, "d_model d_vocab"], rows: Int[Tensor, " row"]
) -> Bool[Tensor, " row"]:
    """Whether each of these tokens raises itself above all others on the direct path."""
    return (W_E[rows] @ W_U).argmax(dim=-1) == rows


@dataclass(frozen=True)
class SharedDirections:
    """How alike a token's vector in the embedding and its vector in the unembedding are.

    Attributes:
        own: the cosine of each token's two vectors; NaN where one is zero and has no direction.
        others_mean: the mean cosine of the vectors of two different tokens, over all pairs that have directions.
        others_std: the standard deviation of the cosine over all such pairs.
    """

    own: Float[Tensor, " d_vocab"]
    others_mean: float
    others_std: float


def shared_directions(W_E: Float[Tensor, "d_vocab d_model"], W_U: Float[Tensor, "d_model d_vocab"]) -> SharedDirections:
    """The cosines between the rows of W_E and of W_U^T, and exactly what pairs of different tokens give.

    The mean over all pairs is a product of two sums, (sum u)(sum v), and the mean of the squares a Frobenius norm.
    """
    W_E, W_U = W_E.double(), W_U.double()
    # F.normalize leaves a vector of zeros as it is, with a cosine of 0 to everything.
    has_directions = (W_E.norm(dim=-1) > 0) & (W_U.norm(dim=0) > 0)
    read, write = F.normalize(W_E[has_directions], dim=-1), F.normalize(W_U.T[has_directions], dim=-1)
    cosines = (read * write).sum(dim=-1)
    n_pairs = max(1, len(read) * (len(read) - 1))
    mean = (float(read.sum(dim=0) @ write.sum(dim=0)) - float(cosines.sum())) / n_pairs
    mean_square = (float(product_norm(read, write.T)) ** 2 - float(cosines.square().sum())) / n_pairs
    own = torch.full((len(W_E),), torch.nan, dtype=torch.float64, device=W_E.device)
    own[has_directions] = cosines
    return SharedDirections(own, mean, max(0.0, mean_square - mean**2) ** 0.5)
