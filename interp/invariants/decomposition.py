"""The stream and the logits taken apart by head, neuron and bias. Source: Elhage et al. (2021), "Logit attribution"."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..attribution import Target, attribution
from ..bridge_points import unknown_formulas
from ..residual import residual_writes
from .invariant import Invariant
from .reading import activations, deviation, soft_capped, stream_is_normalised, worst


def stream_off_its_components(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of each block's stream from the sum of embeddings, single heads, MLPs and biases."""
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
    seen = activations(model, tokens, names)
    sums = {
        name: torch.stack([write.value() for write in residual_writes(model, tokens, name)]).sum(0) for name in names
    }
    return worst({name: deviation(seen[name][0], total, "prompt position _") for name, total in sums.items()})


def shares_off_the_logit(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the model's own logits from the shares of heads, neurons and biases, for two tokens."""
    logits = model(tokens).double()
    cap = getattr(model.cfg, "output_logits_soft_cap", None)
    errors = []
    # The likeliest token and an arbitrary one.
    for wanted in (logits.argmax(dim=-1), tokens % logits.shape[-1]):
        found = attribution(model, tokens, Target(wanted))
        # Taken back through the norm once, then along each neuron's own W_out: the shares go the other way.
        direction = found.norm.adjoint(found.read)
        shares = [write.parts_along(direction).sum(dim=-1) for write in found.writes]
        total = torch.stack([*shares, *found.shares[len(found.writes) :]]).sum(dim=0)
        own = logits.gather(-1, wanted[..., None]).squeeze(-1)
        errors += [deviation(soft_capped(total, cap), own), deviation(found.shares.sum(0), total)]
    return worst(errors)


def cannot_be_taken_apart(model: Any) -> str | None:
    """The obstacle of a stream that is no sum, into which only a share goes, or of a bridge that is not known."""
    if getattr(model.cfg, "residual_multiplier", 1.0) != 1.0:
        return "only a share of what a head or an MLP writes goes into the stream"
    return unknown_formulas(model) or stream_is_normalised(model)


INVARIANTS = (
    Invariant(
        "components-sum", "the stream is the sum of embeddings, every head, every MLP and every bias",
        stream_off_its_components, obstacle=cannot_be_taken_apart,
    ),
    Invariant(
        "shares-sum", "the shares of every head, neuron and bias sum to the model's logit",
        shares_off_the_logit, obstacle=cannot_be_taken_apart,
    ),
)  # fmt: skip
