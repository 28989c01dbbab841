"""What the benchmark of sweeps runs: its pairs, its cells, and their count."""

import pytest
import torch

from benchmarks.sweep_cases import GRIDS, cell, cells, pairs
from benchmarks.sweep_measured import counted
from interp.cost import forward_flops
from interp.sweep import sweep
from tests.conftest import order_one_model


def text(length=200, d_vocab=17):
    return torch.randint(d_vocab, (length,), generator=torch.Generator().manual_seed(0))


def test_a_pair_differs_at_every_token_or_at_one():
    everywhere, one = (pairs(text(), 3, 7, shape, seed=1) for shape in ("every token", "one token"))
    assert everywhere.differ == [[True] * 7] * 3
    assert one.differ == [[False, False, True, False, False, False, False]] * 3
    assert one.clean.equal(everywhere.clean)
    assert not everywhere.clean[0].equal(everywhere.clean[1])


def test_the_metric_sets_the_passages_own_next_tokens_against_each_other():
    source = torch.arange(50)  # every token is followed by the next number
    given = pairs(source, 4, 7, "every token", seed=1)
    assert given.metric.answer.equal(given.clean[:, -1] + 1)
    assert given.metric.wrong.equal(given.corrupted[:, -1] + 1)


@pytest.mark.parametrize("name", GRIDS)
def test_the_cells_and_the_live_ones_are_those_of_our_sweep(name):
    model, grid, n_tokens = order_one_model(n_layers=3), GRIDS[name], 5
    given = pairs(text(), 2, n_tokens, "one token", seed=1)
    effects = sweep(
        model, given.clean, given.corrupted, grid.point, grid.axes, given.metric, direction="denoising", layers=[0, 2]
    )
    count = counted(grid, model, given)
    chosen = [at for at in count.cells if at["layer"] != 1]
    assert effects.axes == grid.axes
    assert [tuple(at.values()) for at in chosen] == effects.cells
    dead = [at not in count.live for at in chosen]
    assert dead == effects.dead.flatten().tolist()
    assert str(cell(grid, model, chosen[1])).startswith("blocks.0.")


def test_the_operations_are_of_all_prompts_and_of_the_unedited_runs():
    model, grid = order_one_model(), GRIDS["resid_pre"]
    one, two = (counted(grid, model, pairs(text(), n, 5, "every token", seed=1)) for n in (1, 2))
    assert two.operations == 2 * one.operations
    shared = counted(grid, model, pairs(text(), 1, 5, "one token", seed=1))
    assert shared.operations < one.operations
    n_cells = len(cells(grid, model, 5))
    assert n_cells == 2 * 5
    assert (one.whole_forwards, two.whole_forwards) == tuple(
        n * n_cells * forward_flops(model.cfg).at(5) for n in (1, 2)
    )
