"""The unit of replication: a prompt, or a cluster of prompts that are not independent of one another."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AlignmentError


def by_unit(
    values: Float[Tensor, "prompt ..."], clusters: Sequence[str] = ()
) -> tuple[Float[Tensor, "unit flat"], Float[Tensor, " unit"]]:
    """The sum over the prompts of each unit, in float64 and flattened, and how many prompts it has.

    Args:
        clusters: each prompt's cluster; by default each prompt is a unit of its own.

    Raises:
        AlignmentError: there are more prompts than names of clusters, or fewer.
    """
    flat = values.double().flatten(1) if values.ndim > 1 else values.double()[:, None]
    if not clusters:
        return flat, flat.new_ones(len(flat))
    if len(clusters) != len(flat):
        raise AlignmentError(f"{len(clusters)} names of clusters for {len(flat)} prompts; each prompt has one")
    number = {name: at for at, name in enumerate(dict.fromkeys(clusters))}
    of_prompt = torch.tensor([number[name] for name in clusters], device=flat.device)
    sums = flat.new_zeros(len(number), flat.shape[1]).index_add(0, of_prompt, flat)
    return sums, of_prompt.bincount(minlength=len(number)).to(flat)
