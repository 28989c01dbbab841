"""A norm held at the scale it had in one run: an affine map, under which a sum stays a sum."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """x -> (x, centred or not) / scale * weight + bias, with the scale of one run, in float64.

    Attributes:
        scale: what the run divided by at each position.
        centres: whether the mean over d_model is taken away first.
        weight: the learned weight; a single number in ScaleNorm; 1 where there is none.
        bias: the learned bias; 0 where there is none.
    """

    scale: Float[Tensor, "batch pos 1"]
    centres: bool
    weight: Float[Tensor, " weight"]
    bias: Float[Tensor, " d_model"]

    def linear(self, x: Float[Tensor, "*component batch pos d_model"]) -> Float[Tensor, "*component batch pos d_model"]:
        """What the norm makes of a part of its input: everything but the bias."""
        x = x.double()
        return (x - x.mean(dim=-1, keepdim=True) if self.centres else x) / self.scale * self.weight

    def adjoint(
        self, direction: Float[Tensor, "*target batch pos d_model"]
    ) -> Float[Tensor, "*target batch pos d_model"]:
        """The direction in front of the norm whose product with x is that of the given one with `linear(x)`."""
        weighted = direction.double() * self.weight / self.scale
        return weighted - weighted.mean(dim=-1, keepdim=True) if self.centres else weighted


def scale_point(model: Any, norm: str) -> list[str]:
    """The hook name at which the scale of a norm (`ln_final`, `blocks.0.ln1`) is read; nothing if there is no norm."""
    name = f"{norm}.hook_scale"
    return [name] if name in model.hook_dict else []


def frozen_norm(model: Any, recorded: Mapping[str, Tensor], norm: str) -> FrozenNorm:
    """The norm of that name at the recorded scale; the identity where the model has none."""
    d_model, device = model.cfg.d_model, model.unembed.W_U.device
    like = {"dtype": torch.float64, "device": device}
    points = scale_point(model, norm)
    if not points:
        return FrozenNorm(torch.ones(1, 1, 1, **like), False, torch.ones(1, **like), torch.zeros(d_model, **like))
    scale = recorded[points[0]].double()
    # Where each head has an input of its own, all of them hold the same stream.
    scale = scale[:, :, 0] if scale.ndim == 4 else scale
    module = attrgetter(norm)(model)
    weight, bias = getattr(module, "w", None), getattr(module, "b", None)
    # A bridge keeps Gemma's weights as they were saved, one less than what is multiplied with.
    offset = 1.0 if getattr(module, "uses_weight_offset", False) else 0.0
    return FrozenNorm(
        scale,
        _centres(model.cfg, norm),
        offset + weight.detach().double() if isinstance(weight, Tensor) else torch.ones(1, **like),
        bias.detach().double() if isinstance(bias, Tensor) else torch.zeros(d_model, **like),
    )


def _centres(cfg: Any, norm: str) -> bool:
    kind = cfg.normalization_type or ""
    if norm.endswith("_post"):
        # What a block writes is normed by RMSNorm in RMSNorm models, else by LayerNorm.
        return not kind.startswith("RMS")
    return kind.startswith("LN") and not (norm == "ln_final" and getattr(cfg, "final_rms", False))
