"""What the sweeps are measured on: pairs of prompts, and which cells a sweep has.

Two shapes of pair, because the fast engine profits from a common beginning and the slow ones do not: a pair that
differs at *every* token (nothing is saved before the first difference: the worst case) and one that differs in *one*
token at a third of the prompt (what the tasks of the field look like: a name, a year, a noun's number).
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from interp.metrics import LogitDifference
from interp.sites import Cell, site
from models import HookedTransformer

Shape = Literal["every token", "one token"]
SHAPES: tuple[Shape, ...] = get_args(Shape)


@dataclass(frozen=True)
class Grid:
    """A sweep's cells: the point, our axes, and TransformerLens' name of the same sweep with its order of axes."""

    point: str
    axes: tuple[str, ...]
    theirs: str
    their_axes: tuple[str, ...]


GRIDS = {
    "resid_pre": Grid("resid_pre", ("layer", "pos"), "resid_pre", ("layer", "pos")),
    "z by head": Grid("z", ("layer", "head"), "attn_head_out_all_pos", ("layer", "head")),
    "z by head and pos": Grid("z", ("layer", "head", "pos"), "attn_head_out_by_pos", ("layer", "pos", "head")),
    "attn_out": Grid("attn_out", ("layer", "pos"), "attn_out", ("layer", "pos")),
    "mlp_out": Grid("mlp_out", ("layer", "pos"), "mlp_out", ("layer", "pos")),
    "pattern by head": Grid("pattern", ("layer", "head"), "attn_head_pattern_all_pos", ("layer", "head")),
}

At = dict[str, int]


def cells(grid: Grid, model: HookedTransformer, n_tokens: int) -> list[At]:
    """Every cell, in the order of the sweep's own result."""
    sizes = {"layer": model.cfg.n_layers, "head": model.cfg.n_heads, "pos": n_tokens}
    return [dict(zip(grid.axes, at, strict=True)) for at in product(*(range(sizes[axis]) for axis in grid.axes))]


def cell(grid: Grid, model: HookedTransformer, at: At) -> Cell:
    """The cell as our engines take it."""
    return site(model, point_name(grid, at["layer"])).at(**{axis: at[axis] for axis in grid.axes[1:]})


def point_name(grid: Grid, layer: int) -> str:
    """The hook name of the grid's point in a block."""
    inside = f"attn.hook_{grid.point}" if grid.point in ("z", "pattern") else f"hook_{grid.point}"
    return f"blocks.{layer}.{inside}"


@dataclass(frozen=True)
class Pairs:
    """Prompt pairs of one length and shape, and a metric that tells them apart."""

    shape: Shape
    clean: Int[Tensor, "prompt pos"]
    corrupted: Int[Tensor, "prompt pos"]
    metric: LogitDifference

    @property
    def differ(self) -> list[list[bool]]:
        """For each prompt, the positions at which its two tokens differ."""
        return (self.clean != self.corrupted).tolist()


def pairs(text: Int[Tensor, " token"], n_pairs: int, n_tokens: int, shape: Shape, seed: int) -> Pairs:
    """Passages of the text, each set against another one (or against one token of it, a third of the way in).

    The two passages of a pair differ at every token; the metric sets their own next tokens against each other.
    """
    generator = torch.Generator().manual_seed(seed)
    passages = [_passages(text, n_tokens + 1, generator) for _ in range(n_pairs)]
    clean, other = torch.stack([one for one, _ in passages]), torch.stack([two for _, two in passages])
    corrupted = other.clone()
    if shape == "one token":
        at = n_tokens // 3
        corrupted = clean.clone()
        corrupted[:, at] = other[:, at]
    metric = LogitDifference(clean[:, -1], other[:, -1])
    return Pairs(shape, clean[:, :-1], corrupted[:, :-1], metric)


def _passages(text: Tensor, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    while True:
        first, second = torch.randint(len(text) - length, (2,), generator=generator).tolist()
        one, two = text[first : first + length], text[second : second + length]
        if bool((one != two).all()):
            return one, two
