"""The rows that the schedule names, against those that move when a whole model is run with the change in place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.engine.schedule import LayerRows, Reach, schedule, stages_of
from interp.hooks import edited
from interp.interventions import add, freeze, patch
from interp.prepared_sweep import PreparedSweep
from interp.replacing import Change
from tests.interp.engine.drawn import AXES, asked, asked_jointly, points_of
from tests.interp.engine.test_equality import KINDS, PLAIN, one_sweep

pytestmark = pytest.mark.usefixtures("as_users_run_it")

SHOWN = {
    "pre": "hook_resid_pre", "z": "attn.hook_z", "attn_out": "hook_attn_out", "mid": "hook_resid_mid",
    "neurons": "mlp.hook_post", "mlp_out": "hook_mlp_out", "post": "hook_resid_post",
}  # fmt: skip
"""Rows of the schedule, and the points at which they can be seen."""


@torch.no_grad()
def activations(ready: PreparedSweep, change: Change) -> dict[str, torch.Tensor]:
    """What every point holds when the change is in place."""
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda activation: kept.setdefault(name, activation)

    model = ready.runs.model
    edits: dict[Any, Any] = {name: freeze(ready.runs.base[name]) for name in ready.frozen}
    for cell in change:
        given = ready.replacements[cell.name]
        edits[cell] = (add if given.added else patch)(cell.read(given.values))
    with edited(model, edits) if edits else torch.no_grad():
        # With somebody looking at the pattern, attention takes the same road in every run, to the last bit.
        points = [*SHOWN.values(), "attn.hook_pattern"]
        names = [f"blocks.{layer}.{point}" for layer in range(model.cfg.n_layers) for point in points]
        with edited(model, {name: keep(name) for name in names if name in model.hook_dict}):
            model(ready.runs.edited)
    return kept


def lanes(ready: PreparedSweep, most: int = 6) -> Iterator[tuple[list[LayerRows], dict[str, np.ndarray]]]:
    """For some lanes: the rows that are scheduled, and at every point the rows that move."""
    front = ready.running
    base = activations(ready, ())
    for number in range(0, len(front.lanes), max(1, len(front.lanes) // most)):
        lane = front.lanes[number]
        after = activations(ready, front.changes[lane.change])
        different = {name: (after[name] - base[name])[lane.prompt] for name in base if "pattern" not in name}
        moved = {name: rows.flatten(1).abs().amax(dim=1).numpy() for name, rows in different.items()}
        yield schedule(front._edits(range(number, number + 1)).touched, front.reach, 1), moved


def needed(at: LayerRows, field: str, reach: Reach) -> np.ndarray:
    """The positions of a step that anything read depends on, in a causal model."""
    last = at.layer == reach.n_layers - 1
    return reach.read if last and field != "pre" else np.arange(len(reach.read)) < reach.n_keys


@settings(max_examples=15, deadline=None)
@given(drawn=st.one_of(asked(), asked(padding=True), asked_jointly()))
def test_no_row_that_moves_is_left_out(drawn):
    ready = drawn.prepared().ready
    for layers, moved in lanes(ready):
        assert layers[-1].layer == ready.runs.model.cfg.n_layers - 1
        before = [name for name in moved if int(name.split(".")[1]) < layers[0].layer]
        assert all(moved[name].max() == 0 for name in before)
        for at in layers:
            for field, point in SHOWN.items():
                rows = moved.get(f"blocks.{at.layer}.{point}")
                if rows is not None:
                    left_out = ~getattr(at, field)[0] & needed(at, field, ready.running.reach)
                    assert not (rows[left_out] > 1e-9 * max(1.0, rows.max())).any(), (at.layer, field)


@pytest.mark.parametrize("kind", ["sequential", "attention only", "parallel", "post-norm", "grouped, gated", "rotary"])
def test_no_row_is_carried_that_does_not_move(kind):
    changes = {"attn_only": False, "parallel_attn_mlp": False, **KINDS[kind], "n_layers": 3}
    for point in points_of({**PLAIN, **changes}):
        where = AXES[point][:2]
        # A query that sees one key alone looks at it whatever its score is; behind the first position nothing is so.
        only = {axis: [3, 2] if axis in ("pos", "query") else [1] for axis in where}
        for metric in ("difference at 2", "loss"):
            ready = one_sweep(changes, (metric,), point=point, over=("layer", *where), only=only).prepared().ready
            seen = 0
            for layers, moved in lanes(ready, most=3):
                for at in layers:
                    for field, shown in SHOWN.items():
                        rows = moved.get(f"blocks.{at.layer}.{shown}")
                        if rows is not None:
                            wanted = (rows > 0) & needed(at, field, ready.running.reach)
                            assert getattr(at, field)[0].tolist() == wanted.tolist(), (point, metric, at.layer, field)
                            seen += int(wanted.sum())
            assert seen


def test_lanes_are_the_prompts_that_a_cell_changes_and_begin_where_it_does():
    drawn = one_sweep({"n_layers": 3}, ("difference",), point="z", over=("layer", "head", "pos"))
    ready = drawn.prepared().ready
    clean, corrupted = drawn.tokens
    first = (clean != corrupted).int().argmax(dim=1).tolist()
    front = ready.running
    expected = set()
    for number, (cell,) in enumerate(front.changes):
        layer, position = int(cell.name.split(".")[1]), cell.fixed[1]
        expected |= {(number, prompt, layer, position) for prompt in range(3) if position >= first[prompt]}
    assert {(lane.change, lane.prompt, lane.first_layer, lane.first_position) for lane in front.lanes} == expected
    starts = [(lane.first_layer, lane.first_position) for lane in front.lanes]
    assert starts == sorted(starts)


def test_what_is_added_touches_the_rows_at_which_it_is_not_zero():
    vector = torch.zeros(5, 4, 6, dtype=torch.float64)
    vector[3, 1] = 1.0
    drawn = one_sweep({}, ("difference",), point="z", over=("layer", "head"), intervention="add", vector=vector)
    front = drawn.prepared().ready.running
    assert len(front.changes) == 2
    assert {lane.first_position for lane in front.lanes} == {3}
    layers = schedule(front._edits(range(1)).touched, front.reach, 1)
    assert layers[0].z[0].tolist() == [False, False, False, True, False]


def test_only_points_at_which_rows_can_be_changed_have_a_stage():
    assert stages_of("blocks.3.attn.hook_z") == (3, "hook_z")
    assert stages_of("blocks.0.hook_resid_post") == (0, "hook_resid_post")
    for name in ("hook_embed", "blocks.3.attn.hook_result", "blocks.1.ln1.hook_scale", "ln_final.hook_normalized"):
        assert stages_of(name) is None
    # A name that ends like one of them is not one of them.
    assert stages_of("blocks.3.hook_z") is None
