"""What a sweep says in words, and its headline numbers."""

import pandas as pd

from interp.effects import Effects
from interp.effects.effects import SIGNIFICANT
from interp.statistics import over_prompts
from interp.tasks import PromptPairs

from .engine_wording import how_run
from .sweep_tables import cell_name

RIGHT_ABOVE_ZERO = ("logit difference", "probability difference")
"""Metrics that are above zero where right beats wrong."""


def verdict(found: dict[str, Effects], tables: dict[str, pd.DataFrame], pairs: PromptPairs) -> str:
    """The finding on the first metric, then one detail a line."""
    first, *others = ((effects, tables[name]) for name, effects in found.items())
    effects = first[0]
    lines = [
        finding(*first),
        *(finding(*other) for other in others),
        f"Prompts: {described(pairs)}.",
        _behaviour(effects),
        *(_told_apart(each) for each in found.values()),
        *effects.notes,
        *pairs.notes,
        how_run(effects.engine, measured(effects), effects.noise_floor),
    ]
    return "\n".join(line for line in lines if line)


def numbers(effects: Effects) -> dict[str, float | int | str]:
    """The headline numbers of the first metric."""
    found: dict[str, float | int | str] = {
        "pairs": len(effects.values),
        "metric_clean": float(effects.clean.mean()),
        "metric_corrupted": float(effects.corrupted.mean()),
        "cells": effects.dead.numel(),
        "cells_that_can_matter": int((~effects.dead).sum()),
        "cells_beyond_chance": int(effects.significant.sum()),
        "smallest_possible_p": effects.smallest_p,
        "engine": effects.engine,
    }
    if effects.verification is not None:
        found["cells_run_again"] = effects.verification.n_cells
    if effects.noise_floor is not None:
        found["noise_floor"] = float(effects.noise_floor.mean())
    return found


def finding(effects: Effects, table: pd.DataFrame) -> str:
    """One sentence on one metric: what is beyond chance, and the largest effect."""
    if not len(table):
        return f"No cell can have an effect on the {measured(effects)}: every value is zero by construction."
    certain = table[table["beyond_chance"]]
    largest = (certain if len(certain) else table).iloc[0]
    where = f"{cell_name(effects, largest)}, changes the {measured(effects)} by {_effect(effects, largest)}"
    if len(effects.values) == 1:
        return f"With one pair nothing is known of chance; the cell with the largest effect, {where}."
    p = f"p = {largest['p_adjusted']:.2g}, adjusted for {len(table)} cells"
    if len(certain):
        verb = "is" if len(certain) == 1 else "are"
        return f"{len(certain)} of {len(table)} cells {verb} beyond chance; the largest, {where} ({p})."
    if effects.smallest_p >= SIGNIFICANT:
        units = f"{len(set(effects.clusters))} templates" if effects.clusters else f"{len(effects.values)} pairs"
        return (
            f"With {units} no p is below {effects.smallest_p:.2g}, so no cell can be told from chance; the largest, "
            f"{where}."
        )
    return f"None of {len(table)} cells is beyond chance; the largest, {where} ({p})."


def measured(effects: Effects) -> str:
    """The metric without its unit."""
    return effects.metric.partition(",")[0]


def described(pairs: PromptPairs) -> str:
    """How many pairs of what length, and from how many templates."""
    n_templates = len(set(pairs.clusters))
    n_pairs = len(pairs)
    of = f" from {n_templates} template{'s' * (n_templates > 1)}" if n_templates else ""
    return f"{pairs.name}, {n_pairs} pair{'s' * (n_pairs > 1)} of {pairs.clean.shape[1]} tokens{of}"


def _effect(effects: Effects, row: pd.Series) -> str:
    low, high = row["effect_low"], row["effect_high"]
    said = f"{row['effect']:+.3g}" + ("" if pd.isna(low) else f" ({low:+.3g} to {high:+.3g})")
    if effects.intervention != "patch" or not _tells_apart(effects):
        return said
    return f"{said}, {row['share']:.0%} of the difference between the runs"


def _behaviour(effects: Effects) -> str:
    clean, corrupted = effects.clean, effects.corrupted
    said = f"The {measured(effects)} is {float(clean.mean()):.3g} clean and {float(corrupted.mean()):.3g} corrupted"
    if effects.metric not in RIGHT_ABOVE_ZERO:
        return f"{said}."
    n_pairs = len(clean)
    return (
        f"{said}: right beats wrong in {int((clean > 0).sum())} of {n_pairs} clean and in "
        f"{int((corrupted > 0).sum())} of {n_pairs} corrupted prompts."
    )


def _told_apart(effects: Effects) -> str:
    if _tells_apart(effects):
        return ""
    gap = over_prompts(effects.gap, clusters=effects.clusters)
    return (
        f"By the {measured(effects)} the model does not tell the runs apart beyond chance (difference "
        f"{float(gap.mean):+.3g}, {float(gap.low):+.3g} to {float(gap.high):+.3g}): shares of it are shares of nothing."
    )


def _tells_apart(effects: Effects) -> bool:
    """Whether the runs differ beyond chance; of one pair, or one template, it is what was seen."""
    gap = over_prompts(effects.gap, clusters=effects.clusters)
    return not bool((gap.low <= 0) & (gap.high >= 0))
