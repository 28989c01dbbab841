"""The four ways to run a sweep, each on the same weights, prompts and metric.

Three of them run the whole model once for each cell, whichever cell it is, so they are given a sample of the cells.
The wavefront's cost depends on the cell and on how many there are, so it always runs all of them.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import patching

from interp import Effects, sweep
from interp.engine import plain
from interp.replacing import Replacement
from models import HookedTransformer

from .sweep_cases import At, Grid, Pairs, cell, point_name

Values = Float[Tensor, "prompt cell"]

BRIDGE, OURS, PLAIN, WAVEFRONT = "TransformerLens, bridge", "TransformerLens, ours", "plain", "wavefront"


class TransformerLensSweep:
    """`transformer_lens.patching.get_act_patch_*` on a model, its own or ours, over chosen cells."""

    def __init__(self, model: Any, grid: Grid, pairs: Pairs) -> None:
        names = {point_name(grid, layer) for layer in range(model.cfg.n_layers)}
        _, self.cache = model.run_with_cache(pairs.clean, names_filter=lambda name: name in names)
        self.model, self.grid, self.pairs = model, grid, pairs

    def __call__(self, chosen: Sequence[At]) -> Values:
        index = pd.DataFrame(list(chosen), columns=list(self.grid.their_axes))
        theirs = getattr(patching, f"get_act_patch_{self.grid.theirs}")
        with redirect_stderr(io.StringIO()):  # its progress bar
            result = theirs(
                self.model,
                self.pairs.corrupted,
                self.cache,
                self.pairs.metric,
                index_axis_names=None,
                index_df=index,
                reduce="none",
            )
        return result.values.double().T


class PlainSweep:
    """Our plain engine, one hooked forward for each cell, over chosen cells."""

    def __init__(self, model: HookedTransformer, grid: Grid, pairs: Pairs) -> None:
        names = [point_name(grid, layer) for layer in range(model.cfg.n_layers)]
        _, base = plain.activations(model, pairs.corrupted, names)
        _, other = plain.activations(model, pairs.clean, names)
        self.replacements = {name: Replacement(base[name], other[name]) for name in names}
        self.model, self.grid, self.pairs = model, grid, pairs

    def __call__(self, chosen: Sequence[At]) -> Values:
        changes = [(cell(self.grid, self.model, at),) for at in chosen]
        found = plain.run(self.model, self.pairs.corrupted, changes, self.replacements, [self.pairs.metric])
        return torch.cat(list(found)).T


class WavefrontSweep:
    """Our fast engine, over all cells of the grid: a whole `sweep`, both unedited runs and all checks included."""

    def __init__(self, model: HookedTransformer, grid: Grid, pairs: Pairs) -> None:
        self.model, self.grid, self.pairs = model, grid, pairs

    def __call__(self, layers: Sequence[int] | None = None) -> Effects:
        pairs, grid = self.pairs, self.grid
        return sweep(
            self.model,
            pairs.clean,
            pairs.corrupted,
            grid.point,
            grid.axes,
            pairs.metric,
            direction="denoising",
            layers=layers,
            engine="wavefront",
        )


def values_at(effects: Effects, chosen: Sequence[At]) -> Values:
    """The values of the whole grid at the chosen cells."""
    columns = [effects.values[(slice(None), *(at[axis] for axis in effects.axes))] for at in chosen]
    return torch.stack(columns, dim=1)
