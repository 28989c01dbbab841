"""What effects say of themselves: means, tests over the live cells, selections by what cells are called."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from interp.effects import Effects, Verification
from interp.errors import AxisError, EmptyMatchError, OutOfRangeError
from interp.statistics import benjamini_hochberg, benjamini_yekutieli, over_prompts, ratio_of_means, sign_flips

from .made_effects import HEADS, LAYERS, POSITIONS, drawn, made

TEMPLATES = tuple("aabbccdd")
AT = (1, 2, 2)
"""Where the effect is."""


def test_mean_error_and_interval_are_those_over_prompts():
    effects = made()
    assert_close(effects.mean, effects.change.mean(dim=0))
    assert_close(effects.stderr, effects.change.std(dim=0) / 8**0.5)
    expected = over_prompts(effects.change)
    for name in ("mean", "standard_error", "low", "high"):
        assert_close(getattr(effects.effect, name), getattr(expected, name))
    assert_close(effects.effect.standard_error, effects.stderr)
    assert float(effects.mean[AT]) == pytest.approx(2.0)


def test_prompts_of_one_template_count_as_one():
    effects, independent = made(clusters=TEMPLATES), made()
    assert_close(effects.stderr, over_prompts(effects.change, clusters=TEMPLATES).standard_error)
    assert_close(effects.effect.low, over_prompts(effects.change, clusters=TEMPLATES).low)
    share = ratio_of_means(effects.change, effects.gap, clusters=TEMPLATES)
    assert_close(effects.normalised.low, share.low)
    assert (independent.smallest_p, effects.smallest_p) == (2.0**-7, 2.0**-3)
    assert float(effects.p_values[AT]) == 2.0**-3
    assert not torch.equal(effects.effect.low, independent.effect.low)


def test_tests_are_those_of_the_live_cells():
    effects = made()
    live = ~effects.dead
    flips = sign_flips(effects.change[:, live])
    assert_close(effects.p_values[live], flips.adjusted)
    assert_close(effects.sign_flips.single[live], flips.single)
    assert_close(effects.q_values[live], benjamini_hochberg(flips.single))
    assert_close(effects.q_values_under_any_dependence[live], benjamini_yekutieli(flips.single))
    for of in (effects.p_values, effects.q_values, effects.q_values_under_any_dependence, effects.sign_flips.single):
        assert of[effects.dead].tolist() == [1.0] * 4
    # Were the dead ones tests, every rate would be larger.
    assert float(effects.q_values[AT]) < float(benjamini_hochberg(effects.sign_flips.single.flatten()).min())


def test_a_cell_is_significant_if_it_is_beyond_chance_and_beyond_rounding():
    effects = made()
    assert effects.significant.nonzero().tolist() == [list(AT)]
    assert bool((effects.significant == (effects.p_values < 0.05)).all())
    noisy = made(noise_floor=torch.full((8,), 2.5, dtype=torch.float64))
    assert not bool(noisy.significant.any())
    assert bool(made(noise_floor=torch.full((8,), 1.5, dtype=torch.float64)).significant[AT])


def test_where_nothing_lives_nothing_is_tested():
    effects = made(dead=torch.ones(2, 3, 4, dtype=torch.bool))
    assert effects.p_values.unique().tolist() == effects.q_values.unique().tolist() == [1.0]
    assert effects.top(3) == []
    assert not bool(effects.significant.any())


def test_the_largest_cells_are_named_by_their_coordinates_and_dead_ones_left_out():
    effects = made()
    expected = sorted(
        (cell for cell, dead in zip(effects.cells, effects.dead.flatten().tolist(), strict=True) if not dead),
        key=lambda cell: -abs(float(effects.mean[LAYERS.index(cell[0]), HEADS.index(cell[1]), cell[2] - 4])),
    )
    assert effects.top(50) == expected
    assert effects.top(2) == expected[:2]
    assert effects.top(1) == [(4, 5, 6)]


@given(
    layer=st.sampled_from([*LAYERS, None, [4, 3], slice(4, None), slice(3, 4)]),
    head=st.sampled_from([*HEADS, None, [5], [2, 0], slice(0, 3), slice(None, 2), slice(2, 6)]),
    pos=st.sampled_from([*POSITIONS, None, [7, 4], slice(5, 7)]),
)
def test_a_selection_has_the_values_of_the_cells_it_names(layer, head, pos):
    effects = made()
    chosen = {"layer": layer, "head": head, "pos": pos}
    found = effects.sel(**{axis: wanted for axis, wanted in chosen.items() if wanted is not None})
    fixed = {axis: wanted for axis, wanted in chosen.items() if isinstance(wanted, int)}
    assert dict(found.fixed) == fixed
    assert found.axes == tuple(axis for axis in effects.axes if axis not in fixed)
    where = {cell: number for number, cell in enumerate(effects.cells)}
    change, dead = effects.change.flatten(1), effects.dead.flatten()
    for number, cell in enumerate(found.cells):
        at = where[tuple((fixed | dict(zip(found.axes, cell, strict=True)))[axis] for axis in effects.axes)]
        assert torch.equal(found.change.reshape(8, -1)[:, number], change[:, at])
        assert found.dead.flatten()[number] == dead[at]
    # The order and number of coordinates are those asked for.
    for axis, wanted in chosen.items():
        if isinstance(wanted, list):
            assert found.coordinates[found.axes.index(axis)] == tuple(wanted)
        if isinstance(wanted, slice):
            along = effects.coordinates[effects.axes.index(axis)]
            inside = [at for at in along if (wanted.start or 0) <= at < (99 if wanted.stop is None else wanted.stop)]
            assert found.coordinates[found.axes.index(axis)] == tuple(inside)


def test_a_selection_of_a_selection_is_one_of_both():
    effects = made()
    assert torch.equal(effects.sel(layer=4).sel(pos=6, head=5).values, effects.sel(layer=4, head=5, pos=6).values)
    single = effects.sel(layer=4, head=5, pos=6)
    assert (single.axes, single.cells) == ((), [()])
    assert float(single.mean) == pytest.approx(2.0)
    assert float(single.p_values) == 2.0**-7
    assert "layer 4, head 5, pos 6" in repr(single)
    assert "1 of 24 cells selected, 0 of them cannot matter; p is adjusted for these alone" in repr(single)
    assert "4 of 24 cells selected, 4 of them cannot matter" in repr(effects.sel(layer=3, head=0))


def test_p_values_of_a_selection_are_adjusted_for_it_alone():
    part = made().sel(layer=4, head=[0, 2])
    assert_close(part.p_values.flatten(), sign_flips(part.change).adjusted.flatten())
    assert float(part.p_values.min()) < float(made().p_values[1, :2].min())


def test_what_is_not_there_cannot_be_selected(as_users_run_it):
    effects = made()
    with pytest.raises(AxisError, match="no axis 'query' to select from; there are layer, head, pos"):
        effects.sel(query=0)
    with pytest.raises(AxisError, match="there are head, pos"):
        effects.sel(layer=3).sel(layer=3)
    for head, said in ((1, "head has no 1; it has 0, 2, 5"), (-1, "head has no -1"), ([0, 3], "head has no 3")):
        with pytest.raises(OutOfRangeError, match=said):
            effects.sel(head=head)
    with pytest.raises(OutOfRangeError, match="pos has no 0; it has 4 to 7"):
        effects.sel(pos=0)
    with pytest.raises(OutOfRangeError, match="head has no 'induction'"):
        effects.sel(head="induction")
    for pos in (slice(0, 6), slice(4, 9), slice(-2, None)):
        with pytest.raises(OutOfRangeError, match="reaches beyond 4 to 7"):
            effects.sel(pos=pos)
    effects.sel(pos=slice(4, 8))
    with pytest.raises(OutOfRangeError, match="no step"):
        effects.sel(pos=slice(4, 8, 2))
    for head in ([], slice(3, 5), slice(5, 2)):
        with pytest.raises(EmptyMatchError, match="selects nothing"):
            effects.sel(head=head)
    with pytest.raises(TypeError, match="float"):
        effects.sel(head=2.0)
    effects.sel(head=torch.tensor(2))


def test_cells_with_names_are_selected_by_name():
    effects = sets()
    assert effects.sel(set="both").fixed == (("set", "both"),)
    assert torch.equal(effects.sel(set=["none", "both"]).values, effects.values[:, [2, 1]])
    with pytest.raises(OutOfRangeError, match="set has no 'neither'; it has 'induction', 'both', 'none'"):
        effects.sel(set="neither")
    with pytest.raises(OutOfRangeError, match="needs coordinates that are numbers"):
        effects.sel(set=slice(0, 1))


def sets() -> Effects:
    return made(
        axes=("set",), coordinates=(("induction", "both", "none"),), values=drawn(8, 3), dead=torch.zeros(3).bool()
    )


def test_the_table_says_what_was_done_and_how_well_it_is_known():
    effects = made(
        engine="wavefront",
        verification=Verification(12, 3e-13, 1e-10),
        noise_floor=torch.tensor([2e-15] * 8, dtype=torch.float64),
        clusters=TEMPLATES,
        notes=("four cells cannot matter",),
    )
    text = repr(effects)
    for said in (
        "patch at blocks.*.attn.hook_z by layer × head × pos (denoising) on the logit difference, 8 prompts of 4",
        "engine wavefront; 12 cells run again the plain way: largest difference 3e-13; noise floor 2e-15",
        "smallest possible p 0.12",
        "note: four cells cannot matter",
    ):
        assert said in text
    first = text.splitlines()[2].split()
    assert first[:6] == ["layer", "4", "head", "5", "pos", "6"]
    assert float(first[6]) == pytest.approx(2.0)
    assert float(first[7].rstrip("%")) == pytest.approx(100 * float(effects.normalised.mean[AT]), abs=0.1)
    assert "verif" not in repr(made())
    assert "noise" not in repr(made())


def test_the_data_frame_has_a_row_for_each_cell():
    effects = made(noise_floor=torch.arange(8).double())
    frame = effects.to_frame()
    assert [tuple(cell) for cell in frame[["layer", "head", "pos"]].to_numpy().tolist()] == effects.cells
    for name, expected in {
        "metric": effects.values.mean(dim=0),
        "effect": effects.mean,
        "effect_low": effects.effect.low,
        "normalised": effects.normalised.mean,
        "p": effects.sign_flips.single,
        "p_adjusted": effects.p_values,
        "q": effects.q_values,
        "noise_floor": torch.full((2, 3, 4), 3.5),
        "significant": effects.significant,
        "dead": effects.dead,
    }.items():
        assert frame[name].tolist() == expected.flatten().tolist(), name
    assert bool(made().to_frame()["noise_floor"].isna().all())
    assert sets().to_frame()["set"].tolist() == ["induction", "both", "none"]
    assert len(made().sel(layer=4, head=5, pos=6).to_frame()) == 1


def test_a_grid_of_tens_of_thousands_of_cells_has_all_its_statistics():
    values = drawn(4, 12, 12, 300)
    effects = made(
        coordinates=(tuple(range(12)), tuple(range(12)), tuple(range(300))),
        values=values, dead=torch.zeros(12, 12, 300).bool(), tokens_clean=(), tokens_corrupted=(),
        clean=torch.ones(4).double(), corrupted=torch.zeros(4).double(),
    )  # fmt: skip
    for of in (effects.effect.low, effects.effect.high, effects.p_values, effects.q_values):
        assert bool(of.isfinite().all())
    assert repr(effects).count("\n") == 9
