"""The orders of norm, skip and layer, against PyTorch's own layers and the papers' formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from models import HookedTransformer, multi_block
from models.initialisation import deepnorm_residual_scale
from tests.conftest import order_one, order_one_model, random_tokens

ALPHA = deepnorm_residual_scale(3)


def stacked(**changes):
    config = multi_block(n_layers=3, n_heads=2, d_model=10, d_vocab=17, n_ctx=9, **changes)
    return order_one(HookedTransformer(config).double())


@torch.no_grad()
def encoder_layer(block, config, norm_first):
    """PyTorch's layer with the weights of one of our blocks."""
    layer = nn.TransformerEncoderLayer(
        config.d_model,
        config.n_heads,
        config.d_mlp,
        dropout=0.0,
        activation=config.act_fn,
        layer_norm_eps=config.eps,
        batch_first=True,
        norm_first=norm_first,
        dtype=torch.float64,
    )
    for row, (W, b) in enumerate(((block.attn.W_Q, block.attn.b_Q), (block.attn.W_K, block.attn.b_K))):
        for head in range(config.n_heads):
            start = row * config.d_model + head * config.d_head
            layer.self_attn.in_proj_weight[start : start + config.d_head] = W[head].T
            layer.self_attn.in_proj_bias[start : start + config.d_head] = b[head]
    layer.self_attn.in_proj_weight[2 * config.d_model :] = torch.cat([W.T for W in block.attn.W_V])
    layer.self_attn.in_proj_bias[2 * config.d_model :] = torch.cat(list(block.attn.b_V))
    layer.self_attn.out_proj.weight.copy_(torch.cat(list(block.attn.W_O)).T)
    layer.self_attn.out_proj.bias.copy_(block.attn.b_O)
    for linear, W, b in ((layer.linear1, "W_in", "b_in"), (layer.linear2, "W_out", "b_out")):
        linear.weight.copy_(getattr(block.mlp, W).T)
        linear.bias.copy_(getattr(block.mlp, b))
    for norm, ours in ((layer.norm1, block.ln1), (layer.norm2, block.ln2)):
        norm.weight.copy_(ours.w)
        norm.bias.copy_(ours.b)
    return layer.eval()


@pytest.mark.parametrize(
    ("norm_placement", "act_fn"), [("post", "relu"), ("post", "gelu"), ("pre", "gelu"), ("pre", "relu")]
)
def test_each_block_and_the_stack_equal_pytorchs_transformer_encoder(norm_placement, act_fn):
    model, tokens = stacked(norm_placement=norm_placement, act_fn=act_fn), random_tokens(length=6)
    causal = nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64)
    _, cache = model.run_with_cache(tokens)
    x = model.W_E[tokens] + model.W_pos[:6]
    for index, block in enumerate(model.blocks):
        layer = encoder_layer(block, model.cfg, norm_first=norm_placement == "pre")
        alone = layer(cache[f"blocks.{index}.hook_resid_pre"], src_mask=causal)
        assert_close(alone, cache[f"blocks.{index}.hook_resid_post"])
        x = layer(x, src_mask=causal)
    logits = model.ln_final(x) @ model.W_U + model.b_U
    assert_close(model(tokens), logits)


def test_the_two_orders_are_not_the_same_function():
    tokens = random_tokens(length=6)
    pre, post = stacked(), stacked(norm_placement="post", final_norm=True)
    post.load_state_dict(pre.state_dict())
    assert (pre(tokens) - post(tokens)).abs().max() > 0.1


@pytest.mark.parametrize("normalization_type", ["LN", "RMS"])
def test_deepnorm_normalises_the_scaled_skip_plus_the_branch(normalization_type):
    assert pytest.approx(6**0.25) == ALPHA
    model = stacked(norm_placement="post", residual_scale=ALPHA, normalization_type=normalization_type)
    _, cache = model.run_with_cache(random_tokens())
    for layer, block in enumerate(model.blocks):
        pre, mid, post, attn_out, mlp_out = (
            cache[f"blocks.{layer}.hook_{name}"]
            for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
        )
        for norm, given, expected in (
            (block.ln1, ALPHA * pre + attn_out, mid),
            (block.ln2, ALPHA * mid + mlp_out, post),
        ):
            if normalization_type == "LN":
                assert_close(F.layer_norm(given, (10,), norm.w, norm.b), expected)
            else:
                assert_close(F.rms_norm(given, (10,), norm.w, eps=model.cfg.eps), expected)


def test_a_post_norm_layer_reads_the_stream_as_it_is():
    model, tokens = stacked(norm_placement="post"), random_tokens()
    _, cache = model.run_with_cache(tokens)
    attn = model.blocks[1].attn
    q = torch.einsum("bpd,hde->bphe", cache["blocks.1.hook_resid_pre"], attn.W_Q) + attn.b_Q
    assert_close(cache["blocks.1.attn.hook_q"], q)


