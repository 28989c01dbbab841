"""What a cell says when it is pointed at: where it is, and everything that is known of it."""

import numpy as np

from .effects import Effects
from .tick_labels import label


def hover(effects: Effects) -> np.ndarray:
    """The text of each cell, in the shape of the grid."""
    columns = (
        effects.mean, effects.effect.low, effects.effect.high, effects.mean / effects.gap.mean(), effects.p_values,
        effects.q_values, effects.dead,
    )  # fmt: skip
    rows = zip(effects.cells, *(of.flatten().tolist() for of in columns), strict=True)
    texts = [f"{_where(effects, cell)}<br>{_known(*numbers)}" for cell, *numbers in rows]
    return np.array(texts, dtype=object).reshape(effects.dead.shape)


def _where(effects: Effects, cell: tuple[int | str, ...]) -> str:
    return ", ".join(f"{axis} {label(effects, number, at)}" for number, (axis, at) in
                     enumerate(zip(effects.axes, cell, strict=True)))  # fmt: skip


def _known(mean: float, low: float, high: float, share: float, p: float, q: float, dead: bool) -> str:
    if dead:
        return "cannot matter"
    between = "" if low != low else f" ({low:+.3g} to {high:+.3g})"
    return f"effect {mean:+.4g}{between}<br>share {share:+.1%}<br>adjusted p {p:.2g}, q {q:.2g}"
