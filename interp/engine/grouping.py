"""Which lanes attend together: those that ask from nearly the same positions on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from .rows import Mask, Numbers

NEIGHBOURS = 8
"""Lanes ask in one call whose first positions are this close: a few products for nothing cost less than a call."""

MOST_KEYS = 65_536
"""Keys of all lanes that attend in one call: more would only take memory."""


class Group(NamedTuple):
    """Lanes that attend in one call.

    Attributes:
        lanes: their numbers.
        asked: the positions from which some of them asks.
    """

    lanes: Int[np.ndarray, " lane"]
    asked: Numbers


def groups(queries: Mask, n_keys: int) -> Iterator[Group]:
    """The lanes that ask, in groups.

    Args:
        queries: the positions from which each lane asks.
        n_keys: how many positions a query may see at most.
    """
    alive = np.flatnonzero(queries.any(axis=1))
    kinds = queries[alive].argmax(axis=1) // NEIGHBOURS
    most = max(1, MOST_KEYS // n_keys)
    for kind in np.unique(kinds):
        lanes = alive[kinds == kind]
        for first in range(0, len(lanes), most):
            some = lanes[first : first + most]
            yield Group(some, np.flatnonzero(queries[some].any(axis=0)))
