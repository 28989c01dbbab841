"""What a model makes of prompt pairs before anything is edited."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..metrics import Metric
from ..pairing import require_gap
from ..statistics import Estimate, over_prompts

AT_ONCE = 32
"""Prompts that are run at once: the logits of all positions of many prompts would be large."""


@dataclass(frozen=True, eq=False, repr=False)
class Baseline:
    """The metric of the two runs, prompt by prompt.

    Attributes:
        metric: what is measured.
        clean: behind the clean prompts.
        corrupted: behind the corrupted ones, with the clean ones' answers.
    """

    metric: str
    clean: Float[Tensor, " prompt"]
    corrupted: Float[Tensor, " prompt"]

    @property
    def accuracy(self) -> Estimate:
        """The share of clean prompts behind which right beats wrong, with its 95 % interval over prompts."""
        return over_prompts((self.clean > 0).double())

    @property
    def corrupted_accuracy(self) -> Estimate:
        """The same of the corrupted prompts, where the clean ones' answer should *not* win: the null."""
        return over_prompts((self.corrupted > 0).double())

    def __repr__(self) -> str:
        lines = [
            f"  {run:<9} {_said(over_prompts(values))}; right beats wrong {_said(accuracy)}"
            for run, values, accuracy in (
                ("clean", self.clean, self.accuracy),
                ("corrupted", self.corrupted, self.corrupted_accuracy),
            )
        ]
        return "\n".join([f"{self.metric}, {len(self.clean)} prompts (95 % intervals over prompts)", *lines])


@torch.no_grad()
def baseline(
    model: Any, clean: Int[Tensor, "prompt pos"], corrupted: Int[Tensor, "prompt pos"], metric: Metric
) -> Baseline:
    """The metric of both runs; it must read the last position alone.

    Raises:
        DegenerateBaselineError: it is the same in both; the message has both values.
        NonFiniteError: it is no number on a prompt.
    """
    logits, other = (torch.cat([model(rows)[:, -1:] for rows in of.split(AT_ONCE)]) for of in (clean, corrupted))
    values, other_values = metric(logits).cpu(), metric(other).cpu()
    require_gap(values, other_values, logits, metric.name)
    return Baseline(metric.name, values, other_values)


def _said(estimate: Estimate) -> str:
    mean, low, high = (float(value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean:.4g}" if low != low else f"{mean:.4g} [{low:.3g}, {high:.3g}]"
