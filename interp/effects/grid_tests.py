"""The tests of a grid: those of its live cells, since what cannot matter is no test."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..statistics import SignFlips, sign_flips


def live_sign_flips(
    change: Float[Tensor, "prompt ..."], dead: Bool[Tensor, "*cell"], clusters: Sequence[str], smallest: float
) -> SignFlips:
    """The p values of the live cells; 1 for dead ones, which count neither as largest nor for the number of cells."""
    live = ~dead.flatten()
    if not bool(live.any()):
        return SignFlips(torch.ones(dead.shape).double(), torch.ones(dead.shape).double(), smallest)
    found = sign_flips(change.reshape(len(change), -1)[:, live], clusters)
    return SignFlips(scattered(found.single, dead), scattered(found.adjusted, dead), smallest)


def corrected(
    p: Float[Tensor, "*cell"],
    dead: Bool[Tensor, "*cell"],
    by: Callable[[Float[Tensor, " test"]], Float[Tensor, " test"]],
) -> Float[Tensor, "*cell"]:
    """The p values of the live cells corrected for their number; 1 for dead ones."""
    return scattered(by(p[~dead]), dead)


def scattered(values: Float[Tensor, " live"], dead: Bool[Tensor, "*cell"]) -> Float[Tensor, "*cell"]:
    """The values at the live cells, and 1 at the dead ones."""
    every = torch.ones(dead.shape, dtype=values.dtype)
    every[~dead.cpu()] = values.cpu()
    return every
