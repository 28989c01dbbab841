"""Products of thin matrices, seen without ever being multiplied out.

A head's circuits are products `left @ right` through a space of `d_head` numbers. Everything here costs a matrix of
`d_head` by `d_head`, however large the product would be.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor


def product_singular_values(
    left: Float[Tensor, "*head rows inner"], right: Float[Tensor, "*head inner columns"]
) -> Float[Tensor, "*head rank"]:
    """The singular values of `left @ right` that can differ from zero, largest first, in float64.

    With left = Q1 R1 and right^T = Q2 R2 they are those of R1 R2^T. Going through R and not through the Gram matrices
    keeps the small ones accurate.
    """
    return torch.linalg.svdvals(_triangle(left) @ _triangle(right.mT).mT)


def effective_rank(singular_values: Float[Tensor, "*head rank"]) -> Float[Tensor, "*head"]:
    """exp of the entropy of the singular values as shares of their sum: n for n equal ones, 1 for a single one.

    NaN for a matrix of zeros, which has no direction at all. Source: Roy and Vetterli (2007).
    """
    shares = singular_values / singular_values.sum(dim=-1, keepdim=True)
    return torch.special.entr(shares).sum(dim=-1).exp()


def product_eigenvalues(
    left: Float[Tensor, "*head size inner"], right: Float[Tensor, "*head inner size"]
) -> Complex[Tensor, "*head inner"]:
    """The eigenvalues of the square `left @ right` that can differ from zero: those of `right @ left`.

    Source: Sylvester's determinant identity; used by Elhage et al. (2021), "Eigenvalue analysis".
    """
    return torch.linalg.eigvals(right.double() @ left.double())


def product_norm(
    left: Float[Tensor, "*#head rows inner"], right: Float[Tensor, "*#head inner columns"]
) -> Float[Tensor, "*head"]:
    """The Frobenius norm of `left @ right`, from the two Gram matrices: sqrt(Tr(left^T left right right^T))."""
    left, right = left.double(), right.double()
    return ((left.mT @ left) * (right @ right.mT)).sum(dim=(-2, -1)).clamp(min=0).sqrt()


@dataclass(frozen=True)
class TopEntries:
    """The largest entries of a product, and each row's own largest.

    Attributes:
        values: the largest entries, descending.
        rows: the row of each.
        columns: the column of each.
        top_of_row: the column of each row's largest entry.
    """

    values: Float[Tensor, " k"]
    rows: Int[Tensor, " k"]
    columns: Int[Tensor, " k"]
    top_of_row: Int[Tensor, " row"]


def top_entries(
    left: Float[Tensor, "row inner"],
    right: Float[Tensor, "inner column"],
    k: int,
    entries_at_once: int = 2**20,
) -> TopEntries:
    """The k largest entries of `left @ right`, of which no more than `entries_at_once` are held in memory at a time.

    Raises:
        ValueError: k is not between 1 and the number of entries.
    """
    n_rows, n_columns = left.shape[0], right.shape[1]
    if not 1 <= k <= n_rows * n_columns:
        raise ValueError(f"k={k} must be between 1 and the {n_rows} x {n_columns} entries of the product")
    step = max(1, entries_at_once // n_columns)
    top_of_row = torch.empty(n_rows, dtype=torch.long, device=left.device)
    values, places = left.new_empty(0), top_of_row[:0]
    for start in range(0, n_rows, step):
        stretch = left[start : start + step] @ right
        row_maxima, top_of_row[start : start + step] = stretch.max(dim=1)
        # The k largest entries lie in the k rows with the largest maxima: only those are searched.
        rows = row_maxima.topk(min(k, len(row_maxima))).indices
        found = stretch[rows].flatten()
        found, at = found.topk(min(k, len(found)))
        values, order = torch.cat([values, found]).sort(descending=True, stable=True)
        found_places = (start + rows[at // n_columns]) * n_columns + at % n_columns
        values, places = values[:k], torch.cat([places, found_places])[order][:k]
    return TopEntries(values, places // n_columns, places % n_columns, top_of_row)


def _triangle(matrix: Float[Tensor, "*head rows inner"]) -> Float[Tensor, "*head rank inner"]:
    return torch.linalg.qr(matrix.double(), mode="r").R
