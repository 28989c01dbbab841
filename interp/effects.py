"""The result of a sweep: the metric of every cell on every prompt, with names on its axes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from .statistics import Estimate, over_prompts, ratio_of_means, sign_flip_p_values

Direction = Literal["denoising", "noising"]


@dataclass(frozen=True)
class Verification:
    """How far cells that were run again the plain way, one hooked forward each, were from what the engine said.

    Attributes:
        n_cells: how many were run again.
        largest_difference: the largest over these cells and all prompts, in the metric's unit.
        tolerance: what was allowed.
    """

    n_cells: int
    largest_difference: float
    tolerance: float


@dataclass(frozen=True, eq=False, repr=False)
class Effects:
    """The metric with one cell changed, for each cell and each prompt.

    Denoising edits the corrupted run with values of the clean one: what is *enough* to bring the behaviour back.
    Noising edits the clean run with values of the corrupted one: what it *needs*. Both tell how far the edited run
    goes towards the other one: a normalised effect of 0 is the run that was edited as it was, 1 is the other run.
    So in denoising 0 is corrupted and 1 is clean, in noising 0 is clean and 1 is corrupted.

    Attributes:
        point: where, `blocks.*.hook_resid_pre`.
        intervention: what is done there.
        direction: which run is edited.
        metric: what is measured.
        axes: the names of the cell's axes, `("layer", "pos")`.
        coordinates: what the indices of each axis stand for, `((0, 1), (0, 1, 2))`.
        values: the metric of the edited run.
        clean: the metric of the clean run.
        corrupted: the metric of the corrupted run.
        dead: the cells that cannot matter; they were not run, and hold the value of the run that is edited.
        notes: what a reader must know: how many cells cannot matter and why, and whether any effect was possible.
        engine: which engine ran it, "wavefront" or "hooks".
        verification: what came of running some cells again the plain way; None where nobody asked.
        noise_floor: how far each prompt's metric of the unedited run moves when it is run in chunks of other widths:
            an effect below it is rounding. None where it was not measured.
        tokens_clean: each clean prompt's tokens as text, to label positions with; () where they are not known.
        tokens_corrupted: the same of the corrupted prompts.
        clusters: each prompt's template, where prompts of one template are not independent; () where they are.
        provenance: what the numbers came from: digests of weights and tokens, dtype, seed, versions, arguments.
    """

    point: str
    intervention: str
    direction: Direction
    metric: str
    axes: tuple[str, ...]
    coordinates: tuple[tuple[int | str, ...], ...]
    values: Float[Tensor, "prompt ..."]
    clean: Float[Tensor, " prompt"]
    corrupted: Float[Tensor, " prompt"]
    dead: Bool[Tensor, "*cell"]
    notes: tuple[str, ...] = ()
    engine: str = "hooks"
    verification: Verification | None = None
    noise_floor: Float[Tensor, " prompt"] | None = None
    tokens_clean: tuple[tuple[str, ...], ...] = ()
    tokens_corrupted: tuple[tuple[str, ...], ...] = ()
    clusters: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> Float[Tensor, " prompt"]:
        """The metric of the run that is edited."""
        return self.corrupted if self.direction == "denoising" else self.clean

    @property
    def gap(self) -> Float[Tensor, " prompt"]:
        """The metric of the other run less that of the edited one: what an edit of everything would change."""
        return self.clean - self.corrupted if self.direction == "denoising" else self.corrupted - self.clean

    @property
    def change(self) -> Float[Tensor, "prompt ..."]:
        """The effect on each prompt: the metric of the edited run, less what it was before."""
        return self.values - self.base.reshape(-1, *(1 for _ in self.axes))

    @property
    def effect(self) -> Estimate:
        """The mean effect over prompts, with standard error and 95 % interval, in the metric's unit."""
        return over_prompts(self.change)

    @property
    def normalised(self) -> Estimate:
        """The mean effect as a share of the mean difference between the runs: a ratio of means, not a mean of ratios.

        0 is the run that is edited, 1 is the other one; intervals resample numerator and denominator together.
        """
        return ratio_of_means(self.change, self.gap)

    @property
    def p_values(self) -> Float[Tensor, "*cell"]:
        """How often flipping the signs of whole prompts gives any cell as large an effect: adjusted for their number.

        1 for dead cells, and everywhere with a single prompt.
        """
        return sign_flip_p_values(self.change)

    @property
    def cells(self) -> list[tuple[Any, ...]]:
        """What each cell's indices stand for, in the order of the flattened values."""
        return list(product(*self.coordinates))

    def top(self, k: int) -> list[tuple[Any, ...]]:
        """The k cells with the largest mean effect by magnitude, dead ones left out."""
        size = self.change.mean(dim=0).abs().flatten()
        order = [int(at) for at in size.argsort(descending=True, stable=True) if not self.dead.flatten()[at]]
        return [self.cells[at] for at in order[:k]]

    def to_frame(self) -> Any:
        """A pandas data frame with a row for each cell: its axes, the metric, the effect and what is known of it."""
        import pandas as pd  # the library itself does without

        effect, normalised = self.effect, self.normalised
        columns = {
            "metric": self.values.mean(dim=0),
            "effect": effect.mean,
            "effect_standard_error": effect.standard_error,
            "effect_low": effect.low,
            "effect_high": effect.high,
            "normalised": normalised.mean,
            "normalised_low": normalised.low,
            "normalised_high": normalised.high,
            "p_adjusted": self.p_values,
            "dead": self.dead,
        }
        frame = pd.DataFrame(self.cells, columns=list(self.axes))
        for name, values in columns.items():
            frame[name] = values.flatten().numpy(force=True)
        return frame

    def __repr__(self) -> str:
        n_prompts = len(self.values)
        head = (
            f"Effects of {self.intervention} at {self.point} by {' × '.join(self.axes)} ({self.direction}) on the "
            f"{self.metric}, {n_prompts} prompt{'s' * (n_prompts > 1)}: clean {float(self.clean.mean()):.4g}, "
            f"corrupted {float(self.corrupted.mean()):.4g}"
        )
        effect, normalised = (
            dict(zip(self.cells, of.mean.flatten().tolist(), strict=True)) for of in (self.effect, self.normalised)
        )
        lines = [
            f"  {' '.join(f'{axis} {at}' for axis, at in zip(self.axes, cell, strict=True)):<24} "
            f"{effect[cell]:+10.4g} {normalised[cell]:+8.1%}"
            for cell in self.top(8)
        ]
        return "\n".join([head, *lines, *(f"  note: {note}" for note in self.notes)])
