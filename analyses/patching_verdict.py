"""What patching says in words, and its headline numbers."""

import pandas as pd
from torch import Tensor

from interp.effects import Effects

from .engine_wording import how_run
from .patching_tables import SIGNIFICANT, STREAM, Maps


def verdict(maps: Maps, positions: pd.DataFrame, heads: pd.DataFrame, origin: str) -> str:
    """The finding on the first line, then one detail a line."""
    effects = maps.heads
    n_pairs, denoising = len(effects.values), effects.direction == "denoising"
    best = _named(heads, n_pairs)
    where = "put into the corrupted run" if denoising else "put into the clean run"
    lines = [
        f"{_first(maps, best)}: {effects.metric} {_value(effects, effects.clean)} clean, "
        f"{_value(effects, effects.corrupted)} corrupted, over {n_pairs} pair{'s' * (n_pairs > 1)}"
        f"{_chance(best, n_pairs)}.",
        _others(heads, best),
        f"In the stream the difference stands {_path(positions)}.",
        *_writers(positions),
        f"Cells are {'clean' if denoising else 'corrupted'} values {where} ({effects.direction}). Prompts: {origin}.",
        _certainty(positions, heads, n_pairs, maps.smallest_p),
        how_run(effects.engine, effects.metric, effects.noise_floor),
    ]
    return "\n".join(line for line in lines if line)


def numbers(maps: Maps, heads: pd.DataFrame, positions: pd.DataFrame) -> dict[str, float | int | str]:
    """The headline numbers."""
    best = _named(heads, len(maps.heads.values))
    alive = pd.concat([heads, positions])
    alive = alive[~alive["dead"]]
    found: dict[str, float | int | str] = {
        "pairs": len(maps.heads.values),
        "metric_clean": float(maps.heads.clean.mean()),
        "metric_corrupted": float(maps.heads.corrupted.mean()),
        "strongest_head": str(best["head"]),
        "strongest_head_share": float(best["share"]),
        "cells_that_can_matter": len(alive),
    }
    if len(maps.heads.values) > 1:
        found["cells_beyond_chance"] = int(alive["beyond_chance"].sum())
        found["smallest_possible_p"] = maps.smallest_p
    if maps.heads.noise_floor is not None:
        found["noise_floor"] = float(maps.heads.noise_floor.mean())
    return found


def headline(maps: Maps, heads: pd.DataFrame) -> str:
    """The finding as one clause."""
    n_pairs = len(maps.heads.values)
    best, moved = _named(heads, n_pairs), _moved(maps)
    known = "one pair" if n_pairs == 1 else f"p = {best['p_adjusted']:.2g}"
    what = "what tells the clean from the corrupted prompts"
    if _finding(best, n_pairs):
        return f"{best['head']} alone {moved} {_share(best)} of {what} ({known})"
    return f"no single head {moved} {what} beyond chance; the nearest, {best['head']}, {_share(best)} ({known})"


def _first(maps: Maps, best: pd.Series) -> str:
    moved, what = _moved(maps), "the difference that the model makes between the prompts"
    if _finding(best, len(maps.heads.values)):
        return f"Of the heads, {best['head']} alone {moved} {_share(best)} of {what}"
    return f"No single head {moved} {what} beyond chance; the nearest, {best['head']}, {_share(best)} of it"


def _value(effects: Effects, of_run: Tensor) -> str:
    """The metric of a run; 0 where it is nothing beside the difference of the two."""
    value = float(of_run.mean())
    return "0" if abs(value) < 1e-9 * abs(float(effects.gap.mean())) else f"{value:.3g}"


def _moved(maps: Maps) -> str:
    return "brings back" if maps.heads.direction == "denoising" else "takes away"


def _finding(row: pd.Series, n_pairs: int) -> bool:
    """Whether a share may be asserted: of one pair it is what was seen, of several it must be beyond chance."""
    return n_pairs == 1 or bool(row["beyond_chance"])


