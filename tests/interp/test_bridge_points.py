"""What TransformerLens 4.3's bridges do without a word, and what says it here."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from interp import (
    DiscardedEditError,
    EmptyMatchError,
    HookNeverFiredError,
    UnknownPointError,
    add,
    edited,
    patch,
    site,
    sites,
    zero,
)
from interp.bridge_points import old_name
from interp.engine.plain import activations
from tests.interp.bridges import bridge, converted, running, without_words
from tests.interp.test_hooks import native_bridge

TOKENS = torch.randint(1, 37, (2, 6), generator=torch.Generator().manual_seed(0))
NAMES = ["gpt2", "llama", "gemma2", "gpt_neox"]


def logits(model: Any, tokens: Tensor = TOKENS) -> Tensor:
    with running(), torch.no_grad():
        return model(tokens)


def logits_with(model: Any, name: str, edit: Callable[[Tensor], Tensor], tokens: Tensor = TOKENS) -> Tensor:
    with running(), torch.no_grad(), edited(model, {name: edit}):
        return model(tokens)


def with_raw_hook(model: Any, name: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
    with running(), torch.no_grad():
        return model.run_with_hooks(TOKENS, fwd_hooks=[(name, lambda x, hook: edit(x))])


@pytest.mark.parametrize(
    ("case", "name", "instead"),
    [
        ("gpt2", "blocks.1.attn.qkv.hook_in", "attn.hook_q"),
        ("gpt2", "blocks.1.attn.qkv.hook_out", "attn.hook_q"),
        ("llama", "hook_pos_embed", "hook_rot_q"),
        ("llama", "rotary_emb.hook_out", "rotary_emb.hook_cos"),
        ("llama", "blocks.1.attn.hook_hidden_states", "hook_attn_out"),
        ("gpt_neox", "blocks.1.attn.hook_rot_q", "attn.hook_q"),
        ("gptj", "blocks.1.attn.hook_rot_k", "attn.hook_k"),
    ],
)
def test_a_point_that_never_fires_is_told_with_the_one_to_use(case: str, name: str, instead: str) -> None:
    model = bridge(case)
    assert torch.equal(with_raw_hook(model, name, zero()), logits(model))  # The bridge says nothing.
    with pytest.raises(HookNeverFiredError, match=rf"{name} did not fire.*{instead}"):
        logits_with(model, name, zero())
    used = {"hook_rot_q": "blocks.1.attn.hook_rot_q", "rotary_emb.hook_cos": "rotary_emb.hook_cos"}
    fires = used.get(instead, f"blocks.1.{instead}")
    assert not torch.equal(logits_with(model, fires, zero()), logits(model))


def test_processed_weights_silence_the_inputs_of_a_gated_mlp() -> None:
    with pytest.raises(HookNeverFiredError, match=r"mlp\.gate\.hook_in did not fire.*mlp\.hook_in"):
        logits_with(bridge("llama", "folded"), "blocks.1.mlp.gate.hook_in", zero())
    for model in (bridge("llama"), bridge("llama", "folded")):
        assert not torch.equal(logits_with(model, "blocks.1.mlp.hook_in", zero()), logits(model))


@pytest.mark.parametrize("case", ["opt", "gptj", "gpt_neo"])
@pytest.mark.parametrize("name", ["attn.hook_pattern", "attn.hook_attn_scores"])
def test_an_edit_that_the_bridge_throws_away_is_refused(case: str, name: str) -> None:
    model, name = bridge(case), f"blocks.1.{name}"
    assert torch.equal(with_raw_hook(model, name, lambda x: x / 2), logits(model))
    with pytest.raises(DiscardedEditError, match=rf"throws away what the edit at {name} returns.*hook_z"):
        logits_with(model, name, lambda x: x / 2)
    with running():
        _, seen = activations(model, TOKENS, [name])  # To be looked at it is good enough.
    assert seen[name].shape == (2, model.cfg.n_heads, 6, 6)
    assert not torch.equal(logits_with(model, "blocks.1.attn.hook_z", lambda x: x / 2), logits(model))


def test_the_native_bridge_s_scores_are_thrown_away_and_its_pattern_is_not() -> None:
    model, tokens = native_bridge(), TOKENS % 17
    scores, pattern, hidden = (f"blocks.1.attn.hook_{name}" for name in ("attn_scores", "pattern", "hidden_states"))
    before = model(tokens)
    with (
        without_words(),
        pytest.raises(DiscardedEditError, match=r"edit attn\.hook_pattern"),
        edited(model, {scores: zero()}),
    ):
        model(tokens)
    with pytest.raises(HookNeverFiredError, match="hook_hidden_states did not fire"), edited(model, {hidden: zero()}):
        model(tokens)
    with edited(model, {pattern: zero()}):
        assert not torch.allclose(model(tokens), before)


def test_angles_do_not_depend_on_the_stream() -> None:
    with pytest.raises(DiscardedEditError, match=r"rotary_emb\.hook_cos"):
        logits_with(bridge("llama"), "rotary_emb.hook_in", lambda x: x + 1)
    assert not torch.equal(logits_with(bridge("llama"), "rotary_emb.hook_cos", zero()), logits(bridge("llama")))


def test_names_that_a_filter_of_the_bridge_drops_are_unknown_here() -> None:
    model = bridge("gpt2")
    right, wrong = "blocks.0.attn.hook_z", "blocks.0.attn.hook_zz"
    with running():
        _, cache = model.run_with_cache(TOKENS, names_filter=[right, wrong])
        _, empty = model.run_with_cache(TOKENS, names_filter=lambda name: name.endswith("hook_zz"))
        _, silent = model.run_with_cache(TOKENS, names_filter="blocks.0.attn.qkv.hook_out")
    assert right in list(cache)
    assert wrong not in list(cache)
    assert not list(empty)
    assert not list(silent)
    with pytest.raises(UnknownPointError, match=r"Did you mean 'blocks\.0\.attn\.hook_z'"):
        activations(model, TOKENS, [right, wrong])
    with pytest.raises(EmptyMatchError, match="matches none"):
        sites(model, "blocks.*.attn.hook_zz")
    with running(), pytest.raises(HookNeverFiredError):
        activations(model, TOKENS, ["blocks.0.attn.qkv.hook_out"])
    with running():
        assert activations(model, TOKENS, [right])[1][right].shape == (2, 6, 4, 6)


def test_a_point_behind_the_stop_is_told() -> None:
    model, behind = bridge("gpt2"), "blocks.2.hook_resid_post"
    with running(), pytest.raises(HookNeverFiredError, match=behind), edited(model, {behind: zero()}):
        model(TOKENS, stop_at_layer=2)
    with running(), edited(model, {"blocks.1.hook_resid_post": zero()}) as fired:
        assert not model(TOKENS, stop_at_layer=2).any()
    assert fired == {"blocks.1.hook_resid_post": 1}


@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma2", "olmo2", "granite"])
@pytest.mark.parametrize("kind", ["booted", "folded"])
def test_the_stream_in_the_middle_of_a_block_is_replaced_as_a_whole(case: str, kind: Any) -> None:
    model, name = bridge(case, kind), "blocks.1.hook_resid_mid"
    other = TOKENS.flip(0)
    with running():
        _, seen = activations(model, other, [name])
    assert_close(logits_with(model, name, patch(seen[name])), logits(model, other), rtol=0, atol=1e-9)
    # The bridge's own hook replaces what the MLP reads and leaves the stream that goes past it.
    assert not torch.allclose(with_raw_hook(model, name, lambda x: seen[name]), logits(model, other), atol=1e-2)


def test_edits_in_the_middle_of_a_block_add_up_in_any_order() -> None:
    ours, theirs = converted("gpt2"), bridge("gpt2")
    mid, post, written = (f"blocks.1.hook_{place}" for place in ("resid_mid", "resid_post", "mlp_out"))
    vector = torch.linspace(-1, 1, 24, dtype=torch.float64).expand(2, 6, 24)
    found = []
    for model in (ours, theirs):
        outer = edited(model, {post: lambda x: x * 1.5, mid: add(vector), written: add(2 * vector)})
        with running(), torch.no_grad(), outer, edited(model, {site(model, mid).at(pos=2): zero()}):
            found.append(model(TOKENS))
    assert_close(*found, rtol=0, atol=1e-9)
    assert not any(point.fwd_hooks for point in theirs.hook_dict.values())


def test_gradients_reach_the_whole_stream() -> None:
    found = []
    for model in (converted("llama"), bridge("llama")):
        leaves = []

        def leaf(x: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
            leaves.append(x.detach().requires_grad_())
            return leaves[-1]

        with running(), edited(model, {"blocks.1.hook_resid_mid": leaf}):
            loss = model(TOKENS).square().sum()
        found.append(torch.autograd.grad(loss, leaves)[0])
    assert_close(*found, rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", NAMES)
def test_the_bridge_s_own_names_mean_the_same_places_in_our_model(case: str) -> None:
    ours, theirs = converted(case), bridge(case)
    own = [name for name in theirs.hook_dict if name not in ours.hook_dict and site_of(ours, name) is not None]
    assert len(own) > 8 * ours.cfg.n_layers
    names = {name: old_name(name, ours.cfg.gated_mlp, "blocks.0.ln1_post.hook_scale" in ours.hook_dict) for name in own}
    with running():
        _, seen = activations(theirs, TOKENS, own)
        _, expected = activations(ours, TOKENS, set(names.values()))
    for name, ours_name in names.items():
        assert_close(seen[name], expected[ours_name], rtol=0, atol=1e-9)
        assert site(theirs, name).axes == site(ours, name).axes == site(ours, ours_name).axes
    assert [found.name for found in sites(ours, "blocks.*.attn.o.hook_in")] == [
        f"blocks.{layer}.attn.hook_z" for layer in range(ours.cfg.n_layers)
    ]


def site_of(model: Any, name: str) -> Any:
    try:
        return site(model, name)
    except (UnknownPointError, ValueError):
        return None
