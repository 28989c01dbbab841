from itertools import permutations

import pytest
import torch

from interp.errors import TokensError
from interp.lenses import lens_logits
from interp.residual_ablation import (
    ablated,
    branch_scaled,
    branches,
    edge_hidden,
    placebo,
    replacement,
    skip_removed,
    streams,
)
from models.masks import AttentionContext

from ..conftest import order_one_model, random_tokens

KINDS = ["zero", "mean", "resample"]


def clean_run(model, tokens):
    return model.run_with_cache(tokens, names_filter=streams(model), return_cache_object=False)


def stand_in(values, kind):
    others = {"zero": torch.zeros_like(values), "mean": values.mean(0, keepdim=True), "resample": values[[2, 0, 1]]}
    return others[kind]


def test_removing_an_attention_branch_is_zeroing_its_heads_and_its_bias():
    model, tokens = order_one_model(), random_tokens()
    _, clean = clean_run(model, tokens)
    removed, _ = ablated(model, branch_scaled(branches(model)[2], clean, "zero"), clean)
    model.blocks[1].attn.W_O.data.zero_()
    kept_bias = model(tokens)
    model.blocks[1].attn.b_O.data.zero_()
    torch.testing.assert_close(removed, model(tokens))
    assert not torch.allclose(removed, kept_bias)


def test_zeroing_a_head_is_zeroing_its_output_matrix():
    model, tokens = order_one_model(), random_tokens()

    def without_head(z, hook):
        z = z.clone()
        z[:, :, 2] = 0
        return z

    hooked = model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_z", without_head)])
    model.blocks[0].attn.W_O.data[2] = 0
    torch.testing.assert_close(hooked, model(tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scaled_branch_is_the_blend_of_itself_and_what_stands_in(kind):
    model, tokens = order_one_model(), random_tokens()
    logits, clean = clean_run(model, tokens)
    branch = branches(model)[1]
    name = "blocks.0.hook_mlp_out"
    assert branch.writes == name
    for alpha in (0.0, 0.3, 1.0):
        values = stand_in(clean[name], kind) * (1 - alpha) + alpha * clean[name]
        hooks = [(name, lambda out, hook, values=values: values.expand_as(out).clone())]
        expected = model.run_with_hooks(tokens, fwd_hooks=hooks)
        found, _ = ablated(model, branch_scaled(branch, clean, kind, alpha), clean)
        torch.testing.assert_close(found, expected)
        assert torch.allclose(found, logits) == (alpha == 1.0)


def test_scaling_towards_zero_is_scaling_the_output_weights():
    model, tokens = order_one_model(), random_tokens()
    _, clean = clean_run(model, tokens)
    found, _ = ablated(model, branch_scaled(branches(model)[3], clean, "zero", 0.3), clean)
    model.blocks[1].mlp.W_out.data *= 0.3
    model.blocks[1].mlp.b_out.data *= 0.3
    torch.testing.assert_close(found, model(tokens))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, 3])
def test_without_the_skip_only_the_branch_goes_on(kind, at):
    model, tokens = order_one_model(), random_tokens()
    _, clean = clean_run(model, tokens)
    branch = branches(model)[at]
    values = stand_in(clean[branch.reads], kind) + clean[branch.writes]
    expected = model.run_with_hooks(tokens, fwd_hooks=[(branch.after, lambda stream, hook: values.clone())])
    found, ratio = ablated(model, skip_removed(branch, clean, kind), clean)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ratio, (values.norm(dim=-1) / clean[branch.after].norm(dim=-1)).mean(dim=-1))


def test_without_the_skip_of_a_post_norm_block_the_norm_sees_only_the_branch():
    model, tokens = order_one_model(norm_placement="post", residual_scale=1.7), random_tokens()
    _, clean = clean_run(model, tokens)
    branch = branches(model)[0]
    found, _ = ablated(model, skip_removed(branch, clean, "zero", 1.7), clean)
    only_branch = model.blocks[0].ln1(clean[branch.writes])
    expected = model.run_with_hooks(tokens, fwd_hooks=[(branch.after, lambda stream, hook: only_branch)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("writer", "reader"), [("embedding", 0), ("embedding", 3), (0, 1), (0, 2), (1, 2), (2, 3)])
def test_a_hidden_edge_is_an_edit_of_the_readers_own_input(writer, reader, kind):
    # The second road: TransformerLens' points for a reader's own copy of the stream.
    model, tokens = order_one_model(use_attn_in=True, use_hook_mlp_in=True), random_tokens()
    _, clean = clean_run(model, tokens)
    found = branches(model)
    sender = writer if isinstance(writer, str) else found[writer]
    wrote = clean["blocks.0.hook_resid_pre" if writer == "embedding" else found[writer].writes]
    change = stand_in(wrote, kind) - wrote
    to_attention = reader % 2 == 0
    name = f"blocks.{reader // 2}.hook_{'attn' if to_attention else 'mlp'}_in"
    hooks = [(name, lambda stream, hook: stream + (change[:, :, None] if to_attention else change))]
    expected = model.run_with_hooks(tokens, fwd_hooks=hooks)
    logits, _ = ablated(model, edge_hidden(sender, found[reader], clean, kind, found[-1]), clean)
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits, model(tokens))


