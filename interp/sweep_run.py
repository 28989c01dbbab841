"""Running a prepared sweep: its plan told, its chunks kept, its result labelled."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .digests import described
from .effects import Effects, Verification
from .engine.plan import Plan
from .errors import JournalError, NonFiniteError
from .grid import Grid
from .journal import journal
from .pairing import tokens_as_text
from .prepared_sweep import PreparedSweep
from .progress import shown
from .provenance import run_record


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
        arguments: of the intervention, where it has any.
        single: whether one metric was asked for, and not several.
        why_plain: why the plain engine runs it, where nobody asked for that.
    """

    ready: PreparedSweep
    grid: Grid
    point: str
    intervention: str
    seed: int
    clusters: tuple[str, ...]
    arguments: Mapping[str, Any]
    single: bool
    why_plain: str | None = None

    @property
    def plan(self) -> Plan:
        """What it will cost.

        Raises:
            MemoryBudgetError: its smallest part does not fit the memory.
        """
        return self.ready.running.plan

    @torch.no_grad()
    def run(
        self, *, out: str | Path | None = None, verify: int = 0, progress: bool | None = None
    ) -> Effects | dict[str, Effects]:
        """The effects; of several metrics, each by its name. See `interp.sweep`."""
        if not isinstance(verify, int) or verify < 0:
            raise ValueError(f"verify={verify!r} must be a number of cells, 0 for none")
        if out is not None:
            self._require_recordable()
        values = self._values(None if out is None else Path(out), progress)
        self._require_finite(values)
        checked = self.ready.verification(values, verify, self.seed) if verify else None
        noise = self.ready.running.noise_floor
        found = {
            metric.name: self._effects(number, metric.name, values[number], checked)
            for number, metric in enumerate(self.ready.runs.metrics)
        }
        if noise is not None:
            floors = zip(found, noise.cpu(), strict=True)
            found |= {name: replace(found[name], noise_floor=floor) for name, floor in floors}
        return next(iter(found.values())) if self.single else found

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as JSON can hold it."""
        runs, ready = self.ready.runs, self.ready
        return {
            **run_record(runs),
            "point": self.point,
            "intervention": self.intervention,
            "arguments": described(self.arguments),
            "frozen": list(ready.frozen),
            "axes": list(self.grid.axes),
            "coordinates": described(self.grid.coordinates),
            "changes": hashlib.sha256(" | ".join(map(str, ready.changes)).encode()).hexdigest(),
            "seed": self.seed,
            "engine": ready.engine,
        }

    def _values(self, out: Path | None, progress: bool | None) -> Float[Tensor, "metric prompt change"]:
        running = self.ready.running
        cuts = [[chunk.start, chunk.stop] for chunk in running.chunks]
        kept = None if out is None else journal(out, self.provenance, cuts)
        with shown(len(running.units), progress) as advance:
            return self.ready.values(kept, advance)

    @property
    def _engine_note(self) -> tuple[str, ...]:
        return () if self.why_plain is None else (f"run with one forward pass a cell: {self.why_plain}",)

    def _require_recordable(self) -> None:
        hooked = [name for name, point in self.ready.runs.model.hook_dict.items() if getattr(point, "fwd_hooks", ())]
        if hooked:
            raise JournalError(
                f"the model has hooks, the first at {hooked[0]}, and no record can say what they do: a sweep that is "
                "to go on from a folder needs a model without"
            )

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
        clean, corrupted = (tokens_as_text(runs.model, tokens) for tokens in (runs.clean, runs.corrupted))
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
            notes=(*_notes(reasons), *self._engine_note),
            engine=self.ready.engine,
            verification=checked,
            tokens_clean=clean,
            tokens_corrupted=corrupted,
            clusters=self.clusters,
            provenance=self.provenance,
        )


def _notes(reasons: list[str | None]) -> tuple[str, ...]:
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason is not None}
    notes = [f"{count} of {len(reasons)} cells cannot matter: {reason}" for reason, count in counts.items()]
    if sum(counts.values()) == len(reasons):
        notes.insert(0, "no effect is possible at these cells: every value is zero by construction, not a finding")
    return tuple(notes)