def _named(heads: pd.DataFrame, n_pairs: int) -> pd.Series:
    """The strongest head among those whose effect is not chance, where there are any."""
    certain = heads[heads["beyond_chance"]]
    return _strongest(certain if n_pairs > 1 and len(certain) else heads)


def _strongest(table: pd.DataFrame) -> pd.Series:
    alive = table[~table["dead"]]
    rows = alive if len(alive) else table
    return rows.loc[rows["share"].abs().idxmax()]


def _share(row: pd.Series) -> str:
    low, high = row["share_low"], row["share_high"]
    known = pd.notna(low) and f"{low:.0%}" != f"{high:.0%}"
    return f"{row['share']:.0%}" + (f" ({low:.0%} to {high:.0%})" if known else "")


def _chance(row: pd.Series, n_pairs: int) -> str:
    return "" if n_pairs == 1 else f" (p = {row['p_adjusted']:.2g}, adjusted for all cells of all maps)"


def _others(heads: pd.DataFrame, best: pd.Series) -> str:
    """The other heads whose effect is not chance, the strongest first."""
    rows = heads[heads["beyond_chance"] & (heads["head"] != best["head"])]
    rows = rows.loc[rows["share"].abs().sort_values(ascending=False, kind="stable").index[:4]]
    if not len(rows):
        return ""
    named = ", ".join(f"{row['head']} {_share(row)}" for _, row in rows.iterrows())
    return f"Other heads beyond chance, each alone: {named}."


def _path(positions: pd.DataFrame) -> str:
    """Where the stream carries most of the difference, block after block."""
    stream = positions[positions["place"] == STREAM]
    stops: list[tuple[str, list[tuple[int, pd.Series]]]] = []
    for layer, rows in stream.groupby("layer", sort=True):
        best = _strongest(rows)
        if not stops or stops[-1][0] != best["token"]:
            stops.append((str(best["token"]), []))
        stops[-1][1].append((int(str(layer)), best))
    said = []
    for token, blocks in stops:
        first, last = blocks[0], blocks[-1]
        span = f"block {first[0]}" if len(blocks) == 1 else f"blocks {first[0]} to {last[0]}"
        steady = f"{first[1]['share']:.0%}" == f"{last[1]['share']:.0%}"
        shares = _share(last[1]) if steady else f"from {_share(first[1])} to {_share(last[1])}"
        said.append(f"before {span} at “{token}”, {shares}")
    return "; ".join(said)


def _writers(positions: pd.DataFrame) -> list[str]:
    lines = []
    for place, rows in positions[positions["place"] != STREAM].groupby("place", sort=False):
        if bool(rows["dead"].all()):
            lines.append(f"No cell of “{place}” can matter.")
            continue
        best = _strongest(rows)
        lines.append(f"Most of what {place} is written in block {best['layer']} at “{best['token']}”: {_share(best)}.")
    return lines


def _certainty(positions: pd.DataFrame, heads: pd.DataFrame, n_pairs: int, smallest_p: float) -> str:
    cells = pd.concat([heads, positions])
    alive = cells[~cells["dead"]]
    dead = len(cells) - len(alive)
    known = f"{dead} of {len(cells)} cells cannot matter and were not run; of the other {len(alive)}, "
    if n_pairs == 1:
        return f"{known}nothing is known beyond this one pair: there is no interval."
    least = f"with {n_pairs} pairs no p is below {smallest_p:.2g}"
    if smallest_p >= SIGNIFICANT:
        return f"{known}none can be told from chance: {least}."
    beyond = int(alive["beyond_chance"].sum())
    marked = "" if not beyond else ", marked by a dot in the maps"
    verb = "is" if beyond == 1 else "are"
    return f"{known}{beyond} {verb} beyond chance{marked} (p < {SIGNIFICANT}, adjusted for all of them; {least})."
