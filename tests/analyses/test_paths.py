import math

import pytest
import torch

from analyses.errors import NotApplicableError
from analyses.paths import Options, run

from ..conftest import order_one_model, random_tokens

VARIANTS = [
    {},
    {"n_layers": 1, "n_heads": 1, "d_head": 12, "normalization_type": None, "tie_word_embeddings": True},
    {"n_layers": 4},
    {"normalization_type": "RMS", "use_normalization_before_and_after": True},
    {"n_key_value_heads": 2, "positional_embedding_type": "rotary"},
    {"attention_dir": "bidirectional", "normalization_type": "ScaleNorm"},
    {"attn_scores_soft_cap": 3.0, "output_logits_soft_cap": 5.0},
    {"use_local_attn": True, "window_size": 2, "attn_types": ("global", "local")},
    {"dtype": torch.bfloat16},
]


def attention_only(**changes):
    return order_one_model(**{"attn_only": True, **changes})


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(map(str, changes)) or "plain")
def test_the_paths_sum_to_the_logits_on_every_architecture(changes):
    result = run(attention_only(**changes), random_tokens())
    assert all(identity.holds for identity in result.identities)
    assert len(result.identities) == (3 if changes.get("n_layers") == 1 else 5)
    assert ("One layer has no virtual heads" in result.verdict) == (changes.get("n_layers") == 1)


def test_what_the_orders_are_worth_telescopes_from_even_odds_to_the_model_s_loss():
    model, tokens = attention_only(n_layers=3), random_tokens()
    orders = run(model, tokens).tables["By order"]
    loss = model(tokens, return_type="loss").item()
    assert list(orders.kept_up_to[2:]) == ["direct path", "single heads", "virtual heads", "virtual heads of 3"]
    assert list(orders.paths[2:]) == [1, 3 * 4, 3 * 4**2, 4**3]
    assert orders.worth_nats.sum() == pytest.approx(math.log(17) - loss)
    assert orders.loss_nats.iloc[-1] == pytest.approx(loss)
    numbers = run(model, tokens).numbers
    assert numbers["virtual_heads_worth_nats"] == pytest.approx(orders.worth_nats.iloc[-2:].sum())


def test_a_head_that_writes_nothing_is_worth_nothing_and_makes_no_virtual_head():
    model = attention_only()
    model.blocks[0].attn.W_O.data[2] = 0
    result = run(model, random_tokens(), Options(virtual_heads=16))
    heads = result.tables["Single heads"].set_index("head")
    assert heads.loss_increase_nats["L0H2"] == pytest.approx(0, abs=1e-12)
    assert abs(heads.loss_increase_nats["L0H1"]) > 1e-3
    virtual = result.tables["Virtual heads"]
    assert virtual.loss_increase_nats.notna().all()
    silent = virtual[virtual.earlier == "L0H2"]
    assert len(silent) == 4
    assert float(silent.loss_increase_nats.abs().max()) < 1e-12
    assert float(silent.right_token_logits.abs().max()) < 1e-12


def test_in_one_layer_without_norm_or_biases_the_last_head_left_out_is_the_model_without_it():
    # With one layer nothing reads what the head wrote, so frozen patterns are no restriction.
    model, tokens = attention_only(n_layers=1, normalization_type=None, qkv_bias=False), random_tokens()
    heads = run(model, tokens).tables["Single heads"].set_index("head")
    before, logits = model(tokens, return_type="loss").item(), model(tokens).detach()[:, :-1]
    model.blocks[0].attn.W_O.data[3] = 0
    assert heads.loss_increase_nats["L0H3"] == pytest.approx(model(tokens, return_type="loss").item() - before)
    written = logits - model(tokens).detach()[:, :-1]
    right = written.gather(-1, tokens[:, 1:, None]).squeeze(-1) - written.mean(-1)
    assert heads.right_token_logits["L0H3"] == pytest.approx(right.mean().item())


def test_only_the_strongest_virtual_heads_are_left_out_and_the_rest_say_so():
    virtual = run(attention_only(), random_tokens(), Options(virtual_heads=3)).tables["Virtual heads"]
    assert len(virtual) == 16
    assert virtual.loss_increase_nats.notna().tolist() == [True] * 3 + [False] * 13
    assert virtual.first_order_nats.abs().is_monotonic_decreasing


def test_too_many_virtual_heads_are_not_listed(monkeypatch):
    monkeypatch.setattr("analyses.paths_tables.MOST_PAIRS", 15)
    result = run(attention_only(), random_tokens())
    assert "Virtual heads" not in result.tables
    assert "counted together, not listed" in result.verdict
    assert len(result.identities) == 3


def test_the_figures_show_the_tables():
    result = run(attention_only(n_layers=3), random_tokens(), Options(virtual_heads=47))
    orders, virtual = result.tables["By order"], result.tables["Virtual heads"].set_index(["earlier", "later"])
    assert list(result.figures["What each order is worth"].data[0].y) == list(orders.worth_nats[1:])
    trace = result.figures["Virtual heads"].data[0]
    assert trace.z[1][2] == virtual.first_order_nats[(trace.y[1], trace.x[2])]
    assert (trace.y[0], trace.x[0], len(trace.y), len(trace.x)) == ("L0H0", "L1H0", 8, 8)
    every = run(attention_only(n_layers=3), random_tokens(), Options(virtual_heads=48))
    virtual, trace = (
        every.tables["Virtual heads"].set_index(["earlier", "later"]),
        every.figures["Virtual heads"].data[0],
    )
    assert trace.z[1][2] == virtual.loss_increase_nats[(trace.y[1], trace.x[2])]
    # A head of layer 1 cannot come before another of layer 1.
    assert torch.tensor(trace.z[4:, :4]).isnan().all()


def test_one_prompt_has_no_interval():
    assert "no interval can be given" in run(attention_only(), random_tokens(1)).verdict


def test_a_sum_that_fails_is_told(monkeypatch):
    monkeypatch.setattr("analyses.paths.deviation", lambda got, expected: float("nan"))
    assert not run(attention_only(), random_tokens()).identities[0].holds


def test_models_without_paths_are_refused():
    with pytest.raises(NotApplicableError, match="it has MLPs"):
        run(order_one_model(), random_tokens())
    with pytest.raises(NotApplicableError, match="post-norm"):
        run(attention_only(norm_placement="post"), random_tokens())
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens"):
        run(attention_only(d_vocab_out=5), random_tokens())
    with pytest.raises(ValueError, match=r"tokens of shape \[3, 1\] have none"):
        run(attention_only(), random_tokens(length=1))
    with pytest.raises(ValueError, match="virtual_heads=0 must be at least 1"):
        Options(virtual_heads=0)
    run(attention_only(), random_tokens())
