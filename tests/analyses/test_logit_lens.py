import math

import pytest
import torch

from analyses.errors import NotApplicableError
from analyses.logit_lens import Options, run

from ..conftest import order_one_model, random_tokens


def test_the_verdict_and_the_numbers_say_what_the_model_does():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens)
    assert result.numbers["largest_difference_to_the_model_at_the_end"] == 0
    assert "reproduces the model's logits exactly" in result.verdict
    loss = model(tokens, return_type="loss").item()
    assert math.isclose(result.numbers["loss_at_the_end_nats"], loss, rel_tol=1e-9)
    assert result.numbers["half_of_the_kl_gone_at"] in set(result.tables["By place in the stream"].place)


def test_a_difference_at_the_end_is_told_and_not_hidden(monkeypatch):
    model, tokens = order_one_model(), random_tokens()
    forward = model.ln_final.forward
    # The lens reads with the model's norm; a norm that changes between the run and the reading must show.
    run_with_cache = model.run_with_cache

    def and_then_another_norm(*args, **kwargs):
        found = run_with_cache(*args, **kwargs)
        model.ln_final.forward = lambda stream: 1.01 * forward(stream)
        return found

    monkeypatch.setattr(model, "run_with_cache", and_then_another_norm)
    result = run(model, tokens)
    assert result.numbers["largest_difference_to_the_model_at_the_end"] > 1e-3
    assert "exactly" not in result.verdict


def test_the_figures_show_the_numbers_of_the_tables():
    result = run(order_one_model(), random_tokens(), Options(drawn_prompt=1, positions=4))
    by_site, by_token = result.tables["By place in the stream"], result.tables["Token by token"]
    kl, surprise = result.figures["How the prediction forms"].data
    assert list(kl.y) == list(by_site.kl_nats)
    assert list(surprise.y) == list(-by_site.next_log_prob_nats)
    grid = result.figures["One prompt, token by token"].data[0].z
    assert grid.shape == (5, 4)
    assert list(grid.flatten()) == list(by_token.next_log_prob_nats)
    assert list(by_token.token[:4]) == [str(int(token)) for token in random_tokens()[1, :4]]


def test_positions_and_sites_are_all_in_the_table():
    table = run(order_one_model(), random_tokens()).tables["By place and position"]
    assert len(table) == 5 * 7
    assert table.next_logit.isna().sum() == 5
    assert table.kl_nats.notna().all()


def test_a_prompt_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="prompt 3 is not there: the batch has 3"):
        run(order_one_model(), random_tokens(), Options(drawn_prompt=3))
    assert run(order_one_model(), random_tokens()[:1]).verdict.count("1 prompt of 7 tokens") == 1


@pytest.mark.parametrize("wrong", [{"positions": 0}, {"positions": -3}, {"drawn_prompt": -1}])
def test_options_that_draw_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"counts from 0, and positions=.* must be at least 1"):
        Options(**wrong)
    assert len(run(order_one_model(), random_tokens(), Options(positions=1)).tables["Token by token"]) == 5


def test_float32_and_a_single_prompt_work():
    model = order_one_model(dtype=torch.float32)
    assert "standard error" not in run(model, random_tokens(1)).verdict


def test_a_model_in_bfloat16_is_read_too():
    tables = run(order_one_model(dtype=torch.bfloat16), random_tokens()).tables
    assert tables["Token by token"].notna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"d_vocab_out": 5}, "its 5 outputs are not the 17 tokens"), ({"attention_dir": "bidirectional"}, "looks ahead")],
)
def test_a_model_that_does_not_predict_the_next_token_is_not_asked(changes, reason):
    with pytest.raises(NotApplicableError, match=reason):
        run(order_one_model(**changes), random_tokens())
