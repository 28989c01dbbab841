"""What stands beside an axis of cells: tokens for positions, else the coordinate."""

from html import escape
from typing import Any

from .effects import Effects

POSITIONS = ("pos", "query", "key")
MOST = 60
"""Labels of one axis that can still be read."""


def labels(effects: Effects, number: int) -> list[str]:
    """The label of each coordinate: its token of the first prompt where it is a position, "clean → corrupted".

    Args:
        number: of the axis.
    """
    return [label(effects, number, at) for at in effects.coordinates[number]]


def label(effects: Effects, number: int, at: int | str) -> str:
    """The label of one coordinate."""
    prompts = (effects.tokens_clean, effects.tokens_corrupted) if effects.axes[number] in POSITIONS else ()
    tokens = [of[0][at] for of in prompts if of and isinstance(at, int)]
    return f"{escape(str(at), quote=False)} {' → '.join(dict.fromkeys(map(visible, tokens)))}".strip()


def visible(token: str) -> str:
    """The token with nothing in it that hides, and no markup: a space is ·, a line break ⏎, no text at all ∅."""
    known = token.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥")
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in known)
    return escape(shown, quote=False) or "∅"


def axis_title(effects: Effects, number: int) -> str:
    """The axis' name, and whose tokens stand at it."""
    axis, n_prompts = effects.axes[number], len(effects.values)
    tokens = axis in POSITIONS and effects.tokens_clean and n_prompts > 1
    return f"{axis} (tokens of the first of {n_prompts} prompts)" if tokens else axis


def ticks(along: list[str]) -> dict[str, Any]:
    """The ticks of an axis whose cells stand at 0, 1, 2, ...; every second or third where there are too many."""
    step = -(-len(along) // MOST)
    return {
        "tickmode": "array",
        "tickvals": list(range(0, len(along), step)),
        "ticktext": along[::step],
        "range": [-0.5, len(along) - 0.5],
    }
