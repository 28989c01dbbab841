"""Bugs that people write into a transformer's forward pass, each as a patch of our own; run it against a whole model:

    python -m tests.interp.code_mutants stdlib-4l

prints, for each bug, the invariants that catch it.
"""

import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformer_lens.cache.key_value_cache_entry import TransformerLensKeyValueCacheEntry
from transformer_lens.hook_points import HookPoint as TransformerLensHookPoint

from interp.invariants import check
from models.attention import Attention, GroupedQueryAttention
from models.blocks import AttentionOnlyBlock, PreNormBlock
from models.embedding import Unembed
from models.hook_point import HookPoint
from models.masks import AttentionContext, Visibility
from models.mlps import MLP
from models.norms import RMSNormPre
from models.positions import Rotary
from tests.interp.mutations import eps_outside_the_root, norms_without_centring, positions_from_one

Patch = Callable[[pytest.MonkeyPatch], None]


def method(owner: type, name: str, make: Callable[[Any], Callable[..., Any]]) -> Patch:
    """A method replaced by what is made of it."""
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


def all_of(*patches: Patch) -> Patch:
    """Several patches that are one bug."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        for each in patches:
            each(patch)

    return apply


# What the fused kernel does by itself cannot be patched, so it is not taken.
UNFUSED = method(AttentionContext, "is_plainly_causal", lambda f: lambda self, rule: False)
MASK_OFF_BY_ONE = method(Visibility, "allowed", lambda f: lambda self, q, k: f(self, q + 1, k))


def values_rotated(forward: Any) -> Any:
    def rotated(self: Attention, q: Tensor, k: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        if self.rotary is not None:
            v = self.rotary(v, context.position_ids())
        return forward(self, q, k, v, context)

    return rotated


def queries_rotated_one_too_far(forward: Any) -> Any:
    calls = count()

    def rotated(self: Rotary, x: Tensor, ids: Tensor) -> Tensor:
        # Attention turns its queries first, then its keys.
        return forward(self, x, (ids + (next(calls) % 2 == 0)).clamp(max=len(self.cos) - 1))

    return rotated


def over_queries(pattern: Any) -> Any:
    def wrong(self: Attention, q: Tensor, k: Tensor, context: AttentionContext) -> Tensor:
        scores = q @ k.transpose(-2, -1) / self.attn_scale
        scores = self.hook_attn_scores(scores.masked_fill(~context.mask(self.visible), -torch.inf))
        return self.hook_pattern(scores.softmax(dim=-2))

    return wrong


def without_scale(make: Any) -> Any:
    def unscaled(self: Attention, *given: Any) -> Tensor:
        scale, self.attn_scale = self.attn_scale, 1.0
        try:
            return make(self, *given)
        finally:
            self.attn_scale = scale

    return unscaled


def without_skip(forward: Any) -> Any:
    def dropped(self: PreNormBlock, resid: Tensor, context: Any, past: Any = None) -> Tensor:
        resid = self.hook_resid_pre(resid)
        if isinstance(self, AttentionOnlyBlock):
            return self.hook_resid_post(self.attn_out(resid, context, past))
        return self.hook_resid_post(self.mlp_out(self.hook_resid_mid(resid + self.attn_out(resid, context, past))))

    return dropped


def cached_one_back(append: Any) -> Any:
    def shifted(self: TransformerLensKeyValueCacheEntry, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = append(self, k, v)
        return (keys, values.roll(1, dims=1)) if keys.shape[1] > k.shape[1] else (keys, values)

    return shifted


def hook_value_ignored(call: Any) -> Any:
    def deaf(self: TransformerLensHookPoint, activation: Tensor) -> Tensor:
        edited = call(self, activation)
        return activation if (self.name or "").endswith("hook_pattern") else edited

    return deaf


MUTANTS: dict[str, tuple[Patch, set[str]]] = {
    "causal mask off by one": (all_of(MASK_OFF_BY_ONE, UNFUSED), {"pattern-mask", "causality", "locality"}),
    "causal mask off by one, fused kernel right": (MASK_OFF_BY_ONE, {"pattern-mask", "looking"}),
    "softmax over the queries": (method(Attention, "pattern", over_queries), {"pattern-rows", "pattern-softmax"}),
    "scores without 1/sqrt(d_head)": (
        method(Attention, "weighted_values", without_scale),
        {"qk-form", "score-variance"},
    ),
    "LayerNorm without centring": (lambda patch: norms_without_centring(None, patch), {"norm-form", "lens-shift"}),  # type: ignore[arg-type]
    "eps outside the root": (lambda patch: eps_outside_the_root(None, patch), {"norm-form"}),  # type: ignore[arg-type]
    "residual dropped": (
        all_of(method(PreNormBlock, "forward", without_skip), method(AttentionOnlyBlock, "forward", without_skip)),
        {"stream-sum", "all-edges", "components-sum"},
    ),
    "W_O's heads in another order": (
        method(Attention, "output", lambda f: lambda self, z: f(self, z.roll(1, dims=2))),
        {"head-sum", "zero-head", "head-delta"},
    ),
    "position embedding shifted": (lambda patch: positions_from_one(None, patch), {"embedding"}),  # type: ignore[arg-type]
    "b_O added twice": (
        method(Attention, "output", lambda f: lambda self, z: f(self, z) + self.b_O),
        {"head-sum", "components-sum"},
    ),
    "MLP bias dropped": (
        method(MLP, "forward", lambda f: lambda self, x: f(self, x) - self.b_out),
        {"mlp-form", "components-sum"},
    ),
    "key-value cache off by one": (method(TransformerLensKeyValueCacheEntry, "append", cached_one_back), {"kv-cache"}),
    "fused and materialised differ": (
        method(F, "scaled_dot_product_attention", lambda f: lambda *a, **k: 1.001 * f(*a, **k)),
        {"looking", "self-patch"},
    ),
    "an edited pattern is ignored": (method(HookPoint, "__call__", hook_value_ignored), {"points-live"}),
    "unembedding bias dropped": (
        method(Unembed, "forward", lambda f: lambda self, x: f(self, x) - self.b_U),
        {"last-lens", "shares-sum"},
    ),
}
"""The bug, and the invariants that must be among those that catch it, in a model with LayerNorm and MLPs."""

ROTARY_MUTANTS: dict[str, tuple[Patch, set[str]]] = {
    "rotary applied to values": (method(Attention, "weighted_values", values_rotated), {"ov-circuit"}),
    "rotary of the queries off by one": (method(Rotary, "forward", queries_rotated_one_too_far), {"qk-form"}),
    "RMSNorm that centres": (
        all_of(
            method(RMSNormPre, "centred", lambda f: lambda self, x: x - x.mean(dim=-1, keepdim=True)),
            method(RMSNormPre, "fused", lambda f: lambda self, x: f(self, x - x.mean(dim=-1, keepdim=True))),
        ),
        {"norm-form"},
    ),
    "groups of heads interleaved": (
        method(GroupedQueryAttention, "per_query_head", lambda f: lambda self, x: x.repeat(1, 1, self.repeats, 1)),
        {"qk-form", "ov-circuit"},
    ),
}
"""The same for a model with rotary positions, RMSNorm and grouped-query attention (`ROTARY`)."""

INVISIBLE: dict[str, Patch] = {
    "rotary of queries and keys off by one": method(
        Rotary, "forward", lambda f: lambda self, x, ids: f(self, x, (ids + 1).clamp(max=len(self.cos) - 1))
    ),
}
"""No bug at all: a score between rotated vectors depends on their distance alone."""


def caught(model: Any, tokens: Tensor, apply: Patch) -> list[str]:
    """The invariants that fail while the bug is in place."""
    with pytest.MonkeyPatch.context() as patch:
        apply(patch)
        return [outcome.name for outcome in check(model, tokens) if outcome.failed]


def shows(model: Any, tokens: Tensor, apply: Patch) -> bool:
    """Whether the bug changes the logits of a plain run."""
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        plain = model(tokens)
        apply(patch)
        return not torch.allclose(model(tokens), plain)


def main(name: str) -> None:
    """For each bug, which invariants caught it in the model of that name, in float64."""
    from analyses.model_source import resolved
    from analyses.prompts import prompts

    source = resolved(name)
    model = source.load().double()
    torch.set_num_threads(1)
    tokens = prompts(model, source).tokens[:2, :6]
    print(f"{name}, sound: {caught(model, tokens, lambda patch: None) or 'nothing fails'}")
    for what, (apply, _) in (MUTANTS | ROTARY_MUTANTS).items():
        found = caught(model, tokens, apply)
        missed = "NONE, though the logits change" if shows(model, tokens, apply) else "none, nor do the logits change"
        print(f"{what}: {len(found)} catch it: {', '.join(found) or missed}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
