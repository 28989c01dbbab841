"""A model beside the one that its weights came from."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .invariant import DTYPES, Invariant, Tolerance
from .reading import deviation

Logits = Callable[[Int[Tensor, "batch pos"]], Float[Tensor, "batch pos d_vocab"]]

NAME = "source-logits"

ANGLES = Tolerance(
    "relative to the largest logit; transformers turns queries and keys by angles in float32, whatever the dtype is",
    dict(zip(DTYPES, (1e-5, 1e-3, 3e-2, 2e-1), strict=True)),
)


def same_logits(source: Logits, called: str, on: Int[Tensor, "batch pos"] | None = None) -> Invariant:
    """The invariant that a model gives the logits of another one.

    Args:
        source: the logits of the other.
        called: what the other is, in words.
        on: tokens that both are run on instead of the other invariants' (short) ones.
    """

    def error(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
        tokens = tokens if on is None else on
        with torch.no_grad():
            ours = model(tokens)
            return deviation(ours, source(tokens).to(ours))

    return Invariant(NAME, f"the logits are those of {called}", error, ANGLES)
