"""The exact engine against one hooked forward pass for each cell: the same numbers, whatever is asked of either."""

from itertools import combinations, cycle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from tests.interp.engine.drawn import AXES, NO_PADDING, Asked, asked, asked_jointly, both_ways, points_of
from tests.models.configurations import LOCAL

PLAIN: dict[str, Any] = {"n_layers": 2, "n_key_value_heads": None, "d_head": 6, "ungrouped": False}
KINDS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "attention only": {"attn_only": True},
    "parallel": {"parallel_attn_mlp": True},
    "post-norm": {"norm_placement": "post", "residual_scale": 1.7},
    "post-norm attention": {"norm_placement": "post", "attn_only": True},
    "norms around": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "no norm, tied": {"normalization_type": None, "tie_word_embeddings": True},
    "grouped, gated": {"n_key_value_heads": 2, "gated_mlp": True, "act_fn": "silu"},
    "ungrouped": {"n_key_value_heads": 2, "ungrouped": True},
    "rotary": {"positional_embedding_type": "rotary", "d_head": 14},
    "rotary in part": {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": True},
    "normed queries and keys": {
        "positional_embedding_type": "rotary", "use_qk_norm": True, "n_key_value_heads": 2,
        **LOCAL, "rotary_base_local": 50.0, "rotary_scaling_factor": 2.0,
    },
    "no positions, soft caps": {
        "positional_embedding_type": "none", "attn_scores_soft_cap": 3.0, "output_logits_soft_cap": 5.0,
    },
    "shortformer": {"positional_embedding_type": "shortformer"},
    "shortformer, attention only": {
        "positional_embedding_type": "shortformer", "attn_only": True, "normalization_type": None,
    },
    "bidirectional": {"attention_dir": "bidirectional"},
    "local": {**LOCAL, "window_size": 2},
    "local, both ways": {**LOCAL, "window_size": 2, "attention_dir": "bidirectional"},
    "solu": {"act_fn": "solu_ln", "qkv_bias": False},
    "three layers": {"n_layers": 3, "scale_attn_by_inverse_layer_idx": True},
}  # fmt: skip
METRICS = cycle([("difference",), ("log-probability",), ("loss", "difference at 2"), ("whole batch",)])
DONE = cycle(["patch", "zero", "mean", "resample", "patch", "add"])
DIRECTIONS = cycle(["denoising", "noising"])


@pytest.fixture(autouse=True)
def untyped(request):
    """Without the instrumentation of the tests, which takes three times as long as they do; one test keeps it."""
    if "types" not in request.node.name:
        request.getfixturevalue("as_users_run_it")


def require_same(drawn: Asked) -> torch.Tensor:
    """The changes that the exact engine finds, [metric prompt change]; the plain one must find the same."""
    run = drawn.prepared()
    exact, plain = both_ways(run)
    assert_close(exact, plain, rtol=1e-10, atol=1e-10)
    return exact - run.ready.runs.unedited_values[:, :, None]


def one_sweep(changes: dict[str, Any], metrics: tuple[str, ...], padded: Any = NO_PADDING, **arguments: Any) -> Asked:
    return Asked({**PLAIN, **changes}, metrics, {"direction": "denoising", **arguments}, padded)


