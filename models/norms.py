"""The normalisations: x -> (x, centred or not) / scale, with or without learned weights.

`hook_scale` is the denominator, `hook_normalized` the quotient before any learned weight, as in TransformerLens.
When nobody looks at either, PyTorch's fused kernel gives the same numbers to rounding.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .config import HookedTransformerConfig, Normalization
from .hook_point import HookPoint, as_high_precision


class _Norm(nn.Module):
    """What all norms share: two hook points around one division. Learned weights are `w` and `b`, or None."""

    w: nn.Parameter | None
    b: nn.Parameter | None

    def __init__(self, length: int, eps: float) -> None:
        super().__init__()
        self.register_parameter("w", None)
        self.register_parameter("b", None)
        self.length = length
        self.eps = eps
        self.hook_scale = HookPoint("batch pos 1")
        self.hook_normalized = HookPoint("batch pos d_model")

    def forward(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        """The normalised activation, in the dtype of the input."""
        if not (self.hook_scale.observed or self.hook_normalized.observed):
            return self.fused(x)
        precise = self.centred(as_high_precision(x))
        scale = self.hook_scale(self.scale(precise))
        normalized = self.hook_normalized(precise / scale).to(x.dtype)
        if self.w is not None:
            normalized = normalized * self.w
        return normalized if self.b is None else normalized + self.b

    def centred(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        return x

    def scale(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch 1"]:
        return (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()

    def fused(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        raise NotImplementedError


class LayerNormPre(_Norm):
    """LayerNorm without learned weights: what remains after they are folded into the next layer."""

    def centred(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        return x - x.mean(-1, keepdim=True)

    def fused(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        return F.layer_norm(x, (self.length,), self.w, self.b, self.eps)


class LayerNorm(LayerNormPre):
    """LayerNorm: (x - mean) / sqrt(variance + eps) * w + b. Source: Ba, Kiros and Hinton (2016)."""

    def __init__(self, length: int, eps: float, dtype: torch.dtype) -> None:
        super().__init__(length, eps)
        self.w = nn.Parameter(torch.ones(length, dtype=dtype))
        self.b = nn.Parameter(torch.zeros(length, dtype=dtype))


class RMSNormPre(_Norm):
    """RMSNorm without learned weights."""

    def fused(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        return F.rms_norm(x, (self.length,), self.w, self.eps)


class RMSNorm(RMSNormPre):
    """RMSNorm: x / sqrt(mean(x^2) + eps) * w, no centring. Source: Zhang and Sennrich (2019)."""

    def __init__(self, length: int, eps: float, dtype: torch.dtype) -> None:
        super().__init__(length, eps)
        self.w = nn.Parameter(torch.ones(length, dtype=dtype))


class ScaleNorm(_Norm):
    """ScaleNorm: w * x / max(|x|, eps), with one learned number, sqrt(length) at first.

    Source: Nguyen and Salazar (2019), section 2.2.
    """

    def __init__(self, length: int, eps: float, dtype: torch.dtype) -> None:
        super().__init__(length, eps)
        self.w = nn.Parameter(torch.full((1,), length**0.5, dtype=dtype))

    def scale(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch 1"]:
        return x.norm(dim=-1, keepdim=True).clamp(min=self.eps)

    def fused(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        normalized = F.normalize(as_high_precision(x), dim=-1, eps=self.eps).to(x.dtype)
        return normalized if self.w is None else normalized * self.w


class NoNorm(nn.Module):
    """The identity, where the configuration has no norm; it has no hook points, because nothing happens here."""

    w: nn.Parameter | None = None
    b: nn.Parameter | None = None

    def forward(self, x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
        """The input."""
        return x


def make_norm(
    config: HookedTransformerConfig, length: int | None = None, kind: Normalization | None = None
) -> nn.Module:
    """The norm that the config names (or `kind`, if given), over `length` numbers (default `d_model`)."""
    length = length or config.d_model
    match kind or config.normalization_type:
        case "LN":
            return LayerNorm(length, config.eps, config.dtype)
        case "LNPre":
            return LayerNormPre(length, config.eps)
        case "RMS":
            return RMSNorm(length, config.eps, config.dtype)
        case "RMSPre":
            return RMSNormPre(length, config.eps)
        case "ScaleNorm":
            return ScaleNorm(length, config.eps, config.dtype)
        case None:
            return NoNorm()


def make_head_norm(config: HookedTransformerConfig, head_axis: str) -> nn.Module:
    """The norm of each head's queries or keys (Qwen 3, Gemma 3), one learned weight for each coordinate.

    Args:
        head_axis: what the heads' axis is called at its hook points.
    """
    norm = RMSNorm(config.d_head, config.eps, config.dtype)
    norm.hook_scale.axes = ("batch", "pos", head_axis, "1")
    norm.hook_normalized.axes = ("batch", "pos", head_axis, "d_head")
    return norm


def make_final_norm(config: HookedTransformerConfig) -> nn.Module:
    """The norm before the unembedding: the blocks' kind, RMS where `final_rms` asks for it, or none."""
    if not config.final_norm:
        return NoNorm()
    if config.final_rms and config.normalization_type in ("LN", "LNPre"):
        return make_norm(config, kind="RMS" if config.normalization_type == "LN" else "RMSPre")
    return make_norm(config)
