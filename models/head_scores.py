"""Two scores that say what a head attends to, for the card of a trained model."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batches import seeded
from .transformer import HookedTransformer


def repeated_random_tokens(
    model: HookedTransformer, batch: int, seed: int = 0, bos: int = 0
) -> Int[Tensor, "batch pos"]:
    """Rows of BOS and a random sequence twice, as long as the context allows: nothing in them can be foreseen, except
    the second half by whoever looks back."""
    length = (model.cfg.n_ctx - 1) // 2
    row = torch.randint(model.cfg.d_vocab, (batch, length), generator=seeded(seed, "repeated tokens"))
    return torch.cat([torch.full((batch, 1), bos), row, row], dim=1)


def previous_token_scores(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "layer head"]:
    """Each head's mean attention to the token before, over all positions after the second.

    Source: Olsson et al. (2022), "In-context Learning and Induction Heads", previous-token heads.
    """
    return _diagonal_means(model, tokens, distance=1, first_query=2)


def prefix_matching_scores(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "layer head"]:
    """Each head's mean attention, within the second copy of `repeated_random_tokens`, to what followed the same token
    in the first. Source: Olsson et al. (2022), prefix matching."""
    length = (tokens.shape[1] - 1) // 2
    return _diagonal_means(model, tokens, distance=length - 1, first_query=length + 1)


def copy_losses(
    model: HookedTransformer, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """The mean loss of each row, in nats, on the first and on the second copy of `repeated_random_tokens`.

    The second copy's first token is left out: nothing announces that the repetition begins.
    """
    length = (tokens.shape[1] - 1) // 2
    with torch.no_grad():
        losses = model(tokens, return_type="loss", loss_per_token=True)
    return losses[:, :length].mean(dim=1), losses[:, length + 1 :].mean(dim=1)


def _diagonal_means(
    model: HookedTransformer, tokens: Int[Tensor, "batch pos"], distance: int, first_query: int
) -> Float[Tensor, "layer head"]:
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
    queries = torch.arange(first_query, tokens.shape[1])
    patterns = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)])
    return patterns[..., queries, queries - distance].mean(dim=(1, 3))
