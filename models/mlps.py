"""The feed-forward layers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .activations import ACTIVATIONS
from .affine import affine
from .config import HookedTransformerConfig
from .errors import ConfigError
from .hook_point import HookPoint
from .norms import make_norm


class MLP(nn.Module):
    """act(x W_in + b_in) W_out + b_out."""

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        if config.act_fn is None or config.d_mlp is None:
            raise ConfigError("an MLP needs act_fn and d_mlp")
        self.act_fn = ACTIVATIONS[config.act_fn]
        self.W_in = nn.Parameter(torch.empty(config.d_model, config.d_mlp, dtype=config.dtype))
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp, dtype=config.dtype))
        self.W_out = nn.Parameter(torch.empty(config.d_mlp, config.d_model, dtype=config.dtype))
        self.b_out = nn.Parameter(torch.zeros(config.d_model, dtype=config.dtype))
        self.hook_pre = HookPoint("batch pos d_mlp")
        self.hook_post = HookPoint("batch pos d_mlp")

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the layer writes into the stream."""
        return self.output(self.neurons(x))

    def neurons(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_mlp"]:
        """The neurons' activations as the output matrix reads them."""
        pre = self.hook_pre(affine(x, self.W_in, self.b_in))
        return self.hook_post(self.activated(pre))

    def output(self, post: Float[Tensor, "batch pos d_mlp"]) -> Float[Tensor, "batch pos d_model"]:
        """What the neurons write into the stream, plus b_out."""
        return affine(post, self.W_out, self.b_out)

    def activated(self, pre: Float[Tensor, "batch pos d_mlp"]) -> Float[Tensor, "batch pos d_mlp"]:
        """The neurons' activations."""
        return self.act_fn(pre)


class NormedMLP(MLP):
    """An MLP with a norm between activation and output, as SoLU models have it.

    Source: Elhage et al. (2022), "Softmax Linear Units", section 4.
    """

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__(config)
        self.hook_mid = HookPoint("batch pos d_mlp")
        self.ln = make_norm(config, config.d_mlp, kind="LN" if config.normalization_type == "LN" else "LNPre")
        if isinstance(self.ln.hook_normalized, HookPoint):
            self.ln.hook_normalized.axes = ("batch", "pos", "d_mlp")

    def activated(self, pre: Float[Tensor, "batch pos d_mlp"]) -> Float[Tensor, "batch pos d_mlp"]:
        """The neurons' activations, normalised."""
        return self.ln(self.hook_mid(self.act_fn(pre)))


class GatedMLP(MLP):
    """(act(x W_gate) * (x W_in) + b_in) W_out + b_out.

    The bias stands where TransformerLens has it. Source: Shazeer (2020), "GLU Variants Improve Transformer".
    """

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__(config)
        self.W_gate = nn.Parameter(torch.empty_like(self.W_in))
        self.hook_pre_linear = HookPoint("batch pos d_mlp")

    def neurons(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_mlp"]:
        """The neurons' activations as the output matrix reads them: gated, with the bias."""
        gate = self.hook_pre(affine(x, self.W_gate))
        linear = self.hook_pre_linear(affine(x, self.W_in))
        return self.hook_post(self.act_fn(gate) * linear + self.b_in)


def make_mlp(config: HookedTransformerConfig) -> MLP:
    """The MLP that the config names."""
    if config.gated_mlp:
        return GatedMLP(config)
    return NormedMLP(config) if config.is_layer_norm_activation() else MLP(config)
