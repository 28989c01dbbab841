"""What is done at a site or cell: small edits for `edited`, exact about shapes, never in place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from .errors import ShapeError
from .hooks import Edit, PlaceT, edited
from .protocol import HookedModel


@dataclass(frozen=True, eq=False)
class patch:
    """The given values in place of the activation: those of another run.

    `cell.read(cache[cell.name])` is the part of a cached activation that belongs at a cell.

    Attributes:
        values: of exactly the activation's shape.
        broadcast: let values of fewer axes, or axes of length 1, stand for all (a mean direction for all positions).

    Raises:
        ShapeError: when it is applied, for values of another shape.
    """

    values: Shaped[Tensor, "*axes"]
    broadcast: bool = False

    def __call__(self, activation: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
        return fitted(self.values, activation, "patch", self.broadcast).clone()


@dataclass(frozen=True, eq=False)
class freeze:
    """The given values in place of the activation: its own, from a run without the edits that stand elsewhere.

    Raises:
        ShapeError: when it is applied, for values of another shape.
    """

    values: Shaped[Tensor, "*axes"]

    def __call__(self, activation: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
        return fitted(self.values, activation, "freeze", False).clone()


@dataclass(frozen=True)
class zero:
    """Zeros in place of the activation."""

    def __call__(self, activation: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
        return torch.zeros_like(activation)


@dataclass(frozen=True, eq=False)
class mean:
    """The mean of the reference over its prompts, at each position, for every prompt.

    Attributes:
        reference: activations of any number of prompts, otherwise of the activation's shape.

    Raises:
        ShapeError: when it is applied, for a reference whose axes behind the batch differ.
    """

    reference: Float[Tensor, "prompts ..."]

    def __call__(self, activation: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        _check_reference(self.reference, activation, "mean")
        return self.reference.mean(dim=0).expand_as(activation).clone()


@dataclass(frozen=True, eq=False)
class resample:
    """For each prompt, the activation of a prompt of the reference, drawn uniformly and with replacement.

    Attributes:
        reference: activations of any number of prompts, otherwise of the activation's shape.
        generator: where the draws come from; it advances at each firing.

    Raises:
        ShapeError: when it is applied, for a reference whose axes behind the batch differ.
    """

    reference: Float[Tensor, "prompts ..."]
    generator: torch.Generator

    def __call__(self, activation: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        _check_reference(self.reference, activation, "resample")
        n_prompts, device = len(self.reference), self.generator.device
        drawn = torch.randint(n_prompts, (len(activation),), generator=self.generator, device=device)
        return self.reference[drawn.to(self.reference.device)]


@dataclass(frozen=True, eq=False)
class add:
    """The activation plus `scale` times a vector (steering).

    Attributes:
        vector: of exactly the activation's shape, or with `broadcast` the same for several prompts or positions.

    Raises:
        ShapeError: when it is applied, for a vector of another shape.
    """

    vector: Float[Tensor, "*axes"]
    scale: float = 1.0
    broadcast: bool = False

    def __call__(self, activation: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return activation + self.scale * fitted(self.vector, activation, "add", self.broadcast)


def intervene(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    interventions: Mapping[PlaceT, Edit],
    metric: Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, "*value"]] | None = None,
) -> Float[Tensor, "*value"]:
    """The logits of one forward pass with the interventions in place, or what the metric makes of them.

    Gradients flow; wrap the call in `torch.no_grad()` where none are wanted.

    Raises:
        The errors of `edited`.
    """
    with edited(model, interventions):
        logits = model(tokens)
    return logits if metric is None else metric(logits)


def fitted(
    values: Shaped[Tensor, "*given"], activation: Shaped[Tensor, "*axes"], what: str, broadcast: bool
) -> Shaped[Tensor, "*axes"]:
    """The values in the activation's shape.

    Raises:
        ShapeError: they have another, and `broadcast` is off or cannot help.
    """
    if values.shape == activation.shape:
        return values
    given, wanted = list(values.shape), list(activation.shape)
    if not broadcast:
        raise ShapeError(f"{what} has values of shape {given} for an activation of shape {wanted}; broadcast is off")
    try:
        return values.expand_as(activation)
    except RuntimeError as error:
        raise ShapeError(f"{what} has values of shape {given}, which do not broadcast to {wanted}") from error


def _check_reference(reference: Tensor, activation: Tensor, what: str) -> None:
    if reference.shape[1:] != activation.shape[1:] or not len(reference):
        raise ShapeError(
            f"{what} has a reference of shape {list(reference.shape)}; behind the prompts it must be "
            f"{list(activation.shape[1:])}, as the activation of shape {list(activation.shape)}"
        )
