"""The two runs that a sweep compares: which is edited, what both hold at the points, what the metrics make of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from .effects import Direction
from .engine import plain
from .finiteness import require_finite_run
from .metrics import Metric
from .pairing import require_gap
from .rounding import rounding_of


@dataclass(frozen=True, eq=False)
class TwoRuns:
    """A clean and a corrupted run of one model, position by position.

    Attributes:
        model: whose.
        clean: the clean prompts.
        corrupted: their counterparts.
        direction: "denoising" edits the corrupted run with values of the clean one, "noising" the reverse.
        metrics: what is measured.
        logits: of the run that is edited; NaN at positions that no metric reads, where they were not computed.
        base: its activations, by hook name.
        other: those of the other run.
        clean_values: the metrics of the clean run.
        corrupted_values: those of the corrupted run.
    """

    model: Any
    clean: Int[Tensor, "prompt pos"]
    corrupted: Int[Tensor, "prompt pos"]
    direction: Direction
    metrics: tuple[Metric, ...]
    logits: Float[Tensor, "prompt pos d_vocab"]
    base: dict[str, Shaped[Tensor, "prompt ..."]]
    other: dict[str, Shaped[Tensor, "prompt ..."]]
    clean_values: Float[Tensor, "metric prompt"]
    corrupted_values: Float[Tensor, "metric prompt"]

    @property
    def edited(self) -> Int[Tensor, "prompt pos"]:
        """The prompts whose run is edited."""
        return self.corrupted if self.direction == "denoising" else self.clean

    @property
    def unedited_values(self) -> Float[Tensor, "metric prompt"]:
        """The metrics of the run that is edited, before it is."""
        return self.corrupted_values if self.direction == "denoising" else self.clean_values


def two_runs(
    model: Any,
    clean: Tensor,
    corrupted: Tensor,
    direction: Direction,
    metrics: Sequence[Metric],
    points: Iterable[str],
    base_only: Iterable[str],
    together: bool,
) -> TwoRuns:
    """Both runs, checked.

    Args:
        clean: prompts, each with its counterpart in `corrupted` (`interp.pairing.paired`).
        points: hook names whose activations are kept of both runs.
        base_only: hook names whose activations are kept of the run that is edited alone.
        together: both runs are one batch, with logits where a metric reads them: for models of blocks.

    Raises:
        NonFiniteError: a run that is not finite; the message names the first weight or point that is not.
        DegenerateBaselineError: a metric that cannot tell the runs apart.
        ValueError: two metrics of one name.
    """
    called = [metric.name for metric in metrics]
    if not called or len(set(called)) < len(called):
        raise ValueError(f"the metrics are {called}; there must be one at least, and no two of one name")
    edited, other = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
    points = list(points)
    names = list(dict.fromkeys([*points, *base_only]))
    if together:
        logits, base, other_logits, other_values = _at_once(model, edited, other, names, points, metrics)
    else:
        logits, base = plain.activations(model, edited, names)
        other_logits, other_values = plain.activations(model, other, points)
    require_finite_run(model, edited, logits[:, _read(metrics, logits.shape[1])])
    require_finite_run(model, other, other_logits[:, _read(metrics, logits.shape[1])])
    before = torch.stack([metric(logits).to(logits.device) for metric in metrics])
    beyond = torch.stack([metric(other_logits).to(logits.device) for metric in metrics])
    runs = (beyond, before) if direction == "denoising" else (before, beyond)
    for metric, on_clean, on_corrupted in zip(metrics, *runs, strict=True):
        rounding = torch.maximum(rounding_of(metric, logits), rounding_of(metric, other_logits))
        require_gap(on_clean, on_corrupted, rounding, metric.name)
    return TwoRuns(model, clean, corrupted, direction, tuple(metrics), logits, base, other_values, *runs)


@torch.no_grad()
def _at_once(
    model: Any, edited: Tensor, other: Tensor, names: Sequence[str], points: Sequence[str], metrics: Sequence[Metric]
) -> tuple[Tensor, dict[str, Tensor], Tensor, dict[str, Tensor]]:
    n_prompts, length = edited.shape
    both = torch.cat([edited, other])
    streams, kept = plain.activations(model, both, names, stop_at_layer=model.cfg.n_layers)
    read = _read(metrics, length)
    some = model.logits_of(streams[:, read])
    logits = some.new_full((2 * n_prompts, length, some.shape[2]), torch.nan)
    logits[:, read] = some
    # Copied where the other half is of no use, so that it is let go.
    base = {name: kept[name][:n_prompts] if name in points else kept[name][:n_prompts].clone() for name in names}
    beyond = {name: kept[name][n_prompts:] for name in points}
    return logits[:n_prompts], base, logits[n_prompts:], beyond


def _read(metrics: Sequence[Metric], length: int) -> list[int]:
    """The positions that some metric reads."""
    if any(metric.positions is None for metric in metrics):
        return list(range(length))
    return sorted({at % length for metric in metrics for at in metric.positions or ()})
