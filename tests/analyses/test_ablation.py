import pandas as pd
import pytest
import torch

from analyses.ablation import Options, run
from analyses.ablation_verdict import compared
from analyses.engine_wording import VERIFIED_AGAIN
from analyses.errors import NotApplicableError, OptionError
from interp.component_ablation import Component, ablations
from interp.engine.wavefront import Wavefront
from interp.errors import VerificationError
from interp.hooks import edited
from interp.metrics import Loss

from ..conftest import order_one_model, random_tokens

ONES, BLOCKS, SET = "Heads and MLPs", "All heads of a block at once", "Several at once: shares of the joint effect"


def loss(model, tokens, at=None):
    with torch.no_grad():
        return Loss(tokens, at)(model(tokens))


def test_zero_ablation_of_a_head_is_the_model_with_its_output_weights_zeroed():
    model, tokens = order_one_model(), random_tokens()
    table = run(model, tokens, Options(replacement="zero")).tables[ONES].set_index("component")
    before = loss(model, tokens).mean()
    model.blocks[1].attn.W_O.data[2] = 0
    assert table.loc["L1H2", "loss_increase_nats"] == pytest.approx(float(loss(model, tokens).mean() - before))
    assert table.loc["L1H2", "loss_increase_nats_low"] <= table.loc["L1H2", "loss_increase_nats"]
    assert list(table.index) == ["L0H0", "L0H1", "L0H2", "L0H3", "L0MLP", "L1H0", "L1H1", "L1H2", "L1H3", "L1MLP"]


@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
def test_the_tables_are_the_effects_of_the_library(replacement):
    model, tokens = order_one_model(), random_tokens(5)
    result = run(model, tokens, Options(replacement=replacement, heads="L0H1, L1MLP"))
    ready = ablations(model, tokens, Loss(tokens), replacement)
    heads = [[Component(layer, head) for head in range(4)] for layer in range(2)]
    blocks = result.tables[BLOCKS]
    assert list(blocks["together_nats"]) == pytest.approx(ready.effects(heads).mean(dim=0).tolist())
    singles = torch.stack([ready.effects([[one] for one in block]).mean(dim=0).sum() for block in heads])
    assert list(blocks["sum_of_singles_nats"]) == pytest.approx(singles.tolist())
    assert list(blocks["interaction_nats"]) == pytest.approx(
        list(blocks["together_nats"] - blocks["sum_of_singles_nats"])
    )
    together = result.tables[SET].set_index("taken_out")
    assert list(together.index) == ["L0H1", "L1MLP", "all of these"]
    joint = float(ready.effect([Component(0, 1), Component(1)]).mean())
    assert together.loc["all of these", "share_nats"] == pytest.approx(joint)
    assert together["share_nats"].iloc[:2].sum() == pytest.approx(joint)
    assert result.numbers["set_together_nats"] == pytest.approx(joint)
    assert together.loc["L0H1", "alone_nats"] == pytest.approx(float(ready.effect([Component(0, 1)]).mean()))
    assert "L0H1, L1MLP (named) taken out together change the loss by" in result.verdict
    assert all(identity.holds for identity in result.identities)
    assert len(result.identities) == 4


def test_heads_that_stand_in_for_one_another_are_told_from_the_interaction():
    # Two equal heads behind a readout that saturates: either is enough, so each alone seems to be worth little.
    model, tokens = (
        order_one_model(n_layers=1, attn_only=True, normalization_type=None, final_norm=False),
        random_tokens(8),
    )
    for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
        weight = getattr(model.blocks[0].attn, name).data
        weight[1] = weight[0]
    result = run(model, tokens, Options(replacement="zero", heads="L0H0,L0H1"))
    together = result.tables[SET].set_index("taken_out")
    assert together.loc["L0H0", "share_nats"] == pytest.approx(together.loc["L0H1", "share_nats"])
    joint, alone = together.loc["all of these", "share_nats"], together.loc["all of these", "alone_nats"]
    assert joint != pytest.approx(alone, rel=1e-3)


