"""One intervention at many cells, one at a time: which places carry the difference between two runs."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from .dead_cells import why_dead
from .effects import Direction, Effects
from .engine import plain
from .errors import AxisError, OutOfRangeError, TokensError
from .interventions import mean, resample
from .metrics import Metric
from .pairing import fitting_reference, paired, require_gap
from .protocol import HookedModel
from .sites import Cell, Layers, Site, sites

Intervention = Literal["patch", "zero", "mean", "resample"]

POINTS = {
    **{name: f"blocks.*.hook_{name}" for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")},
    **{name: f"blocks.*.attn.hook_{name}" for name in ("z", "q", "k", "v", "pattern", "attn_scores")},
    "mlp_post": "blocks.*.mlp.hook_post",
}
"""Short names for the points of every block; any pattern of hook names will do as well."""


@torch.no_grad()
def sweep(
    model: HookedModel,
    clean: Int[Tensor, "prompt pos"],
    corrupted: Int[Tensor, "corrupted_prompt corrupted_pos"],
    point: str,
    over: Sequence[str],
    metric: Metric,
    *,
    direction: Direction,
    intervention: Intervention = "patch",
    reference: Int[Tensor, "reference reference_pos"] | None = None,
    seed: int = 0,
    layers: Layers | None = None,
    only: Mapping[str, Sequence[int]] | None = None,
    broadcast: bool = False,
) -> Effects:
    """The effect of the intervention at each cell of a point, on every prompt.

    Args:
        point: one of `POINTS` ("resid_pre", "z", …) or a pattern of hook names, `blocks.*.hook_resid_pre`.
        over: the axes that tell cells apart: "layer", then axes of the point, `("layer", "head", "pos")`. An axis that
            is left out is changed as a whole.
        direction: "denoising" edits the corrupted run with values of the clean one, "noising" the reverse.
        intervention: "patch" puts in the other run's value; "zero" zeros; "mean" the mean of the reference at each
            position; "resample" the value of a prompt of the reference, the same draw at every cell.
        reference: the prompts of mean and resample; by default those of the other run.
        seed: of the draw.
        layers: only these blocks.
        only: of these axes only these indices, `{"pos": [4, 5]}`.
        broadcast: lets a single prompt on one side stand for all on the other.

    Raises:
        TokensError: prompts that have no partner, position by position; the message shows both.
        DegenerateBaselineError: a prompt that is the same in both runs, or a metric that cannot tell the runs apart.
        AxisError, OutOfRangeError: axes or indices that the point does not have.
        The errors of `sites`, of the metric, and of `edited`.
    """
    clean, corrupted = paired(model, clean, corrupted, broadcast)
    if direction not in get_args(Direction) or intervention not in get_args(Intervention):
        raise ValueError(
            f"direction={direction!r} must be one of {get_args(Direction)}, intervention={intervention!r} one of "
            f"{get_args(Intervention)}"
        )
    found = sites(model, POINTS.get(point, point), layers=layers)
    edited, other = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
    names = [site.name for site in found]
    logits, base = plain.activations(model, edited, names)
    other_logits, other_values = plain.activations(model, other, names)
    before, beyond = metric(logits), metric(other_logits)
    runs = (beyond, before) if direction == "denoising" else (before, beyond)
    require_gap(*runs, logits, metric.name)
    if intervention != "patch" and reference is not None:
        _, other_values = plain.activations(model, fitting_reference(model, reference, edited), names)
    values = {name: _replacement(intervention, base[name], other_values[name], seed) for name in names}
    coordinates = _coordinates(found, base, over, only or {})
    cells = _cells(found, over, coordinates)
    reasons = why_dead(model, cells, base, values, metric, edited.shape[1])
    alive = [at for at, reason in enumerate(reasons) if reason is None]
    measured = before.cpu()[:, None].repeat(1, len(cells))
    if alive:
        measured[:, alive] = plain.run(model, edited, [cells[at] for at in alive], values, metric).cpu()
    shape = [len(of) for of in coordinates]
    return Effects(
        point=POINTS.get(point, point),
        intervention=intervention,
        direction=direction,
        metric=metric.name,
        axes=tuple(over),
        coordinates=coordinates,
        values=measured.reshape(len(before), *shape),
        clean=runs[0].cpu(),
        corrupted=runs[1].cpu(),
        dead=torch.tensor([reason is not None for reason in reasons]).reshape(shape),
        notes=_notes(reasons),
    )


def _replacement(intervention: Intervention, base: Tensor, reference: Tensor, seed: int) -> Tensor:
    match intervention:
        case "patch":
            return reference
        case "zero":
            return torch.zeros_like(base)
        case "mean":
            _require_several(intervention, reference)
            return mean(reference)(base)
        case "resample":
            _require_several(intervention, reference)
            return resample(reference, torch.Generator().manual_seed(seed))(base)


def _require_several(intervention: str, reference: Tensor) -> None:
    if len(reference) < 2:
        raise TokensError(f"{intervention} needs at least two reference prompts, and there is one: give reference=")


def _coordinates(
    found: Sequence[Site], base: Mapping[str, Tensor], over: Sequence[str], only: Mapping[str, Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """What the indices of each axis stand for."""
    if not over or over[0] != "layer" or len(set(over)) != len(over):
        raise AxisError(f"over={tuple(over)} must begin with 'layer' and name each axis once")
    unused = set(only) - set(over[1:])
    if unused:
        raise AxisError(f"only restricts {sorted(unused)}, which over={tuple(over)} does not have as axes of the point")
    first, shape = found[0], base[found[0].name].shape
    if not all(site.name.startswith("blocks.") for site in found):
        raise AxisError(f"{first.name} is in no block, so it has no layer to sweep over")
    coordinates = [tuple(int(site.name.split(".")[1]) for site in found)]
    if len(set(coordinates[0])) < len(found):
        raise AxisError(f"{first.name} and {found[1].name} are in one block; a sweep is over one point of each")
    for axis in over[1:]:
        first.index(**{axis: 0})
        size = shape[first.axes.index(axis)]
        chosen = tuple(only.get(axis, range(size)))
        if not chosen or any(not 0 <= at < size for at in chosen):
            raise OutOfRangeError(f"only={{{axis!r}: {list(chosen)}}} must name some of 0 to {size - 1}")
        coordinates.append(chosen)
    return tuple(coordinates)


def _cells(found: Sequence[Site], over: Sequence[str], coordinates: tuple[tuple[int, ...], ...]) -> list[Cell]:
    inside = list(product(*coordinates[1:]))
    return [site.at(**dict(zip(over[1:], indices, strict=True))) for site in found for indices in inside]


def _notes(reasons: Sequence[str | None]) -> tuple[str, ...]:
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason is not None}
    notes = [f"{count} of {len(reasons)} cells cannot matter: {reason}" for reason, count in counts.items()]
    if sum(counts.values()) == len(reasons):
        notes.insert(0, "no effect is possible at these cells: every value is zero by construction, not a finding")
    return tuple(notes)
