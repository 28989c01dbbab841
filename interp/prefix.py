"""Whether what the model says after a prefix depends on what follows, or on how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class PrefixDifferences:
    """The largest difference of a prefix's logits, relative to the largest logit, for each prefix length.

    Attributes:
        lengths: of the prefixes.
        cut: with the prefix alone against the prefix in the whole prompt. The same sums, but kernels add in another
            order for other shapes: equal to rounding, and not to the bit.
        replaced: with every later token replaced, in prompts of the same length. The same kernels on the same numbers:
            equal to the bit, 0.
    """

    lengths: tuple[int, ...]
    cut: Float[Tensor, " length"]
    replaced: Float[Tensor, " length"]


@torch.no_grad()
def prefix_differences(model: Any, tokens: Int[Tensor, "batch pos"], lengths: Sequence[int]) -> PrefixDifferences:
    """How far the logits at the first positions depend on what comes after them. Causal attention makes it nothing."""
    whole = model(tokens).double()
    largest = whole.abs().max()
    cut: list[Tensor] = []
    replaced: list[Tensor] = []
    for length in lengths:
        other = tokens.clone()
        other[:, length:] = (other[:, length:] + 1) % model.cfg.d_vocab
        for found, logits in ((cut, model(tokens[:, :length])), (replaced, model(other)[:, :length])):
            found.append((logits.double() - whole[:, :length]).abs().max() / largest)
    return PrefixDifferences(tuple(lengths), torch.stack(cut), torch.stack(replaced))