def subsets(axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [some for n in range(len(axes) + 1) for some in combinations(axes, n)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_point_of_every_kind_of_model(kind):
    changes = {"attn_only": False, "parallel_attn_mlp": False, **KINDS[kind]}
    for point in points_of({**PLAIN, **changes}):
        over = ("layer", *AXES[point][:2])
        only = {AXES[point][0]: [2], AXES[point][1]: [1, 0]}
        require_same(one_sweep(changes, next(METRICS), point=point, over=over, only=only))


@pytest.mark.parametrize("point", AXES)
def test_every_choice_of_axes_with_every_intervention(point):
    vector = torch.arange(20.0, dtype=torch.float64).cos()
    sizes = {"d_model": 12, "d_head": 6, "d_mlp": 20, "key": 5}
    for over in subsets(AXES[point]):
        for intervention in ("patch", next(DONE)):
            given = {"vector": vector[: sizes[AXES[point][-1]]]} if intervention == "add" else {}
            only = {axis: [3, 1][: 1 + (axis == over[-1])] for axis in over}
            drawn = one_sweep(
                {}, next(METRICS), point=point, over=("layer", *over), only=only, intervention=intervention, **given
            )
            drawn.arguments["direction"] = next(DIRECTIONS)
            require_same(drawn)


@pytest.mark.parametrize("frozen", ["pattern", "attn_scores", "z", "attn_out", "mlp_out", "q", "k", "v", "resid_mid"])
@pytest.mark.parametrize("kind", ["sequential", "grouped, gated", "rotary in part"])
def test_what_is_frozen_keeps_the_value_of_the_edited_run(kind, frozen):
    free = one_sweep(KINDS[kind], ("difference",), point="resid_pre", over=("layer", "pos"), only={"pos": [2, 4]})
    held = one_sweep(KINDS[kind], ("difference",), **{**free.arguments, "freeze": (frozen,)})
    assert not torch.allclose(require_same(held), require_same(free))


@settings(max_examples=40, deadline=None)
@given(asked())
def test_any_sweep(drawn):
    require_same(drawn)


@settings(max_examples=6, deadline=None)
@given(drawn=asked(), jointly=asked_jointly(padding=True))
def test_the_types_are_those_of_the_signatures(drawn, jointly):
    require_same(drawn)
    require_same(jointly)


@settings(max_examples=20, deadline=None)
@given(asked(padding=True))
def test_any_sweep_of_prompts_with_padding(drawn):
    require_same(drawn)


@settings(max_examples=30, deadline=None)
@given(asked_jointly())
def test_any_places_changed_together(drawn):
    require_same(drawn)


@settings(max_examples=15, deadline=None)
@given(asked_jointly(padding=True))
def test_any_places_changed_together_in_prompts_with_padding(drawn):
    require_same(drawn)


@pytest.mark.parametrize("intervention", ["zero", "add"])
@pytest.mark.parametrize("point", ["attn_scores", "pattern"])
def test_a_query_that_is_made_to_look_ahead_sees_what_lies_behind_the_last_position_read(point, intervention):
    vector = {"vector": torch.arange(1.0, 6.0, dtype=torch.float64) / 5} if intervention == "add" else {}
    drawn = one_sweep(
        {"n_layers": 3}, ("difference at 2",), point=point, over=("layer", "query"), intervention=intervention, **vector
    )
    require_same(drawn)
    sets = {"ahead": [("resid_pre", {"layer": 0, "pos": 4}), (point, {"layer": 1, "query": 1})]}
    if not vector:
        require_same(one_sweep({"n_layers": 3}, ("difference at 2",), sets=sets, intervention=intervention))


def test_a_metric_of_the_whole_batch_moves_on_prompts_that_a_change_leaves_as_they_are():
    # Only the second prompt differs in its first position.
    drawn = one_sweep({}, ("whole batch",), point="resid_pre", over=("layer", "pos"), only={"pos": [0]})
    assert bool((require_same(drawn)[0, :, 0].abs() > 1e-3).all())
    by_itself = one_sweep({}, ("difference",), **drawn.arguments)
    assert (require_same(by_itself)[0, :, 0] != 0).tolist() == [False, True, False]


@pytest.mark.parametrize("point", ["q", "k"])
def test_a_coordinate_is_changed_before_the_rotation_mixes_it_with_others(point):
    for kind in ("rotary", "rotary in part"):
        for padded in (NO_PADDING, (0, 2, 1)):
            drawn = one_sweep(
                KINDS[kind], ("difference",), padded, point=point, over=("layer", "d_head"), only={"d_head": [0, 3]}
            )
            require_same(drawn)


def test_all_that_makes_a_head_changed_together():
    inside = [(point, {"layer": 1, "head": 2}) for point in ("q", "pattern", "z")]
    inside += [(point, {"layer": 1, "kv_head": 2}) for point in ("k", "v")]
    around = [("resid_pre", {"layer": 1, "pos": 3}), ("attn_out", {"layer": 1, "pos": 2}), ("mlp_post", {"layer": 0})]
    sets = {
        "queries, keys, values": [inside[0], *inside[3:]],
        "the same with its pattern": [*inside[:2], *inside[3:]],
        "all": [*inside, *around],
        "a row twice": [("z", {"layer": 0, "head": 1}), ("z", {"layer": 0, "pos": 3}), ("z", {"layer": 0, "head": 3})],
    }
    for intervention in ("patch", "mean"):
        require_same(one_sweep({}, ("difference", "loss"), sets=sets, intervention=intervention))
