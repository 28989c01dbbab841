"""What patching must do where its effect is known beforehand, on every kind of model."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from interp import mean, zero
from interp.dead_cells import SAME, UNREAD
from interp.effects import Effects
from interp.engine import plain
from interp.errors import (
    AxisError,
    DegenerateBaselineError,
    EmptyMatchError,
    EngineError,
    OutOfRangeError,
    TokensError,
)
from interp.hooks import edited
from interp.metrics import Divergence, Function, LogitDifference, LogProbability, Metric
from interp.replacing import Replacement
from interp.sites import site
from interp.sweep import sweep
from models import HookedTransformer

from ..conftest import order_one, order_one_model, random_tokens, small_config
from ..models.configurations import configurations

CHANGED = 2
ANSWER, WRONG = torch.tensor([3, 0, 1]), torch.tensor([4, 2, 0])


def pair(length: int = 5, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts that differ in one position."""
    clean = random_tokens(batch, length, seed=1)
    corrupted = clean.clone()
    corrupted[:, CHANGED] = (corrupted[:, CHANGED] + 1) % 17
    return clean, corrupted


def difference() -> LogitDifference:
    return LogitDifference(ANSWER, WRONG)


def replacements(values: Mapping[str, torch.Tensor]) -> dict[str, Replacement]:
    """The values standing in for themselves: what stood there does not matter to an engine that runs every cell."""
    return {name: Replacement(value, value) for name, value in values.items()}


def swept_or_rejected(
    model: HookedTransformer, point: str, over: Sequence[str], metric: Metric, direction: str
) -> Effects:
    """The sweep over the pair; a drawn model that rightly cannot be asked (its soft cap saturates) is drawn anew."""
    try:
        return sweep(model, *pair(), point, over, metric, direction=direction)
    except DegenerateBaselineError:
        reject()


@settings(max_examples=15, deadline=None)
@given(changes=configurations(), direction=st.sampled_from(["denoising", "noising"]))
def test_the_changed_position_patched_at_the_bottom_is_the_other_run_and_normalised_to_one(changes, direction):
    model, (clean, corrupted) = order_one(HookedTransformer(small_config(**changes))), pair()
    effects = swept_or_rejected(model, "resid_pre", ("layer", "pos"), difference(), direction)
    assert_close(effects.values[:, 0, CHANGED], effects.clean if direction == "denoising" else effects.corrupted)
    assert_close(effects.normalised.mean[0, CHANGED].item(), 1.0)
    # The rest of the bottom is the same in both runs.
    others = [at for at in range(5) if at != CHANGED]
    assert bool(effects.dead[0, others].all())
    assert bool((effects.normalised.mean[0, others] == 0).all())
    assert_close(effects.clean, difference()(model(clean)).detach())
    assert_close(effects.corrupted, difference()(model(corrupted)).detach())


@settings(max_examples=15, deadline=None)
@given(changes=configurations(), point=st.sampled_from(["resid_pre", "resid_post"]))
def test_the_whole_stream_patched_at_any_layer_is_the_other_run(changes, point):
    model = order_one(HookedTransformer(small_config(**changes)))
    effects = swept_or_rejected(model, point, ("layer",), difference(), "denoising")
    assert_close(effects.values, effects.clean[:, None].expand(-1, 2), rtol=1e-9, atol=1e-11)
    assert_close(effects.normalised.mean, torch.ones(2, dtype=torch.float64))