def test_the_strongest_are_shared_out_where_no_set_is_named():
    result = run(order_one_model(), random_tokens(), Options(shapley=3))
    table, together = result.tables[ONES], result.tables[SET]
    strongest = set(table.loc[table["loss_increase_nats"].abs().nlargest(3).index, "component"])
    assert set(together["taken_out"].iloc[:-1]) == strongest
    assert "the strongest, taken out together" in result.verdict
    best = table[table["kind"] == "head"].nlargest(1, "loss_increase_nats").iloc[0]
    assert result.numbers["costliest_head"] == best["component"]
    # Three prompts: no p can be below 0.25.
    assert result.finding.startswith(
        f"No head changes the loss beyond chance, without {best['component']}, the nearest, it changes by "
    )


@pytest.mark.parametrize("scale", [1.0, 1e-3], ids=["order one", "as initialised"])
def test_what_chance_would_explain_is_not_asserted(scale):
    said = set()
    for seed in range(6):
        model = order_one_model(seed=seed)
        model.unembed.W_U.data *= scale
        result = run(model, random_tokens(8, seed=seed))
        ones = result.tables[ONES]
        outside = (ones["loss_increase_nats_low"] > 0) | (ones["loss_increase_nats_high"] < 0)
        certain = ones[(ones["p_adjusted"] < 0.05) & outside]
        assert result.finding.lower().startswith(result.headline.lower())
        for kind, clause in zip(("head", "MLP"), result.headline.split("; "), strict=True):
            of_kind = certain.loc[certain["kind"] == kind, "loss_increase_nats"]
            assert clause.startswith(f"no {kind} changes the loss beyond chance") == (not len(of_kind))
            assert ("the loss grows" in clause) == bool((of_kind > 0).any())
            said.add(clause.split()[0])
        assert ("No block's heads together cost anything" in result.verdict) == (
            not _costs(result.tables[BLOCKS], "together_nats")
        )
    assert "no" in said


def _costs(table, name):
    row = table.loc[table[name].idxmax()]
    return row[name.replace("_nats", "_p_adjusted")] < 0.05 and row[f"{name}_low"] > 0


def told_by(model):
    """Prompts that the model is right about everywhere, so that whatever is taken out costs."""
    tokens = random_tokens(8)
    for position in range(1, tokens.shape[1]):
        tokens[:, position] = model(tokens)[:, position - 1].argmax(dim=-1)
    return tokens


def test_a_block_that_costs_most_is_said_to_be_one_of_several():
    model = order_one_model()
    tokens = told_by(model)
    result = run(model, tokens, Options(replacement="zero"))
    assert "adjusted for the choice among 2 blocks" in result.verdict
    assert _costs(result.tables[BLOCKS], "together_nats")
    assert result.finding.startswith("Without L")
    assert "the loss grows most of all heads, by" in result.finding


@pytest.mark.parametrize(
    ("interval", "p", "both_cost", "said"),
    [
        ((0.1, 0.2), 0.01, True, "they stand in for one another, or must go together to be missed (0.100"),
        ((-0.2, -0.1), 0.01, True, "they work on the same thing, or need each other (0.100 to 0.200 less"),
        ((0.1, 0.2), 0.01, False, "0.100 to 0.200 more together, p = 0.01"),
        ((-0.2, -0.1), 0.01, False, "0.100 to 0.200 less together, p = 0.01"),
        ((0.1, 0.2), 0.3, True, "the difference is not beyond chance"),
        ((-0.1, 0.2), 0.01, True, "the difference is not beyond chance"),
        ((float("nan"), float("nan")), 1.0, True, "one prompt does not tell"),
    ],
)
def test_an_interaction_has_a_meaning_only_between_costs_and_beyond_chance(interval, p, both_cost, said):
    assert compared(interval, p, both_cost).startswith(said)


