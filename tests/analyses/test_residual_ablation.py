import math

import pandas as pd
import pytest
import torch

from analyses.ablated_blocks import ablated_blocks
from analyses.errors import NotApplicableError
from analyses.residual_ablation import Options, run, without_skip
from interp.residual_ablation import ablated, branch_scaled, branches, placebo

from ..conftest import order_one_model, random_tokens

REMOVED, SKIP, EDGES = "Branch removed", "Skip removed", "One writer hidden from one reader"


def test_the_effects_are_those_of_the_model_with_its_weights_zeroed():
    model, tokens = order_one_model(), random_tokens()
    table = run(model, tokens).tables[REMOVED].set_index(["writer", "replacement"])
    loss, logits = model(tokens, return_type="loss").item(), model(tokens)
    for block, out in ((0, "attn"), (1, "mlp")):
        other = order_one_model()
        part = getattr(other.blocks[block], out)
        for weight in (part.W_O, part.b_O) if out == "attn" else (part.W_out, part.b_out):
            weight.data.zero_()
        row = table.loc[(f"{block} {out}", "zero")]
        assert math.isclose(row.loss_increase_nats, other(tokens, return_type="loss").item() - loss, rel_tol=1e-9)
        p, q = logits.log_softmax(-1), other(tokens).log_softmax(-1)
        assert math.isclose(row.kl_nats, (p.exp() * (p - q)).sum(-1).mean().item(), rel_tol=1e-9)
        assert row.kl_nats_low <= row.kl_nats <= row.kl_nats_high


def test_every_sense_has_every_place_and_replacement_once():
    result = run(order_one_model(), random_tokens())
    # Four branches; readers 0 attn: 1 writer, 0 mlp: 2, 1 attn: 3, 1 mlp: 4, logits: 5.
    sizes = {title: len(table) for title, table in result.tables.items()}
    assert sizes == {REMOVED: 12, "Branch scaled to 0.5": 12, SKIP: 12, EDGES: 3 * (1 + 2 + 3 + 4 + 5)}
    for table in result.tables.values():
        assert not table.duplicated(["writer", "reader", "replacement"]).any()
        assert table.notna().all(axis=None)


def test_mean_ablation_of_what_never_varies_costs_nothing_and_zero_ablation_does():
    model, tokens = order_one_model(), random_tokens()
    model.blocks[0].mlp.W_out.data.zero_()
    table = run(model, tokens).tables[REMOVED].set_index(["writer", "replacement"])
    assert abs(table.kl_nats["0 mlp", "mean"]) < 1e-12
    assert abs(table.kl_nats["0 mlp", "resample"]) < 1e-12
    assert table.kl_nats["0 mlp", "zero"] > 1e-3


def test_the_control_of_an_ablation_that_matters_in_one_direction_is_weaker():
    # The unembedding reads one direction only, and the branch writes only there: a random direction mostly misses it.
    model, tokens = order_one_model(normalization_type=None, final_norm=False, n_layers=1), random_tokens()
    direction = torch.zeros(12, dtype=torch.float64)
    direction[3] = 1
    model.unembed.W_U.data = direction[:, None] * model.W_U
    model.blocks[0].mlp.W_out.data = model.blocks[0].mlp.W_out * direction
    model.blocks[0].mlp.b_out.data.zero_()
    row = run(model, tokens).tables[REMOVED].set_index(["writer", "replacement"]).loc[("0 mlp", "zero")]
    assert row.placebo_kl_nats_least < row.placebo_kl_nats < row.placebo_kl_nats_most < row.kl_nats
    assert row.placebo_kl_nats < row.kl_nats
    assert row.excess_kl_nats == pytest.approx(row.kl_nats - row.placebo_kl_nats)


def test_the_control_and_its_spread_are_those_of_its_draws():
    model, tokens = order_one_model(n_layers=1), random_tokens()
    row = run(model, tokens, Options(seed=4)).tables[REMOVED].iloc[0]
    clean = dict(model.run_with_cache(tokens)[1])
    removed = branch_scaled(branches(model)[0], clean, "zero")
    generator, p = torch.Generator().manual_seed(4), model(tokens).log_softmax(-1)
    kls = []
    for _ in range(3):
        logits, _ = ablated(model, placebo(removed, generator), clean)
        kls.append((p.exp() * (p - logits.log_softmax(-1))).sum(-1).mean().item())
    assert (row.writer, row.replacement) == ("0 attn", "zero")
    assert row.placebo_kl_nats == pytest.approx(sum(kls) / 3)
    assert (row.placebo_kl_nats_least, row.placebo_kl_nats_most) == pytest.approx((min(kls), max(kls)))


def test_the_figures_show_the_tables():
    result = run(order_one_model(), random_tokens())
    table = result.tables[SKIP]
    bars = result.figures[SKIP].data
    assert list(bars[0].y) == list(table[table.replacement == "zero"].kl_nats)
    assert list(bars[1].y) == list(table[table.replacement == "zero"].placebo_kl_nats)
    edges = result.tables[EDGES].set_index(["replacement", "reader", "writer"]).kl_nats
    for trace, kind in zip(result.figures[EDGES].data, ("zero", "mean", "resample"), strict=True):
        shown = {
            (kind, reader, writer): trace.z[row][column]
            for row, reader in enumerate(trace.y)
            for column, writer in enumerate(trace.x)
            if not math.isnan(trace.z[row][column])
        }
        assert shown == {cell: value for cell, value in edges.items() if cell[0] == kind}


