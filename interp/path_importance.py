"""What the paths of an attention-only model are worth, in nats of loss on the next token.

Patterns and norm scales stay as they were in the full model: a path that is left out is not read by later queries and
keys either way. Source: Elhage et al. (2021), "Term importance analysis".
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .path_expansion import FrozenModel


def truncated_losses(
    frozen: FrozenModel, tokens: Int[Tensor, "batch pos"], orders: Float[Tensor, "order batch pos d_model"]
) -> Float[Tensor, "kept batch"]:
    """The loss of each prompt with nothing, with the biases alone, and with all paths up to order 0, 1, 2, ...

    With nothing at all every token is as likely as every other; with all orders it is the model's loss.
    """
    kept = frozen.biases()
    nothing = torch.full((len(tokens),), math.log(len(frozen.b_U)), dtype=torch.float64, device=tokens.device)
    losses = [nothing, _loss(frozen, frozen.read_out(kept) + frozen.constant(), tokens)]
    for order in orders:
        kept = kept + order
        losses.append(_loss(frozen, frozen.read_out(kept) + frozen.constant(), tokens))
    return torch.stack(losses)


def losses_without(
    frozen: FrozenModel,
    tokens: Int[Tensor, "batch pos"],
    terms: Iterable[Float[Tensor, "batch pos d_model"]],
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "term batch"]:
    """The loss of each prompt with one term left out, for each of the terms.

    Args:
        dtype: in which the logits are computed; each term costs a product with the whole unembedding.
    """
    logits = _uncapped(frozen).to(dtype)
    W_U = frozen.W_U.to(dtype)
    return torch.stack([_loss(frozen, logits - frozen.final.linear(term).to(dtype) @ W_U, tokens) for term in terms])


def first_order(
    frozen: FrozenModel, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos d_model"]]:
    """Two directions of the stream: a term's product with one is its share of the true next token's logit above the
    mean logit, with the other the loss that leaving it out costs to first order.

    Both are 0 at the last position, which has no next token.
    """
    targets = tokens.roll(-1, dims=1)
    right = frozen.W_U.mT[targets]
    share = right - frozen.W_U.mean(dim=-1)
    slope = 1 - (frozen.logits / frozen.soft_cap).square() if frozen.soft_cap > 0 else torch.ones((), dtype=right.dtype)
    probabilities = frozen.logits.softmax(dim=-1) * slope
    right_slope = slope.expand_as(frozen.logits).gather(-1, targets[..., None])
    loss = right_slope * right - probabilities @ frozen.W_U.mT
    directions = [frozen.final.adjoint(direction) for direction in (share, loss)]
    for direction in directions:
        direction[:, -1] = 0
    return directions[0], directions[1]


def _uncapped(frozen: FrozenModel) -> Float[Tensor, "batch pos d_vocab"]:
    if frozen.soft_cap <= 0:
        return frozen.logits
    return frozen.read_out(frozen.orders().sum(dim=0) + frozen.biases()) + frozen.constant()


def _loss(
    frozen: FrozenModel, logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, " batch"]:
    """The mean next-token loss of each prompt."""
    predicted = frozen.capped(logits[:, :-1])
    right = predicted.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return (predicted.logsumexp(dim=-1) - right).double().mean(dim=-1)
