"""The effects of ablation as tables, and what they are made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.component_ablation import Ablations, Component, components
from interp.errors import NonFiniteError
from interp.shapley import MOST, Shapley, shapley
from interp.statistics import over_prompts, sign_flip_p_values

SIGNIFICANT = 0.05
"""The adjusted p below which an effect is called one."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything that was measured, prompt by prompt, as an increase of the loss in nats.

    Attributes:
        base: the loss with nothing taken out.
        singles: each component by itself.
        layers: for each block all its heads at once.
        players: the components that share a joint effect: the named set, or the strongest ones.
        shared: their shares; None for a named set with more components than shares can be had for.
        joint: the effect of all of them at once.
        named: whether the set was named, not found.
        noise_floor: how far each prompt's loss moves with how many rows are computed at once; None if not known.
    """

    base: Float[Tensor, " prompt"]
    components: Sequence[Component]
    singles: Float[Tensor, "prompt component"]
    layers: Float[Tensor, "prompt layer"]
    players: Sequence[Component]
    shared: Shapley | None
    joint: Float[Tensor, " prompt"]
    named: bool
    noise_floor: Float[Tensor, " prompt"] | None

    def alone(self, players: Sequence[Component]) -> Float[Tensor, "prompt player"]:
        """The effects of some components, each by itself."""
        return self.singles[:, [list(self.components).index(one) for one in players]]


def measured(ready: Ablations, chosen: Sequence[Component], n_strongest: int) -> Measured:
    """Every component alone, every block's heads together, and the chosen set, else the strongest, shared out."""
    found = components(ready.model)
    singles = ready.effects([[one] for one in found])
    if not bool(singles.isfinite().all()):
        raise NonFiniteError("the loss without a component is not finite")
    blocks = range(ready.model.cfg.n_layers)
    heads = [[one for one in found if one.layer == layer and one.head is not None] for layer in blocks]
    strongest = singles.mean(dim=0).abs().argsort(descending=True, stable=True)[:n_strongest]
    players = list(chosen) or [found[int(at)] for at in sorted(strongest.tolist())]
    sets = _larger_subsets(players) if len(players) <= MOST else [frozenset(players)]
    joint = ready.effects([*heads, *sets])
    worth = {frozenset([one]): singles[:, at] for at, one in enumerate(found)}
    worth |= dict(zip(sets, joint[:, len(heads) :].unbind(dim=1), strict=True))
    worth[frozenset()] = torch.zeros_like(ready.base)
    shared = shapley(lambda taken: worth[frozenset(taken)], players) if len(players) <= MOST else None
    whole = worth[frozenset(players)]
    layers = joint[:, : len(heads)]
    return Measured(ready.base, found, singles, layers, players, shared, whole, bool(chosen), ready.noise_floor)


def _larger_subsets(players: Sequence[Component]) -> list[frozenset[Component]]:
    """Those of two and more, which must be measured yet."""
    return [frozenset(chosen) for size in range(2, len(players) + 1) for chosen in combinations(players, size)]


def component_table(found: Measured) -> pd.DataFrame:
    """Each head and MLP taken out by itself."""
    table = pd.DataFrame(
        {
            "component": [str(one) for one in found.components],
            "layer": [one.layer for one in found.components],
            "kind": ["MLP" if one.head is None else "head" for one in found.components],
        }
    )
    _add(table, "loss_increase_nats", found.singles)
    table["p_adjusted"] = sign_flip_p_values(found.singles).numpy(force=True)
    outside = (table["loss_increase_nats_low"] > 0) | (table["loss_increase_nats_high"] < 0)
    noise = 0.0 if found.noise_floor is None else float(found.noise_floor.mean())
    above = table["loss_increase_nats"].abs() > noise
    table["beyond_chance"] = (table["p_adjusted"] < SIGNIFICANT) & outside & above
    return table


def layer_table(found: Measured) -> pd.DataFrame:
    """All heads of each block at once, beside the sum of what each costs by itself."""
    sums = torch.stack(
        [
            found.alone([one for one in found.components if one.layer == layer and one.head is not None]).sum(dim=1)
            for layer in range(found.layers.shape[1])
        ],
        dim=1,
    )
    table = pd.DataFrame({"taken_out": [f"all heads of L{layer}" for layer in range(found.layers.shape[1])]})
    _add(table, "together_nats", found.layers)
    _add(table, "sum_of_singles_nats", sums)
    _add(table, "interaction_nats", found.layers - sums)
    # Who names the largest of the blocks has looked at all of them.
    table["together_p_adjusted"] = sign_flip_p_values(found.layers).numpy(force=True)
    table["interaction_p_adjusted"] = sign_flip_p_values(found.layers - sums).numpy(force=True)
    return table


def shapley_table(found: Measured) -> pd.DataFrame:
    """What each of the set costs alone and its share of the joint effect; the last row is the set as a whole."""
    alone = found.alone(found.players)
    rows = pd.DataFrame({"taken_out": [*(str(one) for one in found.players), "all of these"]})
    _add(rows, "alone_nats", torch.cat([alone, alone.sum(dim=1, keepdim=True)], dim=1))
    shares = torch.full_like(alone, torch.nan) if found.shared is None else found.shared.values
    _add(rows, "share_nats", torch.cat([shares, found.joint[:, None]], dim=1))
    return rows


def _add(table: pd.DataFrame, name: str, values: Float[Tensor, "prompt row"]) -> None:
    estimate = over_prompts(values.double())
    table[name] = estimate.mean.numpy(force=True)
    table[f"{name}_low"] = estimate.low.numpy(force=True)
    table[f"{name}_high"] = estimate.high.numpy(force=True)
