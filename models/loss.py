"""The next-token loss."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import InputError


def next_token_loss(
    logits: Float[Tensor, "batch pos d_vocab"],
    tokens: Int[Tensor, "batch pos"],
    attention_mask: Tensor | None = None,
    per_token: bool = False,
) -> Float[Tensor, "*batch_pos"]:
    """The cross-entropy of each next token, in nats: the mean, or `[batch, pos - 1]` numbers.

    Where a mask is given, only pairs of unpadded tokens count; the others are 0.

    Raises:
        InputError: tokens that do not fit the logits, or nothing to predict: the mean of no number is not a number.
    """
    if tokens.shape != logits.shape[:2]:
        raise InputError(f"tokens of shape {list(tokens.shape)} do not fit logits of shape {list(logits.shape)}")
    if tokens.shape[1] < 2:
        raise InputError("a next-token loss needs at least two tokens in a row")
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    losses = -log_probs.gather(-1, tokens[:, 1:, None].to(logits.device)).squeeze(-1)
    if attention_mask is None:
        return losses if per_token else losses.mean()
    counted = (attention_mask[:, :-1].bool() & attention_mask[:, 1:].bool()).to(losses.device)
    losses = torch.where(counted, losses, 0.0)
    if per_token:
        return losses
    if not counted.any():
        raise InputError("the mask leaves no pair of neighbouring tokens to predict")
    return losses.sum() / counted.sum()
