"""How much of what one head writes another reads, for every pair of heads of a model."""

import torch
from jaxtyping import Float
from torch import Tensor


def composition_scores(
    W_V: Float[Tensor, "layer head d_model d_head"],
    W_O: Float[Tensor, "layer head d_head d_model"],
    left: Float[Tensor, "layer head d_model d_head"],
    right: Float[Tensor, "layer head d_head d_model"],
) -> Float[Tensor, "layer head layer2 head2"]:
    """|W_OV W| / (|W_OV| |W|) in the Frobenius norm, W = left @ right; 0 where W is not of a later layer.

    A factor with orthonormal columns leaves the norm as it is, so of W_V and `right` only the triangles of their QR
    decompositions count. Nothing larger than d_head x d_head is made for each pair of heads, and one head's pairs are
    held at a time.

    Source: Elhage et al. (2021), "Q-, K- and V-composition".
    """
    written = _triangle(W_V) @ _at_least_float32(W_O)
    read = _at_least_float32(left) @ _triangle(right.mT).mT
    rows = [_norms_behind(layer, head, read) for layer, heads in enumerate(written) for head in heads]
    norms = torch.stack(rows).unflatten(0, written.shape[:2])
    # A head of zeros has no score in a later layer (NaN), and still 0 in an earlier one.
    later = torch.ones(norms.shape[0], norms.shape[2], device=norms.device).triu(1).bool()[:, None, :, None]
    scores = norms / (written.norm(dim=(-2, -1))[..., None, None] * read.norm(dim=(-2, -1)))
    return torch.where(later, scores, 0.0)


def _norms_behind(
    layer: int, head: Float[Tensor, "d_head d_model"], read: Float[Tensor, "layer head d_model d_head"]
) -> Float[Tensor, "layer head"]:
    earlier = read.new_zeros(layer + 1, read.shape[1])
    return torch.cat([earlier, (head @ read[layer + 1 :]).norm(dim=(-2, -1))])


def _triangle(matrix: Tensor) -> Tensor:
    return torch.linalg.qr(_at_least_float32(matrix)).R


def _at_least_float32(matrix: Tensor) -> Tensor:
    return matrix.to(torch.promote_types(matrix.dtype, torch.float32))
