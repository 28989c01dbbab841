"""The labelled result of a sweep, and what can be asked of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from ..statistics import (
    Estimate,
    SignFlips,
    benjamini_hochberg,
    benjamini_yekutieli,
    over_prompts,
    ratio_of_means,
    smallest_p,
    standard_error,
)
from . import saved
from .alignment import require_aligned, require_fitting, require_labels
from .grid_tests import corrected, live_sign_flips
from .selection import select
from .summary import summary
from .verification import Verification

Direction = Literal["denoising", "noising"]
SIGNIFICANT = 0.05
"""The adjusted p below which a cell is called an effect."""


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
        fixed: axes of the sweep of which a single coordinate was selected, with that coordinate.

    Raises:
        AlignmentError: parts that do not fit one another, or coordinates that do not tell cells apart.
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
    fixed: tuple[tuple[str, int | str], ...] = ()

    def __post_init__(self) -> None:
        require_labels(self.axes, self.coordinates)
        n_prompts, shape = len(self.values), tuple(map(len, self.coordinates))
        of_cells = {"values": (n_prompts, *shape), "dead": shape}
        of_prompts = ("clean", "corrupted", "noise_floor", "tokens_clean", "tokens_corrupted", "clusters")
        given = {name: getattr(self, name) for name in (*of_cells, *of_prompts)}
        sizes = {
            name: value.shape if isinstance(value, Tensor) else (len(value),)
            for name, value in given.items()
            if value is not None and (isinstance(value, Tensor) or value)
        }
        require_fitting(sizes, {**dict.fromkeys(of_prompts, (n_prompts,)), **of_cells})

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
    def mean(self) -> Float[Tensor, "*cell"]:
        """The mean effect over prompts, in the metric's unit."""
        return self.change.mean(dim=0)

    @property
    def stderr(self) -> Float[Tensor, "*cell"]:
        """Its standard error over prompts, or over their clusters; NaN for a single one."""
        return standard_error(self.change, self.clusters)

    @cached_property
    def effect(self) -> Estimate:
        """The mean effect over prompts, with standard error and 95 % interval, in the metric's unit."""
        return over_prompts(self.change, clusters=self.clusters)

    @cached_property
    def normalised(self) -> Estimate:
        """The mean effect as a share of the mean difference between the runs: a ratio of means, not a mean of ratios.

        0 is the run that is edited, 1 is the other one; intervals resample numerator and denominator together.
        """
        return ratio_of_means(self.change, self.gap, clusters=self.clusters)

    @cached_property
    def sign_flips(self) -> SignFlips:
        """What flipping the signs of whole prompts, or clusters of them, says of each live cell; 1 for dead ones."""
        return live_sign_flips(self.change, self.dead, self.clusters, self.smallest_p)

    @property
    def p_values(self) -> Float[Tensor, "*cell"]:
        """How often flipping the signs of whole prompts gives any cell as large an effect: adjusted for their number.

        Calling cells below 0.05, the chance of a single false call is 5 %. 1 for dead cells, and everywhere with a
        single prompt.
        """
        return self.sign_flips.adjusted

    @property
    def q_values(self) -> Float[Tensor, "*cell"]:
        """The false-discovery rate at which each cell would be called (Benjamini-Hochberg, on the p of each by itself).

        Calling cells below 0.05, 5 % of the calls are false in the mean, if cells depend positively on one another.
        1 for dead cells, which are no tests. Below `smallest_p` times live cells over calls it cannot fall.
        """
        return corrected(self.sign_flips.single, self.dead, benjamini_hochberg)

    @property
    def q_values_under_any_dependence(self) -> Float[Tensor, "*cell"]:
        """The same however cells depend on one another, which costs a factor of about log n (Benjamini-Yekutieli)."""
        return corrected(self.sign_flips.single, self.dead, benjamini_yekutieli)

    @property
    def smallest_p(self) -> float:
        """What no p of so few prompts can be below, however large the effect; with clusters, so few clusters."""
        return smallest_p(len(set(self.clusters)) or len(self.values))

    @property
    def significant(self) -> Bool[Tensor, "*cell"]:
        """The cells whose adjusted p is below 0.05, and whose mean effect is above the noise floor if that is known."""
        noise = 0.0 if self.noise_floor is None else float(self.noise_floor.mean())
        return (self.p_values < SIGNIFICANT) & (self.mean.abs() > noise).cpu()

    @property
    def cells(self) -> list[tuple[Any, ...]]:
        """What each cell's indices stand for, in the order of the flattened values."""
        return list(product(*self.coordinates))

    def top(self, k: int) -> list[tuple[Any, ...]]:
        """The k cells with the largest mean effect by magnitude, dead ones left out."""
        size = self.mean.abs().flatten()
        order = size.argsort(descending=True, stable=True)
        cells = self.cells
        return [cells[at] for at in order[~self.dead.flatten()[order]][:k].tolist()]

    def sel(self, **chosen: Any) -> "Effects":
        """The effects at these cells alone, chosen by what they are called: `sel(layer=3, head=slice(0, 2))`.

        A single coordinate drops its axis and is kept in `fixed`. A slice is of coordinates, not of places, and ends
        before its stop; a list names them in any order. p values of a selection are adjusted for its cells alone,
        which is right only for cells that were chosen before their effects were seen.

        Raises:
            AxisError: no such axis.
            OutOfRangeError: an axis has no such coordinate.
            EmptyMatchError: nothing is chosen.
        """
        chose = select(self.axes, self.coordinates, chosen)
        values, dead = chose.of(self.values), chose.of(self.dead)
        told = (
            f"{dead.numel()} of {self.dead.numel()} cells selected, {int(dead.sum())} of them cannot matter; "
            "p is adjusted for these alone"
        )
        return replace(
            self,
            axes=chose.axes,
            coordinates=chose.coordinates,
            values=values,
            dead=dead,
            notes=(told, *self.notes),
            fixed=(*self.fixed, *chose.fixed),
        )

    def difference(self, other: "Effects") -> Estimate:
        """This effect less the other one at each cell, prompt by prompt, with interval over prompts.

        Raises:
            AlignmentError: the two are not of the same cells, prompts, metric and direction.
        """
        require_aligned(self, other)
        return over_prompts(self.change - other.change, clusters=self.clusters or other.clusters)

    def agrees(self, other: "Effects", tolerance: float = 1e-10) -> bool:
        """Whether no value of any prompt differs by more than the tolerance times the largest value.

        Raises:
            AlignmentError: the two are not of the same cells, prompts, metric and direction.
        """
        require_aligned(self, other)
        largest = max(float(self.values.abs().max()), float(other.values.abs().max()))
        return float((self.values - other.values).abs().max()) <= tolerance * largest

    def to_frame(self) -> Any:
        """A pandas data frame with a row for each cell: its axes, the metric, the effect and what is known of it.

        `p` is of each cell by itself, `p_adjusted` for all cells together, `q` the false-discovery rate.
        """
        from .frame import frame  # pandas, which the library itself does without

        return frame(self)

    def to_xarray(self) -> Any:
        """An xarray data set: every prompt's values, and for each cell what is known of it.

        Raises:
            ImportError: xarray is not installed.
        """
        try:
            from .labelled import dataset  # xarray, which nothing else needs
        except ModuleNotFoundError as error:
            raise ImportError("to_xarray needs xarray: pip install xarray") from error
        return dataset(self)

    def figure(self) -> Any:
        """A plotly figure of the mean effects: bars over one axis, maps over two or three.

        Red is above zero and blue below. A dot marks the cells that are `significant`; grey ones cannot matter.
        Positions carry the tokens of the first prompt, "clean → corrupted" where the two differ.

        Raises:
            AxisError: none or more than three axes; select some first.
        """
        from .figure import figure  # plotly, which the library itself does without

        return figure(self)

    def save(self, folder: str | Path) -> None:
        """The effects in a folder, as `effects.safetensors` and `effects.json`, from which `Effects.load` has them.

        Other files in the folder stay. A save that is interrupted leaves a folder that does not load, or loads as it
        was before. Tuples in the provenance come back as lists.

        Raises:
            EffectsFileError: provenance that JSON cannot hold.
            OSError: the folder cannot be written.
        """
        values = {of.name: getattr(self, of.name) for of in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        about = {name: value for name, value in values.items() if name not in tensors}
        about["verification"] = self.verification and asdict(self.verification)
        saved.write(Path(folder), tensors, about)

    @classmethod
    def load(cls, folder: str | Path) -> "Effects":
        """The effects that `save` put into the folder, exactly.

        Raises:
            EffectsFileError: a file is missing, incomplete, changed since, or of another version.
        """
        tensors, about = saved.read(Path(folder))
        pairs = ("coordinates", "tokens_clean", "tokens_corrupted", "fixed")
        about |= {name: tuple(map(tuple, about[name])) for name in pairs}
        about |= {name: tuple(about[name]) for name in ("axes", "notes", "clusters")}
        about["verification"] = about["verification"] and Verification(**about["verification"])
        return cls(**{**about, **tensors})

    def __repr__(self) -> str:
        return summary(self)
