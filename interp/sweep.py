"""One intervention at many cells: which places of a model carry the difference between two runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .effects import Direction, Effects
from .engine import plain
from .engine.support import why_not
from .errors import EngineError, MetricError, TokensError
from .grid import POINTS, Grid, Place, grid, sets_grid
from .memory import require_room_for_runs
from .metrics import Metric
from .padding import require_unpadded
from .pairing import fitting_reference, paired
from .prepared_sweep import Engine, PreparedSweep, points_to_keep
from .replacing import Intervention, Replacement, require_finite, stand_in
from .sites import Layers, site, sites
from .sweep_run import SweepRun
from .two_runs import TwoRuns, two_runs

Tokens = Int[Tensor, "prompt pos"]
Counterparts = Int[Tensor, "corrupted_prompt corrupted_pos"]
Reference = Int[Tensor, "reference reference_pos"]


@overload
def sweep(
    model: Any,
    clean: Tokens,
    corrupted: Counterparts,
    point: str,
    over: Sequence[str],
    metric: Metric,
    *,
    direction: Direction,
    **options: Any,
) -> Effects: ...


@overload
def sweep(
    model: Any,
    clean: Tokens,
    corrupted: Counterparts,
    point: str,
    over: Sequence[str],
    metric: Sequence[Metric],
    *,
    direction: Direction,
    **options: Any,
) -> dict[str, Effects]: ...


def sweep(  # type: ignore[misc]  # the overloads leave out the names of the options, for brevity
    model: Any,
    clean: Tokens,
    corrupted: Counterparts,
    point: str,
    over: Sequence[str],
    metric: Metric | Sequence[Metric],
    *,
    direction: Direction,
    intervention: Intervention = "patch",
    reference: Reference | None = None,
    per_position: bool = True,
    vector: Float[Tensor, "..."] | None = None,
    seed: int = 0,
    layers: Layers | None = None,
    window: int = 1,
    only: Mapping[str, Sequence[int]] | None = None,
    blocks: Mapping[str, int] | None = None,
    freeze: Sequence[str] = (),
    engine: Engine | None = None,
    max_memory: int | None = None,
    broadcast: bool = False,
    clusters: Sequence[str] = (),
    out: str | Path | None = None,
    verify: int = 0,
    progress: bool | None = None,
) -> Effects | dict[str, Effects]:
    """The effect of the intervention at each cell of a point, on every prompt; of several metrics, each by its name.

    Args:
        point: one of `POINTS` ("resid_pre", "z", …) or a pattern of hook names, `blocks.*.hook_resid_pre`.
        over: the axes that tell cells apart: "layer", then axes of the point, `("layer", "head", "pos")`. An axis that
            is left out is changed as a whole.
        metric: what is measured; of several, one sweep gives all.
        direction: "denoising" edits the corrupted run with values of the clean one, "noising" the reverse.
        intervention: "patch" puts in the other run's value; "zero" zeros; "mean" the mean of the reference;
            "resample" the value of a prompt of the reference, the same draw at every cell; "add" adds `vector`.
        reference: the prompts of mean and resample; by default those of the other run.
        per_position: whether the mean is one for each position, or one for all.
        vector: what "add" adds, of the last axes of the point's activation: `[d_model]`, `[head d_head]`.
        seed: of the draw, and of the choice of cells to verify.
        layers: only these blocks.
        window: so many blocks in a row are changed together; the first gives the cell its layer.
        only: of these axes only these indices, `{"pos": [4, 5, -1]}`; negative ones count from the end.
        blocks: of these axes so many indices in a row are changed together, `{"d_mlp": 64}`; the first gives the cell
            its coordinate.
        freeze: points that keep the edited run's own activation whatever is changed before them ("pattern").
        engine: "wavefront", exact and fast, or "hooks", one forward pass for each cell; by default the first
            where the model allows it.
        max_memory: bytes that the sweep may take beside the model; by default half of what is free.
        broadcast: lets a single prompt on one side stand for all on the other.
        clusters: each prompt's template, where prompts of one template are not independent.
        out: a folder that is written as the sweep goes on, and from which a sweep that was stopped goes on.
        verify: so many cells, drawn at random, are run again the plain way.
        progress: whether a bar is drawn on stderr; by default where it is a terminal.

    Raises:
        TokensError: prompts that have no partner, position by position; the message shows both.
        DegenerateBaselineError: a prompt that is the same in both runs, or a metric that cannot tell the runs apart.
        AxisError, OutOfRangeError: axes or indices that the point does not have.
        EngineError: the engine that is asked for cannot run this sweep; the message says why.
        MemoryBudgetError: the smallest part of it does not fit the memory.
        VerificationError: a cell that was run again came out differently than rounding explains.
        JournalError: `out` holds another sweep, or a part that cannot be read.
        OSError: `out` cannot be written; what is there is whole, and a later call goes on from it.
        The errors of `sites`, of the metric, and of `edited`.

    Source: docs/engine.md says how the exact engine works.
    """
    ready = prepare_sweep(
        model, clean, corrupted, point, over, metric,
        direction=direction, intervention=intervention, reference=reference, per_position=per_position, vector=vector,
        seed=seed, layers=layers, window=window, only=only, blocks=blocks, freeze=freeze, engine=engine,
        max_memory=max_memory, broadcast=broadcast, clusters=clusters,
    )  # fmt: skip
    return ready.run(out=out, verify=verify, progress=progress)


def prepare_sweep(
    model: Any,
    clean: Tokens,
    corrupted: Counterparts,
    point: str,
    over: Sequence[str],
    metric: Metric | Sequence[Metric],
    *,
    direction: Direction,
    intervention: Intervention = "patch",
    reference: Reference | None = None,
    per_position: bool = True,
    vector: Float[Tensor, "..."] | None = None,
    seed: int = 0,
    layers: Layers | None = None,
    window: int = 1,
    only: Mapping[str, Sequence[int]] | None = None,
    blocks: Mapping[str, int] | None = None,
    freeze: Sequence[str] = (),
    engine: Engine | None = None,
    max_memory: int | None = None,
    broadcast: bool = False,
    clusters: Sequence[str] = (),
) -> SweepRun:
    """The sweep, ready to run: its `plan` tells what it will cost, `run()` gives the effects. See `sweep`."""
    what = _What(direction, intervention, reference, per_position, vector, seed, freeze, engine, max_memory)
    pattern = POINTS.get(point, point)
    found = sites(model, pattern, layers=layers)

    def cells(length: int) -> Grid:
        return grid(found, length, over, only or {}, window, blocks or {})

    return _prepared(model, paired(model, clean, corrupted, broadcast), cells, pattern, metric, what, clusters)


def joint(
    model: Any,
    clean: Tokens,
    corrupted: Counterparts,
    sets: Mapping[str, Sequence[Place]],
    metric: Metric | Sequence[Metric],
    *,
    direction: Direction,
    intervention: Intervention = "patch",
    reference: Reference | None = None,
    per_position: bool = True,
    vector: Float[Tensor, "..."] | None = None,
    seed: int = 0,
    freeze: Sequence[str] = (),
    engine: Engine | None = None,
    max_memory: int | None = None,
    broadcast: bool = False,
    clusters: Sequence[str] = (),
    out: str | Path | None = None,
    verify: int = 0,
    progress: bool | None = None,
) -> Effects | dict[str, Effects]:
    """The effect of changing several places at once, for each set of places; its one axis is "set".

    Args:
        sets: by label, the places: cells (`site(model, name).at(head=2)`), or a point with the indices that fix it,
            `("z", {"layer": 1, "head": 2})`.

    The other arguments and the errors are those of `sweep`.
    """
    ready = prepare_joint(
        model, clean, corrupted, sets, metric,
        direction=direction, intervention=intervention, reference=reference, per_position=per_position, vector=vector,
        seed=seed,
        freeze=freeze, engine=engine, max_memory=max_memory, broadcast=broadcast, clusters=clusters,
    )  # fmt: skip
    return ready.run(out=out, verify=verify, progress=progress)


def prepare_joint(
    model: Any,
    clean: Tokens,
    corrupted: Counterparts,
    sets: Mapping[str, Sequence[Place]],
    metric: Metric | Sequence[Metric],
    *,
    direction: Direction,
    intervention: Intervention = "patch",
    reference: Reference | None = None,
    per_position: bool = True,
    vector: Float[Tensor, "..."] | None = None,
    seed: int = 0,
    freeze: Sequence[str] = (),
    engine: Engine | None = None,
    max_memory: int | None = None,
    broadcast: bool = False,
    clusters: Sequence[str] = (),
) -> SweepRun:
    """The sets of places, ready to run: `plan` tells what they will cost, `run()` gives the effects. See `joint`."""
    what = _What(direction, intervention, reference, per_position, vector, seed, freeze, engine, max_memory)
    pairs = paired(model, clean, corrupted, broadcast)
    cells = sets_grid(model, pairs[0].shape[1], sets)
    points = ", ".join(dict.fromkeys(cell.name for change in cells.changes for cell in change))
    return _prepared(model, pairs, lambda _: cells, points, metric, what, clusters)


@dataclass(frozen=True, eq=False)
class _What:
    """What is done at the cells, and how."""

    direction: Direction
    intervention: Intervention
    reference: Tensor | None
    per_position: bool
    vector: Tensor | None
    seed: int
    freeze: Sequence[str]
    engine: Engine | None
    max_memory: int | None

    def __post_init__(self) -> None:
        for name, allowed in (("direction", Direction), ("intervention", Intervention)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {get_args(allowed)}")
        if self.engine not in (None, *get_args(Engine)):
            raise ValueError(f"engine={self.engine!r} must be one of {get_args(Engine)}, or None to choose")
        if self.vector is not None and self.intervention != "add":
            raise ValueError(f"vector is what 'add' adds; the intervention is {self.intervention!r}")
        if self.reference is not None and self.intervention not in ("mean", "resample"):
            raise ValueError(f"reference is for 'mean' and 'resample'; the intervention is {self.intervention!r}")
        if not self.per_position and self.intervention != "mean":
            raise ValueError(f"per_position=False is for 'mean'; the intervention is {self.intervention!r}")
        if isinstance(self.freeze, str):
            raise ValueError(f"freeze={self.freeze!r} must be a list of points, [{self.freeze!r}]")


@torch.no_grad()
def _prepared(
    model: Any,
    pairs: tuple[Tensor, Tensor],
    cells: Callable[[int], Grid],
    point: str,
    metric: Metric | Sequence[Metric],
    what: _What,
    clusters: Sequence[str],
) -> SweepRun:
    metrics = _metrics(metric)
    if isinstance(clusters, str) or (clusters and len(clusters) != len(pairs[0])):
        raise TokensError(f"clusters must name the template of each of {len(pairs[0])} prompts; it is {clusters!r}")
    over = cells(pairs[0].shape[1])
    frozen = [one.name for name in what.freeze for one in sites(model, POINTS.get(name, name))]
    names = list(dict.fromkeys(cell.name for change in over.changes for cell in change))
    both = sorted(set(frozen) & set(names))
    if both:
        raise ValueError(f"{both[0]} is changed by the sweep, so it cannot be frozen as well")
    engine, why_plain = _chosen(what.engine, model, over, frozen)
    keep = points_to_keep(model, over.changes, frozen, engine)
    require_unpadded(model, *pairs, over.changes, _mixed(model, pairs, what))
    require_room_for_runs(model, pairs[0], names, keep, what.max_memory)
    runs = two_runs(model, *pairs, what.direction, metrics, names, keep, together=engine == "wavefront")
    replacements = {name: _replacement(name, runs, what) for name in names}
    ready = PreparedSweep(runs, over.changes, replacements, frozen, engine, what.max_memory)
    arguments = {name: getattr(what, name) for name in ("reference", "per_position", "vector")}
    single = isinstance(metric, Metric)
    return SweepRun(ready, over, point, what.intervention, what.seed, tuple(clusters), arguments, single, why_plain)


def _mixed(model: Any, pairs: tuple[Tensor, Tensor], what: _What) -> Tensor | None:
    """The prompts whose values the intervention mixes, if it does."""
    if what.intervention not in ("mean", "resample"):
        return None
    other = pairs[0 if what.direction == "denoising" else 1]
    return other if what.reference is None else fitting_reference(model, what.reference, other)


def _metrics(metric: Metric | Sequence[Metric]) -> tuple[Metric, ...]:
    metrics: tuple[Any, ...] = (metric,) if isinstance(metric, Metric) or callable(metric) else tuple(metric)
    for one in metrics:
        if not isinstance(one, Metric):
            raise MetricError(f"{one!r} is no Metric; interp.Function(label, function) makes one of any function")
    return metrics


def _replacement(name: str, runs: TwoRuns, what: _What) -> Replacement:
    base = runs.base[name]
    if what.reference is None:
        other = runs.other[name]
    else:
        fitting = fitting_reference(runs.model, what.reference, runs.edited)
        other = plain.activations(runs.model, fitting, [name])[1][name]
    values = stand_in(
        what.intervention,
        base,
        other,
        axes=site(runs.model, name).axes,
        per_position=what.per_position,
        vector=what.vector,
        seed=what.seed,
    )
    require_finite(name, values)
    return Replacement(base, values, added=what.intervention == "add")


def _chosen(engine: Engine | None, model: Any, over: Grid, frozen: Sequence[str]) -> tuple[Engine, str | None]:
    """The engine, and why it is the plain one where nobody asked for that."""
    if engine == "hooks":
        return engine, None
    why = why_not(model, over.changes, frozen)
    if engine == "wavefront" and why is not None:
        raise EngineError(f"engine='wavefront' cannot run this sweep: {why}. engine='hooks' can")
    return ("wavefront" if why is None else "hooks"), why
