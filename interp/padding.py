"""Padding of prompts of different lengths: no prompt says anything there, so nothing can be changed there."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .errors import TokensError
from .pairing import shown
from .replacing import Change

Tokens = Int[Tensor, "prompt pos"]
Mixed = Int[Tensor, "mixed_prompt mixed_pos"]


def padding(model: Any, tokens: Tokens) -> Bool[Tensor, "prompt pos"] | None:
    """Where the model takes tokens for padding and looks away; None where it does so nowhere.

    It does on the left alone, where its tokenizer pads there. Padding on the right comes after everything that a
    causal model reads, and is an ordinary token to it.
    """
    # A model of the protocol need not say what it masks.
    context = model.context_of(tokens) if hasattr(model, "context_of") else None
    return None if context is None or context.padding is None else ~context.padding


def require_unpadded(
    model: Any, clean: Tokens, corrupted: Tokens, changes: Sequence[Change], mixed: Mixed | None
) -> None:
    """Nothing, if no change is at padding, and none takes values from there.

    Args:
        mixed: the prompts whose values stand in for one another's (mean, resample); None where each has its own.

    Raises:
        TokensError: it is; the message names prompt and position.
    """
    pads, others = padding(model, clean), padding(model, corrupted)
    if pads is None and others is None:
        _require_one_length(model, mixed)
        return
    nowhere = torch.zeros_like(clean, dtype=torch.bool)
    pads, others = nowhere if pads is None else pads, nowhere if others is None else others
    uneven = (pads != others).any(dim=1)
    if bool(uneven.any()):
        prompt = int(uneven.nonzero()[0])
        raise TokensError(
            f"prompt {prompt} has {int(pads[prompt].sum())} positions of padding clean and {int(others[prompt].sum())} "
            f"corrupted, so that its tokens have no partners\n"
            f"  clean:     {shown(model, clean[prompt])}\n  corrupted: {shown(model, corrupted[prompt])}"
        )
    for change in changes:
        for axis, position in _fixed(change, clean.shape[1]):
            if bool(pads[:, position].any()):
                real = (~pads).all(dim=0).nonzero().flatten().tolist()
                prompt = int(pads[:, position].nonzero()[0])
                raise TokensError(
                    f"position {position} of prompt {prompt} is padding, where nothing can be changed; "
                    f"only={{{axis!r}: {real}}} leaves the positions that all prompts have"
                )
    _require_one_length(model, None if mixed is None else torch.cat([clean, mixed]))


def _require_one_length(model: Any, tokens: Tokens | None) -> None:
    pads = None if tokens is None else padding(model, tokens)
    if pads is not None and bool((pads != pads[:1]).any()):
        position = int((pads != pads[:1]).any(dim=0).nonzero()[0])
        raise TokensError(
            f"position {position} is padding in some of the prompts whose values are mixed, and not in others; "
            "give prompts of one length"
        )


def _fixed(change: Change, length: int) -> Iterator[tuple[str, int]]:
    """The positions that the change's cells name, each with the axis that names it."""
    for cell in change:
        for axis, at in zip(cell.site.axes, cell.fixed, strict=False):
            if axis in ("pos", "query", "key") and at != slice(None):
                chosen = range(length)[at]
                yield from ((axis, position) for position in ([chosen] if isinstance(chosen, int) else chosen))
