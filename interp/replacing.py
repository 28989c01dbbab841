"""What stands in at a point of a run: every intervention of a sweep, reduced to values that replace or are added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from .errors import AxisError, NonFiniteError, ShapeError, TokensError
from .interventions import mean, resample
from .sites import Cell

Change = tuple[Cell, ...]
"""Cells that are changed at once: usually one."""

Intervention = Literal["patch", "zero", "mean", "resample", "add"]


@dataclass(frozen=True, eq=False)
class Replacement:
    """What stands in at one point, beside what stood there.

    Attributes:
        base: the activation of the run that is edited.
        values: what replaces it, or with `added` is added to it.
        added: whether it is added.
    """

    base: Shaped[Tensor, "prompt ..."]
    values: Shaped[Tensor, "prompt ..."]
    added: bool = False


def stand_in(
    intervention: Intervention,
    base: Shaped[Tensor, "prompt ..."],
    other: Shaped[Tensor, "reference ..."],
    *,
    axes: Sequence[str],
    per_position: bool,
    vector: Float[Tensor, "..."] | None,
    seed: int,
) -> Shaped[Tensor, "prompt ..."]:
    """The values that stand in at a point; for "add" those that are added.

    Args:
        base: the activation of the run that is edited.
        other: that of the other run, or of the reference.
        axes: the names of the activation's axes.
        per_position: whether the mean is taken at each position by itself, or over all of them.
        vector: what is added, of the activation's last axes.
        seed: of the draw of "resample", which is the same at every point.

    Raises:
        AxisError: a mean over positions of scores or patterns, which have none.
        TokensError: mean or resample of a single reference prompt.
        ShapeError: a vector that is not of the activation's last axes.
    """
    match intervention:
        case "patch":
            return other
        case "zero":
            return torch.zeros_like(base)
        case "mean":
            _require_several(intervention, other)
            over_prompts = mean(other)(base)
            return over_prompts if per_position else _over_positions(over_prompts, axes)
        case "resample":
            _require_several(intervention, other)
            return resample(other, torch.Generator().manual_seed(seed))(base)
        case "add":
            return _added(vector, base)


def _over_positions(x: Tensor, axes: Sequence[str]) -> Tensor:
    if "pos" not in axes:
        raise AxisError(f"a mean over positions needs an axis 'pos'; the point has {', '.join(axes)}")
    return x.mean(dim=list(axes).index("pos"), keepdim=True).expand_as(x).clone()


def require_finite(name: str, values: Shaped[Tensor, "..."]) -> None:
    """Nothing, if the values can stand in at the point of that name; -inf is legal in attention scores.

    Raises:
        NonFiniteError: NaN or an infinity.
    """
    legal = values.isfinite()
    if name.endswith("attn_scores"):
        legal |= values == -torch.inf
    if not bool(legal.all()):
        at = (~legal).nonzero()[0].tolist()
        raise NonFiniteError(f"what stands in at {name} is {float(values[tuple(at)])} at {at}")


def _added(vector: Tensor | None, base: Tensor) -> Tensor:
    if vector is None:
        raise ShapeError("intervention 'add' needs vector=, what is added")
    axes = base.shape[base.ndim - vector.ndim :]
    if not 0 < vector.ndim < base.ndim or vector.shape != axes:
        raise ShapeError(
            f"vector has shape {list(vector.shape)}; it must be the last axes of the activation, {list(base.shape)}"
        )
    return vector.to(base).expand_as(base)


def _require_several(intervention: str, reference: Tensor) -> None:
    if len(reference) < 2:
        raise TokensError(f"{intervention} needs at least two reference prompts, and there is one: give reference=")
