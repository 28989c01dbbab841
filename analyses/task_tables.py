"""Tasks as tables: what the model makes of each, and every head's effect on it."""

from collections.abc import Sequence

import pandas as pd

from interp.tasks.baseline import Baseline

from .labels import head_label
from .task_runs import Asked, is_done

_SHARES = {
    "normalised": "share",
    "normalised_low": "share_low",
    "normalised_high": "share_high",
    "significant": "beyond_chance",
}


def task_table(found: Sequence[Asked]) -> pd.DataFrame:
    """A row for each task that could be asked."""
    return pd.DataFrame([_row(one) for one in found])


def head_tables(found: Sequence[Asked]) -> dict[str, pd.DataFrame]:
    """For each task that is done, a row for each head in the order of the layers."""
    tables = {}
    for one in found:
        if one.effects is not None:
            frame = one.effects.to_frame().rename(columns=_SHARES)
            frame["name"] = [head_label(layer, head) for layer, head in one.effects.cells]
            shown = ["name", "layer", "head", "effect", "share", "share_low", "share_high", "p_adjusted"]
            tables[one.name] = frame[[*shown, "beyond_chance", "dead"]]
    return tables


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """The heads beyond chance, the largest share first."""
    return by_share(table[table["beyond_chance"]])


def by_share(table: pd.DataFrame) -> pd.DataFrame:
    """The heads, the largest share first."""
    return table.loc[table["share"].abs().sort_values(ascending=False, kind="stable").index]


def _row(one: Asked) -> dict[str, object]:
    baseline = one.baseline
    return {
        "task": one.name,
        "pairs": len(baseline.clean),
        "templates": len(set(baseline.clusters)) or None,
        "tokens": one.pairs.clean.shape[1],
        "metric": baseline.metric,
        "clean": float(baseline.clean_mean.mean),
        "corrupted": float(baseline.corrupted_mean.mean),
        "right_clean": right(baseline) / len(baseline.clean),
        "right_corrupted": float((baseline.corrupted > 0).double().mean()),
        "done": is_done(baseline),
    }


def right(baseline: Baseline) -> int:
    """After how many clean prompts right beats wrong."""
    return int((baseline.clean > 0).sum())
