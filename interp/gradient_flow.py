"""How the gradient of the loss grows or shrinks on its way down the stream."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .hooks import edited


@torch.enable_grad()
def gradient_lengths(
    model: Any, tokens: Int[Tensor, "batch pos"], counted: Bool[Tensor, " predicted"]
) -> Float[Tensor, "place batch"]:
    """|dL/dx| of each prompt's loss, x the whole stream before the first block and after each, in float64.

    Nothing before the first block is differentiated.

    Args:
        counted: which predictions the loss is the mean of.
    """
    first = "blocks.0.hook_resid_pre"
    names = [first, *(f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers))]
    streams: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[[Tensor], Tensor]:
        def keep(stream: Tensor) -> Tensor:
            streams[name] = stream.detach().requires_grad_() if name == first else stream
            return streams[name]

        return keep

    with edited(model, {name: kept(name) for name in names}, allow_nonfinite=True):
        logits = model(tokens)
    log_probs = logits[:, :-1].double().log_softmax(dim=-1)
    loss = -log_probs.gather(-1, tokens[:, 1:, None].to(logits.device)).squeeze(-1)[:, counted].mean(dim=1).sum()
    gradients = torch.autograd.grad(loss, [streams[name] for name in names])
    return torch.stack([gradient.double().flatten(1).norm(dim=1) for gradient in gradients])
