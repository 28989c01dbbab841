import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.testing import assert_close
from transformer_lens import ActivationCache

from interp.errors import NotASumError, UnknownPointError
from interp.frozen_norm import frozen_norm
from interp.residual import residual_writes
from tests.conftest import order_one_model, random_tokens
from tests.interp.test_hooks import native_bridge
from tests.models.configurations import configurations

TOKENS = random_tokens(batch=2, length=6)
VARIANTS = [
    {},
    {"attn_only": True, "qkv_bias": False},
    {"parallel_attn_mlp": True, "positional_embedding_type": "rotary"},
    {"n_key_value_heads": 2, "normalization_type": "RMS", "gated_mlp": True},
    {"act_fn": "solu_ln", "normalization_type": "ScaleNorm", "positional_embedding_type": "none"},
    {"normalization_type": "LN", "use_normalization_before_and_after": True},
    {"normalization_type": "RMS", "use_normalization_before_and_after": True, "parallel_attn_mlp": True},
    {"normalization_type": "ScaleNorm", "use_normalization_before_and_after": True, "use_split_qkv_input": True},
]


def streams(model):
    return [name for name in model.hook_dict if ".hook_resid_" in name]


def assert_sums(model, tokens=TOKENS, **tolerance):
    _, cache = model.run_with_cache(tokens, names_filter=streams(model))
    for name in streams(model):
        writes = residual_writes(model, tokens, name)
        assert_close(sum(write.value() for write in writes), cache[name].detach().double(), **tolerance)


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(map(str, changes)) or "plain")
def test_the_components_sum_to_the_stream_at_every_site(changes):
    assert_sums(order_one_model(**changes))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=configurations(norm_placement="pre"))
def test_the_components_sum_to_the_stream_whatever_the_options(changes):
    assert_sums(order_one_model(**changes))


def test_a_bridge_is_taken_apart_like_our_model():
    # Bridges are float32.
    assert_sums(native_bridge(), random_tokens(), rtol=1e-5, atol=1e-5)


def test_the_components_are_those_of_transformer_lens():
    model = order_one_model(normalization_type="LNPre")
    with torch.no_grad():
        _, cache = model.run_with_cache(TOKENS)
    writes = {write.label: write for write in residual_writes(model, TOKENS, "blocks.1.hook_resid_post")}
    heads, labels = cache.stack_head_results(-1, return_labels=True)
    for label, head in zip(labels, heads, strict=True):
        assert_close(writes[label].value(), head)
    neurons = cache.stack_neuron_results(-1).unflatten(0, (2, model.cfg.d_mlp))
    components, names = ActivationCache.decompose_resid(cache, -1, return_labels=True)
    parts = dict(zip(names, components, strict=True))
    for layer in range(2):
        assert_close(writes[f"L{layer} MLP"].parts(), neurons[layer])
        whole = writes[f"L{layer} MLP"].value() + writes[f"L{layer} b_out"].value()
        assert_close(whole, parts[f"{layer}_mlp_out"])
        assert_close(writes[f"L{layer} b_O"].value(), model.b_O[layer].detach().expand(2, 6, -1))
    assert_close(writes["embed"].value(), parts["embed"])
    assert_close(writes["pos_embed"].value(), parts["pos_embed"])


@pytest.mark.parametrize("changes", [{}, {"use_normalization_before_and_after": True}])
def test_parts_sum_to_their_write_and_products_are_those_of_the_written_vectors(changes):
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(2, 6, 12, dtype=torch.float64, generator=generator)
    for write in residual_writes(order_one_model(**changes), TOKENS, "blocks.1.hook_resid_post"):
        assert_close(write.parts().sum(dim=0), write.value())
        assert_close(write.along(direction), (write.value() * direction).sum(dim=-1))
        assert_close(write.parts_along(direction), (write.parts() * direction).sum(dim=-1).permute(1, 2, 0))


def test_a_frozen_norm_is_the_norm_at_its_own_scale_and_linear():
    for changes in ({}, {"final_rms": True}, {"normalization_type": "ScaleNorm"}, {"normalization_type": None}):
        model = order_one_model(**changes)
        points = ["ln_final.hook_scale"] if changes != {"normalization_type": None} else []
        last = "blocks.1.hook_resid_post"
        _, cache = model.run_with_cache(TOKENS, names_filter=[*points, last])
        norm, x = frozen_norm(model, dict(cache), "ln_final"), cache[last].detach()
        assert_close(norm.linear(x) + norm.bias, model.ln_final(x).detach())
        assert_close(norm.linear(2 * x + x.flip(-1)), 2 * norm.linear(x) + norm.linear(x.flip(-1)))
        assert_close((norm.adjoint(x.flip(0)) * x).sum(-1), (x.flip(0) * norm.linear(x)).sum(-1))


def test_what_is_no_sum_and_what_is_not_there_is_refused():
    with pytest.raises(NotASumError, match="post-norm blocks normalise the stream itself"):
        residual_writes(order_one_model(norm_placement="post", residual_scale=1.7), TOKENS, "blocks.0.hook_resid_pre")
    model = order_one_model(attn_only=True)
    with pytest.raises(UnknownPointError, match=r"blocks\.0\.hook_resid_mid.*Did you mean"):
        residual_writes(model, TOKENS, "blocks.0.hook_resid_mid")
    with pytest.raises(UnknownPointError, match="hook_embed"):
        residual_writes(model, TOKENS, "hook_embed")
    assert [write.label for write in residual_writes(model, TOKENS, "blocks.0.hook_resid_pre")] == [
        "embed",
        "pos_embed",
    ]
