import math

import pytest
import torch

from analyses import initial_runs
from analyses.errors import NotApplicableError, NothingToChooseError
from analyses.initial_runs import attention_at_random
from analyses.initialisation import Options, run
from interp.errors import NonFiniteError
from models import HookedTransformer
from models.masks import AttentionContext, Visibility
from models.one_head import one_head

from ..conftest import order_one_model, random_tokens


@pytest.fixture(scope="module")
def of_the_textbook():
    """The one-head model with a final norm: d_model 64, eight positions, the whole vocabulary."""
    model = HookedTransformer(one_head(final_norm=True, device="cpu"))
    return run(model, random_tokens(4, 8, d_vocab=50257), Options(seeds=5))


def test_attention_is_uniform_for_std_002_and_not_for_xavier(of_the_textbook):
    numbers = of_the_textbook.numbers
    assert numbers["gpt2_attention_is"] == numbers["normal_attention_is"] == "uniform"
    assert numbers["xavier_attention_is"] == "not uniform"
    assert "not uniform for “xavier”" in of_the_textbook.verdict
    table = of_the_textbook.tables["By scheme"].set_index("scheme")
    # The reference: 0.01, 2.0 and 13 % of ln 8, which is the longest row's; here of the mean of ln n over the rows.
    for scheme, published in (("gpt2", 2.44e-4), ("linear", 0.0407), ("xavier", 0.275)):
        reach = table.high_nats[scheme] - table.kl_nats[scheme]
        assert abs(table.kl_nats[scheme] - published) < 2 * reach
    assert table.formula_is["gpt2"] == "right"
    assert table.formula_over_measured["xavier"] > 1.2


def test_the_loss_is_ln_V_only_for_small_embeddings(of_the_textbook):
    losses = of_the_textbook.tables["Loss by size of the embeddings"].set_index("embedding_std")
    assert losses.closed_form_nats[0.02] == pytest.approx(math.log(50257) + 64 * 0.02**2 / 2, abs=3e-4)
    assert losses.low_nats[0.02] < losses.closed_form_nats[0.02] < losses.high_nats[0.02]
    assert list(losses.closed_form_is_valid) == [True, True, True, False]
    # The reference measures 41.7 on its own draws; the interval is of five draws of ours.
    assert losses.low_nats[1.0] < 41.7 < losses.high_nats[1.0]
    # Well inside the range the exact law and the closed form are the same, up to the sample's own variance.
    assert losses.general_nats[0.02] == pytest.approx(losses.closed_form_nats[0.02], abs=1e-3)
    assert losses.general_nats[1.0] == pytest.approx(losses.loss_nats[1.0], rel=0.03)
    assert "outside the closed form's range" in of_the_textbook.verdict


def test_the_exact_claims_are_measured(of_the_textbook):
    numbers = of_the_textbook.numbers
    assert 0 < numbers["largest_error_of_a_row_sum"] < 1e-6
    assert numbers["smallest_entry"] == 0
    assert numbers["largest_masked_entry"] == 0
    assert "every masked entry is exactly 0" in of_the_textbook.verdict


def test_a_pattern_that_breaks_the_claims_is_told(monkeypatch):
    model, tokens = order_one_model(), random_tokens()
    model.blocks[1].attn.hook_pattern.add_hook(lambda pattern, hook: pattern - 0.01, is_permanent=True)
    result = run(model, tokens, Options(seeds=2))
    assert "NEGATIVE" in result.verdict
    assert "NOT zero but up to 1.0e-02" in result.verdict
    assert result.numbers["smallest_entry"] == pytest.approx(-0.01)
    assert result.numbers["largest_error_of_a_row_sum"] == pytest.approx(0.07)


