"""The files of a sweep: the effects to load again, every cell as a table, the figure, and what was said."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.effects import Effects

from .rendering import as_json, written

MOST_AXES = 3
"""Of a figure."""


def save_sweep(found: Mapping[str, Effects], document: Mapping[str, Any], folder: Path) -> list[Path]:
    """The files written: sweep.json, and for each metric, by its name, a folder of effects, a table and a figure.

    Raises:
        OSError: the folder cannot be written.
    """
    files = []
    for name, effects in found.items():
        effects.save(folder / name)
        files += [folder / name / "effects.json", folder / name / "effects.safetensors"]
        files.append(written(folder / name / "cells.csv", effects.to_frame().to_csv(index=False)))
        if len(effects.axes) <= MOST_AXES:
            files.append(written(folder / name / "figure.html", effects.figure().to_html(include_plotlyjs=True)))
    return [*files, written(folder / "sweep.json", as_json(dict(document)))]
