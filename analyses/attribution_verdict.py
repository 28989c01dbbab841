"""What the attribution says in words, and its headline numbers."""

from typing import Any

import pandas as pd
import torch

from interp.statistics import over_prompts

from .attribution_tables import Shares


def verdict(
    model: Any,
    shares: Shares,
    layers: pd.DataFrame,
    components: pd.DataFrame,
    neurons: pd.DataFrame,
    last_only: bool,
) -> str:
    """The finding on the first line, then one detail a line."""
    total, beyond = (_total(values) for values in (shares.own, shares.own - shares.elsewhere))
    column = _column(shares)
    lines = [_finding(shares, layers, components)]
    if column == "beyond_logits":
        rest = total[0] - beyond[0]
        owed = (
            f"the rest, {rest:.2f}, would go to any token that is as frequent here" if rest > 0 else "no part of that"
        )
        owed += "" if rest > 0 else " is owed to how frequent the tokens are"
        lines.append(f"Above the mean logit it stands {total[0]:.2f}{total[1]}; {owed}.")
    worst = layers.loc[layers[column].idxmin()]
    name = column.removesuffix("_logits")
    against = worst[f"{name}_high"] if shares.own.shape[0] > 1 else worst[column]
    if against < 0:
        lines.append(
            f"Most against it writes {worst['place']}, {worst[column]:+.2f}{_interval(worst, name)}: a share is not "
            "an effect, and later layers may read what it writes."
        )
    if len(neurons):
        neuron = neurons.iloc[0]
        width = sum(own.shape[1] for own, _ in shares.neurons.values())
        lines.append(
            f"Of {width} neurons {neuron['neuron']} writes most, {neuron[column]:+.3f}{_interval(neuron, name, 3)}; "
            f"the {len(neurons)} strongest together {neurons[column].sum():+.2f}."
        )
    if model.cfg.output_logits_soft_cap > 0:
        lines.append(
            f"The logits are capped at {model.cfg.output_logits_soft_cap:g}: the shares are those of the logit before "
            "the cap, behind which there is no sum."
        )
    if last_only:
        lines.append("Only the last token of each prompt is asked for; elsewhere are the other prompts' last tokens.")
    lines.append(_scope(shares))
    return "\n".join(lines)


def _finding(shares: Shares, layers: pd.DataFrame, components: pd.DataFrame) -> str:
    """How far the true next token stands out and who writes that, where it stands out at all."""
    column = _column(shares)
    if column == "beyond_logits":
        values, above = shares.own - shares.elsewhere, "the tokens that come next elsewhere"
    else:
        values, above = shares.own, "the mean"
    mean, interval = _total(values)
    if not _stands_out(values):
        return (
            f"No component can be said to write the true next token: it stands {mean:.2f}{interval} logits above "
            f"{above}, which is not measurably above zero."
        )
    heads = components[components["kind"] == "head"]
    best, head = layers.loc[layers[column].idxmax()], heads.loc[heads[column].idxmax()]
    name = column.removesuffix("_logits")
    return (
        f"The true next token stands {mean:.2f}{interval} logits above {above}; {best['place']} writes most of it, "
        f"{best[column]:+.2f}{_interval(best, name)}, and of the heads {head['component']}, "
        f"{head[column]:+.2f}{_interval(head, name)}."
    )


def _stands_out(values: torch.Tensor) -> bool:
    """Whether the sum is above zero, by its interval where there are prompts enough for one."""
    estimate = over_prompts(values.sum(dim=1))
    return float(estimate.low if len(values) > 1 else estimate.mean) > 0


def numbers(
    shares: Shares, layers: pd.DataFrame, components: pd.DataFrame, neurons: pd.DataFrame
) -> dict[str, float | int | str]:
    """The headline numbers."""
    column = _column(shares)
    heads = components[components["kind"] == "head"]
    best, head = layers.loc[layers[column].idxmax()], heads.loc[heads[column].idxmax()]
    found: dict[str, float | int | str] = {"right_token_above_the_mean_logits": _total(shares.own)[0]}
    if column == "beyond_logits":
        found["right_token_above_other_next_tokens_logits"] = _total(shares.own - shares.elsewhere)[0]
    found |= {
        "strongest_layer": str(best["place"]),
        "strongest_layer_logits": float(best[column]),
        "strongest_head": str(head["component"]),
        "strongest_head_logits": float(head[column]),
    }
    if len(neurons):
        found |= {
            "strongest_neuron": str(neurons["neuron"].iloc[0]),
            "strongest_neuron_logits": float(neurons[column].iloc[0]),
        }
    return found


def _column(shares: Shares) -> str:
    # With one place alone there is nothing to compare with.
    return "share_logits" if bool(shares.elsewhere.isnan().any()) else "beyond_logits"


def _total(values: torch.Tensor) -> tuple[float, str]:
    estimate = over_prompts(values.sum(dim=1))
    known = len(values) > 1
    return float(estimate.mean), f" ({float(estimate.low):.2f} to {float(estimate.high):.2f})" if known else ""


def _interval(row: pd.Series, name: str, digits: int = 2) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if pd.isna(low) else f" ({low:+.{digits}f} to {high:+.{digits}f})"


def _scope(shares: Shares) -> str:
    n_prompts = len(shares.own)
    if n_prompts == 1:
        return "One prompt: no interval can be given."
    return f"Intervals: 95 % over {n_prompts} prompts."