@settings(max_examples=10, deadline=None)
@given(
    changes=configurations(),
    where=st.sampled_from(
        [
            ("resid_pre", ("layer", "pos")),
            ("attn_out", ("layer", "pos")),
            ("z", ("layer", "head", "pos")),
            ("pattern", ("layer", "head", "query")),
            ("v", ("layer", "kv_head", "pos")),
        ]
    ),
    position=st.sampled_from([-1, 3]),
)
def test_cells_that_are_labelled_dead_change_nothing_when_they_are_run(changes, where, position):
    model, (clean, corrupted) = order_one(HookedTransformer(small_config(**changes))), pair()
    point, over = where
    metric = LogProbability(ANSWER, position=position)
    effects = swept_or_rejected(model, point, over, metric, "denoising")
    names = dict.fromkeys(f"{effects.point.replace('*', str(layer))}" for layer in range(2))
    _, values = plain.activations(model, clean, names)
    dead = [at for at in range(len(effects.cells)) if effects.dead.flatten()[at]]
    cells = [
        site(model, effects.point.replace("*", str(layer))).at(**dict(zip(over[1:], at, strict=True)))
        for layer, *at in (effects.cells[at] for at in dead)
    ]
    if cells:
        ran = [*plain.run(model, corrupted, [(cell,) for cell in cells], replacements(values), [metric])]
        assert_close(effects.values.flatten(1)[:, dead], torch.cat(ran).T, rtol=1e-10, atol=1e-10)


def test_a_patch_with_its_own_values_changes_nothing():
    model, (clean, _) = order_one_model(), pair()
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(2)]
    _, own = plain.activations(model, clean, names)
    cells = [site(model, name).at(head=head) for name in names for head in range(4)]
    metric = difference()
    ran = [*plain.run(model, clean, [(cell,) for cell in cells], replacements(own), [metric])]
    assert_close(torch.cat(ran), metric(model(clean)).detach().expand(8, -1), rtol=0, atol=1e-13)


def test_swapping_the_roles_swaps_the_runs_and_swapping_the_answers_the_sign():
    model, (clean, corrupted) = order_one_model(), pair()
    where = ("z", ("layer", "head"))
    denoised = sweep(model, clean, corrupted, *where, difference(), direction="denoising")
    noised = sweep(model, corrupted, clean, *where, difference(), direction="noising")
    assert torch.equal(denoised.values, noised.values)
    assert torch.equal(denoised.normalised.mean, noised.normalised.mean)
    assert torch.equal(denoised.clean, noised.corrupted)
    mirrored = sweep(model, clean, corrupted, *where, LogitDifference(WRONG, ANSWER), direction="denoising")
    assert torch.equal(mirrored.change, -denoised.change)
    assert_close(mirrored.normalised.mean, denoised.normalised.mean)
    # The two directions are two questions.
    other = sweep(model, clean, corrupted, *where, difference(), direction="noising")
    assert not torch.allclose(other.change, -denoised.change)


def test_the_normalised_effect_is_a_ratio_of_means():
    model, (clean, corrupted) = order_one_model(), pair()
    effects = sweep(model, clean, corrupted, "z", ("layer", "head"), difference(), direction="denoising")
    by_hand = (effects.values.mean(0) - effects.corrupted.mean()) / (effects.clean.mean() - effects.corrupted.mean())
    assert_close(effects.normalised.mean, by_hand)
    ratios = (effects.values - effects.corrupted[:, None, None]) / (effects.clean - effects.corrupted)[:, None, None]
    assert not torch.allclose(effects.normalised.mean, ratios.mean(0))


@pytest.mark.parametrize("intervention", ["zero", "mean", "resample"])
def test_the_other_interventions_are_those_of_the_library(intervention):
    model, (clean, corrupted) = order_one_model(), pair()
    reference = random_tokens(6, 5, seed=5)
    given = {} if intervention == "zero" else {"reference": reference}
    effects = sweep(
        model, clean, corrupted, "z", ("layer", "head"), difference(), direction="noising", intervention=intervention,
        seed=3, **given,
    )  # fmt: skip
    name = "blocks.1.attn.hook_z"
    _, values = plain.activations(model, reference, [name])
    drawn = torch.randint(6, (3,), generator=torch.Generator().manual_seed(3))
    edit = {
        "zero": zero(),
        "mean": mean(values[name][:, :, 2]),
        "resample": lambda z: values[name][drawn][:, :, 2],
    }[intervention]
    with torch.no_grad(), edited(model, {site(model, name).at(head=2): edit}):
        expected = difference()(model(clean))
    assert_close(effects.values[:, 1, 2], expected)
    assert effects.change[:, 1, 2].abs().max() > 1e-3


