"""How a sweep was run, in words and as an identity: which engine, how it was checked, what rounding alone does."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from interp.effects import Verification

from .result import Identity

VERIFIED_AGAIN = "cells of the exact engine that are run again the plain way come out the same"


def how_run(engine: str, metric: str, noise_floor: Float[Tensor, " prompt"] | None) -> str:
    """One sentence on the engine and the noise floor."""
    way = "on the exact engine" if engine == "wavefront" else "with one forward pass for each cell"
    floor = "" if noise_floor is None else f"; rounding alone moves the {metric} by {float(noise_floor.mean()):.2g}"
    return f"Run {way}{floor}."


def verified(checks: Iterable[Verification | None]) -> list[Identity]:
    """The check that came nearest to failing as an identity, in the metric's unit; none where nothing was checked."""
    done = [one for one in checks if one is not None and one.n_cells]
    if not done:
        return []
    worst = max(done, key=lambda one: one.largest_difference / one.tolerance)
    return [Identity(VERIFIED_AGAIN, worst.largest_difference, worst.tolerance)]
