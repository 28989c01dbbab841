"""What ablation says in words, and its headline numbers."""

import pandas as pd
from torch import Tensor

from interp.residual_ablation import Replacement
from interp.statistics import over_prompts, sign_flip_p_values, smallest_p

from .ablation_tables import SIGNIFICANT, Measured
from .engine_wording import how_run

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
    engine: str,
) -> str:
    """The finding on the first line, then one detail a line."""
    n_prompts = len(found.base)
    first = headline(components)
    first = first[0].upper() + first[1:]
    plural = "s" * (n_prompts > 1)
    lines = [
        f"{first} (loss {float(found.base.mean()):.3f}, {n_prompts} prompt{plural}; taken out: {STANDS_IN[kind]}).",
        _beyond(components, n_prompts),
        _block(layers, int((components["kind"] == "head").sum()), n_prompts),
        _set(found, together),
        scored,
        "With one prompt there is no mean and no interval: what is taken out is replaced by zero."
        if n_prompts == 1
        else "",
        how_run(engine, "loss", found.noise_floor),
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
    if len(found.base) > 1:
        found_numbers["smallest_possible_p"] = smallest_p(len(found.base))
    if found.noise_floor is not None:
        found_numbers["noise_floor_nats"] = float(found.noise_floor.mean())
    return found_numbers


def headline(components: pd.DataFrame) -> str:
    """The finding as one clause."""
    # For the heads and for the MLPs the one that is missed most, or that none is.
    kinds = components.groupby("kind", sort=False)
    return "; ".join(_cost(rows, str(kind)) for kind, rows in kinds)


def _cost(rows: pd.DataFrame, kind: str) -> str:
    best = _most(rows)
    change = f"{_nats(best, 'loss_increase_nats')} nats"
    if pd.isna(best["loss_increase_nats_low"]):
        return f"without {best['component']} the loss changes by {change} on this one prompt, the most of all {kind}s"
    known = f"(p = {best['p_adjusted']:.2g})"
    certain = _certain(rows)
    if not len(certain):
        nearest = f"without {best['component']}, the nearest, it changes by {change} {known}"
        return f"no {kind} changes the loss beyond chance, {nearest}"
    if best["loss_increase_nats"] > 0:
        return f"without {best['component']} the loss grows most of all {kind}s, by {change} {known}"
    return f"no {kind} is missed; without {best['component']} the loss changes by {change} {known}"


def _certain(rows: pd.DataFrame) -> pd.DataFrame:
    """The components whose effect is not chance."""
    return rows[rows["beyond_chance"]]


def _most(rows: pd.DataFrame) -> pd.Series:
    """The costliest, among those whose effect is not chance where there are any."""
    certain = _certain(rows)
    among = certain if len(certain) else rows
    return among.loc[among["loss_increase_nats"].idxmax()]


def _nats(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if pd.isna(low) else f" ({low:.3f} to {high:.3f})")


def _beyond(components: pd.DataFrame, n_prompts: int) -> str:
    if n_prompts == 1:
        return ""
    certain = _certain(components)
    better = certain[certain["loss_increase_nats"] < 0]
    helped = f"; the model does better without {', '.join(better['component'])}" if len(better) else ""
    least = f"with {n_prompts} prompts no p is below {smallest_p(n_prompts):.2g}"
    if smallest_p(n_prompts) >= SIGNIFICANT:
        return f"None of {len(components)} heads and MLPs can be told from chance: {least}."
    marked = ", marked by a dot in the map," if len(certain) else ""
    return (
        f"{len(certain)} of {len(components)} heads and MLPs{marked} change the loss beyond chance "
        f"(p < {SIGNIFICANT}, adjusted for all of them; {least}){helped}."
    )


def _block(layers: pd.DataFrame, n_heads: int, n_prompts: int) -> str:
    if n_heads == len(layers):
        return ""
    most = layers.loc[layers["together_nats"].idxmax()]
    change = f"{_nats(most, 'together_nats')} nats"
    p = float(most["together_p_adjusted"])
    selected = f", adjusted for the choice among {len(layers)} blocks" if len(layers) > 1 else ""
    alone = f"each by itself sums to {most['sum_of_singles_nats']:.3f}"
    if n_prompts > 1 and not (p < SIGNIFICANT and most["together_nats_low"] > 0):
        return (
            f"No block's heads together cost anything beyond chance; without {most['taken_out']}, the nearest, the "
            f"loss changes by {change} (p = {p:.2g}{selected}), where {alone}."
        )
    known = "" if n_prompts == 1 else f" (p = {p:.2g}{selected})"
    meaning = compared(
        (most["interaction_nats_low"], most["interaction_nats_high"]),
        float(most["interaction_p_adjusted"]),
        bool(most["together_nats"] > 0 and most["sum_of_singles_nats"] > 0),
    )
    return f"Without {most['taken_out']} together the loss changes by {change}{known}, where {alone}: {meaning}."


def _set(found: Measured, together: pd.DataFrame) -> str:
    if len(found.players) == 1:
        return ""
    singles = found.alone(found.players).sum(dim=1)
    interaction = found.joint - singles
    both_cost = bool(found.joint.mean() > 0 and singles.mean() > 0)
    meaning = compared(_interval(interaction), float(sign_flip_p_values(interaction[:, None])), both_cost)
    whole = together.iloc[-1]
    names = ", ".join(together["taken_out"].iloc[:-1])
    line = (
        f"{names}{' (named)' if found.named else ', the strongest,'} taken out together change the "
        f"loss by {_nats(whole, 'share_nats')} nats, alone {whole['alone_nats']:.3f} in sum: {meaning}"
    )
    if found.shared is None:
        return f"{line}."
    shares = together.iloc[:-1]
    return (
        f"{line}. Shared out over all orders: "
        + ", ".join(f"{row.taken_out} {row.share_nats:.3f}" for row in shares.itertuples(index=False))
        + "."
    )


def _interval(values: Tensor) -> tuple[float, float]:
    estimate = over_prompts(values)
    return float(estimate.low), float(estimate.high)


def compared(interval: tuple[float, float], p: float, both_cost: bool) -> str:
    """What the joint effect less the sum of the singles says; what it may mean only where both are a cost."""
    low, high = interval
    if pd.isna(low):
        return "one prompt does not tell whether that is chance"
    if p >= SIGNIFICANT or low <= 0 <= high:
        return f"the difference is not beyond chance ({low:.3f} to {high:.3f}, p = {p:.2g})"
    more = f"{low:.3f} to {high:.3f} more together" if low > 0 else f"{-high:.3f} to {-low:.3f} less together"
    known = f"{more}, p = {p:.2g}"
    if not both_cost:
        return known
    if low > 0:
        return f"they stand in for one another, or must go together to be missed ({known})"
    return f"they work on the same thing, or need each other ({known})"
