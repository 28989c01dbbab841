import math

import pandas as pd
import pytest
import torch

from analyses.errors import NotApplicableError
from analyses.head_tables import nulls
from analyses.induction import Options, run
from analyses.induction_circuit import Circuit, circuit
from analyses.induction_claims import Role, is_fed, role
from analyses.rendering import require_valid
from interp.head_scores import HeadScores
from models import HookedTransformer

from ..conftest import order_one_model, random_tokens
from ..interp.induction_model import induction_model

NAMES = [
    "nothing",
    "induction head",
    "previous-token head",
    "1 other head, at random",
    "previous-token head, hidden from the keys",
    "previous-token head, hidden from the queries",
    "previous-token head, hidden from the values",
]


@pytest.fixture(scope="module")
def result():
    return run(induction_model(d_vocab=26, n_ctx=50), random_tokens())


@pytest.fixture(scope="module")
def ablations(result):
    return result.tables["What ablation takes from the gain"].set_index("ablated")


def test_the_circuit_made_by_hand_is_found_and_named(result):
    assert result.finding.startswith("1 induction head (L1H0), fed by L0H0, makes the second copy of a random sequence")
    assert result.headline.startswith("induction head L1H0 continues what was seen before: a repetition gains 4.38")
    assert result.numbers["best_previous_token_score"] == pytest.approx(1)
    # One query of 25, the first of the second copy, gives half of its attention elsewhere.
    assert result.numbers["best_prefix_matching_score"] == pytest.approx(1 - 0.5 / 25)
    require_valid(result)
    assert [identity.error < 1e-12 for identity in result.identities] == [True] * 3


def test_ablating_either_half_or_its_keys_takes_the_gain_and_nothing_else_does(ablations):
    assert list(ablations.index) == NAMES
    assert list(ablations["heads"][:3]) == ["", "L1H0", "L0H0"]
    gains = ablations["gain_nats"]
    clean = gains["nothing"]
    assert clean > 4
    for name in (NAMES[1], NAMES[2], NAMES[4]):
        assert gains[name] < 0.25 * clean
        assert ablations["gain_lost_nats_low"][name] > 0
    for name in (NAMES[3], NAMES[5], NAMES[6]):
        assert gains[name] == pytest.approx(clean, abs=1e-6)


def test_the_ablation_table_adds_up(ablations):
    copies = ablations["first_copy_nats"] - ablations["second_copy_nats"]
    assert copies.tolist() == pytest.approx(ablations["gain_nats"].tolist())
    lost = ablations["gain_nats"]["nothing"] - ablations["gain_nats"]
    assert lost.tolist() == pytest.approx(ablations["gain_lost_nats"].tolist(), abs=1e-12)
    assert ablations["share_of_gain_kept"]["nothing"] == 1
    assert (ablations["least_gain_of_draws_nats"] <= ablations["gain_nats"] + 1e-12).all()


def test_the_losses_by_position_are_those_of_the_ablation_table(result, ablations):
    positions = result.tables["Loss along the sequence"]
    for name in NAMES:
        rows = positions[positions["ablated"] == name].set_index("position")["loss_nats"]
        # Two copies of 25, without start token: tokens 1 to 24 and 26 to 49 have a loss that counts.
        assert rows.loc[1:24].mean() == pytest.approx(ablations["first_copy_nats"][name])
        assert rows.loc[26:49].mean() == pytest.approx(ablations["second_copy_nats"][name])


def test_the_composition_of_the_two_stands_beside_its_null(result):
    table = result.tables["K-composition"].set_index("writer")
    row = table.loc["L0H0"]
    assert row["writer_is_previous_token"]
    assert row["null"] == pytest.approx(1 / math.sqrt(3 * 26 + 50))
    assert row["null_low"] < row["null"] < row["null_high"] < row["score"]
    assert math.isnan(table.loc["L0H1", "score"])


def test_the_figures_show_the_tables(result, ablations):
    bars = result.figures["What ablation takes from the gain"].data[0]
    assert list(bars.x) == list(ablations["gain_nats"].round(4))
    assert list(result.figures["What ablation takes from the gain"].layout.yaxis.ticktext) == NAMES
    grid = result.figures["K-composition with the induction heads"].data[0]
    assert grid.z[0][0] == round(result.tables["K-composition"]["z"][0], 2)
    lines = [trace.name for trace in result.figures["Loss along the sequence"].data if trace.showlegend is None]
    assert lines == [NAMES[0], NAMES[1], NAMES[2], NAMES[4], NAMES[3]]


