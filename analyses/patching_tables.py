"""The effects of patching as tables: a row for each cell, with intervals, and p adjusted for all cells together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.effects import Effects
from interp.statistics import sign_flip_p_values

from .labels import head_label

TOP = 12
STREAM = "stream before the block"
SIGNIFICANT = 0.05
"""The adjusted p below which an effect is called one."""


_SHARES = {"normalised": "share", "normalised_low": "share_low", "normalised_high": "share_high"}
_SHOWN = ["metric", "effect", *_SHARES.values(), "p_adjusted", "beyond_chance", "dead"]


@dataclass(frozen=True, eq=False)
class Maps:
    """All sweeps of one patching.

    Attributes:
        places: the effects by layer and position, by the name of what is patched.
        heads: the effects by layer and head.
        labels: what stands at each position.
    """

    places: Mapping[str, Effects]
    heads: Effects
    labels: tuple[str, ...]

    @cached_property
    def p_values(self) -> dict[str, Float[Tensor, " cell"]]:
        """For each sweep the p of its cells, adjusted for the cells of all sweeps."""
        changes = [effects.change.flatten(1) for effects in self.sweeps.values()]
        adjusted = sign_flip_p_values(torch.cat(changes, dim=1)).split([change.shape[1] for change in changes])
        return dict(zip(self.sweeps, adjusted, strict=True))

    @property
    def sweeps(self) -> dict[str, Effects]:
        """All of them by name."""
        return {**self.places, "heads": self.heads}

    @property
    def smallest_p(self) -> float:
        """What no p of so few pairs can be below."""
        return self.heads.smallest_p


def position_table(maps: Maps) -> pd.DataFrame:
    """What is patched, layer, position and its token, and the effect."""
    frames = []
    for name, effects in maps.places.items():
        frame = _shown(effects, maps.p_values[name])
        frame.insert(0, "place", name)
        frame.insert(3, "token", [maps.labels[position] for position in frame["pos"]])
        frames.append(frame.rename(columns={"pos": "position"}))
    return pd.concat(frames, ignore_index=True)


def head_table(maps: Maps) -> pd.DataFrame:
    """Each head by name, all its positions patched at once, and the effect."""
    frame = _shown(maps.heads, maps.p_values["heads"])
    return frame.assign(head=[head_label(layer, head) for layer, head in maps.heads.cells])


def top_table(positions: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    """The strongest cells among what is written: heads, attention layers and MLPs. The stream carries all of them."""
    writers = positions[positions["place"] != STREAM]
    names = [
        f"L{layer} {place.removesuffix(' writes')} at {token}"
        for place, layer, token in zip(writers["place"], writers["layer"], writers["token"], strict=True)
    ]
    rows = pd.concat([heads.assign(cell=heads["head"]), writers.assign(cell=names)], ignore_index=True)
    rows = rows[~rows["dead"]]
    order = rows["share"].abs().sort_values(ascending=False, kind="stable").index[:TOP]
    columns = ["cell", *(name for name in heads.columns if name not in ("layer", "head", "dead"))]
    return rows.loc[order, columns].reset_index(drop=True)


def _shown(effects: Effects, p_values: Float[Tensor, " cell"]) -> pd.DataFrame:
    frame = effects.to_frame().rename(columns=_SHARES)
    frame["p_adjusted"] = p_values.numpy(force=True)
    outside = (frame["share_low"] > 0) | (frame["share_high"] < 0)
    noise = 0.0 if effects.noise_floor is None else float(effects.noise_floor.mean())
    frame["beyond_chance"] = (frame["p_adjusted"] < SIGNIFICANT) & outside & (frame["effect"].abs() > noise)
    return frame[[*effects.axes, *_SHOWN]]
