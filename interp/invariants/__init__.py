"""The identities that hold for every transformer, as data: each with its statement, its measured error and its reason.

An identity that fails is a defect of the model's code or weights file, or of the library: none depends on what the
model has learnt.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import TokensError
from ..protocol import HookedModel
from . import (
    ablations,
    attention,
    circuits,
    coalitions,
    decomposition,
    definitions,
    edges,
    effects,
    engines,
    folding,
    gradients,
    initial,
    lens,
    linearised,
    patching,
    paths,
    points,
    running,
    shortcuts,
    stream,
    symmetries,
    weights,
)
from .invariant import Invariant as Invariant
from .invariant import Outcome as Outcome

_GROUPS: tuple[Any, ...] = (
    definitions,
    attention,
    stream,
    decomposition,
    paths,
    weights,
    folding,
    symmetries,
    circuits,
    patching,
    effects,
    engines,
    ablations,
    coalitions,
    linearised,
    gradients,
    edges,
    lens,
    running,
    points,
    shortcuts,
    initial,
)

INVARIANTS: tuple[Invariant, ...] = tuple(invariant for group in _GROUPS for invariant in group.INVARIANTS)
"""All of them, from the parts of a block outwards."""


def check(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], invariants: Sequence[Invariant] = INVARIANTS
) -> list[Outcome]:
    """What each invariant measured on the model, run on these tokens. The model is left as it was.

    A model that raises while one of them is measured fails that one; the others are measured all the same.

    Args:
        tokens: at least three positions; the fewer, the faster.

    Raises:
        TokensError: fewer than three positions, among which too little could go wrong.
    """
    return list(outcomes(model, tokens, invariants))


def outcomes(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], invariants: Sequence[Invariant] = INVARIANTS
) -> Iterator[Outcome]:
    """As `check`, one after the other, for whoever wants to show how far it is."""
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < 3:
        raise TokensError(f"the invariants need tokens [batch, pos] with 3 positions or more, not {list(tokens.shape)}")
    with torch.no_grad():
        # A model that cannot run on these tokens at all says so itself.
        model(tokens)
    for invariant in invariants:
        with torch.no_grad():
            outcome = invariant.outcome(model, tokens)
        yield outcome