def test_more_than_ten_named_components_are_taken_out_but_not_shared_out():
    model, tokens = order_one_model(n_layers=3), random_tokens()
    names = [f"L{layer}H{head}" for layer in range(3) for head in range(4)]
    result = run(model, tokens, Options(heads=",".join(names)))
    together = result.tables[SET]
    assert together["share_nats"].iloc[:-1].isna().all()
    assert pd.notna(together["share_nats"].iloc[-1])
    assert "Shared out" not in result.verdict
    assert all(pd.notna(value) for value in result.numbers.values())


def test_one_prompt_has_no_mean_and_no_interval():
    result = run(order_one_model(), random_tokens(1))
    assert "taken out: zero" in result.finding
    assert "With one prompt there is no mean" in result.verdict
    assert "beyond chance (p" not in result.verdict
    assert result.tables[ONES]["loss_increase_nats_low"].isna().all()


def test_short_prompts_are_more_prompts_and_the_options_say_otherwise():
    model, tokens = order_one_model(), random_tokens(70, 8)
    assert "64 prompts" in run(model, tokens).finding
    assert "5 prompts" in run(model, tokens, Options(prompts=5)).finding
    shorter = run(model, tokens, Options(prompts=5, positions=4))
    assert shorter.numbers["loss_nats"] == pytest.approx(float(loss(model, tokens[:5, :4]).mean()))


def test_a_model_that_was_taught_one_prediction_is_measured_there():
    model, tokens = order_one_model(n_layers=1), random_tokens(8, 4)
    # The output says, loudly, token 3 whatever it reads: right at position 2 alone.
    tokens[:, 1:3], tokens[:, 3] = 5, 3
    model.unembed.W_U.data *= 0.01
    model.unembed.b_U.data = 9.0 * torch.nn.functional.one_hot(torch.tensor(3), 17).double()
    result = run(model, tokens)
    assert result.numbers["loss_nats"] == pytest.approx(float(loss(model, tokens, (2,)).mean()))
    assert "prediction at position 2 alone" in result.verdict


def test_a_model_without_any_loss_to_speak_of_is_measured_on_what_it_loses():
    # In float32 a loss of nearly nothing is rounded away beside logits that are not; the identities must see that.
    model, tokens = order_one_model(dtype=torch.float32), random_tokens()
    model.unembed.W_U.data *= 30
    tokens[:, 1:] = model(tokens)[:, :-1].argmax(dim=-1)
    for position in range(1, 7):
        tokens[:, position] = model(tokens)[:, position - 1].argmax(dim=-1)
    result = run(model, tokens)
    assert result.numbers["loss_nats"] < 1e-2
    assert all(identity.holds for identity in result.identities)


def test_the_figures_show_the_tables():
    result = run(order_one_model(), random_tokens())
    ones, blocks, together = result.tables[ONES], result.tables[BLOCKS], result.tables[SET]
    grid = result.figures["Heads and MLPs"].data[0]
    assert list(grid.z.flatten()) == pytest.approx(list(ones["loss_increase_nats"]), rel=1e-3)
    assert list(grid.x) == ["H0", "H1", "H2", "H3", "MLP"]
    shown = ones.set_index("component")["loss_increase_nats"]
    for bars, kind in zip(result.figures["The strongest"].data, ("head", "MLP"), strict=True):
        assert list(bars.x) == [shown[name] for name in bars.y]
        assert set(bars.y) == set(ones.loc[ones["kind"] == kind, "component"])
    assert list(result.figures["All heads of a block at once"].data[0].y) == list(blocks["together_nats"])
    assert list(result.figures["Several at once"].data[0].y) == list(together["share_nats"])


