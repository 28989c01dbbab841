import math

import pytest
import torch

from analyses.depth import Options, run
from analyses.depth_tables import AVERAGED, FRESH, GIVEN
from analyses.errors import NotApplicableError
from analyses.rendering import require_valid
from analyses.scored_positions import said, scored_positions
from interp.errors import NonFiniteError, TokensError
from interp.over_smoothing import mean_cosine

from ..conftest import order_one_model, random_tokens

FEW = Options(seeds=2)


def of(table, weights):
    return table[table["weights"] == weights].reset_index(drop=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm_placement": "post", "residual_scale": 1.7},
        {"parallel_attn_mlp": True, "n_key_value_heads": 2},
        {"attn_only": True, "n_layers": 1, "n_heads": 1, "normalization_type": None},
        {"attention_dir": "bidirectional", "positional_embedding_type": "rotary"},
        {"dtype": torch.float32, "output_logits_soft_cap": 4.0},
        {"d_vocab_out": 5},
    ],
)
def test_every_identity_holds(changes):
    result = run(order_one_model(**changes), random_tokens(), FEW)
    require_valid(result)
    assert len(result.identities) == (3 if changes.get("norm_placement") else 4)
    assert ("no loss" in result.verdict) == ("d_vocab_out" in changes)


def test_likeness_is_measured_behind_the_first_position_of_the_stream():
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(tokens)
    for first in (0, 2):
        table = of(run(model, tokens, Options(first=first, seeds=2)).tables["How alike positions are"], GIVEN)
        expected = mean_cosine(cache["blocks.1.hook_resid_post"][:, first:]).mean()
        assert math.isclose(table["mean_cosine"].iloc[-1], expected, rel_tol=1e-9)
        assert list(table["after"]) == ["embedding", "block 0", "block 1"]


def test_leaving_a_block_out_is_a_model_without_it():
    model, tokens = order_one_model(), random_tokens()
    clean = model(tokens, return_type="loss").item()
    blocks = run(model, tokens, FEW).tables["Blocks"]
    model.blocks = torch.nn.ModuleList([model.blocks[1]])
    model.cfg = order_one_model(n_layers=1).cfg
    model.setup()
    without = model(tokens, return_type="loss").item()
    assert math.isclose(blocks["loss_increase_nats"][0], without - clean, rel_tol=1e-9)
    assert not math.isclose(blocks["loss_increase_nats"][1], without - clean, rel_tol=1e-3)
    assert (blocks["kl_nats"] > 0).all()


def test_fresh_weights_obey_the_law_of_growth_and_the_averages_start_where_the_model_does():
    result = run(order_one_model(d_model=64, n_layers=4), random_tokens(4), Options(seeds=4))
    stream = of(result.tables["Length and gradient"], FRESH)
    assert stream["length"].iloc[-1] / stream["length_at_right_angles"].iloc[-1] == pytest.approx(1, abs=0.05)
    likeness = result.tables["How alike positions are"]
    given, averaged = of(likeness, GIVEN), of(likeness, AVERAGED)
    assert given["mean_cosine"][0] == averaged["mean_cosine"][0]
    assert (averaged["relative_residual"].diff().dropna() < 0).all()


def test_post_norm_blocks_have_no_law_of_growth():
    result = run(order_one_model(norm_placement="post"), random_tokens(), FEW)
    assert result.tables["Length and gradient"]["length_at_right_angles"].isna().all()
    assert "no law of growth" in result.verdict


def test_one_prompt_has_no_interval_and_nothing_to_centre_on():
    result = run(order_one_model(), random_tokens(1), FEW)
    require_valid(result)
    table = of(result.tables["How alike positions are"], GIVEN)
    assert table["centred_cosine"].isna().all()
    assert table["mean_cosine_low"].isna().all()
    assert "On this one prompt" in result.finding
    assert "centred" not in result.finding


def test_what_cannot_be_measured_is_refused():
    model = order_one_model()
    with pytest.raises(TokensError, match="less the first 1 have 1"):
        run(model, random_tokens(length=2), FEW)
    run(model, random_tokens(length=2), Options(first=0, seeds=2))
    with pytest.raises(NotApplicableError, match="context of 2"):
        run(order_one_model(n_ctx=2), random_tokens(length=2), FEW)
    with pytest.raises(ValueError, match="seeds=1"):
        Options(seeds=1)
    model.embed.W_E.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"hook_resid_pre is not finite"):
        run(model, torch.zeros(2, 4, dtype=torch.long), FEW)


def test_a_model_that_answers_at_one_position_is_scored_there():
    losses = torch.tensor([[9.0, 8.0, 0.1], [9.5, 8.1, 0.2]])
    assert scored_positions(losses, d_vocab=20).tolist() == [False, False, True]
    assert "position 2 alone" in said(scored_positions(losses, d_vocab=20))
    everywhere = scored_positions(losses / 10, d_vocab=20)
    assert everywhere.all()
    assert said(everywhere) == ""
    # Worse than chance everywhere: no position is singled out.
    assert scored_positions(losses + 9, d_vocab=20).all()
