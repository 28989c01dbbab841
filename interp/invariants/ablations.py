"""What ablations of a head must cost through a linear read-out, on the head's own activations.

With squared error and a linear read-out everything is known: the mean is the best constant, zero costs what the mean
costs and its square, another prompt's value costs twice the mean. Source: Li and Janson (2024), "Optimal ablation".
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..interventions import mean, patch, zero
from .invariant import Invariant
from .reading import by_layer, deviation, head_weights, sixteen_bit, worst


def _samples(model: Any, tokens: Int[Tensor, "batch pos"]) -> list[tuple[Tensor, Tensor]]:
    """One head's z of each layer, its positions as prompts of their own, and its W_O."""
    found = []
    for layer, (z,) in enumerate(by_layer(model, tokens, "attn.hook_z")):
        head = layer % model.cfg.n_heads
        found.append((z[:, :, head].flatten(0, 1), head_weights(model, layer, "W_O")[head]))
    return found


def _cost(z: Float[Tensor, "prompt d_head"], ablated: Tensor, W: Tensor) -> Float[Tensor, ""]:
    return ((z - ablated) @ W).square().sum(dim=-1).mean()


def costs_off_their_algebra(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the costs of zero and of resampling from those of the mean, as a share of the largest."""
    errors = []
    for z, W in _samples(model, tokens):
        of_mean, of_zero = _cost(z, mean(z)(z), W), _cost(z, zero()(z), W)
        # Every prompt's value for every prompt: the exact expectation over resampling, not a draw of it.
        of_others = torch.stack([_cost(z, patch(z.roll(shift, 0))(z), W) for shift in range(len(z))]).mean()
        constant = (z.mean(dim=0) @ W).square().sum()
        errors.append(deviation(torch.stack([of_zero, of_others]), torch.stack([of_mean + constant, 2 * of_mean])))
    return worst(errors)


def mean_off_the_best(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """How much less than the mean another constant costs, and the distance of the least-squares constant's cost."""
    errors = []
    for z, W in _samples(model, tokens):
        of_mean = _cost(z, mean(z)(z), W)
        # argmin over c of |(z - c) W|, solved for all prompts at once.
        best = torch.linalg.lstsq(
            torch.ones(len(z), 1, dtype=z.dtype, device=z.device), z @ W, driver="gels" if z.is_cuda else "gelsd"
        ).solution
        of_best = (z @ W - best).square().sum(dim=-1).mean()
        others = [zero()(z), *(patch(z[i].expand_as(z))(z) for i in range(min(4, len(z))))]
        scale = max(float(_cost(z, zero()(z), W)), float(of_mean), 1e-300)
        errors.append(float((of_mean - of_best).abs()) / scale)
        errors += [max(0.0, float(of_mean - _cost(z, other, W))) / scale for other in others]
    return worst(errors)


INVARIANTS = (
    Invariant(
        "ablation-algebra", "zeroing costs what the mean costs + |mean W|^2, resampling twice it (linear, squared)",
        costs_off_their_algebra, obstacle=sixteen_bit,
    ),
    Invariant(
        "optimal-constant", "no constant costs less than the mean (linear read-out, squared error)", mean_off_the_best,
        obstacle=sixteen_bit,
    ),
)  # fmt: skip