def test_what_is_beyond_chance_is_marked_and_counted(monkeypatch):
    model, options = order_one_model(), Options(replacement="zero")
    tokens = told_by(model)
    result = run(model, tokens, options)
    table = result.tables[ONES]
    assert 0 < table["beyond_chance"].sum() < len(table)
    assert f"{table['beyond_chance'].sum()} of 10 heads and MLPs, marked by a dot in the map, change" in result.verdict
    assert "with 8 prompts no p is below 0.0078" in result.verdict
    texts = result.figures["Heads and MLPs"].data[0].text.flatten()
    assert [text.startswith("●") for text in texts] == list(table["beyond_chance"])
    assert max(map(len, texts)) <= 7
    marks = dict(zip(table["component"], table["beyond_chance"], strict=True))
    for bars in result.figures["The strongest"].data:
        assert [opacity == 1.0 for opacity in bars.marker.opacity] == [marks[name] for name in bars.y]
    few = run(model, tokens[:4], options)
    assert "None of 10 heads and MLPs can be told from chance: with 4 prompts no p is below 0.12." in few.verdict
    assert not few.tables[ONES]["beyond_chance"].any()
    monkeypatch.setattr(Wavefront, "noise_floor", property(lambda self: torch.full((1, 8), 1e6, dtype=torch.float64)))
    assert not run(model, tokens, options).tables[ONES]["beyond_chance"].any()


def test_the_exact_engine_runs_the_sets_and_an_engine_that_errs_is_no_result(monkeypatch):
    model, tokens = order_one_model(), random_tokens()
    assert "Run on the exact engine" in run(model, tokens).verdict
    with edited(model, {"blocks.1.hook_resid_post": lambda stream: stream}):
        hooked = run(model, tokens)
    assert "Run with one forward pass for each cell" in hooked.verdict
    assert VERIFIED_AGAIN not in [identity.statement for identity in hooked.identities]
    part = Wavefront.part
    monkeypatch.setattr(Wavefront, "part", lambda self, chunk: part(self, chunk) + 1e-3)
    with pytest.raises(VerificationError, match=r"differs by 0\.001"):
        run(model, tokens)


def test_an_identity_that_breaks_is_seen():
    model = order_one_model()
    # The heads' outputs are turned by other weights than the ones that the second road reads.
    attention = model.blocks[1].attn
    forward = type(attention).output

    def louder(z, self=attention):
        return forward(self, 2 * z)

    attention.output = louder
    model.blocks[0].attn.W_O.data *= 1e-6
    result = run(model, random_tokens())
    assert [identity.holds for identity in result.identities] == [True, False, True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization_type": "RMS", "positional_embedding_type": "rotary", "n_key_value_heads": 2},
        {"norm_placement": "post"},
        {"parallel_attn_mlp": True, "tie_word_embeddings": True},
        {"use_normalization_before_and_after": True},
        {"normalization_type": "ScaleNorm"},
        {"n_layers": 1, "n_heads": 1, "attn_only": True},
        {"output_logits_soft_cap": 5.0, "gated_mlp": True, "dtype": torch.float32},
    ],
    ids=str,
)
def test_every_kind_of_model_is_answered(changes):
    result = run(order_one_model(**changes), random_tokens())
    assert all(identity.holds for identity in result.identities)
    assert result.tables[ONES].notna().all(axis=None)


def test_what_cannot_be_asked_is_refused():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens it reads"):
        run(order_one_model(d_vocab_out=5), tokens)
    with pytest.raises(NotApplicableError, match="looks ahead"):
        run(order_one_model(attention_dir="bidirectional"), tokens)
    with pytest.raises(OptionError, match="'L2H0' is no component; the heads are L0H0 to L1H3"):
        run(model, tokens, Options(heads="L0H1,L2H0"))
    with pytest.raises(OptionError, match="names a component twice"):
        run(model, tokens, Options(heads="L0H1,L0H1"))
    with pytest.raises(ValueError, match=r"tokens of shape \[3, 1\] have none"):
        run(model, tokens[:, :1])
    for wrong in ({"shapley": 0}, {"shapley": 11}, {"prompts": 0}, {"positions": 1}):
        with pytest.raises(ValueError, match="must be"):
            Options(**wrong)
    run(model, tokens, Options(heads="l0h1"))
