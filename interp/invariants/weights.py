"""Changes of the weights that change nothing, or that do what an edit of an activation does.

The model's own weights are never written: each changed copy stands in for one forward pass.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call

from ..hooks import edited
from ..interventions import zero
from ..sites import site
from .invariant import Invariant
from .reading import deviation, head_weights, positions, window_of, worst


def logits_with(
    model: Any, weights: Mapping[str, Float[Tensor, "..."]], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits with these parameters in place of the model's own."""
    return functional_call(model, dict(weights), (tokens,))


def parameter(model: Any, layer: int, name: str) -> dict[str, Float[Tensor, "..."]]:
    """A layer's attention parameter under its full name (`_W_K` where heads are grouped), or nothing if it has none."""
    attn = dict(model.blocks[layer].attn.named_parameters(recurse=False))
    return {f"blocks.{layer}.attn.{key}": attn[key].detach() for key in (name, f"_{name}") if key in attn}


def other_names(model: Any) -> str | None:
    """The obstacle of a model whose parameters have other names than TransformerLens'."""
    return None if parameter(model, 0, "W_O") else "the model keeps its weights under other names or shapes"


def logits_off_in_query_key_gauge(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when queries q become q G, and keys k become k G^-T."""
    changed: dict[str, Tensor] = {}
    for layer in range(model.cfg.n_layers):
        gauge = _gauge(model, layer)
        changed |= _turned(model, layer, ("W_Q", "b_Q"), gauge)
        changed |= _turned(model, layer, ("W_K", "b_K"), torch.linalg.inv(gauge).mT)
    return deviation(logits_with(model, changed, tokens), model(tokens))


def logits_off_in_value_output_gauge(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when values v become v G, and outputs W_O become G^-1 W_O."""
    changed: dict[str, Tensor] = {}
    for layer in range(model.cfg.n_layers):
        gauge = _gauge(model, layer)
        changed |= _turned(model, layer, ("W_V", "b_V"), gauge)
        for name, W_O in parameter(model, layer, "W_O").items():
            back = torch.linalg.inv(gauge).repeat_interleave(len(W_O) // len(gauge), dim=0)
            changed[name] = (back @ W_O.double()).to(W_O)
    return deviation(logits_with(model, changed, tokens), model(tokens))


def _gauge(model: Any, layer: int) -> Float[Tensor, "kv_head d_head d_head"]:
    # A rotation, stretched by 1/2 to 2: far from the identity, and well conditioned whatever d_head is.
    (W_K,) = parameter(model, layer, "W_K").values()
    n_heads, d_head = W_K.shape[0], W_K.shape[-1]
    generator = torch.Generator().manual_seed(layer)
    rotation, _ = torch.linalg.qr(torch.randn(n_heads, d_head, d_head, generator=generator, dtype=torch.float64))
    stretch = 0.5 * 4 ** torch.rand(n_heads, 1, d_head, generator=generator, dtype=torch.float64)
    return (rotation * stretch).to(W_K.device)


def _turned(
    model: Any, layer: int, names: Sequence[str], matrix: Float[Tensor, "kv_head d_head d_head"]
) -> dict[str, Float[Tensor, "..."]]:
    turned = {}
    for name in names:
        for full, weight in parameter(model, layer, name).items():
            each = matrix.repeat_interleave(len(weight) // len(matrix), dim=0)
            rows = weight.double() if weight.ndim == 3 else weight.double()[:, None]
            turned[full] = (rows @ each).reshape(weight.shape).to(weight)
    return turned


def rotated(model: Any) -> str | None:
    """The obstacle of positions that act inside the heads, besides missing names."""
    if positions(model) == "rotary":
        return "rotary positions act between queries and keys"
    return other_names(model)


@torch.enable_grad()
def key_bias_gradient(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The gradient of a random read-out by the key biases, as a share of that by the query biases."""
    biases: dict[str, Tensor] = {}
    for layer in range(model.cfg.n_layers):
        biases |= parameter(model, layer, "b_K") | parameter(model, layer, "b_Q")
    leaves = {name: bias.clone().requires_grad_() for name, bias in biases.items()}
    logits = logits_with(model, leaves, tokens)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(logits)
    gradients = dict(zip(leaves, torch.autograd.grad((logits * weights).sum(), list(leaves.values())), strict=True))
    keys, queries = (
        torch.stack([g.double() for name, g in gradients.items() if name.endswith(end)]) for end in ("b_K", "b_Q")
    )
    largest = float(queries.abs().max())
    return float(keys.abs().max()) / (largest or 1.0)


def key_biases_matter(model: Any) -> str | None:
    """The obstacle of a model whose key biases are not the same for all keys of a query, or do not exist."""
    if (getattr(model.cfg, "attn_scores_soft_cap", None) or -1) > 0:
        return "a soft cap on the scores is not linear in them"
    if not parameter(model, 0, "b_K"):
        return "the model has no key biases"
    if all(window_of(model, layer) == 1 for layer in range(model.cfg.n_layers)):
        return "windows of one key leave nothing to choose from, so the query biases give no measure"
    return rotated(model)


def logits_off_with_folded_value_biases(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when b_V is 0 and b_O is b_O + b_V W_O."""
    changed: dict[str, Tensor] = {}
    for layer in range(model.cfg.n_layers):
        folded = torch.einsum("he,hed->d", head_weights(model, layer, "b_V"), head_weights(model, layer, "W_O"))
        changed |= {name: torch.zeros_like(bias) for name, bias in parameter(model, layer, "b_V").items()}
        changed |= {name: (bias.double() + folded).to(bias) for name, bias in parameter(model, layer, "b_O").items()}
    return deviation(logits_with(model, changed, tokens), model(tokens))


def no_value_biases(model: Any) -> str | None:
    """The obstacle of a model without value biases, besides other names."""
    return other_names(model) or (None if parameter(model, 0, "b_V") else "the model has no value biases")


def zero_head_off_zero_weights(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The difference between zeroing a head's z and zeroing its W_O, for one head of each layer."""
    errors = []
    for layer in range(model.cfg.n_layers):
        head = layer % model.cfg.n_heads
        with edited(model, {site(model, f"blocks.{layer}.attn.hook_z").at(head=head): zero()}, allow_nonfinite=True):
            without_head = model(tokens)
        ((name, W_O),) = parameter(model, layer, "W_O").items()
        W_O = W_O.clone()
        W_O[head] = 0
        errors.append(deviation(without_head, logits_with(model, {name: W_O}, tokens)))
    return worst(errors)


INVARIANTS = (
    Invariant(
        "qk-gauge",
        "queries times G and keys times G^-T give the same logits",
        logits_off_in_query_key_gauge,
        obstacle=rotated,
    ),
    Invariant(
        "ov-gauge",
        "values times G and G^-1 times W_O give the same logits",
        logits_off_in_value_output_gauge,
        obstacle=other_names,
    ),
    Invariant("key-bias", "the loss does not depend on the key biases", key_bias_gradient, obstacle=key_biases_matter),
    Invariant(
        "value-bias",
        "value biases can be folded into b_O",
        logits_off_with_folded_value_biases,
        obstacle=no_value_biases,
    ),
    Invariant(
        "zero-head", "a head set to zero is a head whose W_O is zero", zero_head_off_zero_weights, obstacle=other_names
    ),
)
