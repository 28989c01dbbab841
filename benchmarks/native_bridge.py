"""TransformerLens 4.3's own small model, a native `TransformerBridge`, with the weights of one of ours."""

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import boot_native

from models import HookedTransformer, HookedTransformerConfig

_FIELDS = [
    "n_layers",
    "d_model",
    "d_head",
    "n_heads",
    "d_mlp",
    "d_vocab",
    "n_ctx",
    "act_fn",
    "normalization_type",
    "attn_only",
    "eps",
    "device",
    "positional_embedding_type",
    "rotary_dim",
    "rotary_base",
]


@torch.no_grad()
def from_hooked(model: HookedTransformer) -> TransformerBridge:
    """The bridge that computes what this model computes: the weights are copied, not shared.

    Raises:
        KeyError, ValueError: the model has an option that the native bridge does not know.
    """
    if model.b_U.any():
        raise ValueError("the native bridge has no b_U, and this model's is not zero")
    bridge = boot_native({name: getattr(model.cfg, name) for name in _FIELDS}, dtype=model.cfg.dtype)
    parameters = {
        name.replace("._original_component", ""): parameter
        for name, parameter in bridge.original_model.named_parameters()
    }
    for name, weight in _weights(model).items():
        parameters.pop(name).copy_(weight)
    if parameters:
        raise KeyError(f"the native bridge has parameters that ours does not fill: {sorted(parameters)}")
    return bridge.eval()


def _weights(model: HookedTransformer) -> dict[str, Tensor]:
    weights = {"tok_embed.weight": model.W_E, "head.weight": model.W_U.T}
    if model.cfg.positional_embedding_type == "standard":
        weights["pos.weight"] = model.W_pos
    weights |= {"ln_out.weight": model.ln_final.w, "ln_out.bias": model.ln_final.b}
    for layer, block in enumerate(model.blocks):
        at = f"layers.{layer}"
        weights |= {f"{at}.ln1.weight": block.ln1.w, f"{at}.ln1.bias": block.ln1.b}
        for name in "QKV":
            weight, bias = getattr(block.attn, f"W_{name}"), getattr(block.attn, f"b_{name}")
            if name in "QK":
                order = _dimensions(model.cfg)
                weight, bias = weight[..., order], bias[..., order]
            weights[f"{at}.attn.{name.lower()}.weight"] = weight.permute(0, 2, 1).flatten(0, 1)
            weights[f"{at}.attn.{name.lower()}.bias"] = bias.flatten()
        weights[f"{at}.attn.o.weight"] = block.attn.W_O.flatten(0, 1).T
        weights[f"{at}.attn.o.bias"] = block.attn.b_O
        if not model.cfg.attn_only:
            weights |= {f"{at}.ln2.weight": block.ln2.w, f"{at}.ln2.bias": block.ln2.b}
            weights |= {f"{at}.mlp.fc_in.weight": block.mlp.W_in.T, f"{at}.mlp.fc_in.bias": block.mlp.b_in}
            weights |= {f"{at}.mlp.fc_out.weight": block.mlp.W_out.T, f"{at}.mlp.fc_out.bias": block.mlp.b_out}
    return weights


def _dimensions(cfg: HookedTransformerConfig) -> list[int]:
    # The bridge's rotation turns neighbouring dimensions together. Queries and keys may be reordered, if both are.
    if cfg.positional_embedding_type != "rotary" or cfg.rotary_adjacent_pairs:
        return list(range(cfg.d_head))
    half = cfg.rotary_dim // 2
    paired = [at for first in range(half) for at in (first, first + half)]
    return paired + list(range(cfg.rotary_dim, cfg.d_head))