def test_every_cell_of_a_resample_sees_the_same_draw_whatever_else_is_swept():
    model, (clean, corrupted) = order_one_model(), pair()
    options = {"direction": "noising", "intervention": "resample", "reference": random_tokens(6, 5, seed=5)}
    whole = sweep(model, clean, corrupted, "z", ("layer", "head"), difference(), **options)
    alone = sweep(
        model, clean, corrupted, "z", ("layer", "head"), difference(), layers=1, only={"head": [2]}, **options
    )
    assert_close(alone.values[:, 0, 0], whole.values[:, 1, 2], rtol=0, atol=1e-12)
    assert alone.coordinates == ((1,), (2,))


def test_a_restriction_gives_the_same_cells():
    model, (clean, corrupted) = order_one_model(), pair()
    over = ("layer", "head", "pos")
    whole = sweep(model, clean, corrupted, "z", over, difference(), direction="denoising")
    part = sweep(model, clean, corrupted, "z", over, difference(), direction="denoising", only={"pos": [4, 2]})
    assert_close(part.values, whole.values[..., [4, 2]], rtol=0, atol=1e-12)
    assert part.to_frame().pos.tolist() == [4, 2] * 8


def test_a_metric_that_reads_all_positions_leaves_no_cell_unread():
    model, (clean, corrupted) = order_one_model(), pair()
    metric = Function("mean of a logit", lambda logits: logits[..., 3].mean(dim=1))
    effects = sweep(model, clean, corrupted, "mlp_out", ("layer", "pos"), metric, direction="denoising")
    assert effects.dead.tolist() == [[True, True, False, False, False]] * 2
    assert effects.notes == (f"4 of 10 cells cannot matter: {SAME}",)
    last = sweep(model, clean, corrupted, "mlp_out", ("layer", "pos"), difference(), direction="denoising")
    assert last.dead.tolist() == [[True, True, False, False, False], [True, True, True, True, False]]
    assert last.notes[1] == f"2 of 10 cells cannot matter: {UNREAD}"


def test_divergence_from_the_clean_run_is_zero_there_and_normalises():
    model, (clean, corrupted) = order_one_model(), pair()
    metric = Divergence(model(clean).detach())
    effects = sweep(model, clean, corrupted, "resid_pre", ("layer", "pos"), metric, direction="denoising")
    assert float(effects.clean.abs().max()) < 1e-14
    assert_close(effects.normalised.mean[0, CHANGED].item(), 1.0)


def test_wrong_axes_points_and_indices_are_refused():
    model, (clean, corrupted) = order_one_model(), pair()

    def swept(point: str = "z", over: Sequence[str] = ("layer", "head"), **options: object) -> None:
        sweep(model, clean, corrupted, point, over, difference(), direction="denoising", **options)

    for over in ((), ("head",), ("head", "layer"), ("layer", "head", "head")):
        with pytest.raises(AxisError, match="must begin with 'layer'"):
            swept(over=over)
    with pytest.raises(AxisError, match="no axis 'query'; it has batch, pos, head, d_head"):
        swept(over=("layer", "query"))
    with pytest.raises(AxisError, match="hook_embed is in no block"):
        swept("hook_embed", ("layer",))
    with pytest.raises(AxisError, match=r"hook_resid_pre and blocks\.0\.hook_resid_mid are in one block"):
        swept("blocks.*.hook_resid_*", ("layer",))
    with pytest.raises(EmptyMatchError, match="matches none"):
        swept("blocks.*.hook_zz")
    with pytest.raises(AxisError, match=r"only restricts \['pos'\]"):
        swept(only={"pos": [0]})
    for heads in ([4], [-5], []):
        with pytest.raises(OutOfRangeError, match="must name some of 0 to 3"):
            swept(only={"head": heads})
    swept(only={"head": [3, -4]})
    swept("blocks.*.attn.hook_z")


