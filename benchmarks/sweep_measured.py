"""One case of the benchmark: a sweep on some pairs, run by every contestant, and what follows from the times."""

import random
import statistics
from dataclasses import dataclass
from functools import partial
from operator import truediv

from interp import Effects
from interp.cost import forward_flops
from models import HookedTransformer

from .rounds import Lap, MatrixProducts, interleaved
from .sweep_cases import GRIDS, At, Grid, Pairs, cells
from .sweep_contestants import (
    BRIDGE,
    OURS,
    PLAIN,
    WAVEFRONT,
    PlainSweep,
    TransformerLensSweep,
    WavefrontSweep,
    values_at,
)
from .sweep_floor import Floor
from .sweep_subjects import Subject

CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class Counted:
    """The cells of a case, and what they cost at least.

    Attributes:
        cells: all of them.
        live: those that can change the metric on some prompt.
        operations: of all cells and of the unedited runs.
        whole_forwards: the operations of a whole forward pass for each cell.
    """

    cells: list[At]
    live: list[At]
    operations: int
    whole_forwards: int


def counted(grid: Grid, model: HookedTransformer, given: Pairs) -> Counted:
    """The cells of the grid and their floor."""
    length = given.clean.shape[1]
    read = frozenset(at % length for at in given.metric.positions)
    floor = Floor(model.cfg, length, read, given.metric.columns.shape[1])
    everything = cells(grid, model, length)
    costs = [sum(floor.cell(grid.point, at, differ) for differ in given.differ) for at in everything]
    live = [at for at, cost in zip(everything, costs, strict=True) if cost]
    return Counted(
        cells=everything,
        live=live,
        operations=sum(costs) + sum(map(floor.unedited, given.differ)),
        whole_forwards=len(everything) * len(given.clean) * forward_flops(model.cfg).at(length),
    )


@dataclass(frozen=True)
class Figures:
    """One case by one clock, every number a median over rounds.

    Attributes:
        cell_ms: milliseconds for each cell of the grid, by contestant.
        ratios: how many times the wavefront's cost, by contestant.
        of_floor: the share of the wavefront's time that the floor's operations need at the best rate of that round.
    """

    cell_ms: dict[str, float]
    ratios: dict[str, float]
    of_floor: float


def figures(laps: dict[str, list[Lap]], clock: str, count: Counted, n_sampled: int, rates: list[float]) -> Figures:
    """The figures of a case from its laps.

    Args:
        n_sampled: the cells that a lap of any contestant but the wavefront has run.
        rates: the machine's best in each round, in operations a second of the same clock.
    """
    n_cells = len(count.cells)
    run = {BRIDGE: n_cells, OURS: n_cells, PLAIN: len(count.live), WAVEFRONT: n_sampled}
    grid = {name: [getattr(lap, clock) * run[name] / n_sampled for lap in of] for name, of in laps.items()}
    median = {name: statistics.median(of) for name, of in grid.items()}
    cell_ms = {name: 1000 * of / n_cells for name, of in median.items()}
    fast = grid.pop(WAVEFRONT)
    ratios = {name: statistics.median(map(truediv, of, fast)) for name, of in grid.items()}
    of_floor = [count.operations / rate / took for rate, took in zip(rates, fast, strict=True)]
    return Figures(cell_ms, ratios, statistics.median(of_floor))


@dataclass(frozen=True)
class Measured:
    """All that was measured of one case.

    Attributes:
        fewer: whole forward passes for all cells over the floor, in operations: the ratio of times that is possible
            where both run at the same rate.
        differences: the largest difference of the metric to the plain engine's, by contestant.
        largest_effect: how far a sampled cell moves the metric: what the differences stand beside.
        dead_agree: whether the wavefront calls those cells dead that the floor does.
        rates: the best matrix-product rate of each round, operations a second, by clock.
    """

    sweep: str
    n_tokens: int
    n_pairs: int
    differ: str
    n_cells: int
    n_live: int
    n_sampled: int
    operations: int
    fewer: float
    rounds: int
    figures: dict[str, Figures]
    differences: dict[str, float]
    largest_effect: float
    dead_agree: bool
    rates: dict[str, list[float]]
    laps: dict[str, list[Lap]]


def measured(
    subject: Subject,
    sweep: str,
    given: Pairs,
    count: Counted,
    *,
    n_sampled: int,
    repeats: int,
    device: str,
    at_most: float,
) -> Measured:
    """The sweep on these pairs, measured: one warm-up and then `repeats` rounds, or fewer within `at_most` seconds."""
    model, grid = subject.model, GRIDS[sweep]
    sample = random.Random(0).sample(count.live, min(n_sampled, len(count.live)))
    slow = {
        BRIDGE: TransformerLensSweep(subject.bridge, grid, given),
        OURS: TransformerLensSweep(model, grid, given),
        PLAIN: PlainSweep(model, grid, given),
    }
    values = {name: run(sample).cpu() for name, run in slow.items()}  # and warms up
    calls = {name: partial(run, sample) for name, run in slow.items()}
    fast = WavefrontSweep(model, grid, given)
    fast(layers=[model.cfg.n_layers - 1])  # warms up
    effects: list[Effects] = []
    calls[WAVEFRONT] = lambda: effects.append(fast())
    products = MatrixProducts(device)
    laps = interleaved({**calls, "products": products}, repeats, device, at_most)
    del laps["products"]
    values[WAVEFRONT] = values_at(effects[-1], sample)
    before = given.metric(model(given.corrupted)).cpu()
    return Measured(
        sweep=sweep,
        n_tokens=given.clean.shape[1],
        n_pairs=len(given.clean),
        differ=given.shape,
        n_cells=len(count.cells),
        n_live=len(count.live),
        n_sampled=len(sample),
        operations=count.operations,
        fewer=count.whole_forwards / count.operations,
        rounds=len(laps[PLAIN]),
        figures={clock: figures(laps, clock, count, len(sample), products.best[clock]) for clock in CLOCKS},
        differences={name: float((of - values[PLAIN]).abs().max()) for name, of in values.items() if name != PLAIN},
        largest_effect=float((values[PLAIN] - before[:, None]).abs().max()),
        dead_agree=_same_cells_live(effects[-1], count),
        rates=dict(products.best),
        laps=laps,
    )


def _same_cells_live(effects: Effects, count: Counted) -> bool:
    live = [at for at, dead in zip(count.cells, effects.dead.flatten().tolist(), strict=True) if not dead]
    return live == count.live
