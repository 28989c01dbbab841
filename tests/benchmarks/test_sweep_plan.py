"""The engine's plan and the benchmark's floor are counted by two roads: from masks of rows, and cell by cell."""

import pytest
import torch

from benchmarks.sweep_cases import GRIDS, SHAPES, cells, pairs
from benchmarks.sweep_floor import Floor
from interp.engine import grouping
from interp.sweep import prepare_sweep
from tests.conftest import order_one_model

LENGTH, N_PAIRS = 5, 3
TEXT = torch.randint(17, (300,), generator=torch.Generator().manual_seed(0))
MODELS = {
    "sequential": order_one_model(n_layers=3),
    "grouped, gated": order_one_model(n_layers=3, n_key_value_heads=2, gated_mlp=True),
    "attention only": order_one_model(n_layers=3, attn_only=True),
}
NO_MLP = ("attention only", "mlp_out")


def planned_and_needed(model, name, shape):
    """The operations of all cells: what the engine says that it will run, and what the floor says that it must."""
    grid, given = GRIDS[name], pairs(TEXT, N_PAIRS, LENGTH, shape, seed=1)
    floor = Floor(model.cfg, LENGTH, frozenset({LENGTH - 1}), n_columns=2)
    ready = prepare_sweep(
        model,
        given.clean,
        given.corrupted,
        grid.point,
        grid.axes,
        given.metric,
        direction="denoising",
        engine="wavefront",
    )
    needed = sum(floor.cell(grid.point, at, differ) for at in cells(grid, model, LENGTH) for differ in given.differ)
    return ready.plan.flops, needed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in MODELS for name in ("resid_pre", "attn_out", "mlp_out") if (kind, name) != NO_MLP],
)
def test_the_plan_is_the_floor_but_for_what_attention_multiplies_for_nothing(name, kind, shape, monkeypatch):
    planned, needed = planned_and_needed(MODELS[kind], name, shape)
    assert planned > needed > 0
    # The engine multiplies queries with masked keys too, and neighbouring lanes ask each other's queries; when only
    # lanes with the same ones ask together, and masked keys are counted, both are the same.
    monkeypatch.setattr(grouping, "NEIGHBOURS", 1)
    monkeypatch.setattr(Floor, "pairs", lambda self, queries: len(queries) * LENGTH)
    planned, needed = planned_and_needed(MODELS[kind], name, shape)
    assert planned == needed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["z by head", "z by head and pos", "pattern by head"])
def test_heads_cost_more_than_the_floor_only_where_they_are_changed(name, kind, shape):
    planned, needed = planned_and_needed(MODELS[kind], name, shape)
    assert needed < planned < 1.5 * needed
