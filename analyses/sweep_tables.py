"""The cells of a sweep that can matter as a table, the largest effects first."""

import pandas as pd

from interp.effects import Effects

from .labels import head_label
from .token_text import visible

_SHOWN = {
    "effect": "effect",
    "effect_low": "effect_low",
    "effect_high": "effect_high",
    "normalised": "share",
    "p_adjusted": "p_adjusted",
    "q": "q",
    "significant": "beyond_chance",
}


def cell_table(effects: Effects) -> pd.DataFrame:
    """A row for each cell that can matter, by the size of its effect.

    Where cells are told apart by position, one column is what stands there in the first pair, "clean → corrupted".
    """
    frame = effects.to_frame().rename(columns=_SHOWN)
    frame = frame[~frame["dead"]][[*effects.axes, *_SHOWN.values()]]
    if "pos" in effects.axes and effects.tokens_clean:
        tokens = [_token(effects, int(at), prompt=0) for at in frame["pos"]]
        frame.insert(effects.axes.index("pos") + 1, "token_of_first_pair", tokens)
    order = frame["effect"].abs().sort_values(ascending=False, kind="stable")
    return frame.loc[order.index].reset_index(drop=True)


def cell_name(effects: Effects, row: pd.Series) -> str:
    """The cell in words: a head of a layer is "L3H5"; a position has its token where all pairs have that one there."""
    at = {axis: str(row[axis]) for axis in effects.axes}
    if "pos" in at and effects.tokens_clean:
        tokens = {_token(effects, int(row["pos"]), prompt) for prompt in range(len(effects.values))}
        at["pos"] += f" ({tokens.pop()})" if len(tokens) == 1 else ""
    named = [f"{axis} {value}" for axis, value in at.items()]
    if effects.axes[:2] == ("layer", "head"):
        named[:2] = [head_label(int(row["layer"]), int(row["head"]))]
    return ", ".join(named)


def _token(effects: Effects, position: int, prompt: int) -> str:
    tokens = (effects.tokens_clean[prompt][position], effects.tokens_corrupted[prompt][position])
    return " → ".join(dict.fromkeys(map(visible, tokens)))
