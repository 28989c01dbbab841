import pytest
import torch
from torch.testing import assert_close

from models import HookedTransformer, one_head
from models.errors import ConfigError, InputError
from tests.conftest import order_one, random_tokens
from tests.models.definition import logits_by_loops


def shrunk(**changes):
    return order_one(HookedTransformer(one_head(6, d_vocab=17, dtype=torch.float64, device="cpu", **changes)))


def test_the_textbook_sizes():
    config = one_head()
    assert (config.d_model, config.d_head, config.n_heads, config.n_layers) == (64, 64, 1, 1)
    assert (config.n_ctx, config.d_vocab, config.d_vocab_out) == (8, 50257, 50257)
    assert (config.attn_only, config.qkv_bias, config.final_norm, config.tie_word_embeddings) == (
        True,
        False,
        False,
        True,
    )


def test_its_parameters_are_those_of_the_textbook():
    model = HookedTransformer(one_head(d_vocab=17))
    assert {name: tuple(weight.shape) for name, weight in model.named_parameters()} == {
        "embed.W_E": (17, 64),
        "pos_embed.W_pos": (8, 64),
        "blocks.0.ln1.w": (64,),
        "blocks.0.ln1.b": (64,),
        "blocks.0.attn.W_Q": (1, 64, 64),
        "blocks.0.attn.W_K": (1, 64, 64),
        "blocks.0.attn.W_V": (1, 64, 64),
        "blocks.0.attn.W_O": (1, 64, 64),
        "blocks.0.attn.b_O": (64,),
        "unembed.b_U": (17,),
    }


def test_changes_replace_the_textbook_values():
    assert one_head(10).d_head == 10
    assert one_head(10, d_head=4).d_head == 4
    assert one_head(n_ctx=5).n_ctx == 5
    with pytest.raises(ConfigError, match="Did you mean 'd_vocab'"):
        one_head(d_vocabs=5)


def test_the_loop_over_tokens_equals_the_matrix_form():
    model, tokens = shrunk(), random_tokens(1, 8)
    assert_close(model(tokens)[0], logits_by_loops(model, tokens[0].tolist()))


def test_the_textbook_formula_line_by_line():
    model, tokens = shrunk(), random_tokens(1, 5)
    attn, ln = model.blocks[0].attn, model.blocks[0].ln1
    x = model.W_E[tokens[0]] + model.W_pos[:5]
    read = torch.nn.functional.layer_norm(x, (6,), ln.w, ln.b)
    scores = (read @ attn.W_Q[0]) @ (read @ attn.W_K[0]).T / 6**0.5
    pattern = (scores + torch.full((5, 5), -torch.inf).triu(1)).softmax(dim=-1)
    stream = x + pattern @ read @ attn.W_V[0] @ attn.W_O[0] + attn.b_O
    assert_close(model(tokens)[0], stream @ model.W_E.T + model.b_U)


def test_eight_positions_are_taken_and_nine_are_refused():
    model, tokens = shrunk(), random_tokens(length=9)
    assert model(tokens[:, :8]).shape == (3, 8, 17)
    with pytest.raises(InputError, match="9 positions are more than the model's context of 8"):
        model(tokens)
