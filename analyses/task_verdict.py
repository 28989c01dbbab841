"""What the tasks say in words, and their headline numbers."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.effects import Effects
from interp.effects.effects import SIGNIFICANT

from .engine_wording import how_run
from .task_runs import Asked, Refused
from .task_tables import right, strongest
from .wording import listed

NAMED = 4
"""Heads that are named of each task; the tables have all."""


def verdict(found: Sequence[Asked], heads: Mapping[str, pd.DataFrame], refused: Sequence[Refused]) -> str:
    """The finding on the first line, then one task a line."""
    lines = [
        _finding(found),
        *(_of_task(one, heads) for one in found),
        *(f"{one.name} was not asked: {one.why}." for one in refused),
        *_engine(found),
    ]
    return "\n".join(lines)


def numbers(found: Sequence[Asked], heads: Mapping[str, pd.DataFrame]) -> dict[str, float | int | str]:
    """The headline numbers."""
    said: dict[str, float | int | str] = {"tasks_asked": len(found), "tasks_done": len(heads)}
    for one in found:
        key = one.name.replace("-", "_")
        said[f"{key}_right"] = right(one.baseline) / len(one.baseline.clean)
        if one.name in heads:
            certain = strongest(heads[one.name])
            said[f"{key}_heads_beyond_chance"] = len(certain)
            if len(certain):
                said[f"{key}_strongest_head"] = str(certain.iloc[0]["name"])
                said[f"{key}_strongest_share"] = float(certain.iloc[0]["share"])
    return said


def headline(found: Sequence[Asked], heads: Mapping[str, pd.DataFrame]) -> str:
    """The finding as one clause."""
    if not heads:
        return f"it does none of {len(found)} tasks beyond chance"
    named = []
    for name, table in heads.items():
        certain = strongest(table)
        named.append(f"{name} (strongest head {certain.iloc[0]['name']})" if len(certain) else name)
    return f"it does {listed(named)}"


def _finding(found: Sequence[Asked]) -> str:
    done = [one.name for one in found if one.effects is not None]
    if not done:
        return f"It does none of the {len(found)} tasks that it was asked beyond chance: {_asked(found)}."
    return f"It does {len(done)} of the {len(found)} tasks that it was asked: {listed(done)}."


def _asked(found: Sequence[Asked]) -> str:
    return listed([one.name for one in found])


def _of_task(one: Asked, heads: Mapping[str, pd.DataFrame]) -> str:
    baseline, n = one.baseline, len(one.baseline.clean)
    said = (
        f"{one.name}: {baseline.metric} {float(baseline.clean_mean.mean):.3g} clean and "
        f"{float(baseline.corrupted_mean.mean):.3g} corrupted, right beats wrong after {right(baseline)} of {n} clean "
        f"prompts"
    )
    if one.effects is None:
        return f"{said}; not done beyond chance, so no head was patched."
    if one.effects.smallest_p >= SIGNIFICANT:
        return f"{said}; with so few templates no p is below {one.effects.smallest_p:.2g}, so no head is named."
    certain = strongest(heads[one.name])
    if not len(certain):
        return f"{said}; no single head has an effect beyond chance."
    named = listed([f"{row['name']} {_percent(row['share'])}" for _, row in certain.head(NAMED).iterrows()])
    count = f"{len(certain)} heads have effects" if len(certain) > 1 else "one head has an effect"
    largest = ", the largest " if len(certain) > NAMED else ": "
    return f"{said}; {count} beyond chance{largest}{named} of the difference between the runs."


def _percent(share: float) -> str:
    """Without decimals, but for what would then be 0 %."""
    return f"{share:.0%}" if abs(share) >= 0.01 else f"{100 * share:.1g}%"


def _engine(found: Sequence[Asked]) -> list[str]:
    """How all were run; of their noise floors the largest."""
    run = [(one.baseline.metric, one.effects) for one in found if one.effects is not None]
    if not run:
        return []
    metric, effects = max(run, key=lambda one: _noise(one[1]))
    return [how_run(effects.engine, metric, effects.noise_floor)]


def _noise(effects: Effects) -> float:
    return 0.0 if effects.noise_floor is None else float(effects.noise_floor.mean())