def test_mean_and_resample_need_a_reference_that_fits():
    model, (clean, corrupted) = order_one_model(), pair(batch=1)
    metric = LogitDifference(ANSWER[:1], WRONG[:1])

    def swept(reference: torch.Tensor | None) -> None:
        sweep(
            model, clean, corrupted, "z", ("layer", "head"), metric, direction="noising", intervention="mean",
            reference=reference,
        )  # fmt: skip

    with pytest.raises(TokensError, match="mean needs at least two reference prompts"):
        swept(None)
    with pytest.raises(TokensError, match=r"reference has shape \[4, 6\]; it must have the prompts' 5 positions"):
        swept(random_tokens(4, 6))
    swept(random_tokens(4, 5))


def test_an_unknown_direction_is_refused(as_users_run_it):
    model, (clean, corrupted) = order_one_model(), pair()
    with pytest.raises(ValueError, match="direction='denoise' must be one of"):
        sweep(model, clean, corrupted, "z", ("layer",), difference(), direction="denoise")
    sweep(model, clean, corrupted, "z", ("layer",), difference(), direction="denoising")


def test_blocks_of_neurons_are_changed_together():
    model, (clean, corrupted) = order_one_model(), pair()
    d_mlp = model.cfg.d_mlp
    options = {"direction": "denoising", "engine": "hooks"}
    over = ("layer", "d_mlp")
    effects = sweep(model, clean, corrupted, "mlp_post", over, difference(), blocks={"d_mlp": d_mlp // 2}, **options)
    assert effects.coordinates == ((0, 1), (0, d_mlp // 2))
    where = site(model, "blocks.1.mlp.hook_post").at(d_mlp=slice(d_mlp // 2, d_mlp))
    _, values = plain.activations(model, clean, [where.name])
    with edited(model, {where: lambda _: where.read(values[where.name])}):
        assert_close(effects.values[:, 1, 1], difference()(model(corrupted)).detach())
    # A block of everything is the axis left out.
    whole = sweep(model, clean, corrupted, "mlp_post", over, difference(), blocks={"d_mlp": d_mlp}, **options)
    plainly = sweep(model, clean, corrupted, "mlp_post", ("layer",), difference(), **options)
    assert_close(whole.values[..., 0], plainly.values, rtol=0, atol=0)
    with pytest.raises(OutOfRangeError, match=f"must divide the {d_mlp}"):
        sweep(model, clean, corrupted, "mlp_post", over, difference(), blocks={"d_mlp": d_mlp - 1}, **options)
    with pytest.raises(OutOfRangeError, match="must name the first of blocks"):
        sweep(
            model, clean, corrupted, "mlp_post", over, difference(), blocks={"d_mlp": d_mlp // 2},
            only={"d_mlp": [1]}, **options,
        )  # fmt: skip
    with pytest.raises(AxisError, match=r"blocks restricts \['head'\]"):
        sweep(model, clean, corrupted, "mlp_post", over, difference(), blocks={"head": 2}, **options)


def test_a_sweep_that_falls_back_to_the_plain_engine_says_why():
    model, (clean, corrupted) = order_one_model(), pair()
    options = {"direction": "denoising"}
    fast = sweep(model, clean, corrupted, "z", ("layer",), difference(), **options)
    assert fast.engine == "wavefront"
    assert not any("forward pass" in note for note in fast.notes)
    model.add_hook("blocks.0.hook_resid_pre", lambda activation, hook: None)
    plainly = sweep(model, clean, corrupted, "z", ("layer",), difference(), **options)
    assert plainly.engine == "hooks"
    assert any("one forward pass a cell: the model has hooks, the first at blocks.0" in n for n in plainly.notes)
    assert_close(plainly.values, fast.values, rtol=0, atol=1e-11)
    with pytest.raises(EngineError, match=r"cannot run this sweep: the model has hooks.*engine='hooks' can"):
        sweep(model, clean, corrupted, "z", ("layer",), difference(), engine="wavefront", **options)
    asked = sweep(model, clean, corrupted, "z", ("layer",), difference(), engine="hooks", **options)
    assert not any("forward pass" in note for note in asked.notes)
    model.reset_hooks()
    # A point at which rows cannot be changed.
    other = sweep(model, clean, corrupted, "blocks.*.ln1.hook_normalized", ("layer", "pos"), difference(), **options)
    assert other.engine == "hooks"
    assert any("hook_normalized is not a point at which rows can be changed" in note for note in other.notes)
