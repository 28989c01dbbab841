"""Path expansion of attention-only models: with frozen patterns and norms, the logits are a polynomial in attention.

Source: Elhage et al. (2021), "Path expansion trick" and "Virtual attention heads".
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..hooks import Edit, edited
from .invariant import Invariant
from .patching import replayed
from .reading import activations, by_layer, deviation, head_weights, is_causal, post_norm, soft_capped, worst
from .stream import embeddings, one_block
from .weights import other_names


class _Frozen(NamedTuple):
    """What stays as it was in one run: patterns, and the scale of each norm (1 where there is none)."""

    embedding: Float[Tensor, "batch pos d_model"]
    patterns: list[Float[Tensor, "batch head query key"]]
    norms: list[Callable[[Tensor, bool], Tensor]]


def _frozen(model: Any, tokens: Int[Tensor, "batch pos"]) -> _Frozen:
    patterns = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    modules = [*(f"blocks.{layer}.ln1" for layer in range(model.cfg.n_layers)), "ln_final"]
    scales = [f"{name}.hook_scale" for name in modules if f"{name}.hook_scale" in model.hook_dict]
    seen = activations(model, tokens, [*embeddings(model), *patterns, *scales])
    embedding = torch.stack([seen[name][0].double().expand(*tokens.shape, -1) for name in embeddings(model)]).sum(0)
    norms = [_affine(model, name, seen.get(f"{name}.hook_scale")) for name in modules]
    return _Frozen(embedding, [seen[name][0].double() for name in patterns], norms)


def _affine(model: Any, name: str, fired: list[Tensor] | None) -> Callable[[Tensor, bool], Tensor]:
    """The norm at its scale: the linear part of x, with the bias where it is asked for."""
    if fired is None:
        return lambda x, with_bias: x
    module = model.ln_final if name == "ln_final" else model.blocks[int(name.split(".")[1])].ln1
    scale = fired[0].double()
    scale = scale if scale.ndim == 3 else scale[:, :, 0]
    centres = (model.cfg.normalization_type or "").startswith("LN") and not (
        name == "ln_final" and getattr(model.cfg, "final_rms", False)
    )
    w, b = (getattr(module, part, None) for part in "wb")

    def applied(x: Tensor, with_bias: bool) -> Tensor:
        x = (x - x.mean(dim=-1, keepdim=True) if centres else x) / scale
        x = x * w.detach().double() if isinstance(w, Tensor) else x
        return x + b.detach().double() if with_bias and isinstance(b, Tensor) else x

    return applied


def _through_heads(model: Any, layer: int, pattern: Tensor, x: Tensor) -> Float[Tensor, "batch pos d_model"]:
    W_V, W_O = head_weights(model, layer, "W_V"), head_weights(model, layer, "W_O")
    return torch.einsum("bhqk,bkd,hde,hef->bqf", pattern, x, W_V, W_O)


def streams_by_order(model: Any, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "order batch pos d_model"]:
    """The last stream by how many attention layers a term went through, biases counted where they enter."""
    frozen, n_layers = _frozen(model, tokens), model.cfg.n_layers
    orders = torch.zeros(n_layers + 1, *frozen.embedding.shape, dtype=torch.float64, device=frozen.embedding.device)
    orders[0] = frozen.embedding
    for layer in range(n_layers):
        pattern, norm = frozen.patterns[layer], frozen.norms[layer]
        # A norm's bias is read by the first layer behind it, whatever the stream holds: it belongs to order 0.
        read = [norm(orders[order].clone(), order == 0) for order in range(layer + 1)]
        b_V, W_O = head_weights(model, layer, "b_V"), head_weights(model, layer, "W_O")
        constant = torch.einsum("he,hed->d", b_V, W_O) + model.blocks[layer].attn.b_O.detach().double()
        for order in range(layer + 1):
            written = _through_heads(model, layer, pattern, read[order])
            orders[order + 1] = orders[order + 1] + written + (constant if order == 0 else 0.0)
    return orders


def _logits(model: Any, tokens: Int[Tensor, "batch pos"], orders: Tensor) -> Tensor:
    norm = _frozen(model, tokens).norms[-1]
    read = torch.stack([norm(stream, order == 0) for order, stream in enumerate(orders)])
    logits = read @ model.unembed.W_U.detach().double()
    logits[0] = logits[0] + model.unembed.b_U.detach().double()
    return logits


def paths_off_the_logits(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the logits from the sum of all orders of the path expansion."""
    total = _logits(model, tokens, streams_by_order(model, tokens)).sum(dim=0)
    return deviation(model(tokens), soft_capped(total, getattr(model.cfg, "output_logits_soft_cap", None)))


def orders_off_the_frozen_model(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the frozen model's logits, attention writing t times as much, from sum of t^k (order k)."""
    orders = _logits(model, tokens, streams_by_order(model, tokens))
    points = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    points += [name for name in model.hook_dict if name.endswith(("ln1.hook_scale", "ln_final.hook_scale"))]
    own = activations(model, tokens, points)
    errors = []
    for t in (0.0, 0.5, -1.0):
        edits: dict[str, Edit] = {name: replayed(values) for name, values in own.items()}
        for layer in range(model.cfg.n_layers):
            edits[f"blocks.{layer}.hook_attn_out"] = lambda written, t=t: t * written
        with edited(model, edits, allow_nonfinite=True):
            logits = model(tokens)
        expected = sum(t**order * term for order, term in enumerate(orders))
        errors.append(deviation(logits, soft_capped(expected, getattr(model.cfg, "output_logits_soft_cap", None))))
    return worst(errors)


def virtual_patterns_off(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """How far A2 A1 of heads in consecutive layers is from rows that sum to 1, and from 0 above the diagonal."""
    patterns = [pattern for (pattern,) in by_layer(model, tokens, "attn.hook_pattern")]
    errors = []
    for first, second in pairwise(patterns):
        virtual = second[:, :, None] @ first[:, None]
        errors.append(float((virtual.sum(dim=-1) - 1).abs().max()))
        if is_causal(model):
            errors.append(float(virtual.triu(1).abs().max()))
    return worst(errors)


def not_attention_only(model: Any) -> str | None:
    """The obstacle of a model whose logits are no polynomial in its patterns."""
    if "blocks.0.hook_mlp_out" in model.hook_dict:
        return "paths through MLPs do not multiply out: the model is not attention-only"
    if post_norm(model):
        return "post-norm blocks normalise the stream itself, so it is not a sum"
    if getattr(model.cfg, "use_normalization_before_and_after", False):
        return "norms behind the layers stand between the heads"
    return other_names(model)


INVARIANTS = (
    Invariant(
        "path-sum", "the direct path and all paths through frozen heads, order by order, sum to the logits",
        paths_off_the_logits, obstacle=not_attention_only,
    ),
    Invariant(
        "path-orders", "a frozen model whose attention writes t times as much gives sum of t^k (paths of order k)",
        orders_off_the_frozen_model, obstacle=not_attention_only,
    ),
    Invariant(
        "virtual-head", "the product of two patterns is a pattern: rows sum to 1, nothing above the diagonal",
        virtual_patterns_off, obstacle=one_block,
    ),
)  # fmt: skip
