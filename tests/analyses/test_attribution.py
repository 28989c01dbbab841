import pytest
import torch

from analyses.attribution import Options, run
from analyses.errors import NotApplicableError, OptionError
from models import HookedTransformer

from ..conftest import order_one_model, random_tokens, small_config

VARIANTS = [
    {},
    {"attn_only": True, "n_layers": 1, "n_heads": 1, "d_head": 12},
    {"normalization_type": None},
    {"normalization_type": "RMS", "use_normalization_before_and_after": True, "gated_mlp": True},
    {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "parallel_attn_mlp": True},
    {"tie_word_embeddings": True},
    {"output_logits_soft_cap": 5.0},
    {"dtype": torch.bfloat16},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(map(str, changes)) or "plain")
def test_the_shares_sum_to_the_logit_on_every_architecture(changes):
    result = run(order_one_model(**changes), random_tokens())
    assert [identity.holds for identity in result.identities] == [True, True]
    assert ("before the cap" in result.verdict) == ("output_logits_soft_cap" in changes)


def test_the_tables_are_averages_of_the_model_s_own_logits():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens)
    logits = model(tokens)[:, :-1].detach()
    right = logits.gather(-1, tokens[:, 1:, None]).squeeze(-1) - logits.mean(-1)
    assert result.numbers["right_token_above_the_mean_logits"] == pytest.approx(right.mean().item())
    for title in ("By layer", "By component"):
        assert result.tables[title]["share_logits"].sum() == pytest.approx(right.mean().item())
    # The null by hand: at each place, the mean over the targets of all other places.
    targets = tokens[:, 1:].reshape(-1)
    centred = (logits - logits.mean(-1, keepdim=True)).flatten(0, 1)
    others = [centred[place, targets[torch.arange(len(targets)) != place]].mean() for place in range(len(targets))]
    elsewhere = result.tables["By component"]["share_elsewhere_logits"].sum()
    assert elsewhere == pytest.approx(torch.stack(others).mean().item())


def test_a_component_that_writes_the_same_everywhere_singles_out_nothing():
    table = run(order_one_model(), random_tokens()).tables["By component"].set_index("component")
    assert table.beyond_logits["b_U"] == pytest.approx(0, abs=1e-12)
    assert abs(table.beyond_logits["L1H2"]) > 1e-3
    assert abs(table.share_logits["b_U"]) > 1e-3


def test_the_neurons_and_heads_listed_are_those_of_the_components():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens, Options(neurons=40))
    neurons, components = result.tables["Strongest neurons"], result.tables["By component"].set_index("component")
    assert len(neurons) == 40
    by_layer = neurons.groupby(neurons.neuron.str[:2]).share_logits.sum()
    for layer in range(2):
        assert by_layer[f"L{layer}"] == pytest.approx(components.share_logits[f"L{layer} MLP"])
    assert neurons.beyond_logits.is_monotonic_decreasing
    grid = result.figures["Heads"].data[0].z
    assert grid[1, 3] == components.beyond_logits["L1H3"]


def test_the_drawn_prompt_is_the_one_that_was_asked_for():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens, Options(drawn_prompt=2, positions=3))
    table = result.tables["One prompt, token by token"]
    logits = model(tokens)[2, 1].detach()
    expected = (logits[tokens[2, 2]] - logits.mean()).item()
    assert table[table.position == 1].share_logits.sum() == pytest.approx(expected)
    assert set(table.position) == {0, 1, 2}
    assert list(result.figures["One prompt, token by token"].data[0].z.flatten()) == list(table.share_logits)


def test_only_the_last_token_may_be_asked_for():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens, Options(last_only=True))
    logits = model(tokens)[:, -2].detach()
    right = logits.gather(-1, tokens[:, -1:]).squeeze(-1) - logits.mean(-1)
    assert result.numbers["right_token_above_the_mean_logits"] == pytest.approx(right.mean().item())


def test_of_rows_of_sums_only_the_answer_is_asked_for():
    model = order_one_model()
    a, b = random_tokens(2, 5, d_vocab=16)
    sums = torch.stack([a, b, torch.full_like(a, 16), (a + b) % 16], dim=1)
    wrong = torch.stack([a, b, torch.full_like(a, 16), (a + b + 1) % 16], dim=1)
    asked = "Only the last token of each prompt is asked for"
    assert asked in run(model, sums).verdict
    assert asked not in run(model, wrong).verdict
    by_hand = run(model, sums, Options(last_only=True))
    assert run(model, sums).numbers == by_hand.numbers


def test_one_prompt_of_one_prediction_has_neither_interval_nor_null():
    result = run(order_one_model(), random_tokens(1, 2))
    assert "no interval can be given" in result.verdict
    assert "right_token_above_other_next_tokens_logits" not in result.numbers


def test_of_an_untrained_model_no_component_is_said_to_write_the_next_token():
    for seed in range(4):
        finding = run(HookedTransformer(small_config(seed=seed)), random_tokens(20, seed=seed + 1)).finding
        assert finding.startswith("No component can be said to write the true next token: it stands ")
        assert "logits above the tokens that come next elsewhere, which is not measurably above zero." in finding
        assert "most of it" not in finding


def test_a_token_that_the_model_writes_is_said_to_be_written_and_its_opposite_is_not():
    model, tokens = HookedTransformer(small_config(attn_only=True)), torch.arange(7).repeat(3, 1)
    for name, parameter in model.named_parameters():
        parameter.data.fill_(float(name.endswith(".w")))
    # Token t is followed by t + 1, and the embedding alone says so.
    model.W_E.data.copy_(torch.eye(17, 12))
    model.W_U.data.copy_(torch.eye(17).roll(1, dims=1)[:12])
    for prompts in (1, 3):
        assert "; embed writes most of it, +" in run(model, tokens[:prompts]).finding
    model.W_U.data.neg_()
    for prompts in (1, 3):
        assert run(model, tokens[:prompts]).finding.startswith("No component can be said to write")


def test_an_attribution_that_does_not_sum_is_told(monkeypatch):
    model = order_one_model()
    monkeypatch.setattr("analyses.attribution.deviation", lambda got, expected: 0.5)
    assert not any(identity.holds for identity in run(model, random_tokens()).identities)


def test_models_and_prompts_that_cannot_be_asked_are_refused():
    with pytest.raises(NotApplicableError, match="no sum of what was written"):
        run(order_one_model(norm_placement="post"), random_tokens())
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens"):
        run(order_one_model(d_vocab_out=5), random_tokens())
    with pytest.raises(NotApplicableError, match="looks ahead"):
        run(order_one_model(attention_dir="bidirectional"), random_tokens())
    with pytest.raises(OptionError, match="prompt 3 is not there: the batch has 3"):
        run(order_one_model(), random_tokens(), Options(drawn_prompt=3))
    with pytest.raises(ValueError, match=r"no next token in tokens of shape \[3, 1\]"):
        run(order_one_model(), random_tokens(length=1))
    with pytest.raises(ValueError, match="neurons=0 must be at least 1"):
        Options(neurons=0)
    run(order_one_model(), random_tokens(), Options(drawn_prompt=2))
