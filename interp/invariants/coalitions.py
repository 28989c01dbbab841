"""Groups of components put into another run's state: circuits at their ends, and Shapley's shares of the difference.

Additivity is not claimed: single effects do not sum to the joint one. Sources: Shapley (1953); Wang et al. (2022),
faithfulness.
"""

import math
from itertools import combinations, permutations
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from ..over_smoothing import mean_cosine
from .invariant import Invariant, NothingToMeasureError
from .linearised import read_out
from .patching import patched_logits
from .reading import activations, by_layer, other_tokens, sixteen_bit, worst
from .stream import embeddings, writers

GROUPS = 4
"""Players of the game: every coalition is a run, so few of them."""

Coalition = frozenset[int]


def _groups(model: Any) -> list[list[str]]:
    """The embeddings, and the blocks' writers in at most three runs of neighbours."""
    written = [name for layer in range(model.cfg.n_layers) for name in writers(model, layer)]
    size = math.ceil(len(written) / (GROUPS - 1))
    return [embeddings(model), *(written[start : start + size] for start in range(0, len(written), size))]


def _values(model: Any, tokens: Int[Tensor, "batch pos"]) -> dict[Coalition, Tensor]:
    """The read-out with the groups of a coalition as in the other run, for every coalition."""
    groups, other = _groups(model), other_tokens(model, tokens)
    theirs = activations(model, other, [name for group in groups for name in group])
    values = {}
    for size in range(len(groups) + 1):
        for chosen in combinations(range(len(groups)), size):
            names = [name for player in chosen for name in groups[player]]
            logits = patched_logits(model, tokens, {name: theirs[name] for name in names}) if names else model(tokens)
            values[frozenset(chosen)] = _read(logits)
    return values


def _read(logits: Tensor) -> Tensor:
    return (logits.double() * read_out(logits).double()).sum()


def shares_off_the_difference(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of Shapley's shares from summing to m(other run) - m(run), and by coalitions from by orders."""
    values = _values(model, tokens)
    players = range(len(_groups(model)))
    by_coalition = torch.stack([_share(values, player, len(players)) for player in players])
    orders = list(permutations(players))
    by_order = [torch.zeros_like(by_coalition[0]) for _ in players]
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            by_order[player] = by_order[player] + (values[before | {player}] - values[before]) / len(orders)
    # The two ends from plain runs, in which nothing is patched.
    ends = _read(model(other_tokens(model, tokens))) - _read(model(tokens))
    scale = max(float(value.abs()) for value in values.values()) or 1.0
    off = torch.cat([(by_coalition.sum() - ends)[None], by_coalition - torch.stack(by_order)])
    return float(off.abs().max()) / scale


def _share(values: dict[Coalition, Tensor], player: int, n_players: int) -> Tensor:
    total = torch.zeros_like(values[frozenset()])
    for coalition, value in values.items():
        if player not in coalition:
            size = len(coalition)
            weight = 1 / (n_players * math.comb(n_players - 1, size))
            total = total + weight * (values[coalition | {player}] - value)
    return total


def faithfulness_off_its_ends(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of f(full) from 1 and of f(empty) from 0, f the share of m(run) - m(other run) that is kept."""
    groups, other = _groups(model), other_tokens(model, tokens)
    theirs = activations(model, other, [name for group in groups for name in group])
    ours = activations(model, tokens, list(theirs))
    whole, nothing = _read(model(tokens)), _read(model(other))
    gap = whole - nothing
    if float(gap.abs()) <= 1e-6 * float(whole.abs()):
        raise NothingToMeasureError("the two runs are read out alike, so no share of their difference can be kept")
    # Kept components are given their own values, so that the full circuit is no plain run.
    full, empty = (_read(patched_logits(model, tokens, kept)) for kept in (ours, theirs))
    return worst([abs(float((full - nothing) / gap) - 1), abs(float((empty - nothing) / gap))])


def cosines_off_their_sum(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the mean cosine by (|sum of u|^2 - n) / (n (n - 1)) from the mean over pairs of positions."""
    errors = []
    for (stream,) in by_layer(model, tokens, "hook_resid_post"):
        for prompt, short in zip(stream, mean_cosine(stream), strict=True):
            pairs = [F.cosine_similarity(a, b, dim=0) for a, b in combinations(prompt, 2)]
            errors.append(float((short - torch.stack(pairs).mean()).abs()))
    return worst(errors)


INVARIANTS = (
    Invariant(
        "shapley-sum", "Shapley's shares of groups of components sum to the difference of the two runs",
        shares_off_the_difference, obstacle=sixteen_bit,
    ),
    Invariant(
        "circuit-ends", "the circuit of all components is fully faithful, that of none not at all",
        faithfulness_off_its_ends, obstacle=sixteen_bit,
    ),
    Invariant(
        "cosine-mean", "the mean cosine between positions of the stream is (|sum of directions|^2 - n) / (n (n - 1))",
        cosines_off_their_sum,
    ),
)  # fmt: skip
