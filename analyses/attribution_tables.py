"""The tables of the attribution: shares averaged over positions, prompt by prompt, then over prompts."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution import Attribution
from interp.statistics import over_prompts

from .labels import token_labels


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of the true next token's logit, and of other next tokens', prompt by prompt.

    Attributes:
        own: each component's share of the true next token's logit, averaged over the positions of a prompt.
        elsewhere: its share, at the same positions, of the logits of the tokens that come next at all other positions
            of all prompts; NaN where there is no other position.
        neurons: the same two for the neurons of each MLP, by the MLP's label.
    """

    own: Float[Tensor, "prompt component"]
    elsewhere: Float[Tensor, "prompt component"]
    neurons: dict[str, tuple[Float[Tensor, "prompt neuron"], Float[Tensor, "prompt neuron"]]]


def shares_of(found: Attribution, last_only: bool) -> Shares:
    """The shares averaged over the positions that are asked for: all, or each prompt's last."""
    asked = slice(-2, -1) if last_only else slice(0, -1)
    other_read, other_bias = _elsewhere(found.read, asked), _elsewhere(found.shares[-1], asked)
    own, elsewhere = found.shares, found.along(other_read, other_bias)
    neurons = {}
    for write in found.writes:
        if write.kind == "mlp":
            parts = (write.parts_along(found.norm.adjoint(read)) for read in (found.read, other_read))
            own_parts, other_parts = (part[:, asked].mean(dim=1) for part in parts)
            neurons[write.label] = (own_parts, other_parts)
    return Shares(own[:, :, asked].mean(dim=2).T, elsewhere[:, :, asked].mean(dim=2).T, neurons)


def _elsewhere(values: Float[Tensor, "batch pos *rest"], asked: slice) -> Float[Tensor, "batch pos *rest"]:
    """At each place, the mean over all other places that are asked for."""
    of_all = values[:, asked]
    n_places = of_all.shape[0] * of_all.shape[1]
    return (of_all.sum(dim=(0, 1)) - values) / (n_places - 1) if n_places > 1 else torch.full_like(values, torch.nan)


def component_table(found: Attribution, shares: Shares) -> pd.DataFrame:
    """One row a component, in the order of the forward pass."""
    layers = [write.layer for write in found.writes] + [None, None]
    names = {"component": found.labels, "kind": found.kinds, "layer": pd.array(layers, dtype="Int64")}
    return pd.DataFrame({**names, **_columns(shares.own, shares.elsewhere)})


def layer_table(found: Attribution, shares: Shares) -> pd.DataFrame:
    """One row for the embeddings each, for each attention layer and each MLP with its biases, and the last biases."""
    groups: dict[str, list[int]] = {}
    for number, label in enumerate(found.labels):
        groups.setdefault(_layer_label(found, number, label), []).append(number)
    summed = [
        torch.stack([values[:, members].sum(dim=1) for members in groups.values()], dim=1)
        for values in (shares.own, shares.elsewhere)
    ]
    return pd.DataFrame({"place": list(groups), **_columns(*summed)})


def _layer_label(found: Attribution, number: int, label: str) -> str:
    layer = found.writes[number].layer if number < len(found.writes) else None
    if layer is None:
        return label
    in_mlp = "MLP" in label or label.endswith("b_out")
    return f"L{layer} {'MLP' if in_mlp else 'attention'}"


def neuron_table(found: Attribution, shares: Shares, n_listed: int) -> pd.DataFrame:
    """The neurons that single out the true next token most: the largest share above what others get."""
    if not shares.neurons:
        return pd.DataFrame()
    names = [f"{label.split()[0]}N{n}" for label, (own, _) in shares.neurons.items() for n in range(own.shape[1])]
    own, elsewhere = (torch.cat([pair[side] for pair in shares.neurons.values()], dim=1) for side in (0, 1))
    beyond = (own - elsewhere.nan_to_num()).mean(dim=0)
    top = beyond.topk(min(n_listed, len(names))).indices
    return pd.DataFrame({"neuron": [names[n] for n in top.tolist()], **_columns(own[:, top], elsewhere[:, top])})


def position_table(
    model: Any, tokens: Int[Tensor, "batch pos"], found: Attribution, prompt: int, n_positions: int
) -> pd.DataFrame:
    """The share of each layer at each of the first positions of one prompt, that is, of the token after it."""
    texts = token_labels(model, tokens[prompt])
    groups: dict[str, Tensor] = {}
    for number, label in enumerate(found.labels):
        place = _layer_label(found, number, label)
        groups[place] = groups.get(place, torch.zeros(())) + found.shares[number, prompt].cpu()
    rows = []
    for place, values in groups.items():
        for position, share in enumerate(values[:-1][:n_positions].tolist()):
            row = {"place": place, "position": position, "token": texts[position], "next_token": texts[position + 1]}
            rows.append({**row, "share_logits": share})
    return pd.DataFrame(rows)


def _columns(own: Float[Tensor, "prompt row"], elsewhere: Float[Tensor, "prompt row"]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, values in (("share", own), ("share_elsewhere", elsewhere), ("beyond", own - elsewhere)):
        estimate = over_prompts(values)
        columns[f"{name}_logits"] = estimate.mean.numpy(force=True)
        if name != "share_elsewhere":
            columns[f"{name}_low"] = estimate.low.numpy(force=True)
            columns[f"{name}_high"] = estimate.high.numpy(force=True)
    return columns
