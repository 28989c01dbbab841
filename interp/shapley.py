"""Shapley values: what each of a few components is worth, averaged over all orders in which they could be taken out."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import OutOfRangeError

MOST = 10
"""With n players there are 2^n sets to measure."""

Player = TypeVar("Player")


@dataclass(frozen=True, eq=False)
class Shapley:
    """The worth of each player, and what the values were made from.

    Attributes:
        values: each player's share of the joint effect; they sum to it.
        alone: the effect of each player by itself.
        joint: the effect of all of them at once.
    """

    values: Float[Tensor, "prompt player"]
    alone: Float[Tensor, "prompt player"]
    joint: Float[Tensor, " prompt"]

    @property
    def efficiency_error(self) -> Float[Tensor, " prompt"]:
        """The sum of the values less the joint effect, which must be zero."""
        return self.values.sum(dim=1) - self.joint

    @property
    def interaction(self) -> Float[Tensor, " prompt"]:
        """The joint effect less the sum of the effects alone: zero only where the players do not meet.

        Positive: they stand in for one another, or need to be taken out together. Negative: they share what is lost.
        """
        return self.joint - self.alone.sum(dim=1)


def shapley(effect: Callable[[Collection[Player]], Float[Tensor, " prompt"]], players: Sequence[Player]) -> Shapley:
    """The exact Shapley values: every subset is measured once.

    A player's value is the mean, over all orders of the players, of what the effect grows by when it joins. The values
    sum to the joint effect (efficiency). Source: Shapley (1953), "A Value for n-Person Games".

    Args:
        effect: the effect of a set of players, with that of the empty set zero.

    Raises:
        OutOfRangeError: no players, too many for all their subsets, or one that is named twice.
    """
    n_players = len(players)
    if not 1 <= n_players <= MOST or len(set(players)) < n_players:
        raise OutOfRangeError(f"shapley takes 1 to {MOST} different players, not {[str(player) for player in players]}")
    places = range(n_players)
    subsets = [frozenset(chosen) for size in range(n_players + 1) for chosen in combinations(places, size)]
    worth = {chosen: effect([players[place] for place in sorted(chosen)]).double() for chosen in subsets}
    values = []
    for place in places:
        without = [chosen for chosen in subsets if place not in chosen]
        gains = [worth[chosen | {place}] - worth[chosen] for chosen in without]
        shares = [_share_of_orders(len(chosen), n_players) for chosen in without]
        values.append(
            sum((share * gain for share, gain in zip(shares, gains, strict=True)), torch.zeros_like(gains[0]))
        )
    alone = [worth[frozenset({place})] for place in places]
    return Shapley(torch.stack(values, dim=1), torch.stack(alone, dim=1), worth[frozenset(places)])


def _share_of_orders(n_before: int, n_players: int) -> float:
    """The share of all orders in which a given player comes right after a given set of others."""
    return factorial(n_before) * factorial(n_players - n_before - 1) / factorial(n_players)
