"""Models and library code broken on purpose, a way for each identity, so that what it claims no longer holds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.cache.key_value_cache_entry import TransformerLensKeyValueCacheEntry
from transformer_lens.hook_points import HookPoint as TransformerLensHookPoint

import interp.lenses
import interp.weights
from interp.invariants import ablations, circuits, coalitions, effects
from models import HookedTransformer
from models.attention import Attention
from models.blocks import AttentionOnlyBlock, PreNormBlock
from models.masks import AttentionContext, Visibility
from models.norms import LayerNormPre
from models.positions import PosEmbed, Rotary

LOCAL: dict[str, object] = {
    "use_local_attn": True,
    "window_size": 3,
    "attn_types": ("global", "local"),
    "final_rms": True,
}
ROTARY: dict[str, object] = {
    "n_key_value_heads": 2,
    "positional_embedding_type": "rotary",
    "gated_mlp": True,
    "normalization_type": "RMS",
}
ATTENTION_ONLY: dict[str, object] = {"attn_only": True}

Mutation = Callable[[HookedTransformer, pytest.MonkeyPatch], None]


def edit(name: str, change: Callable[[Tensor], Tensor]) -> Mutation:
    """A model in which one activation is other than it should be."""
    return lambda model, monkeypatch: model.add_hook(name, lambda value, hook: change(value))


def one_entry_larger(value: Tensor) -> Tensor:
    larger = value.clone()
    larger[0, 0] *= 1.01
    return larger


def leaking_mask(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = Visibility.allowed
    monkeypatch.setattr(Visibility, "allowed", lambda self, queries, keys: allowed(self, queries + 1, keys))


def leaking_mask_and_kernel(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    leaking_mask(model, monkeypatch)
    monkeypatch.setattr(AttentionContext, "is_plainly_causal", lambda self, rule: False)


def scale_forgotten(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.blocks[1].attn.attn_scale = 1.0


def output_changed(change: Callable[[Tensor], Tensor]) -> Mutation:
    def mutate(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
        output = Attention.output
        monkeypatch.setattr(Attention, "output", lambda self, z: output(self, change(z)))

    return mutate


def without_head_one(z: Tensor) -> Tensor:
    kept = z.clone()
    kept[:, :, 1] = 0
    return kept


def block_changed(
    skip: Callable[[Tensor], Tensor] = lambda resid: resid, branch: Callable[[Tensor], Tensor] = lambda out: out
) -> Mutation:
    def forward(self: PreNormBlock, resid: Tensor, context: object, past: object = None) -> Tensor:
        resid = self.hook_resid_pre(resid)
        resid = self.hook_resid_mid(skip(resid) + branch(self.attn_out(resid, context, past)))
        return self.hook_resid_post(resid + self.mlp_out(resid))

    return lambda model, monkeypatch: monkeypatch.setattr(PreNormBlock, "forward", forward)


def seam_stretched(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.blocks[1].register_forward_pre_hook(lambda block, given: (1.01 * given[0], *given[1:]))


def path_around_the_stream(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = []
    model.add_hook("hook_embed", lambda value, hook: embedded.append(value))
    model.ln_final.register_forward_pre_hook(lambda norm, given: (given[0] + embedded[-1],))


def hooked_points_that_change(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransformerLensHookPoint, "forward", lambda self, x: x if x.dtype == torch.long else 1.01 * x)


def edited_scores(become: Callable[[Tensor], Tensor]) -> Mutation:
    def mutate(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
        call = type(model.hook_embed).__call__

        def deaf(self: TransformerLensHookPoint, activation: Tensor) -> Tensor:
            edited = call(self, activation)
            return edited if self.name != SCORES or edited is activation else become(activation)

        monkeypatch.setattr(type(model.hook_embed), "__call__", deaf)

    return mutate


def positions_from_the_left_edge(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        AttentionContext,
        "position_ids",
        lambda self: torch.arange(self.n_past + self.n_queries, device=self.device)[None],
    )


def cache_that_forgets(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    append = TransformerLensKeyValueCacheEntry.append

    def forgets(self: TransformerLensKeyValueCacheEntry, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = append(self, k, v)
        keys = keys.clone()
        keys[:, : -k.shape[1]] *= 0.9
        return keys, values

    monkeypatch.setattr(TransformerLensKeyValueCacheEntry, "append", forgets)


def start_one_late(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = HookedTransformer._layers
    monkeypatch.setattr(HookedTransformer, "_layers", lambda self, start, stop: layers(self, start and start + 1, stop))


def other_rotation(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate = Rotary.forward
    monkeypatch.setattr(Rotary, "forward", lambda self, x, ids: rotate(self, x, 0 * ids))


def scores_squashed(scores: Tensor) -> Tensor:
    return torch.where(scores.isfinite(), scores.tanh(), scores)


def positions_from_one(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = PosEmbed.at
    monkeypatch.setattr(PosEmbed, "at", lambda self, ids: look_up(self, (ids + 1) % len(self.W_pos)))


def norms_without_centring(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerNormPre, "centred", lambda self, x: x)
    monkeypatch.setattr(LayerNormPre, "fused", materialised_norm)


def materialised_norm(self: LayerNormPre, x: Tensor) -> Tensor:
    precise = self.centred(x)
    normed = precise / self.scale(precise)
    return normed if self.w is None else normed * self.w + self.b


def eps_outside_the_root(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerNormPre, "scale", lambda self, x: x.square().mean(-1, keepdim=True).sqrt() + self.eps)
    monkeypatch.setattr(LayerNormPre, "fused", materialised_norm)


def other_activation(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.blocks[1].mlp.act_fn = torch.nn.functional.silu


def clipped_norm(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.blocks[0].ln1.register_forward_hook(lambda norm, given, out: out.clamp(-1, 1))


def deaf_pattern(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    call = type(model.hook_embed).__call__

    def deaf(self: TransformerLensHookPoint, activation: Tensor) -> Tensor:
        edited = call(self, activation)
        return activation if self.name == PATTERN else edited

    monkeypatch.setattr(type(model.hook_embed), "__call__", deaf)


def louder_gradient(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(value: Tensor, hook: object) -> None:
        if value.requires_grad:
            value.register_hook(lambda gradient: 2 * gradient)

    model.add_hook("blocks.1.hook_resid_pre", hook)


def library(module: object, name: str, instead: Callable[[Any], Callable[..., Any]]) -> Mutation:
    """Code of the library replaced by what is made of it."""
    return lambda model, monkeypatch: monkeypatch.setattr(module, name, instead(getattr(module, name)))


def scale_forgotten_at_first(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.blocks[0].attn.attn_scale /= 100


def scale_far_off(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.blocks[1].attn.attn_scale /= 100


def median(reference: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda activation: reference.median(dim=0).values.expand_as(activation).clone()


def attention_writes_b_O_twice(model: HookedTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Attention.output
    monkeypatch.setattr(Attention, "output", lambda self, z: output(self, z) + self.b_O)


def only_block_changed(skip: Callable[[Tensor], Tensor]) -> Mutation:
    def forward(self: AttentionOnlyBlock, resid: Tensor, context: object, past: object = None) -> Tensor:
        resid = self.hook_resid_pre(resid)
        return self.hook_resid_post(skip(resid) + self.attn_out(resid, context, past))

    return lambda model, monkeypatch: monkeypatch.setattr(AttentionOnlyBlock, "forward", forward)


def by_number(z: Tensor) -> Tensor:
    return z * (1 + torch.arange(z.shape[2]).to(z))[:, None]


def a_sink(scores: Tensor) -> Tensor:
    drawn = scores.clone()
    drawn[..., 0] += 0.1
    return drawn


PATTERN, SCORES = "blocks.1.attn.hook_pattern", "blocks.1.attn.hook_attn_scores"
MUTATIONS: list[tuple[str, str, Mutation, dict[str, object]]] = [
    ("pattern-rows", "softmax sums to 1.01", edit(PATTERN, lambda pattern: 1.01 * pattern), {}),
    ("pattern-sign", "negative attention", edit(PATTERN, lambda pattern: 2 * pattern - pattern.flip(-1)), {}),
    ("pattern-mask", "a mask one key too wide", leaking_mask, {}),
    ("pattern-mask", "a window one key too wide", leaking_mask, LOCAL),
    ("qk-form", "scores not scaled", scale_forgotten, {}),
    ("qk-form", "scores off by a percent in one row", edit(SCORES, one_entry_larger), {}),
    ("qk-form", "no rotation", other_rotation, ROTARY),
    ("ov-circuit", "z off by a percent in one row", edit("blocks.0.attn.hook_z", one_entry_larger), {}),
    ("head-sum", "W_O dropped for one head", output_changed(without_head_one), {}),
    (
        "head-result",
        "results off by a percent in one row",
        edit("blocks.0.attn.hook_result", one_entry_larger),
        {"use_attn_result": True},
    ),
    ("stream-sum", "attention written 1.01 times", block_changed(branch=lambda out: 1.01 * out), {}),
    ("stream-seam", "a stream stretched between blocks", seam_stretched, {}),
    ("last-lens", "logits off by 0.01", edit("unembed.hook_out", lambda logits: logits + 0.01), {}),
    ("direct-attribution", "a final norm off by a percent", edit("ln_final.hook_normalized", one_entry_larger), {}),
    ("direct-attribution", "a path around the stream", path_around_the_stream, {}),
    ("skip-gradient", "no gradient through the skip", block_changed(skip=lambda resid: resid.detach()), {}),
    ("qk-gauge", "rectified queries", edit("blocks.0.attn.hook_q", torch.relu), {}),
    ("ov-gauge", "rectified values", edit("blocks.0.attn.hook_v", torch.relu), {}),
    ("key-bias", "squashed scores", edit(SCORES, scores_squashed), {}),
    ("value-bias", "softmax sums to 1.01", edit(PATTERN, lambda pattern: 1.01 * pattern), {}),
    ("zero-head", "an offset before W_O", output_changed(lambda z: z + 0.1), {}),
    ("self-patch", "hooked points that change their value", hooked_points_that_change, {}),
    ("patch-all", "a path around the stream", path_around_the_stream, {}),
    ("locality", "a mask one key too wide", leaking_mask_and_kernel, {}),
    ("causality", "a mask one key too wide", leaking_mask_and_kernel, {}),
    ("looking", "hooked points that change their value", hooked_points_that_change, {}),
    ("looking", "a mask one key too wide, but not in the fused kernel", leaking_mask, {}),
    ("points-live", "edited scores ignored", edited_scores(lambda scores: scores), {}),
    ("points-live", "edited scores turn to NaN", edited_scores(lambda scores: torch.nan * scores), {}),
    ("padding", "positions counted from the left edge", positions_from_the_left_edge, {}),
    ("kv-cache", "a cache that forgets", cache_that_forgets, {}),
    ("stop-start", "a start one layer late", start_one_late, {}),
    (
        "batch",
        "prompts centred by their neighbours",
        edit("blocks.0.hook_resid_mid", lambda resid: resid - 0.01 * resid.mean(0, keepdim=True)),
        {},
    ),
    ("embedding", "positions counted from one", positions_from_one, {}),
    ("norm-form", "a norm that does not centre", norms_without_centring, {}),
    ("norm-form", "eps outside the root", eps_outside_the_root, {}),
    ("pattern-softmax", "a pattern off by a percent in one row", edit(PATTERN, one_entry_larger), {}),
    ("mlp-form", "another activation function", other_activation, {}),
    ("mlp-form", "a write off by a percent in one row", edit("blocks.0.hook_mlp_out", one_entry_larger), {}),
    ("components-sum", "b_O written twice", attention_writes_b_O_twice, {}),
    ("shares-sum", "a final norm off by a percent", edit("ln_final.hook_normalized", one_entry_larger), {}),
    ("path-sum", "a skip that loses a percent", only_block_changed(lambda resid: 0.99 * resid), ATTENTION_ONLY),
    ("path-orders", "edited patterns ignored", deaf_pattern, ATTENTION_ONLY),
    ("virtual-head", "softmax sums to 1.01", edit(PATTERN, lambda pattern: 1.01 * pattern), {}),
    ("fold-norms", "a norm clipped behind its weight", clipped_norm, {}),
    ("centre-writing", "a norm that does not centre", norms_without_centring, {}),
    ("centre-unembed", "rectified logits", edit("unembed.hook_out", torch.relu), {}),
    ("head-order", "heads weighted by their number", output_changed(by_number), {}),
    (
        "token-order",
        "positions let in by the embedding",
        edit("hook_embed", lambda x: x + torch.arange(x.shape[1]).to(x)[:, None] * torch.arange(x.shape[2]).to(x)),
        {"positional_embedding_type": "none", "n_layers": 1},
    ),
    (
        "eigen-trick",
        "eigenvalues off by a percent",
        library(circuits, "product_eigenvalues", lambda f: lambda *a: 1.01 * f(*a)),
        {},
    ),
    (
        "copying-one",
        "moduli summed in square",
        library(interp.weights, "_positivity", lambda f: lambda e: e.sum(-1).real / e.abs().square().sum(-1).sqrt()),
        {},
    ),
    (
        "composition-norm",
        "norms off by a percent",
        library(interp.weights, "product_norm", lambda f: lambda *a: 1.01 * f(*a)),
        {},
    ),
    (
        "composition-null",
        "a baseline of zero",
        library(circuits, "composition_scores", lambda f: lambda *a: replace(f(*a), z=100 * f(*a).score ** 2)),
        {},
    ),
    (
        "gauge-scores",
        "strength taken for composition",
        library(
            circuits, "composition_scores", lambda f: lambda v, *a: replace(f(v, *a), score=v.norm() * f(v, *a).score)
        ),
        {},
    ),
    ("normalised-effect", "a path around the stream", path_around_the_stream, {}),
    (
        "swapped-roles",
        "a direction that is ignored",
        library(effects, "sweep", lambda f: lambda *a, direction: f(*a, direction="denoising")),
        {},
    ),
    ("equal-prefix", "a mask one key too wide", leaking_mask_and_kernel, {}),
    ("engines-agree", "a forward that is not its pieces", block_changed(branch=lambda out: 1.01 * out), {}),
    ("ablation-algebra", "a median for a mean", library(ablations, "mean", lambda f: median), {}),
    ("optimal-constant", "a median for a mean", library(ablations, "mean", lambda f: median), {}),
    ("shapley-sum", "a path around the stream", path_around_the_stream, {}),
    ("circuit-ends", "a path around the stream", path_around_the_stream, {}),
    (
        "cosine-mean",
        "a position paired with itself",
        library(coalitions, "mean_cosine", lambda f: lambda x: f(torch.cat([x, x[:, :1]], 1))),
        {},
    ),
    ("atp-frozen", "no gradient through the skip", block_changed(skip=lambda resid: resid.detach()), {}),
    ("jacobian-sum", "no gradient through the skip", block_changed(skip=lambda resid: resid.detach()), {}),
    ("atp-order", "no gradient through the branch", block_changed(branch=lambda out: out.detach()), {}),
    ("integrated-gradients", "no gradient through the branch", block_changed(branch=lambda out: out.detach()), {}),
    ("duality", "a gradient doubled on its way", louder_gradient, {}),
    ("edge-sum", "no gradient through the skip", block_changed(skip=lambda resid: resid.detach()), {}),
    ("all-edges", "attention written 1.01 times", block_changed(branch=lambda out: 1.01 * out), {}),
    ("query-edge", "a norm that does not centre", norms_without_centring, {}),
    ("lens-scale", "a norm that divides by one more", edit("ln_final.hook_scale", lambda scale: scale + 1), {}),
    ("lens-shift", "a norm that does not centre", norms_without_centring, {}),
    ("lens-kl", "KL the other way round", library(interp.lenses, "kl_divergence", lambda f: lambda p, q: f(q, p)), {}),
    ("answer-only", "logits off by 0.01", edit("unembed.hook_out", lambda logits: logits + 0.01), {}),
    ("head-delta", "values squared before W_O", output_changed(torch.square), {}),
    ("score-variance", "scores not scaled", scale_far_off, {}),
    ("uniform-kl", "scores not scaled", scale_forgotten_at_first, {}),
    ("initial-loss", "logits lost", edit("unembed.hook_out", lambda logits: 0 * logits), {}),
    ("uniform-spectrum", "the first token preferred", edit(SCORES, a_sink), {}),
]
"""The identity, what is wrong, how it is done, and the model it is done to."""