def test_parallel_layers_read_the_same_stream():
    model, tokens = order_one_model(parallel_attn_mlp=True), random_tokens()
    _, cache = model.run_with_cache(tokens)
    pre = cache["blocks.1.hook_resid_pre"]
    assert_close(cache["blocks.1.hook_mlp_out"], model.blocks[1].mlp(model.blocks[1].ln2(pre)))
    written = cache["blocks.1.hook_attn_out"] + cache["blocks.1.hook_mlp_out"]
    assert_close(cache["blocks.1.hook_resid_post"], pre + written)


def test_norms_before_and_after_normalise_what_is_written_too():
    model, tokens = order_one_model(use_normalization_before_and_after=True, normalization_type="RMS"), random_tokens()
    model.set_use_attn_result(True)
    _, cache = model.run_with_cache(tokens)
    block = model.blocks[0]
    attended = cache["blocks.0.attn.hook_result"].sum(dim=2) + block.attn.b_O
    assert_close(cache["blocks.0.hook_attn_out"], F.rms_norm(attended, (12,), block.ln1_post.w, eps=model.cfg.eps))
    fed = block.mlp(block.ln2(cache["blocks.0.hook_resid_mid"]))
    assert_close(cache["blocks.0.hook_mlp_out"], F.rms_norm(fed, (12,), block.ln2_post.w, eps=model.cfg.eps))


@pytest.mark.parametrize("attn_only", [False, True])
def test_the_stream_is_the_sum_of_everything_written(attn_only):
    model, tokens = order_one_model(attn_only=attn_only), random_tokens()
    _, cache = model.run_with_cache(tokens)
    written = cache["hook_embed"] + cache["hook_pos_embed"]
    for layer in range(model.cfg.n_layers):
        written = written + cache[f"blocks.{layer}.hook_attn_out"]
        if not attn_only:
            written = written + cache[f"blocks.{layer}.hook_mlp_out"]
    assert_close(cache[f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"], written)


def test_the_gradient_at_the_stream_is_the_gradient_after_it_plus_the_branchs():
    # Invariant 22: grad(resid_pre) = grad(resid_mid) + the branch's vector-Jacobian product with it.
    model, tokens = order_one_model(), random_tokens()
    stream = model(tokens, stop_at_layer=1).detach().requires_grad_()
    block, context = model.blocks[1], model._context(tokens.shape, None, None)
    branch = block.attn_out(stream, context, None)
    mid = (stream + branch).detach().requires_grad_()
    block_after = mid + block.mlp_out(mid)
    loss = lambda x: (model.ln_final(x) @ model.W_U).logsumexp(-1).sum()  # noqa: E731
    (at_mid,) = torch.autograd.grad(loss(block_after), mid)
    (of_branch,) = torch.autograd.grad(branch, stream, at_mid)
    gradients = {}
    model.zero_grad()
    with model.hooks(
        bwd_hooks=[("blocks.1.hook_resid_pre", lambda gradient, hook: gradients.update(pre=gradient.clone()))]
    ):
        (model(tokens) - model.b_U).logsumexp(-1).sum().backward()
    assert_close(gradients["pre"], at_mid + of_branch)


@pytest.mark.parametrize("switch", ["use_hook_mlp_in", "use_attn_in", "use_split_qkv_input"])
def test_editing_what_a_layer_reads_in_place_leaves_the_stream(switch):
    name, written, stream = {
        "use_hook_mlp_in": ("hook_mlp_in", "hook_mlp_out", "hook_resid_mid"),
        "use_attn_in": ("hook_attn_in", "hook_attn_out", "hook_resid_pre"),
        "use_split_qkv_input": ("hook_v_input", "hook_attn_out", "hook_resid_pre"),
    }[switch]
    model, tokens = order_one_model(**{switch: True}), random_tokens()
    after = "hook_resid_post" if stream == "hook_resid_mid" else "hook_resid_mid"
    with torch.no_grad():
        _, plain = model.run_with_cache(tokens)
        with model.hooks(fwd_hooks=[(f"blocks.0.{name}", lambda read, hook: read.mul_(torch.arange(12)))]):
            _, edited = model.run_with_cache(tokens)
    assert (edited[f"blocks.0.{written}"] - plain[f"blocks.0.{written}"]).abs().max() > 1e-3
    assert torch.equal(edited[f"blocks.0.{stream}"], plain[f"blocks.0.{stream}"])
    assert_close(edited[f"blocks.0.{after}"], edited[f"blocks.0.{stream}"] + edited[f"blocks.0.{written}"])
