import math

import pytest
import torch

from analyses.errors import NotApplicableError
from analyses.rendering import require_valid
from analyses.weight_sharing import Options, run
from analyses.weight_sharing_losses import DIRECT, MODEL, NULL, SCALED, SWAPPED, UNIFORM
from models import HookedTransformer

from ..conftest import order_one_model, random_tokens, small_config


def by_way(result):
    return result.tables["Losses"].set_index("logits_from")["loss_nats"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"attn_only": True, "final_norm": False},
        {"norm_placement": "post"},
        {"normalization_type": None, "positional_embedding_type": "rotary"},
        {"output_logits_soft_cap": 3.0},
        {"dtype": torch.float32, "tie_word_embeddings": True},
    ],
)
def test_every_identity_holds_and_the_loss_is_the_models(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    result = run(model, tokens)
    require_valid(result)
    assert len(result.identities) == (6 if model.cfg.tie_word_embeddings else 3)
    assert math.isclose(by_way(result)[MODEL], model(tokens, return_type="loss").item(), rel_tol=1e-6)
    assert math.isclose(by_way(result)[UNIFORM], math.log(17))


def test_the_direct_path_is_a_model_whose_blocks_and_positions_write_nothing():
    model, tokens = order_one_model(), random_tokens()
    direct = by_way(run(model, tokens))[DIRECT]
    with torch.no_grad():
        model.pos_embed.W_pos.zero_()
        for block in model.blocks:
            for weight in (block.attn.W_O, block.attn.b_O, block.mlp.W_out, block.mlp.b_out):
                weight.zero_()
    assert math.isclose(direct, model(tokens, return_type="loss").item(), rel_tol=1e-12)


def test_the_exchanged_unembedding_is_that_of_a_model_with_that_unembedding():
    model, tokens = order_one_model(output_logits_soft_cap=4.0), random_tokens()
    found = by_way(run(model, tokens))
    scale = (model.W_U.norm() / model.W_E.norm()).item()
    for way, factor in [(SWAPPED, 1.0), (SCALED, scale)]:
        model.unembed.W_U.data.copy_(factor * model.W_E.T)
        assert math.isclose(found[way], model(tokens, return_type="loss").item(), rel_tol=1e-12)


def test_of_an_untrained_model_it_is_not_said_that_its_matrices_have_learned_anything():
    for seed in range(4):
        for batch in (1, 20):
            finding = run(HookedTransformer(small_config(seed=seed)), random_tokens(batch, seed=seed + 1)).finding
            assert "have learned different things" not in finding
            assert "one another's work" not in finding
            assert "not measurably better than saying that every token is equally likely (2.83)" in finding


@pytest.mark.parametrize(
    ("size", "smear", "said"),
    [
        (-1.0, 0.0, "have learned different things: exchanged, it is worse"),
        (1.0, 0.5, "% of one another's work"),
        (1.0, 0.0, "no cost of the exchange can be measured: +0.00 (+0.00 to +0.00) against the model"),
        (2.0, 0.0, "the exchange lowers the loss: -"),
    ],
)
def test_what_is_said_of_an_exchange_is_what_it_costs(size, smear, said):
    model, tokens = HookedTransformer(small_config(attn_only=True, normalization_type=None)), torch.arange(7)
    for parameter in model.parameters():
        parameter.data.zero_()
    # The stream holds the next token's direction, whatever is read; W_E^T finds it too, larger or smeared.
    direction = torch.eye(17, 12, dtype=torch.float64)
    model.W_U.data.copy_(3 * direction.T)
    model.W_E.data.copy_(3 * size * (direction + smear * direction.roll(1, dims=0)))
    model.W_pos.data[:7] = direction[1:8] - model.W_E.data[:7]
    assert said in run(model, tokens.repeat(3, 1)).finding


def test_sharing_saves_exactly_one_matrix_either_way():
    for tied in (False, True):
        model = order_one_model(tie_word_embeddings=tied)
        result = run(model, random_tokens())
        total = result.tables["Parameters"].set_index("part").loc["all"]
        assert total["apart"] - total["shared"] == 17 * 12
        assert result.numbers["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert "One matrix reads and predicts, saving 204 of" in result.finding


def test_a_path_that_knows_the_next_token_beats_the_null_that_reads_another():
    model, tokens = order_one_model(final_norm=False), torch.arange(7).repeat(3, 1)
    # Token t is always followed by t + 1, and the direct path says so.
    model.W_E.data.copy_(torch.eye(17, 12))
    model.W_U.data.copy_(5 * torch.eye(17).roll(1, dims=1)[:12])
    model.b_U.data.zero_()
    found = by_way(run(model, tokens))
    assert found[DIRECT] < 0.2
    assert found[NULL] > found[UNIFORM]


def test_a_copy_in_the_place_of_a_shared_matrix_is_noticed(monkeypatch):
    model = order_one_model(tie_word_embeddings=True)
    require_valid(run(model, random_tokens()))
    monkeypatch.setattr(type(model.unembed), "W_U", property(lambda self: self._embed[0].W_E.T.clone()))
    same_memory = next(i for i in run(model, random_tokens()).identities if "memory" in i.statement)
    assert not same_memory.holds


def test_what_cannot_be_asked_is_said():
    with pytest.raises(NotApplicableError, match="reads 17 tokens and predicts 5"):
        run(order_one_model(d_vocab_out=5), random_tokens())
    with pytest.raises(NotApplicableError, match="looks ahead"):
        run(order_one_model(attention_dir="bidirectional"), random_tokens())
    with pytest.raises(ValueError, match="needs a next token"):
        run(order_one_model(), random_tokens(length=1))
    with pytest.raises(ValueError, match="draws=0"):
        Options(draws=0)
    assert run(order_one_model(), random_tokens(1)).tables["Losses"].loss_low.isna().all()


def test_two_matrices_are_compared_token_by_token_and_one_is_not():
    assert "Cosine of a token's two vectors" in run(order_one_model(), random_tokens()).figures
    assert (
        "Cosine of a token's two vectors" not in run(order_one_model(tie_word_embeddings=True), random_tokens()).figures
    )


def test_losses_are_those_of_the_position_that_a_model_answers_at():
    model, tokens = order_one_model(final_norm=False, n_ctx=4), random_tokens(5, 4)
    tokens[:, 3] = 7
    # Position 2 says 7 whatever was read; positions 0 and 1 say a token that never comes.
    for block in model.blocks:
        for weight in (block.attn.W_O, block.attn.b_O, block.mlp.W_out, block.mlp.b_out):
            weight.data.zero_()
    model.W_E.data.mul_(1e-9)
    model.b_U.data.zero_()
    model.W_pos.data.copy_(50 * torch.eye(4, 12))
    model.W_U.data.mul_(1e-9)
    model.W_U.data[2, 7] = model.W_U.data[0, 16] = model.W_U.data[1, 16] = 1
    tokens[:, 1:3] = 3
    result = run(model, tokens)
    assert "position 2 alone" in result.verdict
    assert by_way(result)[MODEL] < 1e-6
    assert by_way(result)[DIRECT] == pytest.approx(math.log(17))
