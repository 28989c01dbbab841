"""Orders that do not matter: of heads, and of tokens where nothing tells positions apart."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from .invariant import Invariant
from .reading import deviation, is_causal, positions, window_of
from .weights import logits_with, other_names, parameter


def logits_off_with_heads_in_another_order(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when the heads of every layer are numbered otherwise, groups kept together."""
    changed: dict[str, Tensor] = {}
    for layer in range(model.cfg.n_layers):
        held: dict[str, Tensor] = {}
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            held |= parameter(model, layer, name)
        n_groups = min(len(value) for value in held.values())
        for name, value in held.items():
            # With one group for all, its queries change places among themselves.
            step = len(value) // n_groups if n_groups > 1 else 1
            changed[name] = value.roll(step, dims=0) if len(value) > 1 else value
    return deviation(logits_with(model, changed, tokens), model(tokens))


def one_head(model: Any) -> str | None:
    """The obstacle of a single head, which has no order."""
    return "the model has a single head" if model.cfg.n_heads == 1 else other_names(model)


def logits_off_with_tokens_in_another_order(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the last token's logits when the tokens before it change places."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(tokens.shape[1] - 1, generator=generator)
    if torch.equal(order, torch.arange(len(order))):
        order = order.flip(0)
    shuffled = torch.cat([tokens[:, order.to(tokens.device)], tokens[:, -1:]], dim=1)
    return deviation(model(shuffled)[:, -1], model(tokens)[:, -1])


def order_matters(model: Any) -> str | None:
    """The obstacle of a model that can tell the order of tokens."""
    if positions(model) != "none":
        return f"{positions(model)} positions tell the order"
    if any(window_of(model, layer) is not None for layer in range(model.cfg.n_layers)):
        return "a local window tells near from far"
    if is_causal(model) and model.cfg.n_layers > 1:
        return "a second causal layer sees how much each position saw"
    return None


INVARIANTS = (
    Invariant(
        "head-order", "heads in another order give the same logits", logits_off_with_heads_in_another_order,
        obstacle=one_head,
    ),
    Invariant(
        "token-order", "without positions, tokens in another order leave the last token's logits",
        logits_off_with_tokens_in_another_order, obstacle=order_matters,
    ),
)  # fmt: skip