def test_a_writer_hidden_from_the_logits_is_missing_in_the_last_stream_only():
    model, tokens = order_one_model(), random_tokens()
    _, clean = clean_run(model, tokens)
    found = branches(model)
    logits, ratio = ablated(model, edge_hidden(found[0], "logits", clean, "zero", found[-1]), clean)
    stream = clean["blocks.1.hook_resid_post"] - clean["blocks.0.hook_attn_out"]
    torch.testing.assert_close(logits, lens_logits(model, stream))
    torch.testing.assert_close(
        ratio, (stream.norm(dim=-1) / clean["blocks.1.hook_resid_post"].norm(dim=-1)).mean(dim=-1)
    )


def test_the_streams_and_branches_are_those_of_the_block():
    def shown(**changes):
        return [
            (b.label, b.reads.split("hook_")[1], b.after.split("hook_")[1])
            for b in branches(order_one_model(**changes))
        ]

    assert shown()[:2] == [("0 attn", "resid_pre", "resid_mid"), ("0 mlp", "resid_mid", "resid_post")]
    assert shown(attn_only=True)[:2] == [("0 attn", "resid_pre", "resid_post"), ("1 attn", "resid_pre", "resid_post")]
    assert shown(parallel_attn_mlp=True)[:2] == [
        ("0 attn", "resid_pre", "resid_post"),
        ("0 mlp", "resid_pre", "resid_post"),
    ]


def test_zero_costs_the_square_of_the_mean_more_than_mean_and_resampling_twice_the_mean():
    # A linear readout of squared error: the loss of r in the place of a is |(r - a) W|^2.
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64) + 0.7
    W = torch.randn(3, 2, generator=generator, dtype=torch.float64)

    def cost(values, kind):
        return ((replacement(values, kind) - values) @ W).square().sum(dim=-1).mean(dim=0)

    torch.testing.assert_close(cost(a, "zero"), cost(a, "mean") + (a.mean(dim=0) @ W).square().sum(dim=-1))
    # Averaged over all orders of the prompts another prompt is drawn uniformly, never the same one: n / (n - 1).
    resampled = torch.stack([cost(a[list(order)], "resample") for order in permutations(range(4))]).mean(dim=0)
    torch.testing.assert_close(resampled, 2 * 4 / 3 * cost(a, "mean"))


def test_resampling_never_takes_a_prompt_for_itself():
    values = torch.arange(5.0)[:, None, None].expand(5, 2, 3)
    assert bool((replacement(values, "resample") != values).all())


def test_the_placebo_is_as_long_as_the_ablation_at_every_position_and_points_elsewhere():
    model, tokens = order_one_model(), random_tokens()
    _, clean = clean_run(model, tokens)
    found = branches(model)
    ablation = edge_hidden(found[0], found[3], clean, "mean", found[-1])
    control = placebo(ablation, torch.Generator().manual_seed(1))
    torch.testing.assert_close(control.delta.norm(dim=-1), ablation.delta.norm(dim=-1))
    cosine = torch.nn.functional.cosine_similarity(control.delta, ablation.delta, dim=-1)
    # Of 21 random directions in 12 dimensions the mean cosine has a standard deviation of 1 / sqrt(12 * 21) = 0.06.
    assert abs(float(cosine.mean())) < 0.25
    assert (control.layer, control.at, control.until, control.seen) == (
        ablation.layer,
        ablation.at,
        ablation.until,
        ablation.seen,
    )
    again = placebo(ablation, torch.Generator().manual_seed(1))
    assert torch.equal(control.delta, again.delta)


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_one_prompt_has_no_mean_to_be_replaced_by(kind):
    with pytest.raises(TokensError, match=f"{kind} ablation needs at least two prompts"):
        replacement(torch.ones(1, 2, 3), kind)
    assert float(replacement(torch.ones(1, 2, 3), "zero").sum()) == 0


@pytest.mark.parametrize("branch", range(4))
def test_the_gradient_goes_through_the_skip_unchanged_and_through_the_branch_besides(branch):
    # grad(before) = grad(after) + what the branch's own Jacobian makes of grad(after): the 1 of 1 + eps is exact.
    model, tokens = order_one_model(), random_tokens()
    part = branches(model)[branch]
    block = model.blocks[part.layer]
    _, cache = model.run_with_cache(tokens, incl_bwd=True, return_type="loss", names_filter=[part.reads, part.after])
    before = cache[part.reads].clone().requires_grad_()
    read = block.read(block.ln1 if part.label.endswith("attn") else block.ln2, before)
    written = block.attn(read, read, read, AttentionContext(n_queries=7)) if branch % 2 == 0 else block.mlp(read)
    (through,) = torch.autograd.grad(written, before, cache[f"{part.after}_grad"])
    torch.testing.assert_close(cache[f"{part.reads}_grad"], cache[f"{part.after}_grad"] + through)
    assert not torch.allclose(through, torch.zeros_like(through))
