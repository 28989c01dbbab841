"""Patterns, scores and heads. Source: Vaswani et al. (2017), section 3.2; Elhage et al. (2021)."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..biases import bias
from ..bridge_points import unknown_formulas
from ..bridge_rotary import Rotation, rotation, score_scale
from .invariant import EXACT, Invariant
from .reading import (
    attention_input,
    by_layer,
    deviation,
    head_weights,
    in_layers,
    is_causal,
    norms_queries,
    positions,
    soft_capped,
    visible,
    window_of,
    with_read_positions,
    worst,
)

_PATTERN = "prompt head query key"


def rows_off_one(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """max |sum of a row - 1|."""
    sums = [pattern.sum(dim=-1) for (pattern,) in by_layer(model, tokens, "attn.hook_pattern")]
    return worst(in_layers(deviation(rows, torch.ones_like(rows), "prompt head query") for rows in sums))


def most_negative(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The size of the most negative entry."""
    patterns = by_layer(model, tokens, "attn.hook_pattern")
    return worst(in_layers(_largest(-pattern.clamp(max=0)) for (pattern,) in patterns))


def largest_hidden(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The largest attention to a key that a query may not see."""
    errors = []
    for layer, (pattern,) in enumerate(by_layer(model, tokens, "attn.hook_pattern")):
        errors.append(_largest(pattern.masked_fill(visible(model, layer, tokens.shape[1]), 0.0)))
    return worst(in_layers(errors))


def _largest(pattern: Float[Tensor, "batch head query key"]) -> float:
    """The largest absolute entry, and where it is."""
    return deviation(pattern, torch.zeros_like(pattern), _PATTERN)


def nothing_is_hidden(model: Any) -> str | None:
    """The obstacle of a model in which every query sees every key."""
    local = any(window_of(model, layer) is not None for layer in range(model.cfg.n_layers))
    return None if is_causal(model) or local else "attention is bidirectional: every query sees every key"


def scores_off_the_form(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the scores from the bilinear form of the attention's input, where a query sees a key."""
    errors = []
    for layer, (resid, scores) in enumerate(by_layer(model, tokens, "hook_resid_pre", "attn.hook_attn_scores")):
        read = with_read_positions(model, attention_input(model, layer, resid))
        expected = _expected_scores(model, layer, read)
        hidden = ~visible(model, layer, tokens.shape[1])
        errors.append(deviation(scores.masked_fill(hidden, 0.0), expected.masked_fill(hidden, 0.0), _PATTERN))
    return worst(in_layers(errors))


def _expected_scores(
    model: Any, layer: int, x: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "batch head query key"]:
    W_Q, W_K, b_Q, b_K = (head_weights(model, layer, name) for name in ("W_Q", "W_K", "b_Q", "b_K"))
    cfg = model.cfg
    turned = rotation(model) if positions(model) == "rotary" else None
    if turned is not None:
        query = torch.einsum("bpd,hde->bhpe", x, W_Q) + b_Q[:, None]
        key = torch.einsum("bpd,hde->bhpe", x, W_K) + b_K[:, None]
        form = _rotary_product(query, key, turned)
    else:
        W_QK = W_Q @ W_K.transpose(-2, -1)
        form = torch.einsum("bqd,hde,bke->bhqk", x, W_QK, x)
        form = form + torch.einsum("bqd,hde,he->bhq", x, W_Q, b_K)[..., :, None]
        form = form + torch.einsum("bkd,hde,he->bhk", x, W_K, b_Q)[..., None, :]
        form = form + (b_Q * b_K).sum(-1)[:, None, None]
    return soft_capped(form / score_scale(model, layer), getattr(cfg, "attn_scores_soft_cap", None))


def _rotary_product(
    query: Float[Tensor, "batch head pos d_head"], key: Float[Tensor, "batch head pos d_head"], turned: Rotation
) -> Float[Tensor, "batch head pos pos"]:
    # A pair of coordinates is a complex number, its rotation a phase; the product depends on the distance alone.
    n = turned.n_dims
    frequencies = turned.base ** -(torch.arange(0, n, 2, device=query.device, dtype=torch.float64) / n) / turned.factor
    distance = torch.arange(query.shape[2], device=query.device)[:, None] - torch.arange(
        key.shape[2], device=key.device
    )
    phases = torch.polar(torch.ones((), dtype=torch.float64, device=query.device), distance[..., None] * frequencies)

    def as_complex(x: Tensor) -> Tensor:
        pairs = x[..., :n]
        first, second = (pairs[..., ::2], pairs[..., 1::2]) if turned.adjacent else pairs.chunk(2, dim=-1)
        return torch.complex(first, second)

    product = torch.einsum("bhqf,bhkf,qkf->bhqk", as_complex(query), as_complex(key).conj(), phases).real
    return product + query[..., n:] @ key[..., n:].transpose(-2, -1)


def unknown_positions(model: Any) -> str | None:
    """The obstacle of scores that are no bilinear form, or of positions that enter them in another way."""
    kind = positions(model)
    if norms_queries(model):
        return "queries and keys are normed before their product"
    if kind == "rotary" and (unknown := unknown_formulas(model)) is not None:
        return unknown
    known = kind in ("standard", "shortformer", "none") or (kind == "rotary" and rotation(model) is not None)
    return None if known else f"{kind} positions enter the scores in a way this library does not know"


def heads_off_the_circuit(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of each head's write, z W_O, from A x W_OV + b_V W_O."""
    errors = []
    points = ("hook_resid_pre", "attn.hook_pattern", "attn.hook_z")
    for layer, (resid, pattern, z) in enumerate(by_layer(model, tokens, *points)):
        x = attention_input(model, layer, resid)
        W_V, W_O, b_V = (head_weights(model, layer, name) for name in ("W_V", "W_O", "b_V"))
        expected = torch.einsum("bhqk,bkd,hde->bqhe", pattern, x, W_V @ W_O) + torch.einsum("he,hed->hd", b_V, W_O)
        errors.append(deviation(torch.einsum("bphe,hed->bphd", z, W_O), expected, "prompt position head _"))
    return worst(in_layers(errors))


def heads_off_their_sum(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of what attention writes from the sum of its heads plus b_O."""
    errors = []
    for layer, (z, attn_out) in enumerate(by_layer(model, tokens, "attn.hook_z", "hook_attn_out")):
        W_O, block = head_weights(model, layer, "W_O"), model.blocks[layer]
        total = torch.einsum("bphe,hed->bphd", z, W_O).sum(dim=2) + bias(block.attn, "b_O", W_O)
        # Granite's blocks write a fixed share of what attention computes.
        total = total * getattr(model.cfg, "residual_multiplier", 1.0)
        if hasattr(block, "ln1_post"):
            total = block.ln1_post(total.to(model.cfg.dtype)).double()
        errors.append(deviation(attn_out, total, "prompt position _"))
    return worst(in_layers(errors))


def results_off_the_heads(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of `hook_result` from z W_O, with the point switched on for the length of the check."""
    was = model.cfg.use_attn_result
    model.set_use_attn_result(True)
    try:
        layers = by_layer(model, tokens, "attn.hook_z", "attn.hook_result")
    finally:
        if not was:
            model.set_use_attn_result(False)
    heads = [torch.einsum("bphe,hed->bphd", z, head_weights(model, i, "W_O")) for i, (z, _) in enumerate(layers)]
    pairs = zip(layers, heads, strict=True)
    return worst(in_layers(deviation(made, expected, "prompt position head _") for (_, made), expected in pairs))


def has_no_results(model: Any) -> str | None:
    """The obstacle of a model whose heads' results cannot be switched on."""
    point = model.hook_dict.get("blocks.0.attn.hook_result")
    return None if hasattr(point, "enabled") else "the model does not say whether it can compute each head's result"


INVARIANTS = (
    Invariant("pattern-rows", "the rows of an attention pattern sum to 1", rows_off_one),
    Invariant("pattern-sign", "no entry of a pattern is negative", most_negative, EXACT),
    Invariant(
        "pattern-mask", "a pattern is exactly 0 where a query may not look", largest_hidden, EXACT, nothing_is_hidden
    ),
    Invariant(
        "qk-form",
        "scores are the bilinear form (x W_Q + b_Q) . (x W_K + b_K) / scale, rotated and capped as configured",
        scores_off_the_form,
        obstacle=unknown_positions,
    ),
    Invariant("ov-circuit", "a head writes A x W_V W_O + b_V W_O", heads_off_the_circuit),
    Invariant("head-sum", "attention writes the sum of its heads plus b_O", heads_off_their_sum),
    Invariant("head-result", "hook_result is z W_O of each head", results_off_the_heads, obstacle=has_no_results),
)
