"""Running a prepared sweep: its plan told, its chunks kept, its result labelled."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from .effects import Effects, Verification
from .engine.plan import Plan
from .errors import NonFiniteError
from .grid import Grid
from .prepared_sweep import PreparedSweep


@dataclass(frozen=True, eq=False)
class SweepRun:
    """A sweep that is ready to run.

    Attributes:
        ready: what the engine runs.
        grid: the cells, with their coordinates.
        point: where they are.
        intervention: what is done there.
        seed: of draws.
        clusters: each prompt's template.
        single: whether one metric was asked for, and not several.
    """

    ready: PreparedSweep
    grid: Grid
    point: str
    intervention: str
    seed: int
    clusters: tuple[str, ...]
    single: bool

    @property
    def plan(self) -> Plan:
        """What it will cost."""
        return self.ready.plan

    @torch.no_grad()
    def run(
        self, *, out: str | Path | None = None, verify: int = 0, progress: bool | None = None
    ) -> Effects | dict[str, Effects]:
        """The effects; of several metrics, each by its name. See `interp.sweep`."""
        values = self.ready.values({}, lambda number, found: None)
        self._require_finite(values)
        checked = self.ready.verification(values, verify, self.seed) if verify and self.ready.alive else None
        found = {
            metric.name: self._effects(number, metric.name, values[number], checked)
            for number, metric in enumerate(self.ready.runs.metrics)
        }
        return next(iter(found.values())) if self.single else found

    def _require_finite(self, values: Float[Tensor, "metric prompt change"]) -> None:
        if bool(values.isfinite().all()):
            return
        metric, prompt, number = (~values.isfinite()).nonzero()[0].tolist()
        places = " and ".join(str(cell) for cell in self.ready.changes[number])
        name, value = self.ready.runs.metrics[metric].name, float(values[metric, prompt, number])
        raise NonFiniteError(f"{name} is {value} on prompt {prompt} with {places} changed")

    def _effects(
        self, number: int, name: str, values: Float[Tensor, "prompt change"], checked: Verification | None
    ) -> Effects:
        runs, reasons = self.ready.runs, self.ready.reasons
        return Effects(
            point=self.point,
            intervention=self.intervention,
            direction=runs.direction,
            metric=name,
            axes=self.grid.axes,
            coordinates=self.grid.coordinates,
            values=values.reshape(len(values), *self.grid.shape),
            clean=runs.clean_values[number].cpu(),
            corrupted=runs.corrupted_values[number].cpu(),
            dead=torch.tensor([reason is not None for reason in reasons]).reshape(self.grid.shape),
            notes=_notes(reasons),
            engine=self.ready.engine,
            verification=checked,
            clusters=self.clusters,
        )


def _notes(reasons: list[str | None]) -> tuple[str, ...]:
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason is not None}
    notes = [f"{count} of {len(reasons)} cells cannot matter: {reason}" for reason, count in counts.items()]
    if sum(counts.values()) == len(reasons):
        notes.insert(0, "no effect is possible at these cells: every value is zero by construction, not a finding")
    return tuple(notes)
