"""How far apart the weights, streams and predictions of two models are; of equal ones exactly 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import NonFiniteError
from .lenses import stream_sites


@dataclass(frozen=True)
class WeightChange:
    """One parameter of both models.

    Attributes:
        name: the parameter.
        shape: its shape.
        relative: |other - model| / |model|; 0 where they are equal, infinite where only the model's are all zero.
        cosine: of the two as vectors; exactly 1 where they are equal, NaN where one is all zero.
        cosine_law_error: how far |difference|^2 is from |model|^2 + |other|^2 - 2 |model| |other| cosine, relative.
    """

    name: str
    shape: tuple[int, ...]
    relative: float
    cosine: float
    cosine_law_error: float


@dataclass(frozen=True)
class Unmatched:
    """A parameter that has no partner of the same name and shape: its shape in each model, or None."""

    name: str
    model: tuple[int, ...] | None
    other: tuple[int, ...] | None


@dataclass(frozen=True)
class PredictionDifference:
    """What two models say of the same tokens, in nats and in float64.

    Attributes:
        loss: the model's surprise at each next token.
        other_loss: the other's.
        kl: KL(model || other) of the next-token distributions.
        top: the token that the model thinks likeliest.
        other_top: that of the other.
        identity_error: the largest |KL - (cross-entropy - entropy)|, relative to the larger of the two.
    """

    loss: Float[Tensor, "prompt predicted"]
    other_loss: Float[Tensor, "prompt predicted"]
    kl: Float[Tensor, "prompt pos"]
    top: Int[Tensor, "prompt pos"]
    other_top: Int[Tensor, "prompt pos"]
    identity_error: float


@dataclass(frozen=True)
class StreamDifference:
    """How alike the streams of two models are, by site and prompt.

    Attributes:
        sites: the hook names that both have.
        cosine: the mean over positions of the cosine between the two; exactly 1 where they are equal.
        distance: |other - model| / |model| over all positions.
    """

    sites: tuple[str, ...]
    cosine: Float[Tensor, "site prompt"]
    distance: Float[Tensor, "site prompt"]


def weight_changes(
    model: Mapping[str, Tensor], other: Mapping[str, Tensor]
) -> tuple[list[WeightChange], list[Unmatched]]:
    """The change of every parameter that both have in the same shape, in order, and those without a partner."""
    changes, unmatched = [], []
    for name in dict.fromkeys([*model, *other]):
        shapes = [tuple(state[name].shape) if name in state else None for state in (model, other)]
        if shapes[0] is not None and shapes[0] == shapes[1]:
            changes.append(_change(name, model[name].detach().double().cpu(), other[name].detach().double().cpu()))
        else:
            unmatched.append(Unmatched(name, *shapes))
    return changes, unmatched


def _change(name: str, before: Tensor, after: Tensor) -> WeightChange:
    difference, old, new = (float(value.norm()) for value in (after - before, before, after))
    cosine = float(cosines(before.flatten(), after.flatten()))
    law = old**2 + new**2 - 2 * old * new * cosine
    return WeightChange(
        name=name,
        shape=tuple(before.shape),
        relative=0.0 if difference == 0 else difference / old if old else float("inf"),
        cosine=cosine,
        cosine_law_error=abs(difference**2 - law) / (old**2 + new**2) if old and new else 0.0,
    )


def cosines(one: Float[Tensor, "*batch d"], other: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """The cosine along the last axis, as 1 - |a - b|^2 / 2 of the unit vectors: exactly 1 for equal ones.

    Near 1 it keeps the digits that a sum of products loses. NaN where a vector is zero.
    """
    one, other = one / one.norm(dim=-1, keepdim=True), other / other.norm(dim=-1, keepdim=True)
    return 1 - (one - other).square().sum(dim=-1) / 2


@torch.no_grad()
def prediction_difference(model: Any, other: Any, tokens: Int[Tensor, "prompt pos"]) -> PredictionDifference:
    """What both say of the tokens, prompt by prompt, so that few logits are held at a time.

    Raises:
        NonFiniteError: logits that are not finite.
    """
    rows = [_compared(model(row[None])[0], other(row[None])[0], row) for row in tokens]
    loss, other_loss, kl, top, other_top = (torch.stack(parts) for parts in list(zip(*rows, strict=True))[:5])
    return PredictionDifference(loss, other_loss, kl, top, other_top, max(row[5] for row in rows))


def _compared(
    logits: Float[Tensor, "pos d_vocab"], other: Float[Tensor, "pos d_vocab"], tokens: Int[Tensor, " pos"]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    for values in (logits, other):
        if not values.isfinite().all():
            raise NonFiniteError("logits of a model that is compared are not finite")
    p, q = (values.double().cpu().log_softmax(dim=-1) for values in (logits, other))
    kl = (p.exp() * (p - q)).sum(dim=-1)
    cross_entropy, entropy = -(p.exp() * q).sum(dim=-1), -(p.exp() * p).sum(dim=-1)
    error = float(((kl - (cross_entropy - entropy)).abs() / cross_entropy.clamp_min(1e-300)).max())
    following = tokens[1:, None].cpu()
    loss, other_loss = (-values[:-1].gather(-1, following).squeeze(-1) for values in (p, q))
    return (loss, other_loss, kl, p.argmax(dim=-1), q.argmax(dim=-1), error)


@torch.no_grad()
def stream_difference(model: Any, other: Any, tokens: Int[Tensor, "prompt pos"]) -> StreamDifference | None:
    """The streams at every site that both models have; None if their widths differ, so that nothing can be compared."""
    if model.cfg.d_model != other.cfg.d_model:
        return None
    sites = [name for name in stream_sites(model) if name in set(stream_sites(other))]
    caches = [each.run_with_cache(tokens, names_filter=list(sites))[1] for each in (model, other)]
    cosine, distance = [], []
    for name in sites:
        one, two = (cache[name].double().cpu() for cache in caches)
        cosine.append(cosines(one, two).mean(dim=1))
        distance.append((two - one).flatten(1).norm(dim=1) / one.flatten(1).norm(dim=1))
    return StreamDifference(tuple(sites), torch.stack(cosine), torch.stack(distance))
