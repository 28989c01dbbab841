"""The tables of the path expansion."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.path_expansion import FrozenModel, frozen_model
from interp.path_importance import first_order, losses_without, truncated_losses
from interp.statistics import over_prompts

MOST_PAIRS = 1024
"""Virtual heads are listed up to this many; beyond, only their order as a whole is."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Everything the tables are made of.

    Attributes:
        frozen: the model with its patterns and norm scales held.
        orders: the stream at the end by order.
        losses: each prompt's loss with nothing, with biases, and with paths up to each order.
        single: the paths of order 1, by layer.
        without_single: each prompt's loss without each head's path of order 1.
        cost: the direction along which a path's product is what leaving it out costs to first order, and that along
            which it is its share of the right token's logit.
        pairs: the virtual heads of two, as (layer, head, layer, head).
        pair_costs, pair_shares: their products with the two directions, averaged over positions.
        virtual_sum: their sum; None where there is none, or too many.
        without_pair: each prompt's loss without the virtual heads that were left out, by number.
    """

    frozen: FrozenModel
    orders: Float[Tensor, "order batch pos d_model"]
    losses: Float[Tensor, "kept batch"]
    single: tuple[Float[Tensor, "head batch pos d_model"], ...]
    without_single: Float[Tensor, "any_head batch"]
    cost: tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos d_model"]]
    pairs: tuple[tuple[int, int, int, int], ...]
    pair_costs: Float[Tensor, "pair batch"]
    pair_shares: Float[Tensor, "pair batch"]
    virtual_sum: Float[Tensor, "batch pos d_model"] | None
    without_pair: dict[int, Float[Tensor, " batch"]]


def paths_of(model: Any, tokens: Int[Tensor, "batch pos"], n_left_out: int) -> Paths:
    """The paths of the model on these tokens."""
    frozen = frozen_model(model, tokens)
    orders = frozen.orders()
    share, cost = first_order(frozen, tokens)
    single = tuple(frozen.single_heads(layer) for layer in range(len(frozen.layers)))
    # Leaving a term out costs a product with the whole unembedding, which in float64 would take twice as long.
    precision = torch.float64 if model.cfg.dtype == torch.float64 else torch.float32
    without_single = losses_without(frozen, tokens, (term for heads in single for term in heads), precision)
    pairs, costs, shares, total = [], [], [], None
    n_heads, layers = len(single[0]), range(len(single))
    if len(single) > 1 and math.comb(len(single), 2) * n_heads**2 <= MOST_PAIRS:
        total = torch.zeros_like(frozen.embedded)
        for earlier, later in combinations(layers, 2):
            for head in range(n_heads):
                terms = frozen.layers[later].by_head(single[earlier][head])
                total = total + terms.sum(dim=0)
                pairs += [(earlier, head, later, other) for other in range(n_heads)]
                costs.append(_mean_product(terms, cost))
                shares.append(_mean_product(terms, share))
    none = torch.zeros(0, len(tokens), dtype=torch.float64)
    pair_costs, pair_shares = (torch.cat(values) if values else none for values in (costs, shares))
    strongest = pair_costs.mean(dim=1).abs().topk(min(n_left_out, len(pairs))).indices.tolist() if pairs else []
    chosen = (frozen.virtual_heads(*pairs[number][:3])[pairs[number][3]] for number in strongest)
    without = losses_without(frozen, tokens, chosen, precision) if strongest else none
    return Paths(
        frozen,
        orders,
        truncated_losses(frozen, tokens, orders),
        single,
        without_single,
        (cost, share),
        tuple(pairs),
        pair_costs,
        pair_shares,
        total,
        dict(zip(strongest, without, strict=True)),
    )


def _mean_product(
    terms: Float[Tensor, "term batch pos d_model"], direction: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "term batch"]:
    """The products at the positions that have a next token, averaged over these."""
    return torch.einsum("tbpd,bpd->tb", terms, direction) / (direction.shape[1] - 1)


def order_table(paths: Paths) -> pd.DataFrame:
    """One row for what is kept: nothing, the biases, and all paths up to each order."""
    n_layers, n_heads = len(paths.single), len(paths.single[0])
    names = ["nothing", "biases", *(_order_name(order) for order in range(n_layers + 1))]
    counts = [None, None, *(math.comb(n_layers, order) * n_heads**order for order in range(n_layers + 1))]
    worth = torch.cat([torch.full_like(paths.losses[:1], torch.nan), paths.losses[:-1] - paths.losses[1:]])
    loss, gain = over_prompts(paths.losses.T), over_prompts(worth.T)
    return pd.DataFrame(
        {
            "kept_up_to": names,
            "paths": pd.array(counts, dtype="Int64"),
            **_columns("loss_nats", loss),
            **_columns("worth_nats", gain),
        }
    )


def _order_name(order: int) -> str:
    return {0: "direct path", 1: "single heads", 2: "virtual heads"}.get(order, f"virtual heads of {order}")


def head_table(paths: Paths) -> pd.DataFrame:
    """One row a head: what its own path, token to head to logits, is worth at frozen patterns."""
    cost, share = paths.cost
    terms = torch.cat(paths.single)
    increase = over_prompts((paths.without_single - paths.losses[-1]).T)
    n_heads = len(paths.single[0])
    return pd.DataFrame(
        {
            "head": [f"L{number // n_heads}H{number % n_heads}" for number in range(len(terms))],
            **_columns("loss_increase_nats", increase),
            "first_order_nats": _mean_product(terms, cost).mean(dim=1).numpy(force=True),
            "right_token_logits": _mean_product(terms, share).mean(dim=1).numpy(force=True),
        }
    )


def virtual_table(paths: Paths) -> pd.DataFrame:
    """One row a virtual head of two, the most costly to first order at the top."""
    if not paths.pairs:
        return pd.DataFrame()
    first = over_prompts(paths.pair_costs.T)
    rows = []
    for number, (layer, head, later, other) in enumerate(paths.pairs):
        row: dict[str, Any] = {"earlier": f"L{layer}H{head}", "later": f"L{later}H{other}"}
        row |= {name: float(values[number]) for name, values in _columns("first_order_nats", first).items()}
        row["right_token_logits"] = float(paths.pair_shares[number].mean())
        left_out = paths.without_pair.get(number)
        if left_out is not None:
            increase = over_prompts(left_out - paths.losses[-1])
            row |= {name: float(value) for name, value in _columns("loss_increase_nats", increase).items()}
        rows.append(row)
    order = torch.argsort(paths.pair_costs.mean(dim=1).abs(), descending=True).tolist()
    return pd.DataFrame(rows).iloc[order].reset_index(drop=True)


def _columns(name: str, estimate: Any) -> dict[str, Any]:
    ends = {"": estimate.mean, "_low": estimate.low, "_high": estimate.high}
    return {f"{name}{end}": values.numpy(force=True) for end, values in ends.items()}
