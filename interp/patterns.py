"""Attention patterns in numbers: how widely a head looks, and how much it reads where it looks."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .head_scores import FIRST_QUERY, PATTERNS_AT_ONCE
from .invariants.reading import deviation, visible, worst


@dataclass(frozen=True)
class Patterns:
    """The patterns of all layers on the same prompts.

    Attributes:
        attention: A[query, key], whose rows sum to one.
        value_weighted: A[query, key] |v_key W_O|, the length of what the head reads from each key and writes.
        output_error: how far the attention-weighted values are from what the heads put out; backs both.
    """

    attention: Float[Tensor, "prompt layer head query key"]
    value_weighted: Float[Tensor, "prompt layer head query key"]
    output_error: float


@dataclass(frozen=True)
class PatternStatistics:
    """One number a prompt and head, averaged over the queries from the third on.

    Attributes:
        entropy: of the attention over keys, in nats.
        even_entropy: of attention spread evenly over the visible keys.
        first_attention: the attention on the first token.
        first_read: the first token's share of the value-weighted pattern.
        output_error: as in `Patterns`.
    """

    entropy: Float[Tensor, "prompt layer head"]
    even_entropy: Float[Tensor, " layer"]
    first_attention: Float[Tensor, "prompt layer head"]
    first_read: Float[Tensor, "prompt layer head"]
    output_error: float


@torch.no_grad()
def patterns(model: Any, tokens: Int[Tensor, "prompt pos"]) -> Patterns:
    """Attention and value-weighted attention of every head.

    Elhage et al. weight by |v|, which depends on how the product W_V W_O is split in two; the length of what is
    written, |v W_O|, does not, and is the same where W_O keeps lengths. b_V is part of v.

    Source: Elhage et al. (2021), value-weighted attention patterns.
    """
    layers = range(model.cfg.n_layers)
    names = [f"blocks.{layer}.attn.hook_{kind}" for layer in layers for kind in ("pattern", "v", "z")]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    attention, weighted, errors = [], [], []
    for layer in layers:
        pattern, v, z = (cache[f"blocks.{layer}.attn.hook_{kind}"].double() for kind in ("pattern", "v", "z"))
        v = v.repeat_interleave(model.cfg.n_heads // v.shape[2], dim=2)
        errors.append(deviation(torch.einsum("phqk,pkhe->pqhe", pattern, v), z))
        attention.append(pattern)
        weighted.append(pattern * _written_length(v, model.W_O[layer].double())[:, :, None])
    return Patterns(torch.stack(attention, dim=1), torch.stack(weighted, dim=1), worst(errors))


@torch.no_grad()
def pattern_statistics(
    model: Any, tokens: Int[Tensor, "prompt pos"], patterns_at_once: int = PATTERNS_AT_ONCE
) -> PatternStatistics:
    """Entropy and attention to the first token of every head on every prompt, a few prompts at a time."""
    length = tokens.shape[1]
    step = max(1, patterns_at_once // (model.cfg.n_layers * model.cfg.n_heads * length**2))
    entropy, first_attention, first_read, errors = [], [], [], []
    for start in range(0, len(tokens), step):
        found = patterns(model, tokens[start : start + step])
        entropy.append(pattern_entropy(found.attention).mean(dim=-1))
        first_attention.append(found.attention[..., FIRST_QUERY:, 0].mean(dim=-1))
        read = found.value_weighted[..., FIRST_QUERY:, :]
        # A ratio of means: a query that reads next to nothing counts for next to nothing.
        first_read.append(read[..., 0].sum(dim=-1) / read.sum(dim=(-2, -1)))
        errors.append(found.output_error)
    seen = [visible(model, layer, length)[FIRST_QUERY:].sum(dim=-1) for layer in range(model.cfg.n_layers)]
    return PatternStatistics(
        torch.cat(entropy),
        torch.stack([keys.double().log().mean() for keys in seen]),
        torch.cat(first_attention),
        torch.cat(first_read),
        worst(errors),
    )


def pattern_entropy(attention: Float[Tensor, "*head query key"]) -> Float[Tensor, "*head counted"]:
    """The entropy over keys, in nats, of each query from the third on."""
    return torch.special.entr(attention[..., FIRST_QUERY:, :]).sum(dim=-1)


def _written_length(
    v: Float[Tensor, "prompt key head d_head"], W_O: Float[Tensor, "head d_head d_model"]
) -> Float[Tensor, "prompt head key"]:
    # |v W_O|^2 = v (W_O W_O^T) v^T: nothing as wide as the stream for each head.
    squared = torch.einsum("pkhe,hef,pkhf->phk", v, W_O @ W_O.mT, v)
    return squared.clamp(min=0).sqrt()
