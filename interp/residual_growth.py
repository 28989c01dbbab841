"""How the stream grows from block to block, and how it would if each block wrote at right angles to it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Growth:
    """The stream's squared length along the depth, a mean over positions for each prompt.

    |x + f|^2 = |x|^2 + |f|^2 + 2 x f exactly. At initialisation E x f = 0 over the weights, because the matrices that
    write have mean zero whatever they are given: the squared lengths add up (He et al., 2015; Xiong et al., 2020).

    Attributes:
        squared_length: |x|^2 before the first block and after each.
        written: |f|^2, f the change that each block makes to the stream.
        alignment: the cosine of f with the x it is added to; 0 at initialisation, negative where a block takes away.
        independent: |x_0|^2 and the sum of |f|^2 up to each block: the law of initialisation.
        identity_error: the largest deviation from |x + f|^2 = |x|^2 + |f|^2 + 2 x f, relative to |x + f|^2.
    """

    squared_length: Float[Tensor, "place prompt"]
    written: Float[Tensor, "layer prompt"]
    alignment: Float[Tensor, "layer prompt"]
    independent: Float[Tensor, "place prompt"]
    identity_error: float


def growth(streams: Float[Tensor, "place prompt pos d_model"]) -> Growth:
    """The growth of a stream given before the first block and after each."""
    streams = streams.double()
    before, after = streams[:-1], streams[1:]
    change = after - before
    squares, written = streams.square().sum(dim=-1), change.square().sum(dim=-1)
    cross = (before * change).sum(dim=-1)
    cosine = cross / (squares[:-1] * written).sqrt()
    off = (squares[:-1] + written + 2 * cross - squares[1:]).abs() / squares[1:]
    start, steps = squares[:1].mean(dim=-1), written.mean(dim=-1).cumsum(dim=0)
    return Growth(
        squared_length=squares.mean(dim=-1),
        written=written.mean(dim=-1),
        alignment=cosine.mean(dim=-1),
        independent=torch.cat([start, start + steps]),
        identity_error=float(off.max()),
    )
