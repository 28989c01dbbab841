"""The first place at which a run stops being finite: a weight, or a point of the forward pass."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .errors import NonFiniteError
from .hooks import edited
from .sites import Site, sites


def require_finite_run(model: Any, tokens: Int[Tensor, "prompt pos"], logits: Float[Tensor, "..."]) -> None:
    """Nothing, if the logits are finite; -inf is legal, for a token without probability.

    Args:
        tokens: what the model was run on.
        logits: what it gave, as far as it is read.

    Raises:
        NonFiniteError: they are not; the message names the first weight or point that is not finite either.
    """
    if not bool((logits.isnan() | (logits == torch.inf)).any()):
        return
    for name, weight in model.named_parameters() if isinstance(model, nn.Module) else ():
        at = _first(~weight.isfinite())
        if at is not None:
            raise NonFiniteError(f"the weight {name} is {float(weight[at])} at {list(at)}, and so are the logits")
    with torch.no_grad(), edited(model, {one.name: _looking(one) for one in sites(model, "**")}, allow_nonfinite=True):
        model(tokens)
    raise NonFiniteError("the logits are not finite, though every point of the forward pass is")


def _looking(point: Site) -> Callable[[Tensor], Tensor]:
    def look(activation: Tensor) -> Tensor:
        bad = ~activation.isfinite()
        if point.name.endswith("attn_scores"):
            bad &= activation != -torch.inf
        at = _first(bad)
        if at is not None:
            place = ", ".join(f"{axis}={index}" for axis, index in zip(point.axes, at, strict=True))
            largest = f" ({activation.dtype} ends at {torch.finfo(activation.dtype).max:g})".replace("torch.", "")
            raise NonFiniteError(
                f"{point.name} is {float(activation[at])} at [{place}], the first point that is not finite{largest}"
            )
        return activation

    return look


def _first(bad: Tensor) -> tuple[int, ...] | None:
    return tuple(bad.nonzero()[0].tolist()) if bool(bad.any()) else None
