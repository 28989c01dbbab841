"""What the path expansion says in words, and its headline numbers."""

import math
from typing import Any

import pandas as pd

from .paths_tables import MOST_PAIRS, Paths
from .wording import listed


def verdict(model: Any, paths: Paths, orders: pd.DataFrame, heads: pd.DataFrame, virtual: pd.DataFrame) -> str:
    """The finding on the first line, then one detail a line."""
    start, end = orders["loss_nats"].iloc[0], orders["loss_nats"].iloc[-1]
    parts = [
        f"{_counted(row)} {row['worth_nats']:.2f}{_interval(row, 'worth_nats')}"
        for _, row in orders.iloc[2:].iterrows()
    ]
    biases = orders.iloc[1]
    opening = (
        f"Of the {start - end:.2f} nats between even odds (ln V = {start:.2f}) and the model's loss of {end:.2f}"
        if end < start
        else f"The model's loss of {end:.2f} nats is no better than even odds (ln V = {start:.2f}); of the difference"
    )
    lines = [f"{opening}, {listed(parts)}; the biases {biases['worth_nats']:.2f}{_interval(biases, 'worth_nats')}."]
    best = heads.loc[heads["loss_increase_nats"].idxmax()]
    lines.append(
        f"Left out by itself at frozen patterns, {best['head']} costs most of the {len(heads)} heads, "
        f"{best['loss_increase_nats']:+.3f} nats{_interval(best, 'loss_increase_nats', 3)}."
    )
    if len(virtual):
        run = virtual[virtual["loss_increase_nats"].notna()]
        pair = run.loc[run["loss_increase_nats"].idxmax()]
        which = (
            f"the {len(run)} virtual heads, each left out by itself,"
            if len(run) == len(virtual)
            else f"the {len(run)} virtual heads that were left out (of {len(virtual)}, the strongest to first order)"
        )
        lines.append(
            f"Of {which} {pair['earlier']} then {pair['later']} costs most, {pair['loss_increase_nats']:+.3f} nats"
            f"{_interval(pair, 'loss_increase_nats', 3)}."
        )
    elif len(paths.single) > 1:
        lines.append(f"There are more than {MOST_PAIRS} virtual heads: they are counted together, not listed.")
    else:
        lines.append("One layer has no virtual heads.")
    if paths.frozen.soft_cap > 0:
        lines.append(f"The logits are capped at {paths.frozen.soft_cap:g}: paths sum to what stands before the cap.")
    if model.cfg.normalization_type is not None:
        lines.append("The norms' scales are held as the patterns are: a truncated stream is divided as the full one.")
    n_prompts = paths.losses.shape[1]
    interval = (
        "One prompt: no interval can be given." if n_prompts == 1 else f"Intervals: 95 % over {n_prompts} prompts."
    )
    lines.append(interval)
    return "\n".join(lines)


def numbers(
    paths: Paths, orders: pd.DataFrame, heads: pd.DataFrame, virtual: pd.DataFrame
) -> dict[str, float | int | str]:
    """The headline numbers."""
    worth = dict(zip(orders["kept_up_to"], orders["worth_nats"], strict=True))
    best = heads.loc[heads["loss_increase_nats"].idxmax()]
    found: dict[str, float | int | str] = {
        "loss_nats": float(orders["loss_nats"].iloc[-1]),
        "biases_worth_nats": float(worth["biases"]),
        "direct_path_worth_nats": float(worth["direct path"]),
        "single_heads_worth_nats": float(worth["single heads"]),
    }
    if len(paths.single) > 1:
        higher = orders["worth_nats"].iloc[4:]
        found["virtual_heads_worth_nats"] = float(math.fsum(higher))
    return found | {
        "most_costly_head": str(best["head"]),
        "most_costly_head_nats": float(best["loss_increase_nats"]),
    }


def _counted(row: pd.Series) -> str:
    if row["kept_up_to"] == "direct path":
        return "the direct path is worth"
    return f"{row['paths']} {row['kept_up_to'] if row['paths'] > 1 else row['kept_up_to'].removesuffix('s')}"


def _interval(row: pd.Series, name: str, digits: int = 2) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if pd.isna(low) else f" ({low:.{digits}f} to {high:.{digits}f})"
