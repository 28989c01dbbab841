"""A model in memory computes what its weights and its config say, or it is not converted."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import CheckpointError
from .families.fields import BRIDGE

Logits = Callable[[Int[Tensor, "batch pos"]], Float[Tensor, "batch pos d_vocab"]]

_ALLOWED = {torch.float64: 1e-3, torch.float32: 1e-2}
"""Shares of the largest logit, far above rounding and far below what another function of the weights gives."""

_IN_16_BITS = 0.25


def logits_of(theirs: Any) -> Logits:
    """The logits that a `transformers` model gives as it stands in memory, hooks and all, without dropout."""

    def logits(tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        training = [module for module in theirs.modules() if module.training]
        try:
            theirs.eval()
            return theirs(tokens.to(theirs.device), use_cache=False).logits
        finally:
            for module in training:
                module.training = True

    return logits


@torch.no_grad()
def require_same_logits(source: Logits, model: Any, called: str) -> None:
    """Nothing, if the converted model gives the logits of the one that it was made from, on one short row.

    Raises:
        CheckpointError: it does not, because that one was changed after it was made.
    """
    if next(model.parameters()).is_meta:
        return
    n_tokens = min(4, model.cfg.n_ctx)
    row = (torch.arange(n_tokens) * max(1, model.cfg.d_vocab // n_tokens) % model.cfg.d_vocab)[None]
    theirs, ours = source(row), model(row.to(model.cfg.device))
    allowed = max(_ALLOWED.get(logits.dtype, _IN_16_BITS) for logits in (theirs, ours))
    theirs, ours = theirs.double().cpu(), ours.double().cpu()
    difference, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
    # Written so that NaN is refused.
    if not difference <= allowed * largest:
        raise CheckpointError(
            f"this {called} gives other logits than its weights and its config say (a difference of {difference:.3g}, "
            f"the largest logit being {largest:.3g}): it was changed after it was made, by a hook, another module, or "
            f"an edit of its config. As it is now, {BRIDGE}"
        )