def test_without_the_first_half_there_is_no_circuit():
    model = induction_model(d_vocab=26, n_ctx=50)
    model.blocks[0].attn.W_Q.data.zero_()
    result = run(model, random_tokens())
    assert result.finding.startswith("There are no induction heads: the highest prefix-matching score is")
    assert "none reaches what it takes (here 0.44), and the nearest stands in below" in result.verdict
    assert "head nearest to induction" in set(result.tables["What ablation takes from the gain"]["ablated"])
    assert result.numbers["induction_heads"] == 0
    assert result.headline.startswith("there are no induction heads, and a repetition gains")
    require_valid(result)


def verdict_on_stdlib(factor):
    """The verdict on the bundled model with what its induction heads write scaled: where they look stays the same."""
    model = HookedTransformer.from_pretrained_no_processing("stdlib-2l")
    model.blocks[1].attn.W_O.data[1:4] *= factor
    return run(model, model.to_tokens("import os"), Options(sequences=4, draws=2))


def test_induction_heads_that_work_are_said_to():
    result = verdict_on_stdlib(1)
    assert "(L1H2, L1H1, L1H3), fed by L0H1, make the second copy of a random sequence cheaper: " in result.finding
    assert result.headline.startswith("induction heads L1H2, L1H1, L1H3 continue what was seen before: a repetition")
    assert ", ablating as many others at random lowers it by " in result.headline
    assert " times that of the strongest other earlier head, L0H2 (" in result.verdict


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (0, "look at what followed earlier copies, but the gain does not depend on them: "),
        (-1, "look at what followed earlier copies, but work against the gain: a repetition costs "),
    ],
)
def test_heads_that_only_look_are_not_said_to_make_the_gain(factor, said):
    result = verdict_on_stdlib(factor)
    assert result.numbers["induction_heads"] == 3
    assert said in result.finding
    assert said in result.headline
    assert "with L0H1 as the nearest previous-token head, look" in result.finding
    for claim in ("fed by", "make the second", "continue", "gains -"):
        assert claim not in result.headline + result.verdict


def row(gain=(2, 1, 3), lost=(2, 1, 3)):
    named = zip(("gain_nats", "gain_lost_nats"), (gain, lost), strict=True)
    return pd.Series(
        {f"{name}{end}": value for name, ends in named for end, value in zip(("", "_low", "_high"), ends, strict=True)}
    )


def test_the_role_of_the_heads_is_what_interval_and_control_carry():
    assert role(row(), row(), None) is Role.MAKES
    assert role(row(), row(), row(lost=(0.5, 0, 0.9))) is Role.MAKES
    assert role(row(), row(), row(lost=(0.9, 0.5, 1.1))) is Role.LIKE_ANY
    assert role(row(gain=(0.1, -0.1, 0.3)), row(), None) is Role.NO_GAIN
    assert role(row(), row(lost=(0.1, -0.1, 0.3)), None) is Role.NOT_NEEDED
    assert role(row(), row(lost=(0, 0, 0)), None) is Role.NOT_NEEDED
    assert role(row(), row(lost=(-2, -3, -1)), None) is Role.AGAINST
    assert role(row(), row(lost=(-2, -3, -1)), row(lost=(-1, -2, 0))) is Role.LIKE_ANY


def test_fed_takes_a_share_of_the_gain_and_a_composition_above_its_null():
    high, low = (pd.Series({"score": score, "null_high": 0.2}) for score in (0.3, 0.1))
    assert is_fed(row(), row(), high)
    assert not is_fed(row(), row(), low)
    assert not is_fed(row(), row(lost=(0.1, -0.1, 0.3)), high)
    assert not is_fed(row(gain=(0, -1, 1)), row(), high)
    assert not is_fed(row(), None, high)
    assert not is_fed(row(), row(), None)


def test_a_composition_is_said_to_leave_the_rotation_out_and_zeros_to_have_none():
    model = order_one_model(positional_embedding_type="rotary")
    assert "those of distance zero" in run(model, random_tokens(), Options(sequences=2)).verdict
    model = order_one_model()
    assert "those of distance zero" not in run(model, random_tokens(), Options(sequences=2)).verdict
    for block in model.blocks:
        block.attn.W_K.data.zero_()
    said = run(model, random_tokens(), Options(sequences=2)).verdict
    assert "or the queries or keys of the second, are zero." in said


