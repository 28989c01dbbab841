"""Effects in a few lines of text: what was done, how well it is known, and the largest cells."""

from typing import Any

SHOWN = 8


def summary(effects: Any) -> str:
    """What `repr` shows of `Effects`."""
    lines = [_head(effects), *(f"  {line}" for line in _trust(effects)), *_cells(effects)]
    return "\n".join([*lines, *(f"  note: {note}" for note in effects.notes)])


def _head(effects: Any) -> str:
    place = "".join(f", {axis} {at}" for axis, at in effects.fixed)
    over = f" by {' × '.join(effects.axes)}" if effects.axes else ""
    return (
        f"Effects of {effects.intervention} at {effects.point}{place}{over} ({effects.direction}) on the "
        f"{effects.metric}, {_prompts(effects)}: clean {float(effects.clean.mean()):.4g}, "
        f"corrupted {float(effects.corrupted.mean()):.4g}"
    )


def _prompts(effects: Any) -> str:
    n_prompts, n_clusters = len(effects.values), len(set(effects.clusters))
    text = f"{n_prompts} prompt{'s' * (n_prompts > 1)}"
    return f"{text} of {n_clusters} template{'s' * (n_clusters > 1)}" if n_clusters else text


def _trust(effects: Any) -> list[str]:
    told = [f"engine {effects.engine}"]
    if effects.verification is not None:
        told.append(str(effects.verification))
    if effects.noise_floor is not None:
        told.append(f"noise floor {float(effects.noise_floor.mean()):.2g}")
    told.append(f"smallest possible p {effects.smallest_p:.2g}")
    return ["; ".join(told)]


def _cells(effects: Any) -> list[str]:
    # Not of `effect` and `normalised`: nobody waits for the bootstrap of a large grid to see its name.
    mean, share = (of.flatten().tolist() for of in (effects.mean, effects.mean / effects.gap.mean()))
    known = dict(zip(effects.cells, zip(mean, share, strict=True), strict=True))
    return [
        f"  {' '.join(f'{axis} {at}' for axis, at in zip(effects.axes, cell, strict=True)):<24} "
        f"{known[cell][0]:+10.4g} {known[cell][1]:+8.1%}"
        for cell in effects.top(SHOWN)
    ]
