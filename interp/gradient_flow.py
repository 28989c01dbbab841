"""How the gradient of the loss grows or shrinks on its way down the stream."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@torch.enable_grad()
def gradient_lengths(
    model: Any, tokens: Int[Tensor, "batch pos"], counted: Bool[Tensor, " predicted"]
) -> Float[Tensor, "place batch"]:
    """|dL/dx| of each prompt's loss, x the whole stream before the first block and after each, in float64.

    The model runs block by block, so that no gradient of a weight is kept.

    Args:
        counted: which predictions the loss is the mean of.
    """
    n_layers = model.cfg.n_layers
    with torch.no_grad():
        start = model(tokens, stop_at_layer=0)
    streams = [start.detach().requires_grad_()]
    for layer in range(n_layers):
        streams.append(model(streams[-1], start_at_layer=layer, stop_at_layer=layer + 1))
    logits = model(streams[-1], start_at_layer=n_layers)
    log_probs = logits[:, :-1].double().log_softmax(dim=-1)
    loss = -log_probs.gather(-1, tokens[:, 1:, None].to(logits.device)).squeeze(-1)[:, counted].mean(dim=1).sum()
    gradients = torch.autograd.grad(loss, streams)
    return torch.stack([gradient.double().flatten(1).norm(dim=1) for gradient in gradients])
