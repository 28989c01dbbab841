import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.testing import assert_close

from interp.errors import NotASumError
from interp.path_expansion import frozen_model, virtual_pattern
from interp.path_importance import first_order, losses_without, truncated_losses
from tests.conftest import order_one_model, random_tokens
from tests.interp.test_hooks import native_bridge
from tests.models.configurations import configurations

TOKENS = random_tokens(batch=2, length=6)


def attention_only(**changes):
    return order_one_model(**{"attn_only": True, **changes})


def summed(frozen):
    return frozen.read_out(frozen.orders()).sum(0) + frozen.read_out(frozen.biases()) + frozen.constant()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=configurations(norm_placement="pre", attn_only=True))
def test_the_orders_and_biases_sum_to_the_logits_whatever_the_options(changes):
    model = order_one_model(**changes)
    assert_close(frozen_model(model, TOKENS).capped(summed(frozen_model(model, TOKENS))), model(TOKENS).detach())


@pytest.mark.parametrize("n_layers", [1, 3, 4])
def test_the_orders_of_any_depth_sum_to_the_logits(n_layers):
    model = attention_only(n_layers=n_layers)
    frozen = frozen_model(model, TOKENS)
    assert frozen.orders().shape[0] == n_layers + 1
    assert float(frozen.orders()[-1].abs().max()) > 1e-3
    assert_close(summed(frozen), model(TOKENS).detach())


def test_two_layers_have_one_direct_path_two_h_heads_and_h_squared_virtual_heads():
    model = attention_only(normalization_type=None, qkv_bias=False)
    for layer in range(2):
        model.blocks[layer].attn.b_O.data.zero_()
    model.unembed.b_U.data.zero_()
    _, cache = model.run_with_cache(TOKENS)
    x = (cache["hook_embed"] + cache["hook_pos_embed"]).detach()
    W_OV = model.W_V.detach() @ model.W_O.detach()
    heads = [(layer, head) for layer in range(2) for head in range(4)]
    # Each term as the paper writes it: patterns times x times products of OV circuits.
    direct = x
    single = {(i, h): cache["pattern", i][:, h].detach() @ x @ W_OV[i, h] for i, h in heads}
    virtual = {
        (h1, h2): virtual_pattern(cache["pattern", 1][:, h2], cache["pattern", 0][:, h1]).detach() @ x
        @ W_OV[0, h1] @ W_OV[1, h2]
        for h1, h2 in itertools.product(range(4), repeat=2)
    }  # fmt: skip
    assert 1 + len(single) + len(virtual) == 1 + 2 * 4 + 4**2
    total = (direct + sum(single.values()) + sum(virtual.values())) @ model.W_U.detach()
    assert_close(total, model(TOKENS).detach())
    frozen = frozen_model(model, TOKENS)
    for (layer, head), term in single.items():
        assert_close(frozen.single_heads(layer)[head], term)
    for (h1, h2), term in virtual.items():
        assert_close(frozen.virtual_heads(0, h1, 1)[h2], term)
    assert_close(frozen.orders(), torch.stack([direct, sum(single.values()), sum(virtual.values())]))
    assert float(frozen.biases().abs().max()) == 0


@pytest.mark.parametrize("changes", [{}, {"normalization_type": "RMS", "use_normalization_before_and_after": True}])
def test_paths_one_by_one_sum_to_their_order(changes):
    frozen = frozen_model(attention_only(n_layers=3, **changes), TOKENS)
    orders = frozen.orders()
    assert_close(sum(frozen.single_heads(layer).sum(0) for layer in range(3)), orders[1])
    pairs = [
        frozen.virtual_heads(layer, head, later).sum(0)
        for layer, later in itertools.combinations(range(3), 2)
        for head in range(4)
    ]
    assert_close(sum(pairs), orders[2])