def test_nulls_that_differ_between_heads_are_all_told():
    assert nulls(pd.DataFrame({"null": [0.06, 0.0601]})) == "0.06"
    assert nulls(pd.DataFrame({"null": [0.06, 0.2, 0.06]})) == "0.06, 0.20 and 0.06"


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization_type": "RMS", "n_key_value_heads": 2, "positional_embedding_type": "rotary"},
        {"norm_placement": "post"},
        {"use_normalization_before_and_after": True},
        {"parallel_attn_mlp": True, "tie_word_embeddings": True},
        {"n_layers": 3, "n_heads": 1, "d_head": 12},
        {"n_heads": 1, "attn_only": True, "normalization_type": None},
        {"dtype": torch.float32, "use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]},
    ],
)
def test_every_architecture_is_asked(changes):
    result = run(order_one_model(**changes), random_tokens(), Options(threshold=0.2, sequences=3, draws=2))
    require_valid(result)
    table = result.tables["What ablation takes from the gain"]
    without_paths = {"norm_placement", "use_normalization_before_and_after"} & set(changes)
    assert any("hidden from" in name for name in table["ablated"]) == (not without_paths)
    assert ("No single path was cut: " in result.verdict) == bool(without_paths)
    alone = changes.get("n_heads") == 1 and "n_layers" not in changes
    assert any(name.endswith("at random") for name in table["ablated"]) == (not alone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layers": 1}, "one layer"),
        ({"attention_dir": "bidirectional"}, "sees later tokens"),
        ({"d_vocab_out": 5}, "its 5 outputs are not the 17 tokens"),
        ({"n_ctx": 4}, "its context of 4 holds 2 copies"),
        ({"d_vocab": 2}, "its vocabulary has 2 tokens"),
    ],
)
def test_what_cannot_be_asked_is_told(changes, message):
    with pytest.raises(NotApplicableError, match=message):
        run(order_one_model(**changes), random_tokens())


def test_on_the_prompts_late_tokens_are_compared_with_early_ones():
    model, tokens = order_one_model(n_ctx=50), random_tokens(4, 41)
    losses = model(tokens, return_type="loss", loss_per_token=True).detach()
    score = float((losses[:, 39] - losses[:, 3]).mean())
    said = f"On the prompts themselves the loss on token 40 less that on token 4 is {score:+.2f} nats"
    assert said in run(model, tokens, Options(sequences=2)).verdict
    assert "On the prompts" not in run(model, tokens[:, :10], Options(sequences=2)).verdict


def scores_of(grid, sequences=3):
    values = torch.tensor(grid, dtype=torch.float64).expand(sequences, -1, -1)
    return HeadScores(values, torch.full(values.shape[:2], 0.05, dtype=torch.float64))


def test_only_earlier_heads_can_feed_later_ones():
    previous = scores_of([[0.1, 0.6], [0.9, 0.5], [0.99, 0.99]])
    found = circuit(previous, scores_of([[0.9, 0.9], [0.2, 0.3], [0.5, 0.1]]), 0.4)
    assert found.induction == [(2, 0)]
    assert found.previous == [(1, 0), (0, 1), (1, 1)]
    assert (found.induction_name, found.previous_name) == ("induction head", "previous-token heads")
    assert found.others == [(0, 0), (2, 1)]
    candidate = circuit(previous, scores_of([[0.9, 0.9], [0.2, 0.3], [0.1, 0.1]]), 0.4)
    assert (candidate.induction, candidate.found_induction) == ([(1, 1)], False)
    assert (candidate.previous, candidate.found_previous) == ([(0, 1)], True)
    assert candidate.induction_name == "head nearest to induction"


def test_controls_are_other_heads_and_never_the_same_twice():
    heads = Circuit([(1, 0)], [(0, 0)], True, True, [(0, 1), (0, 2), (1, 1)])
    generator = torch.Generator().manual_seed(0)
    drawn = heads.controls(2, 20, generator)
    assert sorted(map(tuple, drawn)) == [((0, 1), (0, 2)), ((0, 1), (1, 1)), ((0, 2), (1, 1))]
    assert heads.controls(9, 4, generator) == [heads.others]
    assert Circuit([(1, 0)], [(0, 0)], True, True, []).controls(1, 4, generator) == []


@pytest.mark.parametrize("wrong", [{"sequences": 1}, {"draws": 0}, {"threshold": 1.5}])
def test_options_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=r"for an interval, draws=.* at least 1, and threshold="):
        Options(**wrong)
    Options(sequences=2, draws=1, threshold=0.9)
