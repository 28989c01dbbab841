"""Which cells to call effects when a known share of the calls may be wrong."""

import torch
from jaxtyping import Float
from torch import Tensor


def benjamini_hochberg(p: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """For each test the smallest false-discovery rate at which it would be called.

    Calling all tests at or below 0.05, no more than 5 % of the calls are false in the mean, if the tests are
    independent or positively dependent. Sources: Benjamini and Hochberg (1995), section 3; Yekutieli and Benjamini
    (1999) for a value by test.
    """
    order = p.argsort(descending=True, stable=True)
    n_at_or_below = torch.arange(len(p), 0, -1, device=p.device)
    raised = (p[order] * len(p) / n_at_or_below).cummin(dim=0).values.clamp(max=1.0)
    return torch.empty_like(p).scatter_(0, order, raised)


def benjamini_yekutieli(p: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """The same, whatever the dependence between the tests: larger by 1 + 1/2 + ... + 1/n, which is about log n.

    Source: Benjamini and Yekutieli (2001), theorem 1.3.
    """
    harmonic = float((1 / torch.arange(1, len(p) + 1, dtype=torch.float64)).sum())
    return (benjamini_hochberg(p) * harmonic).clamp(max=1.0)