def test_the_verdict_names_the_strongest_and_counts_what_exceeds_chance():
    result = run(order_one_model(), random_tokens())
    numbers = result.numbers
    assert f"Of the edges hidden by mean, {numbers['edge_hidden_strongest_by_mean']} costs most" in result.verdict
    beyond = sum(value for name, value in numbers.items() if name.endswith("beyond_a_random_direction"))
    assert f"{beyond} of 81 ablations cost more than a random direction" in result.verdict
    cells = pd.concat(list(result.tables.values()))
    every_draw = ((cells.excess_kl_nats_low > 0) & (cells.kl_nats > cells.placebo_kl_nats_most)).sum()
    assert f"{every_draw} of them more than each of the 3 directions drawn" in result.verdict


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"attn_only": True}, {"past 0 attn", "past 1 attn"}),
        ({"parallel_attn_mlp": True}, {"past 0 both", "past 1 both"}),
        ({"norm_placement": "post", "residual_scale": 1.3}, {"past 0 attn", "past 0 mlp", "past 1 attn", "past 1 mlp"}),
        ({"n_key_value_heads": 2, "normalization_type": "RMS", "gated_mlp": True}, None),
        ({"dtype": torch.float32}, None),
    ],
)
def test_other_blocks_are_ablated_too(changes, places):
    result = run(order_one_model(**changes), random_tokens())
    assert places is None or set(result.tables[SKIP].writer) == places
    post = changes.get("norm_placement") == "post"
    assert (EDGES in result.tables) == (not post)
    assert ("Post-norm blocks have no edges" in result.verdict) == post


def test_one_prompt_is_ablated_by_zero_alone_and_the_verdict_says_so():
    result = run(order_one_model(), random_tokens(1))
    assert set(result.tables[REMOVED].replacement) == {"zero"}
    assert result.tables[REMOVED].kl_nats_low.isna().all()
    assert "only zero is shown" in result.verdict
    assert all(math.isfinite(value) for value in result.numbers.values() if not isinstance(value, str))


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="the loss needs a next token"):
        run(order_one_model(), random_tokens(length=1))
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens"):
        run(order_one_model(d_vocab_out=5), random_tokens())
    with pytest.raises(NotApplicableError, match="looks ahead"):
        run(order_one_model(attention_dir="bidirectional"), random_tokens())
    with pytest.raises(ValueError, match="positions=1 at least 2"):
        Options(positions=1)
    assert Options(positions=2).positions == 2
    for alpha in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="must be a finite number"):
            Options(alpha=alpha)
    assert Options(alpha=-1.5).alpha == -1.5


def test_a_model_that_answers_at_one_position_is_measured_there(monkeypatch):
    model, tokens = order_one_model(), random_tokens()
    only = torch.arange(tokens.shape[1] - 1) == 2
    monkeypatch.setattr("analyses.residual_ablation.scored_positions", lambda losses, d_vocab: only)
    result = run(model, tokens)
    other = order_one_model()
    other.blocks[1].mlp.W_out.data.zero_()
    other.blocks[1].mlp.b_out.data.zero_()
    p, q = model(tokens).log_softmax(-1)[:, 2], other(tokens).log_softmax(-1)[:, 2]
    row = result.tables[REMOVED].set_index(["writer", "replacement"]).loc[("1 mlp", "zero")]
    assert row.loss_increase_nats == pytest.approx((p - q).gather(-1, tokens[:, 3, None]).mean().item())
    assert row.kl_nats == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item())
    assert "position 2 alone" in result.verdict
    monkeypatch.undo()
    assert "position 2 alone" not in run(model, tokens).verdict


@pytest.mark.parametrize(
    ("ratio", "kl", "writer", "far"),
    [
        (0.3, 4.0, "past 0 mlp", True),
        (3.0, 4.0, "past 0 both", True),
        (0.9, 4.0, "past 0 mlp", False),
        (0.3, 0.2, "past 0 mlp", False),
        (0.3, 4.0, "past 1 mlp", False),
    ],
)
def test_only_a_stream_that_is_far_and_read_by_a_later_block_is_called_far(ratio, kl, writer, far):
    said = without_skip(pd.Series({"writer": writer, "norm_ratio": ratio, "kl_nats": kl}), n_layers=2)
    assert ("far from anything the later blocks were trained on" in said) == far
    assert said.endswith(".")


def test_of_a_large_model_some_blocks_are_ablated_as_all_would_be_and_it_is_said(monkeypatch):
    model, tokens = order_one_model(n_layers=4, attn_only=True), random_tokens()
    everything, some = run(model, tokens), run(model, tokens, Options(blocks=2))
    assert "were ablated, to keep" not in everything.verdict
    assert some.verdict.endswith("Of the 4 blocks 2 were ablated, to keep this short: 0 and 3.")
    for title, table in some.tables.items():
        key = ["writer", "reader", "replacement"]
        alike = everything.tables[title].set_index(key).loc[table.set_index(key).index]
        assert set(table["reader"]) <= {"all", "0 attn", "3 attn", "logits"}
        assert torch.tensor(alike["kl_nats"].to_numpy()).allclose(torch.tensor(table["kl_nats"].to_numpy()), atol=1e-13)
    n_weights, n_cells = sum(weight.numel() for weight in model.parameters()), 3 * 3 + 3 * 4 // 2 + 4
    monkeypatch.setattr("analyses.ablated_blocks.MOST_WORK", n_cells * 12 * tokens.numel() * n_weights)
    assert ablated_blocks(model, None, tokens.numel(), 12) == [0, 2, 3]
    assert ablated_blocks(model, None, tokens.numel() + 1, 12) == [0, 3]
    assert ablated_blocks(model, 1, tokens.numel(), 12) == [0]
    assert ablated_blocks(model, 9, tokens.numel(), 12) == [0, 1, 2, 3]
