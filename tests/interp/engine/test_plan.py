"""What a plan counts: by hand for a tiny sweep, and by another counter for what is really multiplied."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from interp.engine.plan import Plan, chunked, scaled
from interp.errors import MemoryBudgetError
from interp.metrics import LogitDifference, LogProbability
from interp.sweep import prepare_sweep
from interp.sweep_run import SweepRun
from tests.conftest import order_one_model, random_tokens
from tests.interp.engine.drawn import AXES, points_of
from tests.interp.engine.test_equality import KINDS, PLAIN, one_sweep

D_MODEL, D_HEAD, N_HEADS, D_MLP, D_VOCAB = 12, 6, 4, 20, 17


def two_layers(point: str, over: tuple[str, ...], every_token: bool = False, **options: object) -> SweepRun:
    """One pair of four tokens that differ in the third, read behind the last."""
    clean = random_tokens(1, 4, seed=1)
    corrupted = clean.clone()
    corrupted[0, 2] = (corrupted[0, 2] + 1) % 17
    answer = torch.tensor([3])
    metric = LogProbability(answer) if every_token else LogitDifference(answer, answer + 1)
    return prepare_sweep(
        order_one_model(), clean, corrupted, point, over, metric, direction="denoising", **options
    )  # fmt: skip


def block(projected: int, keys_and_values: int, queries: int, written: int) -> int:
    """The operations of one block: so many rows go through each of its products."""
    heads = D_MODEL * D_HEAD * N_HEADS
    attention = queries * 4 * N_HEADS * 2 * D_HEAD
    return 2 * (projected * heads + 2 * keys_and_values * heads + attention + written * (heads + 2 * D_MODEL * D_MLP))


def test_a_stream_changed_in_one_position_by_hand():
    # Layer 0: row 2 is new, so rows 2 and 3 have new outcomes. Layer 1: both are keys and values, row 3 alone is read.
    first = block(projected=1, keys_and_values=1, queries=2, written=2) + block(1, 2, 1, 1) + 2 * D_MODEL * 2
    # Row 2 and row 3, each changed in layer 1.
    second = block(0, 1, 1, 1) + block(1, 1, 1, 1) + 2 * (2 * D_MODEL * 2)
    plan = two_layers("resid_pre", ("layer", "pos")).plan
    assert (plan.n_cells, plan.n_lanes, plan.n_chunks) == (3, 3, 1)
    assert plan.flops == first + second
    # Streams behind a layer: of the first cell two and one, of the others one each.
    assert plan.rows == 2 + 1 + 1 + 1
    whole = 2 * block(4, 4, 4, 4) + 4 * 2 * D_MODEL * D_VOCAB
    assert plan.plain_flops == 3 * whole


def test_a_head_and_a_metric_of_all_tokens_by_hand():
    plan = two_layers("z", ("layer", "head"), every_token=True).plan
    written = 2 * (D_MODEL * D_HEAD * N_HEADS + 2 * D_MODEL * D_MLP)
    unembedded = 2 * D_MODEL * D_VOCAB
    assert plan.flops == 4 * (2 * written + block(1, 2, 1, 1) + unembedded) + 4 * (written + unembedded)
    assert (plan.n_cells, plan.rows) == (8, 4 * (2 + 1) + 4)


def test_the_plain_engine_runs_everything_for_each_cell():
    plan = two_layers("resid_pre", ("layer", "pos"), engine="hooks").plan
    assert plan.flops == plan.plain_flops == 3 * (2 * block(4, 4, 4, 4) + 4 * 2 * D_MODEL * D_VOCAB)
    assert (plan.rows, plan.bytes) == (3 * 4 * 2, 0)
    assert "one forward pass a cell" in str(plan)


def test_a_plan_without_a_living_cell_costs_nothing():
    for every_token in (False, True):
        plan = two_layers("resid_pre", ("layer", "pos"), every_token, only={"pos": [0, 1]}, layers=[0]).plan
        assert plan == Plan(0, 0, 0, 0, 0, 0, 0)


def fused(query: torch.Size, key: torch.Size, value: torch.Size, *rest: object, **options: object) -> int:
    return sdpa_flop_count(query, key, value)


# PyTorch's counter knows the kernel of the other devices alone.
FUSED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: fused}


@pytest.mark.parametrize("kind", KINDS)
def test_as_much_is_multiplied_as_the_plan_says(kind, as_users_run_it):
    changes = {"attn_only": False, "parallel_attn_mlp": False, **KINDS[kind], "n_layers": 3}
    changes.pop("attn_types", None)
    if changes.pop("use_local_attn", False):
        changes |= {"use_local_attn": True, "attn_types": ("local", "global", "local")}
    for point in points_of({**PLAIN, **changes}):
        for metric in ("difference at 2", "loss"):
            ready = one_sweep(changes, (metric,), point=point, over=("layer", *AXES[point][:1])).prepared().ready
            front = ready.running
            assert front.plan.n_lanes
            with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
                for chunk in front.chunks:
                    front.part(chunk)
            assert counter.get_total_flops() == front.plan.flops, (point, metric)


lanes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 50), st.booleans()), min_size=1, max_size=30)


@given(lanes=lanes, most_rows=st.integers(1, 40), max_bytes=st.integers(1, 400))
def test_chunks_hold_every_lane_once_in_order_and_keep_the_limits(lanes, most_rows, max_bytes):
    n_rows, sizes = (np.array([lane[at] for lane in lanes]) for at in (0, 1))
    together = np.cumsum([lane[2] for lane in lanes])
    groups = [np.flatnonzero(together == number) for number in np.unique(together)]
    if max(int(sizes[group].sum()) for group in groups) > max_bytes:
        with pytest.raises(MemoryBudgetError, match="a single cell takes"):
            chunked(n_rows, sizes, together, most_rows, max_bytes)
        return
    chunks = chunked(n_rows, sizes, together, most_rows, max_bytes)
    assert [lane for chunk in chunks for lane in chunk] == list(range(len(lanes)))
    inside = {lane: number for number, chunk in enumerate(chunks) for lane in chunk}
    for group in groups:
        assert len({inside[lane] for lane in group.tolist()}) == 1
    for number, chunk in enumerate(chunks):
        some = list(chunk)
        one_group = len(set(together[some])) == 1
        assert int(sizes[some].sum()) <= max_bytes
        assert one_group or int(n_rows[some].sum()) <= most_rows
        if number:
            # The group that begins a chunk did not fit the one before.
            fuller = [*chunks[number - 1], *groups[int(together[chunk.start] - together[0])].tolist()]
            assert int(sizes[fuller].sum()) > max_bytes or int(n_rows[fuller].sum()) > most_rows


def test_no_lanes_need_no_chunks():
    nothing = np.array([], dtype=int)
    assert chunked(nothing, nothing, nothing, 5, 5) == []


def test_numbers_are_told_with_a_prefix():
    assert [scaled(number, "B") for number in (0, 999, 1000, 12_345_678, 10**18)] == [
        "0 B", "999 B", "1 kB", "12.3 MB", "1e+03 PB",
    ]  # fmt: skip
    told = str(two_layers("resid_pre", ("layer", "pos")).plan)
    assert "3 cells, 3 runs of a prompt in 1 steps; 5 rows, " in told
    assert "times fewer than one forward pass a cell" in told
