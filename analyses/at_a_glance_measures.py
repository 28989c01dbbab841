"""What a glance takes in: lengths, dimensions, attention, neurons, of one run on the prompts."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.activation_statistics import (
    Firing,
    dimension_sizes,
    entropy_shares,
    firing,
    kurtosis,
    largest_over_median,
)
from interp.errors import NonFiniteError
from interp.initialisation import uniform_divergence
from interp.invariants.reading import deviation, visible
from interp.lenses import stream_sites
from interp.residual_ablation import Branch, branches
from models import HookedTransformer

SMOOTH_SHARE = 0.01
"""A neuron with a smooth activation function fires above this share of its layer's root mean square."""


@dataclass(frozen=True)
class Place:
    """The stream at one place.

    Attributes:
        name: its hook name.
        length: the mean |x| of each prompt.
        kurtosis: over the dimensions of a position; the mean of each prompt.
        sizes: the root mean square of each dimension.
        largest: the largest |number| over the median one.
        squares_error: how far the squares of `sizes` are from summing to the mean |x|^2, relative to it.
    """

    name: str
    length: Float[Tensor, " prompt"]
    kurtosis: Float[Tensor, " prompt"]
    sizes: Float[Tensor, " d_model"]
    largest: float
    squares_error: float


@dataclass(frozen=True)
class Glance:
    """Everything that was seen.

    Attributes:
        places: the stream before, within and after each block.
        writes: each branch with the mean |write| of each prompt, and that over the |stream| that it read.
        entropy: each head's entropy as a share of ln n, NaN where no row has a choice.
        firing: of each layer's neurons; empty without MLPs.
        entropy_error: the largest |ln n - entropy - KL(row || uniform)| in nats.
        sum_error: how far the stream behind a block is from what was before plus what was written; None where a norm
            stands in the stream.
    """

    places: tuple[Place, ...]
    writes: tuple[tuple[Branch, Float[Tensor, " prompt"], Float[Tensor, " prompt"]], ...]
    entropy: Float[Tensor, "layer prompt head"]
    firing: tuple[Firing, ...]
    entropy_error: float
    sum_error: float | None


@torch.no_grad()
def glance(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Glance:
    """What one run shows.

    Raises:
        NonFiniteError: an activation that is not finite.
    """
    found = branches(model)
    patterns = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    neurons = [] if model.cfg.attn_only else [f"blocks.{layer}.mlp.hook_pre" for layer in range(model.cfg.n_layers)]
    streams = [name for branch in found for name in (branch.reads, branch.after)]
    wanted = list(dict.fromkeys([*stream_sites(model), *streams, *(b.writes for b in found), *patterns, *neurons]))
    _, cache = model.run_with_cache(
        tokens, names_filter=wanted, stop_at_layer=model.cfg.n_layers, return_cache_object=False
    )
    for name in wanted:
        if not cache[name].isfinite().all():
            raise NonFiniteError(f"the activation at {name} is not finite: it has no statistics")
    attention = [(cache[name], visible(model, layer, tokens.shape[1])) for layer, name in enumerate(patterns)]
    return Glance(
        places=tuple(_place(name, cache[name]) for name in stream_sites(model)),
        writes=tuple((b, _length(cache[b.writes]), _ratio(cache[b.writes], cache[b.reads])) for b in found),
        entropy=torch.stack([entropy_shares(pattern, seen) for pattern, seen in attention]),
        firing=tuple(_firing(model, layer, cache[name]) for layer, name in enumerate(neurons)),
        entropy_error=max(_entropy_error(pattern, seen) for pattern, seen in attention),
        sum_error=_sum_error(model, cache),
    )


def _length(activation: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, " batch"]:
    return activation.double().norm(dim=-1).mean(dim=1)


def _ratio(
    write: Float[Tensor, "batch pos d_model"], read: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, " batch"]:
    return (write.double().norm(dim=-1) / read.double().norm(dim=-1)).mean(dim=1)


def _place(name: str, stream: Float[Tensor, "batch pos d_model"]) -> Place:
    sizes = dimension_sizes(stream)
    mean_square = float(stream.double().square().sum(dim=-1).mean())
    error = abs(float(sizes.square().sum()) / mean_square - 1)
    return Place(name, _length(stream), kurtosis(stream).mean(dim=1), sizes, largest_over_median(stream), error)


def _firing(model: HookedTransformer, layer: int, pre: Float[Tensor, "batch pos d_mlp"]) -> Firing:
    # The activation function's own output: a gate's, where it is multiplied by something else afterwards.
    return firing(model.blocks[layer].mlp.act_fn(pre), 0.0 if model.cfg.act_fn == "relu" else SMOOTH_SHARE)


def _entropy_error(pattern: Float[Tensor, "batch head query key"], seen: Bool[Tensor, "query key"]) -> float:
    pattern = pattern.double()
    gap = uniform_divergence(pattern, seen[None, None])
    n_keys = seen.sum(dim=-1).double()
    divergence = torch.xlogy(pattern, pattern * n_keys[:, None]).sum(dim=-1)
    # A row sums to one to rounding only, and what it lacks is multiplied by ln n.
    missing = (pattern.sum(dim=-1) - 1) * n_keys.log()
    return float((gap - (divergence - missing)).abs().max())


def _sum_error(model: HookedTransformer, cache: Mapping[str, Tensor]) -> float | None:
    if model.cfg.norm_placement == "post":
        return None
    errors = []
    for layer in range(model.cfg.n_layers):
        written = [cache[branch.writes].double() for branch in branches(model) if branch.layer == layer]
        before, after = (cache[f"blocks.{layer}.hook_resid_{place}"].double() for place in ("pre", "post"))
        errors.append(deviation(before + sum(written), after))
    return max(errors)
