"""Heads read from their weights: copying, composition, and what becomes of the biases.

Weights act on the right (`x @ W`), with TransformerLens' shapes: W_Q, W_K, W_V are [head d_model d_head], W_O is
[head d_head d_model]. The norms before them must have been folded in, or the weights are not what the head applies.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from .low_rank import product_eigenvalues, product_norm, product_singular_values


@dataclass(frozen=True)
class CopyingScores:
    """How far a head, moving a token's embedding to the output, raises that same token. NaN for a head of zeros.

    Attributes:
        score: sum of the eigenvalues of W_E W_V W_O W_U over the sum of their moduli, in [-1, 1].
        null_std: the score's standard deviation over heads of random normal weights with the same embeddings, whose
            mean score is 0. It tends to 1.5 / d_head where d_model is much larger than d_head.
        z: score / null_std.
        departure_from_normality: Henrici's sqrt(|M|^2 - sum |eigenvalue|^2) / |M| of that matrix, in [0, 1]. Near 1
            the eigenvalues say little about what the matrix does, and a high score is no proof of copying.
    """

    score: Float[Tensor, " head"]
    null_std: float
    z: Float[Tensor, " head"]
    departure_from_normality: Float[Tensor, " head"]


def copying_scores(
    W_E: Float[Tensor, "d_vocab d_model"],
    W_V: Float[Tensor, "head d_model d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    generator: torch.Generator | None = None,
    n_null: int = 256,
) -> CopyingScores:
    """The copying score of each head, with its null from `n_null` random heads in front of the same embeddings.

    The null is drawn because its closed form, 1.5 / d_head, is a limit: it takes W_O W_U W_E W_V for a matrix of
    independent normal numbers, whose eigenvalues fill a disc (Ginibre, 1965). It is a product of them, whose
    eigenvalues crowd towards 0: the true spread is a third larger at d_model = 2 d_head.

    Source: Elhage et al. (2021), "Copying / primitive in-context learning".

    Args:
        generator: draws the random heads; by default one seeded with 0.
    """
    reads, writes = W_V.double(), W_O.double()
    vocabulary = (W_U @ W_E).double()
    eigenvalues = product_eigenvalues(vocabulary @ reads, writes)
    score = _positivity(eigenvalues)
    gram_in, gram_out = (W_E.T @ W_E).double(), (W_U @ W_U.T).double()
    squared_norm = ((reads.mT @ gram_in @ reads) * (writes @ gram_out @ writes.mT)).sum(dim=(-2, -1))
    departure = (1 - eigenvalues.abs().square().sum(dim=-1) / squared_norm).clamp(min=0).sqrt()
    generator = generator or torch.Generator().manual_seed(0)
    d_model, d_head = W_V.shape[1:]
    read, write = torch.randn(2, n_null, d_model, d_head, generator=generator, dtype=torch.float64).to(reads.device)
    null_std = float(_positivity(product_eigenvalues(vocabulary @ read, write.mT)).std())
    return CopyingScores(score, null_std, score / null_std, departure)


def _positivity(eigenvalues: Complex[Tensor, "head d_head"]) -> Float[Tensor, " head"]:
    return eigenvalues.sum(dim=-1).real / eigenvalues.abs().sum(dim=-1)


@dataclass(frozen=True)
class CompositionScores:
    """How much of what one head writes another reads, beside what chance would give. NaN for a head of zeros.

    Attributes:
        score: |W_OV W| / (|W_OV| |W|) in the Frobenius norm, W the circuit of the reading head.
        baseline: the root mean square of the score if the two were turned against one another at random:
            1 / sqrt(d_model), whatever their spectra.
        baseline_std: the standard deviation of the score under those turns.
        z: (score^2 - baseline^2) over the exact standard deviation of score^2 under those turns.
    """

    score: Float[Tensor, "writer reader"]
    baseline: float
    baseline_std: Float[Tensor, "writer reader"]
    z: Float[Tensor, "writer reader"]

    @property
    def excess(self) -> Float[Tensor, "writer reader"]:
        """The score less the baseline."""
        return self.score - self.baseline


def composition_scores(
    W_V: Float[Tensor, "writer d_model d_head"],
    W_O: Float[Tensor, "writer d_head d_model"],
    left: Float[Tensor, "reader d_model d_head"],
    right: Float[Tensor, "reader d_head d_model"],
) -> CompositionScores:
    """The composition of every writing head with every reading head.

    The reader's circuit is `left @ right`: W_Q, W_K^T for Q-composition; W_K, W_Q^T for K; W_V, W_O for V.

    The null is a Haar-random rotation Q between the two: E|A Q B|^2 = |A|^2 |B|^2 / d, and, because symmetric matrices
    of trace zero are one irreducible representation of the rotations, Var|A Q B|^2 = 2 |S|^2 |T|^2 / ((d - 1)(d + 2))
    with S and T the trace-free parts of A^T A and B B^T. No Monte Carlo is needed.

    Source: Elhage et al. (2021), "Q-, K- and V-composition"; their footnote subtracts the same baseline by sampling.
    """
    d_model = W_V.shape[1]
    W_V, W_O, left, right = (weight.double() for weight in (W_V, W_O, left, right))
    # |V O L R|^2 = Tr(V^T V (O L) R R^T (O L)^T): nothing larger than d_head x d_head for each pair of heads.
    between = torch.einsum("wed,rdf->wref", W_O, left)
    squared = (((W_V.mT @ W_V)[:, None] @ between @ (right @ right.mT)) * between).sum(dim=(-2, -1)).clamp(min=0)
    score = squared.sqrt() / (product_norm(W_V, W_O)[:, None] * product_norm(left, right))
    baseline = 1 / math.sqrt(d_model)
    writers = _trace_free_norm(product_singular_values(W_V, W_O), d_model)
    readers = _trace_free_norm(product_singular_values(left, right), d_model)
    std_of_square = math.sqrt(2 / ((d_model - 1) * (d_model + 2))) * writers[:, None] * readers
    z = (score.square() - 1 / d_model) / std_of_square
    # d(score) = d(score^2) / (2 score), at the baseline.
    return CompositionScores(score, baseline, std_of_square / (2 * baseline), z)


def _trace_free_norm(singular_values: Float[Tensor, "head d_head"], d_model: int) -> Float[Tensor, " head"]:
    # |A^T A - Tr(A^T A)/d|_F / Tr(A^T A), from the singular values of A.
    squares = singular_values.square()
    trace = squares.sum(dim=-1)
    return (squares.square().sum(dim=-1) / trace.square() - 1 / d_model).clamp(min=0).sqrt()


@dataclass(frozen=True)
class BiasTerms:
    """What the biases add to the scores (before the division by the scale) and to the stream.

    The score of query i and key j is x_i W_Q W_K^T x_j + x_i W_Q b_K + b_Q W_K^T x_j + b_Q b_K. The second and fourth
    are the same for every key, so softmax drops them; b_K has no effect and no gradient.

    Attributes:
        key_preference: W_K b_Q; a key x_j is preferred by x_j @ key_preference whatever the query. Kept by softmax.
        dropped: W_Q b_K; x_i @ dropped shifts the whole row of query i. Dropped by softmax.
        constant: b_Q b_K. Dropped by softmax.
        written: b_V W_O; what the head writes wherever it looks, because its pattern sums to one.
    """

    key_preference: Float[Tensor, "head d_model"]
    dropped: Float[Tensor, "head d_model"]
    constant: Float[Tensor, " head"]
    written: Float[Tensor, "head d_model"]


def bias_terms(
    W_Q: Float[Tensor, "head d_model d_head"],
    W_K: Float[Tensor, "head d_model d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    b_Q: Float[Tensor, "head d_head"],
    b_K: Float[Tensor, "head d_head"],
    b_V: Float[Tensor, "head d_head"],
) -> BiasTerms:
    """The terms that the biases of each head add, told apart by whether softmax keeps them.

    Rotary positions turn keys before the product, and a soft cap bends the score: with either, nothing is dropped.
    """
    return BiasTerms(
        key_preference=torch.einsum("hde,he->hd", W_K, b_Q),
        dropped=torch.einsum("hde,he->hd", W_Q, b_K),
        constant=torch.einsum("he,he->h", b_Q, b_K),
        written=torch.einsum("he,hed->hd", b_V, W_O),
    )
