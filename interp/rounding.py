"""How far rounding alone can move a metric, in the metric's own unit: measured, not assumed."""

import torch
from jaxtyping import Float
from torch import Tensor

from .metrics import Metric

DRAWS = 8


@torch.no_grad()
def rounding_of(metric: Metric, logits: Float[Tensor, "prompt pos d_vocab"]) -> Float[Tensor, " prompt"]:
    """What a rounding error of one unit in the last place of a prompt's largest logit moves its metric by.

    The largest of eight draws, in which every logit that the metric reads is off by a normal error of that size. A
    metric that has a ceiling, as a probability, moves less near it than a logit difference does.
    """
    read = metric.selected(logits)
    unit = torch.finfo(read.dtype).eps * read.abs().flatten(1).amax(dim=1).clamp_min(1.0).double()
    read, generator = read.double(), torch.Generator().manual_seed(0)
    unmoved = metric.of(read)
    # The metric is itself rounded to float64.
    largest = 4 * torch.finfo(torch.float64).eps * unmoved.abs().double().to(read.device)
    for _ in range(DRAWS):
        noise = torch.randn(read.shape, generator=generator, dtype=torch.float64).to(read.device)
        moved = metric.of(read + unit[:, None, None] * noise)
        largest = torch.maximum(largest, (moved - unmoved).abs().to(largest))
    return largest
