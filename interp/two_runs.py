"""The two runs that a sweep compares: which is edited, what both hold at the points, what the metrics make of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from .effects import Direction
from .engine import plain
from .metrics import Metric
from .pairing import require_gap


@dataclass(frozen=True, eq=False)
class TwoRuns:
    """A clean and a corrupted run of one model, position by position.

    Attributes:
        model: whose.
        clean: the clean prompts.
        corrupted: their counterparts.
        direction: "denoising" edits the corrupted run with values of the clean one, "noising" the reverse.
        metrics: what is measured.
        logits: of the run that is edited.
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
) -> TwoRuns:
    """Both runs, checked.

    Args:
        clean: prompts, each with its counterpart in `corrupted` (`interp.pairing.paired`).
        points: hook names whose activations are kept of both runs.
        base_only: of these only those of the run that is edited.

    Raises:
        DegenerateBaselineError: a metric that cannot tell the runs apart.
        ValueError: two metrics of one name.
    """
    names = [metric.name for metric in metrics]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"the metrics are {names}; there must be one at least, and no two of one name")
    edited, other = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
    points = list(points)
    logits, base = plain.activations(model, edited, dict.fromkeys([*points, *base_only]))
    other_logits, other_values = plain.activations(model, other, points)
    before = torch.stack([metric(logits) for metric in metrics])
    beyond = torch.stack([metric(other_logits) for metric in metrics])
    runs = (beyond, before) if direction == "denoising" else (before, beyond)
    for metric, on_clean, on_corrupted in zip(metrics, *runs, strict=True):
        require_gap(on_clean, on_corrupted, logits, metric.name)
    return TwoRuns(model, clean, corrupted, direction, tuple(metrics), logits, base, other_values, *runs)
