import pytest
import torch
from torch.testing import assert_close

from benchmarks.plain_model import from_hooked
from models import HookedTransformer, multi_block, one_head
from models.errors import ConfigError, InputError
from tests.conftest import order_one, random_tokens
from tests.models.definition import logits_by_loops

SHRUNK = {"n_layers": 3, "n_heads": 2, "d_model": 10, "d_vocab": 17, "n_ctx": 9}


def shrunk(**changes):
    return order_one(HookedTransformer(multi_block(**SHRUNK, dtype=torch.float64, device="cpu", **changes)))


def test_the_textbook_sizes():
    config = multi_block(n_layers=8, n_heads=8, d_model=512)
    assert (config.n_layers, config.n_heads, config.d_model, config.d_head) == (8, 8, 512, 512 // 8)
    assert (config.d_mlp, config.act_fn, config.final_norm, config.normalization_type) == (4 * 512, "gelu", True, "LN")


def test_heads_that_do_not_divide_the_width_need_d_head():
    with pytest.raises(ConfigError, match="d_model=10 cannot be shared equally among n_heads=3"):
        multi_block(n_heads=3, d_model=10)
    with pytest.raises(ConfigError, match="n_heads=0"):
        multi_block(n_heads=0)
    assert multi_block(n_heads=3, d_model=10, d_head=7).d_head == 7
    assert multi_block(n_heads=5, d_model=10).d_head == 2


def test_a_misspelt_change_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'qkv_bias'"):
        multi_block(qkv_biass=False)
    assert not multi_block(qkv_bias=False).qkv_bias


MODELS = {
    "free": shrunk(),
    "tied": shrunk(qkv_bias=False, tie_word_embeddings=True),
    "shortformer": shrunk(positional_embedding_type="shortformer"),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_loop_over_tokens_equals_the_matrix_form(model):
    tokens = random_tokens(1, 9)
    assert_close(model(tokens)[0], logits_by_loops(model, tokens[0].tolist()))


def test_concatenation_then_W_O_equals_the_sum_over_heads():
    model, tokens = shrunk(), random_tokens()
    _, cache = model.run_with_cache(tokens)
    for layer, block in enumerate(model.blocks):
        z = cache[f"blocks.{layer}.attn.hook_z"]
        by_head = sum(z[:, :, head] @ block.attn.W_O[head] for head in range(model.cfg.n_heads))
        concatenated = torch.cat(list(z.unbind(dim=2)), dim=-1) @ torch.cat(list(block.attn.W_O), dim=0)
        assert_close(by_head, concatenated)
        assert_close(by_head + block.attn.b_O, cache[f"blocks.{layer}.hook_attn_out"])
        model.set_use_attn_result(True)
        _, with_results = model.run_with_cache(tokens, names_filter=f"blocks.{layer}.attn.hook_result")
        assert_close(with_results[f"blocks.{layer}.attn.hook_result"].sum(dim=2), by_head)
        model.set_use_attn_result(False)


@pytest.mark.parametrize(
    "changes",
    [{}, {"qkv_bias": False}, {"tie_word_embeddings": True}, {"act_fn": "gelu_new"}, {"attn_only": True}],
    ids=str,
)
def test_equals_plain_pytorch_weight_for_weight(changes):
    model, tokens = shrunk(**changes), random_tokens(length=8)
    plain = from_hooked(model)
    assert_close(plain(tokens), model(tokens))
    # Gradients too: the two are one function of their weights, not only equal at a point.
    plain(tokens).pow(2).sum().backward()
    model(tokens).pow(2).sum().backward()
    assert_close(plain.positions.weight.grad, model.pos_embed.W_pos.grad)


def test_one_head_equals_plain_pytorch():
    model = order_one(HookedTransformer(one_head(6, d_vocab=17, dtype=torch.float64, device="cpu")))
    tokens = random_tokens(length=8)
    assert_close(from_hooked(model)(tokens), model(tokens))


@pytest.mark.parametrize(
    "changes",
    [
        {"d_head": 4},
        {"normalization_type": "RMS"},
        {"use_attn_scale": False},
        {"act_fn": "solu"},
        {"positional_embedding_type": "rotary", "d_head": 4},
    ],
    ids=str,
)
def test_a_plain_model_refuses_what_it_cannot_express(changes):
    with pytest.raises(ValueError, match="a plain model"):
        from_hooked(shrunk(**changes))


def test_n_ctx_positions_are_taken_and_one_more_is_refused():
    model = shrunk()
    tokens = random_tokens(length=10)
    assert model(tokens[:, :9]).shape == (3, 9, 17)
    with pytest.raises(InputError, match="10 positions are more than the model's context of 9"):
        model(tokens)
