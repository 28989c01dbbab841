"""What a sweep from the command line is asked for, and how a model is asked it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from interp.effects import Direction
from interp.errors import AxisError, EmptyMatchError, OutOfRangeError, PointOffError, UnknownPointError
from interp.prepared_sweep import Engine
from interp.sites import Layers
from interp.sweep import prepare_sweep
from interp.sweep_run import SweepRun
from interp.tasks import PromptPairs, Task, built_in

from .errors import OptionError
from .sweep_metrics import METRICS, task_metric

Intervention = Literal["patch", "zero", "mean", "resample"]
INTERVENTIONS: tuple[str, ...] = get_args(Intervention)
"""What can be asked for in a word: to add a vector, one needs the vector."""

N_PAIRS = 32
"""Pairs that are drawn for a built-in task."""

OVER = {
    **dict.fromkeys(("z", "q", "pattern", "attn_scores"), ("layer", "head")),
    **dict.fromkeys(("k", "v"), ("layer", "kv_head")),
}
"""The axes by which cells are told apart where nothing else is asked for; elsewhere layer and position."""


@dataclass(frozen=True, eq=False)
class SweepRequest:
    """A sweep as it was asked for.

    Attributes:
        task: a built-in task's name, or prompt pairs of the user's own.
        site: the point that is changed in every block.
        over: the axes that tell cells apart; without any, those of `OVER`.
        metrics: what is measured, by name; without any, what the task is made for.
        direction: which run is edited.
        intervention: what is done at the cells.
        n_pairs: how many pairs; by default 32 of a built-in task, all of a file.
        seed: of the pairs, of resampling, and of the cells that are run again.
        most_common_length: of pairs of different lengths, those of the most common one are taken.
        layers: only these blocks.
        window: so many blocks in a row are changed together.
        blocks: of these axes so many neighbours are changed together.
        only: of these axes only these indices.
        freeze: points that keep what they were.
        engine: which engine runs it; by default the exact one where it can.
        max_memory: bytes.
    """

    task: str | Task
    site: str = "z"
    over: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    direction: Direction = "denoising"
    intervention: Intervention = "patch"
    n_pairs: int | None = None
    seed: int = 0
    most_common_length: bool = False
    layers: Layers | None = None
    window: int = 1
    blocks: Mapping[str, int] = field(default_factory=dict)
    only: Mapping[str, Sequence[int]] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    engine: Engine | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if self.axes[0] != "layer":
            raise ValueError(f"over={','.join(self.axes)} must begin with layer: cells are in blocks")
        for name, given in (("only", self.only), ("blocks", self.blocks)):
            unused = [axis for axis in given if axis not in self.axes[1:]]
            if unused == ["layer"]:
                raise ValueError(f"{name} is about axes within a block; layers are chosen with layers")
            if unused:
                raise ValueError(f"{name} names {unused[0]}, and cells are told apart by {','.join(self.axes)}")

    @property
    def axes(self) -> tuple[str, ...]:
        """What tells cells apart."""
        return self.over or OVER.get(self.site, ("layer", "pos"))

    def as_dict(self) -> dict[str, Any]:
        """The options, the task by its name."""
        options = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**options, "task": self.task if isinstance(self.task, str) else self.task.source, "over": self.axes}

    def pairs(self, model: Any) -> PromptPairs:
        """The prompt pairs as tokens of the model.

        Raises:
            TokensError, DegenerateBaselineError: as `Task.on`.
            OptionError: more pairs than a file has.
        """
        if isinstance(self.task, str):
            drawn = built_in(self.task, self.n_pairs or N_PAIRS, self.seed)
            return drawn.on(model, most_common_length=self.most_common_length)
        n_pairs = self.n_pairs or len(self.task.pairs)
        if n_pairs > len(self.task.pairs):
            raise OptionError(f"n={n_pairs} pairs are asked for; {self.task.source} has {len(self.task.pairs)}")
        some = Task(self.task.name, self.task.description, self.task.pairs[:n_pairs], self.task.source)
        return some.on(model, most_common_length=self.most_common_length)

    def metric_names(self, pairs: PromptPairs) -> tuple[str, ...]:
        """What is measured; if nothing is asked for, what the task is made for."""
        return self.metrics or (task_metric(pairs),)

    def prepared(self, model: Any, pairs: PromptPairs) -> SweepRun:
        """The sweep, ready to run.

        Raises:
            OptionError: a point, axes, layers or indices that the model or the prompts do not have.
            MetricError, DegenerateBaselineError, EngineError, MemoryBudgetError, TokensError: as `interp.sweep`.
        """
        metrics = [METRICS[name](model, pairs) for name in self.metric_names(pairs)]
        try:
            return prepare_sweep(
                model, pairs.clean, pairs.corrupted, self.site, self.axes, metrics, direction=self.direction,
                intervention=self.intervention, seed=self.seed, layers=self.layers, window=self.window,
                blocks=self.blocks, only=self.only, freeze=self.freeze, engine=self.engine,
                max_memory=self.max_memory, clusters=pairs.clusters,
            )  # fmt: skip
        except (AxisError, EmptyMatchError, OutOfRangeError, PointOffError, UnknownPointError) as error:
            raise OptionError(str(error)) from error
        except ValueError as error:
            # Its subclasses have exit codes of their own.
            if type(error) is not ValueError:
                raise
            raise OptionError(str(error)) from error
