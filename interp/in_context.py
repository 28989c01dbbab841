"""In-context learning: how much better a model predicts late in a text, or what it has seen before."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import TokensError


@torch.no_grad()
def next_token_losses(model: Any, tokens: Int[Tensor, "sequence pos"]) -> Float[Tensor, "sequence predicted"]:
    """The loss on every token but the first, in nats and float64; index i is the loss on token i + 1."""
    return losses_of(model(tokens), tokens)


def losses_of(
    logits: Float[Tensor, "sequence pos d_vocab"], tokens: Int[Tensor, "sequence pos"]
) -> Float[Tensor, "sequence predicted"]:
    """The loss of the logits on every token but the first, in nats and float64."""
    log_probs = logits[:, :-1].double().log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None].to(logits.device)).squeeze(-1)


def in_context_learning_score(
    losses: Float[Tensor, "sequence predicted"], early: int, late: int
) -> Float[Tensor, " sequence"]:
    """The loss on token `late` less that on token `early` of every sequence, in nats: negative where context helps.

    Olsson et al. take tokens 500 and 50. Source: Olsson et al. (2022), "In-context learning score".

    Raises:
        TokensError: a token that has no loss, or tokens in the wrong order.
    """
    if not 1 <= early < late <= losses.shape[1]:
        raise TokensError(
            f"early={early} and late={late} must be tokens with a loss, from 1 to {losses.shape[1]}, in this order"
        )
    return losses[:, late - 1] - losses[:, early - 1]
