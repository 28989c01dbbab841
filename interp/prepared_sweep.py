"""A sweep that is ready to run: both runs are done, its cells are known, an engine is chosen and its cost counted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from .dead_cells import why_dead
from .effects import Verification
from .engine.changes import as_rows, row_replacement
from .engine.plain import Plain
from .engine.readout import Readout
from .engine.wave import kept_points
from .engine.wavefront import Wavefront
from .errors import EngineError, MemoryBudgetError, VerificationError
from .journal import Journal
from .memory import allowed_bytes
from .metrics import Metric
from .replacing import Change, Replacement
from .rounding import rounding_of
from .sites import site
from .two_runs import TwoRuns

Engine = Literal["wavefront", "hooks"]


@dataclass(frozen=True, eq=False)
class PreparedSweep:
    """A sweep that is ready to run.

    Attributes:
        runs: the two runs.
        changes: what is changed, one after the other.
        replacements: by hook name, what stands in there.
        frozen: points that keep the edited run's own activation whatever is changed.
        engine: which engine runs it.
        max_memory: bytes that it may take beside the model.
    """

    runs: TwoRuns
    changes: Sequence[Change]
    replacements: Mapping[str, Replacement]
    frozen: Sequence[str]
    engine: Engine
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise ValueError(f"engine={self.engine!r} must be one of {get_args(Engine)}")
        if self.engine == "hooks" and self.max_memory is not None:
            raise EngineError("max_memory is kept by engine='wavefront' alone: 'hooks' runs whole forward passes")

    @cached_property
    def reasons(self) -> list[str | None]:
        """For each change why it cannot matter, or None."""
        runs = self.runs
        return why_dead(runs.model, self.changes, self.replacements, runs.metrics, runs.edited.shape[1])

    @cached_property
    def alive(self) -> list[int]:
        """The changes that can matter, by number."""
        return [number for number, reason in enumerate(self.reasons) if reason is None]

    @cached_property
    def running(self) -> Wavefront | Plain:
        """The engine with everything that it needs.

        Raises:
            MemoryBudgetError: the activations that it keeps do not fit.
        """
        return self._wavefront() if self.engine == "wavefront" else self.plain(self.alive)

    def values(
        self, kept: Journal | None = None, advance: Callable[[int], object] = lambda done: None
    ) -> Float[Tensor, "metric prompt change"]:
        """Each metric of each prompt with each change; of changes that cannot matter, that of the unedited run.

        Args:
            kept: what a run before this one finished, and where this one writes what it does.
            advance: told of how many units are done, after each part.
        """
        values = self.runs.unedited_values.cpu()[:, :, None].repeat(1, 1, len(self.changes))
        running, units = self.running, self.running.units
        cuts = [[chunk.start, chunk.stop] for chunk in running.chunks] if kept is None else kept.cuts
        for number, (first, end) in enumerate(cuts):
            if kept is not None and number in kept.finished:
                part = kept.finished[number]
            else:
                part = running.part(range(first, end)).cpu()
                if kept is not None:
                    kept.keep(number, part)
            some = units[first:end]
            values[:, [prompt for _, prompt in some], [self.alive[change] for change, _ in some]] = part
            advance(end - first)
        return values

    def plain(self, numbers: Sequence[int]) -> Plain:
        """The plain engine with these changes."""
        runs = self.runs
        frozen = {name: runs.base[name] for name in self.frozen}
        changes = [self.changes[number] for number in numbers]
        return Plain(
            runs.model, runs.edited, changes, self.replacements, runs.metrics, runs.unedited_values, frozen
        )  # fmt: skip

    def verification(self, values: Float[Tensor, "metric prompt change"], n_cells: int, seed: int) -> Verification:
        """How far some live cells, drawn at random and run again the plain way, are from the values.

        Raises:
            VerificationError: further than rounding explains.
        """
        drawn = torch.randperm(len(self.alive), generator=torch.Generator().manual_seed(seed))[:n_cells]
        numbers = [self.alive[at] for at in drawn.tolist()]
        largest = allowed = 0.0
        for number in numbers:
            logits = self.plain([number]).logits(number=0)
            for metric, said in zip(self.runs.metrics, values[:, :, number], strict=True):
                difference = (said - metric(logits).cpu()).abs()
                explained = tolerance(metric, logits).cpu()
                if not bool((difference <= explained).all()):
                    prompt = int((difference - explained).argmax())
                    places = " and ".join(map(str, self.changes[number]))
                    raise VerificationError(
                        f"the {metric.name} of prompt {prompt} with {places} changed, "
                        f"run again the plain way, differs by {float(difference[prompt]):.3g}; rounding explains "
                        f"{float(explained[prompt]):.3g}. Please report it, and use engine='hooks' meanwhile"
                    )
                largest, allowed = max(largest, float(difference.max())), max(allowed, float(explained.max()))
        return Verification(len(numbers), largest, allowed)

    def _wavefront(self) -> Wavefront:
        runs, model = self.runs, self.runs.model
        base = {name: as_rows(values, site(model, name).axes) for name, values in runs.base.items()}
        rows = {name: row_replacement(given, site(model, name).axes) for name, given in self.replacements.items()}
        budget = allowed_bytes(self.max_memory, model.W_E.device)
        held = _bytes([runs.logits, *runs.base.values(), *(given.values for given in self.replacements.values())])
        if held > budget:
            raise MemoryBudgetError(
                f"the activations of {len(runs.edited)} prompts at the points of the sweep take {held:,} bytes, more "
                f"than max_memory={budget:,}; give fewer prompts or layers"
            )
        return Wavefront(
            model=model,
            context=model.context_of(runs.edited),
            changes=[self.changes[number] for number in self.alive],
            replacements=rows,
            base=base,
            readout=Readout(model, runs.metrics, runs.logits),
            frozen=self.frozen,
            max_bytes=budget - held,
        )


def tolerance(metric: Metric, logits: Float[Tensor, "prompt pos d_vocab"]) -> Float[Tensor, " prompt"]:
    """How far two ways to the same metric may differ by rounding: 4,096 times what one unit of it moves the metric by.

    Of a logit difference that is about 1e-12 of the largest logit in float64, and 5e-4 in float32. In 16 bits, where
    the stream itself is rounded that coarsely at each step, 32 times. See `interp.rounding`.
    """
    units = 4096 if torch.finfo(logits.dtype).bits > 16 else 32
    return units * rounding_of(metric, logits) + torch.finfo(torch.float64).eps


def points_to_keep(model: Any, changes: Sequence[Change], frozen: Sequence[str], engine: Engine) -> list[str]:
    """The hook names whose activations a sweep needs of the run that is edited, beside those that it changes."""
    if engine == "hooks":
        return list(frozen)
    mlp_reads = [block.mlp_reads for block in model.blocks]
    stages = {cell.name.rpartition(".")[2] for change in changes for cell in change}
    first = min(int(cell.name.split(".")[1]) for change in changes for cell in change)
    return [*frozen, *kept_points(model, stages, range(first, len(mlp_reads)), mlp_reads)]


def _bytes(tensors: Sequence[Tensor]) -> int:
    # Views of one storage are there once.
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
