"""What ablation says in words, and its headline numbers."""

import pandas as pd
from torch import Tensor

from interp.residual_ablation import Replacement
from interp.statistics import over_prompts

from .ablation_tables import Measured

SIGNIFICANT = 0.05
STANDS_IN = {
    "mean": "its mean over the prompts at each position",
    "zero": "zero",
    "resample": "its value on another prompt",
}


def verdict(
    found: Measured,
    components: pd.DataFrame,
    layers: pd.DataFrame,
    together: pd.DataFrame,
    kind: Replacement,
    scored: str,
) -> str:
    """The finding on the first line, then one detail a line."""
    n_prompts = len(found.base)
    heads, mlps = (components[components["kind"] == kind_of] for kind_of in ("head", "MLP"))
    best = _most(heads)
    change = _nats(best, "loss_increase_nats")
    if best["loss_increase_nats"] > 0:
        first = f"Without {best['component']} the loss grows most of all heads, by {change} nats"
    else:
        first = f"No head is missed: without {best['component']}, the nearest to it, the loss changes by {change} nats"
    if len(mlps):
        mlp = _most(mlps)
        first += f"; of the MLPs without {mlp['component']}, by {_nats(mlp, 'loss_increase_nats')}"
    plural = "s" * (n_prompts > 1)
    lines = [
        f"{first} (loss {float(found.base.mean()):.3f}, {n_prompts} prompt{plural}; taken out: {STANDS_IN[kind]}).",
        _beyond(components, n_prompts),
        _block(layers, len(heads)),
        _set(found, together),
        scored,
        "With one prompt there is no mean and no interval: what is taken out is replaced by zero."
        if n_prompts == 1
        else "",
    ]
    return "\n".join(line for line in lines if line)


def numbers(found: Measured, components: pd.DataFrame) -> dict[str, float | int | str]:
    """The headline numbers."""
    heads, mlps = (components[components["kind"] == kind] for kind in ("head", "MLP"))
    best = _most(heads)
    found_numbers: dict[str, float | int | str] = {
        "loss_nats": float(found.base.mean()),
        "costliest_head": str(best["component"]),
        "costliest_head_nats": float(best["loss_increase_nats"]),
    }
    if len(mlps):
        found_numbers["costliest_mlp"] = str(_most(mlps)["component"])
        found_numbers["costliest_mlp_nats"] = float(_most(mlps)["loss_increase_nats"])
    found_numbers["set_together_nats"] = float(found.joint.mean())
    found_numbers["set_sum_of_singles_nats"] = float(found.alone(found.players).sum(dim=1).mean())
    return found_numbers


def headline(components: pd.DataFrame) -> str:
    """The finding as one clause."""
    costs = [
        f"by {_nats(_most(rows), 'loss_increase_nats')} nats without {_most(rows)['component']}"
        for _, rows in components.groupby("kind", sort=False)
    ]
    return f"the loss grows {' and '.join(costs)}"


def _most(rows: pd.DataFrame) -> pd.Series:
    return rows.loc[rows["loss_increase_nats"].idxmax()]


def _nats(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if pd.isna(low) else f" ({low:.3f} to {high:.3f})")


def _beyond(components: pd.DataFrame, n_prompts: int) -> str:
    if n_prompts == 1:
        return ""
    certain = components[components["p_adjusted"] < SIGNIFICANT]
    better = certain[certain["loss_increase_nats"] < 0]
    helped = f"; the model does better without {', '.join(better['component'])}" if len(better) else ""
    least = f" (with {n_prompts} prompts no p is below {2.0 ** (1 - n_prompts):.2g})" if n_prompts < 7 else ""
    return (
        f"{len(certain)} of {len(components)} heads and MLPs change the loss beyond chance (p < {SIGNIFICANT}, "
        f"adjusted for all of them{least}){helped}."
    )


def _block(layers: pd.DataFrame, n_heads: int) -> str:
    if n_heads == len(layers):
        return ""
    most = layers.loc[layers["together_nats"].idxmax()]
    compared = _compared(most["interaction_nats_low"], most["interaction_nats_high"])
    return (
        f"Of the blocks' heads, {most['taken_out']} together cost most, {_nats(most, 'together_nats')} nats, where "
        f"each by itself sums to {most['sum_of_singles_nats']:.3f}: {compared}."
    )


def _set(found: Measured, together: pd.DataFrame) -> str:
    if len(found.players) == 1:
        return ""
    interaction = _estimate(found.joint - found.alone(found.players).sum(dim=1))
    whole = together.iloc[-1]
    names = ", ".join(together["taken_out"].iloc[:-1])
    line = (
        f"{names}{' (named)' if found.named else ', the strongest,'} taken out together cost "
        f"{_nats(whole, 'share_nats')} nats, alone {whole['alone_nats']:.3f} in sum: {_compared(*interaction)}"
    )
    if found.shared is None:
        return f"{line}."
    shares = together.iloc[:-1]
    return (
        f"{line}. Shared out over all orders: "
        + ", ".join(f"{row.taken_out} {row.share_nats:.3f}" for row in shares.itertuples(index=False))
        + "."
    )


def _estimate(values: Tensor) -> tuple[float, float]:
    estimate = over_prompts(values)
    return float(estimate.low), float(estimate.high)


def _compared(low: float, high: float) -> str:
    """What the interval of the joint effect less the sum of the singles says."""
    if pd.isna(low):
        return "one prompt does not tell whether that is chance"
    if low > 0:
        return f"they stand in for one another ({low:.3f} to {high:.3f} more together)"
    if high < 0:
        return f"they work on the same thing ({-high:.3f} to {-low:.3f} less together)"
    return "no more and no less than chance"
