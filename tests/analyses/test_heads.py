import math

import pytest
import torch

from analyses.errors import NotApplicableError
from analyses.head_tables import is_one, kind_table
from analyses.heads import Options, run
from analyses.rendering import require_valid
from interp.head_scores import HeadScores

from ..conftest import order_one_model, random_tokens
from ..interp.induction_model import induction_model


@pytest.fixture(scope="module")
def result():
    return run(induction_model(d_vocab=26, n_ctx=100), random_tokens())


def test_the_verdict_names_the_heads_and_the_numbers_count_them(result):
    assert result.finding == (
        "Of 4 heads L0H0 (1.00) looks at the previous token; L1H0 (0.99) looks at what followed earlier copies "
        "(induction); there is no duplicate-token or first-token head."
    )
    assert result.headline.startswith("L0H0 looks at the previous token and L1H0 looks at what followed")
    assert result.numbers["previous_token_heads"] == result.numbers["induction_heads"] == 1
    # In the last three of four copies only the very first token, which keeps itself, shares its attention.
    missed = sum(1 / (copies + 1) for copies in (1, 2, 3)) / 75
    assert math.isclose(result.numbers["best_induction_score"], 1 - missed, rel_tol=1e-9)
    assert "L1H0 raises the token attended to above the others around: copying score L1H0 1.00 (1.00" in result.verdict


def test_the_identities_hold_and_the_numbers_are_finite(result):
    require_valid(result)
    assert [identity.error < 1e-12 for identity in result.identities] == [True, True]


def test_the_figures_show_the_table(result):
    table = result.tables["Heads"]
    assert len(table) == 4 * 5
    grid = result.figures["Scores of all heads"].data[0]
    assert list(grid.x) == ["L0H0", "L0H1", "L1H0", "L1H1"]
    induction = table[table["kind"] == "induction"]
    assert list(grid.z[list(grid.y).index("induction")]) == list(induction["score"].round(4))
    points = result.figures["Looking back, and copying what is seen"].data
    assert [text for trace in points for text in trace.text] == list(induction["head"])
    assert [x for trace in points for x in trace.x] == list(induction["score"].round(4))


def test_a_head_must_be_above_threshold_and_null():
    even = order_one_model(n_ctx=101, d_vocab=30)
    for block in even.blocks:
        block.attn.W_Q.data.zero_()
        block.attn.b_Q.data.zero_()
    result = run(even, random_tokens(), Options(threshold=0.01))
    assert not result.tables["Heads"].query("kind != 'copying'")["is_one"].any()
    assert result.finding.startswith("None of the 8 heads is of a known kind (previous token, duplicate token")
    assert result.headline == "no head is of a known kind"


def test_where_chance_gives_much_more_is_needed():
    values = torch.tensor([[[0.55, 0.45]]], dtype=torch.float64).expand(4, 1, 2)
    values = values + 0.001 * torch.arange(4.0)[:, None, None]
    rare, common = (HeadScores(values, torch.full((4, 1), null, dtype=torch.float64)) for null in (0.01, 0.25))
    # 0.4 of the way from 0.01 to 1 is 0.406, from 0.25 to 1 it is 0.55.
    assert is_one(rare, 0.4).tolist() == [[True, True]]
    assert is_one(common, 0.4).tolist() == [[True, False]]
    assert kind_table("first token", common, 0.4)["needed"].tolist() == pytest.approx([0.55, 0.55])


def test_a_model_too_small_for_repetition_is_measured_on_its_prompts():
    model = order_one_model(n_ctx=4)
    result = run(model, random_tokens(6, 4))
    assert set(result.tables["Heads"]["kind"]) == {"previous token", "first token"}
    assert "Measured on the 6 prompts of 4 tokens: 2 copies of 3 different tokens do not fit" in result.verdict
    with pytest.raises(NotApplicableError, match="prompts of 2 tokens leave no query to measure"):
        run(model, random_tokens(6, 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_only": True, "normalization_type": None},
        {"normalization_type": "RMS", "n_key_value_heads": 2, "positional_embedding_type": "rotary"},
        {"norm_placement": "post"},
        {"parallel_attn_mlp": True, "attention_dir": "bidirectional"},
        {"n_layers": 1, "n_heads": 1, "tie_word_embeddings": True},
        {"d_vocab_out": 5, "use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]},
        {"dtype": torch.float32, "positional_embedding_type": "none"},
    ],
)
def test_every_architecture_is_measured(changes):
    result = run(order_one_model(**changes), random_tokens())
    require_valid(result)
    assert (changes.get("n_heads") == 1) == ("The one head is of no known kind" in result.finding)
    copies = "copying" in set(result.tables["Heads"]["kind"])
    assert copies == (not {"norm_placement", "d_vocab_out"} & set(changes))
    assert copies or "There is no copying score: the" in result.verdict


@pytest.mark.parametrize("wrong", [{"sequences": 1}, {"threshold": 0.0}, {"threshold": 1.0}])
def test_options_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least 2, for an interval, and threshold=.* between 0 and 1"):
        Options(**wrong)
    Options(sequences=2, threshold=0.5)
