"""What a model makes of prompt pairs before anything is edited."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..metrics import Metric
from ..pairing import require_gap
from ..rounding import rounding_of
from ..statistics import Estimate, over_prompts

AT_ONCE = 32
"""Prompts that are run at once: the logits of all positions of many prompts would be large."""


@dataclass(frozen=True, eq=False, repr=False)
class Baseline:
    """The metric of the two runs, prompt by prompt; means and shares come with 95 % intervals.

    Attributes:
        metric: what is measured.
        clean: behind the clean prompts.
        corrupted: behind the corrupted ones, with the clean ones' answers.
        clusters: the template of each prompt, resampled as a whole; () where prompts are independent.
    """

    metric: str
    clean: Float[Tensor, " prompt"]
    corrupted: Float[Tensor, " prompt"]
    clusters: tuple[str, ...] = ()

    @property
    def clean_mean(self) -> Estimate:
        """The mean metric behind the clean prompts."""
        return self._mean(self.clean)

    @property
    def corrupted_mean(self) -> Estimate:
        """The mean metric behind the corrupted prompts."""
        return self._mean(self.corrupted)

    @property
    def accuracy(self) -> Estimate:
        """The share of clean prompts behind which right beats wrong."""
        return self._mean((self.clean > 0).double())

    @property
    def corrupted_accuracy(self) -> Estimate:
        """The same of the corrupted prompts, where the clean ones' answer should *not* win: the null."""
        return self._mean((self.corrupted > 0).double())

    def _mean(self, values: Float[Tensor, " prompt"]) -> Estimate:
        return over_prompts(values, clusters=self.clusters)

    def __repr__(self) -> str:
        lines = [
            f"  {run:<9} {_said(mean)}; right beats wrong {_said(accuracy)}"
            for run, mean, accuracy in (
                ("clean", self.clean_mean, self.accuracy),
                ("corrupted", self.corrupted_mean, self.corrupted_accuracy),
            )
        ]
        unit = f"{len(set(self.clusters))} templates" if self.clusters else "prompts"
        return "\n".join([f"{self.metric}, {len(self.clean)} prompts (95 % intervals over {unit})", *lines])


@torch.no_grad()
def baseline(
    model: Any,
    clean: Int[Tensor, "prompt pos"],
    corrupted: Int[Tensor, "prompt pos"],
    metric: Metric,
    clusters: tuple[str, ...] = (),
) -> Baseline:
    """The metric of both runs; it must read the last position alone.

    Raises:
        DegenerateBaselineError: it is the same in both; the message has both values.
        NonFiniteError: it is no number on a prompt.
    """
    logits, other = (torch.cat([model(rows)[:, -1:] for rows in of.split(AT_ONCE)]) for of in (clean, corrupted))
    values, other_values = metric(logits).cpu(), metric(other).cpu()
    rounding = torch.maximum(rounding_of(metric, logits), rounding_of(metric, other))
    require_gap(values, other_values, rounding, metric.name)
    return Baseline(metric.name, values, other_values, clusters)


def _said(estimate: Estimate) -> str:
    mean, low, high = (float(value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean:.4g}" if low != low else f"{mean:.4g} [{low:.3g}, {high:.3g}]"