WINDOW = {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local")}


@pytest.mark.parametrize(
    ("changes", "n_masked"),
    # A query of seven sees 1 to 7 keys, so 21 are masked; in a window of three 10 more, or 20 of both sides alone.
    [({}, 8 * 21), (WINDOW, 4 * 21 + 4 * 31), ({"attention_dir": "bidirectional", **WINDOW}, 4 * 20)],
)
def test_a_mask_that_leaks_is_told_and_a_sound_one_is_not(monkeypatch, changes, n_masked):
    model, tokens = order_one_model(**changes), random_tokens()
    sound = run(model, tokens, Options(seeds=2))
    assert sound.numbers["masked_entries_of_a_prompt"] == n_masked
    assert sound.numbers["largest_masked_entry"] == 0
    assert f"every masked entry is exactly 0 ({n_masked} of each prompt" in sound.verdict
    monkeypatch.setattr(Visibility, "allowed", lambda self, q, k: torch.ones(len(q), len(k), dtype=torch.bool))
    monkeypatch.setattr(AttentionContext, "is_plainly_causal", lambda self, rule: False)
    leaking = run(model, tokens, Options(seeds=2))
    assert leaking.numbers["largest_masked_entry"] > 0.1
    assert "masked entries are NOT zero but up to" in leaking.verdict


def test_a_mask_that_hides_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(Visibility, "allowed", lambda self, q, k: q[:, None] == k)
    monkeypatch.setattr(AttentionContext, "is_plainly_causal", lambda self, rule: False)
    with pytest.raises(NonFiniteError, match="layer 0 hides keys that its configuration shows"):
        attention_at_random(order_one_model(), random_tokens())


def test_where_nothing_is_masked_no_zero_is_claimed():
    result = run(order_one_model(attention_dir="bidirectional"), random_tokens(), Options(seeds=2))
    assert result.numbers["masked_entries_of_a_prompt"] == 0
    assert "no entry is masked" in result.verdict
    assert "exactly 0" not in result.verdict


def test_the_model_is_left_as_it_is():
    model, tokens = order_one_model(), random_tokens()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    run(model, tokens, Options(seeds=2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_head_and_row_has_its_number():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens, Options(seeds=2))
    # Two layers of four heads, rows of 2, 4 and 7 keys; the row of one key is always uniform.
    assert len(result.tables["By head"]) == 4 * 8
    assert len(result.tables["By number of keys"]) == 4 * 6
    assert len(result.tables["By head and number of keys"]) == 4 * 8 * 3
    by_head = result.tables["By head"]
    for trace, (_, heads) in zip(
        result.figures["Measured against predicted, by head"].data, by_head.groupby("scheme", sort=False), strict=False
    ):
        assert list(trace.y) == list(heads.kl_nats)
        assert list(trace.x) == list(heads.predicted_nats)


def test_the_rows_are_the_patterns_own():
    model, tokens = order_one_model(), random_tokens()
    rows = attention_at_random(model, tokens).rows
    _, cache = model.run_with_cache(tokens)
    pattern = cache["blocks.1.attn.hook_pattern"][:, 2, 4, :5]
    expected = (pattern * (pattern * 5).log()).sum(dim=-1).mean()
    row = rows[(rows["head"] == "L1H2") & (rows.n_keys == 5)]
    assert row.kl_nats.item() == pytest.approx(float(expected))


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization_type": "RMS", "gated_mlp": True, "positional_embedding_type": "rotary"},
        {"n_key_value_heads": 2},
        {"norm_placement": "post"},
        {"attention_dir": "bidirectional"},
        {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local")},
    ],
)
def test_other_architectures_are_drawn_too(changes):
    result = run(order_one_model(**changes), random_tokens(), Options(seeds=2))
    assert result.numbers["gpt2_attention_is"] == "uniform"
    assert result.numbers["largest_masked_entry"] == 0


def test_windows_of_one_key_everywhere_are_refused_and_in_one_layer_are_not():
    local = {"use_local_attn": True, "window_size": 1}
    with pytest.raises(NothingToChooseError, match="a window of 1: each query sees one key"):
        run(order_one_model(**local, attn_types=("local", "local")), random_tokens(), Options(seeds=2))
    rows = run(order_one_model(**local, attn_types=("global", "local")), random_tokens(), Options(seeds=2))
    assert set(rows.tables["By head"]["head"]) == {"L0H0", "L0H1", "L0H2", "L0H3"}


def test_a_model_in_bfloat16_is_drawn_too():
    assert run(order_one_model(dtype=torch.bfloat16), random_tokens(), Options(seeds=2)).numbers["ln_V_nats"] > 2


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="a query of one key is always uniform"):
        run(order_one_model(), random_tokens(length=1))
    with pytest.raises(ValueError, match="seeds=1 must be at least 2"):
        Options(seeds=1)
    model = order_one_model()
    model.blocks[1].attn.W_Q.data[0] = torch.nan
    with pytest.raises(ValueError, match="the pattern of layer 1 is not finite"):
        run(model, random_tokens(), Options(seeds=2))
    assert "deepnorm" not in initial_runs.SCHEMES


def test_a_model_without_a_next_token_loss_is_not_asked():
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens"):
        run(order_one_model(d_vocab_out=5), random_tokens(), Options(seeds=2))


def test_theory_knows_what_queries_and_keys_read():
    # Without a norm the first layer's queries and keys read the same, whether or not the stream holds the positions.
    changes = {"n_layers": 1, "normalization_type": None}
    rows = [
        attention_at_random(order_one_model(positional_embedding_type=kind, **changes), random_tokens()).rows
        for kind in ("standard", "shortformer", "none")
    ]
    assert rows[0].predicted_nats.tolist() == pytest.approx(rows[1].predicted_nats.tolist())
    assert rows[0].predicted_nats.tolist() != pytest.approx(rows[2].predicted_nats.tolist(), rel=0.1)
