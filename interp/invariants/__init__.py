"""The identities that hold for every transformer, as data: each with its statement, its measured error and its reason.

An identity that fails is a defect of the model's code or weights file, or of the library: none depends on what the
model has learnt.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import TokensError
from ..protocol import HookedModel
from . import attention, patching, running, stream, weights
from .invariant import Invariant as Invariant
from .invariant import Outcome as Outcome

INVARIANTS: tuple[Invariant, ...] = (
    *attention.INVARIANTS,
    *stream.INVARIANTS,
    *weights.INVARIANTS,
    *patching.INVARIANTS,
    *running.INVARIANTS,
)
"""All of them, from the attention pattern outwards."""


@torch.no_grad()
def check(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], invariants: Sequence[Invariant] = INVARIANTS
) -> list[Outcome]:
    """What each invariant measured on the model, run on these tokens. The model is left as it was.

    Args:
        tokens: at least three positions; the fewer, the faster.

    Raises:
        TokensError: fewer than three positions, among which too little could go wrong.
    """
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < 3:
        raise TokensError(f"the invariants need tokens [batch, pos] with 3 positions or more, not {list(tokens.shape)}")
    return [invariant.outcome(model, tokens) for invariant in invariants]