def test_truncations_telescope_from_no_knowledge_to_the_model():
    model = attention_only(n_layers=3)
    frozen = frozen_model(model, TOKENS)
    losses = truncated_losses(frozen, TOKENS, frozen.orders())
    assert losses.shape == (2 + 4, 2)
    assert losses[0].tolist() == pytest.approx([math.log(17)] * 2)
    assert_close(losses[-1].mean(), model(TOKENS, return_type="loss").detach())
    # An independent second road to a truncation: without the last layer's heads there is no third order.
    logits = frozen.read_out(frozen.orders()[:3].sum(0) + frozen.biases()) + frozen.constant()
    by_hand = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
    assert_close(losses[-2].mean(), by_hand)


def test_bias_terms_alone_are_the_model_without_embeddings_at_the_same_patterns_and_scales():
    model = attention_only(normalization_type=None)
    frozen = frozen_model(model, TOKENS)
    _, cache = model.run_with_cache(TOKENS)
    model.embed.W_E.data.zero_()
    model.pos_embed.W_pos.data.zero_()
    hooks = [(name, lambda _, hook, kept=cache[name]: kept) for name in cache if name.endswith("hook_pattern")]
    expected = model.run_with_hooks(TOKENS, fwd_hooks=hooks).detach()
    assert_close(frozen.read_out(frozen.biases()) + frozen.constant(), expected)


@pytest.mark.parametrize("cap", [-1.0, 5.0])
def test_a_term_left_out_costs_what_the_model_without_it_loses(cap):
    model = attention_only(normalization_type=None, output_logits_soft_cap=cap)
    frozen, loss = frozen_model(model, TOKENS), model(TOKENS, return_type="loss").detach()
    term = frozen.single_heads(1)[2] + frozen.virtual_heads(0, 0, 1)[2] + frozen.virtual_heads(0, 1, 1)[2]
    term = term + frozen.virtual_heads(0, 2, 1)[2] + frozen.virtual_heads(0, 3, 1)[2]
    without = losses_without(frozen, TOKENS, [term, torch.zeros_like(term)])
    assert_close(without[1].mean(), loss)
    # The same by hand: all that the head makes of the embeddings taken away, what it makes of biases kept.
    kept = frozen.read_out(frozen.orders().sum(0) + frozen.biases() - term) + frozen.constant()
    by_hand = torch.nn.functional.cross_entropy(frozen.capped(kept)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
    assert_close(without[0].mean(), by_hand)
    assert float((without[0] - without[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("cap", [-1.0, 5.0])
def test_the_first_order_cost_is_the_slope_of_the_loss(cap):
    frozen = frozen_model(attention_only(output_logits_soft_cap=cap), TOKENS)
    share, slope = first_order(frozen, TOKENS)
    term, step = frozen.single_heads(1)[2], 1e-5
    up, down = losses_without(frozen, TOKENS, [step * term, -step * term])
    assert_close((slope * term).sum(-1).sum(-1) / 5, (up - down) / (2 * step), rtol=1e-6, atol=1e-8)
    logits = frozen.read_out(term)
    right = logits[:, :-1].gather(-1, TOKENS[:, 1:, None]).squeeze(-1) - logits[:, :-1].mean(-1)
    assert_close((share * term).sum(-1)[:, :-1], right)
    assert float(share[:, -1].abs().max()) == 0


def test_virtual_heads_look_back_with_rows_that_sum_to_one():
    patterns = [layer.patterns for layer in frozen_model(attention_only(), TOKENS).layers]
    virtual = virtual_pattern(patterns[1][:, :, None], patterns[0][:, None])
    assert virtual.shape == (2, 4, 4, 6, 6)
    assert_close(virtual.sum(-1), torch.ones(2, 4, 4, 6, dtype=torch.float64))
    assert float(virtual.triu(1).abs().max()) == 0
    assert float(virtual.min()) >= 0


def test_models_without_a_sum_over_paths_are_refused():
    with pytest.raises(NotASumError, match="it has MLPs"):
        frozen_model(order_one_model(), TOKENS)
    with pytest.raises(NotASumError, match="it has MLPs"):
        frozen_model(native_bridge(), TOKENS)
    with pytest.raises(NotASumError, match="post-norm"):
        frozen_model(attention_only(norm_placement="post"), TOKENS)
    frozen_model(attention_only(), TOKENS)
