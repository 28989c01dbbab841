"""How a sweep is cut, and beside whom a prompt stands, changes nothing but rounding."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from interp.engine import grouping, readout, wavefront
from interp.errors import MemoryBudgetError
from interp.metrics import LogitDifference, LogProbability, Loss, Probability
from interp.prepared_sweep import tolerance
from interp.sweep import prepare_sweep
from interp.sweep_run import SweepRun
from tests.conftest import order_one_model, random_tokens
from tests.interp.engine.drawn import Asked, asked, asked_jointly, both_ways

pytestmark = pytest.mark.usefixtures("as_users_run_it")

WIDTHS = {
    "MOST_NUMBERS": (wavefront, lambda n: {"cpu": 12 * n}),
    "MOST_KEYS": (grouping, int),
    "NEIGHBOURS": (grouping, lambda n: max(1, n // 8)),
}
WIDTHS["BLOCK_BYTES"] = (readout, lambda n: 8 * n)


def run_in_pieces(drawn: Asked, n: int, which: set[str]) -> tuple[torch.Tensor, int]:
    """The values with these widths cut down to about n rows, keys or logits; and in how many parts they came."""
    with pytest.MonkeyPatch.context() as patch:
        for name in which:
            module, width = WIDTHS[name]
            patch.setattr(module, name, width(n))
        ready = drawn.prepared().ready
        return ready.values(), len(ready.running.chunks)


@settings(max_examples=20, deadline=None)
@given(
    drawn=st.one_of(asked(), asked_jointly(), asked(padding=True)),
    n=st.integers(1, 30),
    which=st.sets(st.sampled_from(sorted(WIDTHS)), min_size=1),
)
def test_any_width_gives_the_same_values(drawn, n, which):
    ready = drawn.prepared().ready
    whole = ready.values()
    values, _ = run_in_pieces(drawn, n, which)
    scale = max(1.0, float(ready.runs.logits.abs().max()))
    assert_close(values / scale, whole / scale, rtol=1e-12, atol=1e-12)


def prepared(n_prompts: int = 4, max_memory: int | None = None, at_once: list[int] | None = None) -> SweepRun:
    """A sweep of these prompts, in this order."""
    model = order_one_model()
    clean, corrupted = random_tokens(n_prompts, 6, seed=1), random_tokens(n_prompts, 6, seed=2)
    answer, wrong = random_tokens(n_prompts, 1, seed=3)[:, 0], random_tokens(n_prompts, 1, seed=4)[:, 0]
    rows = list(range(n_prompts)) if at_once is None else at_once
    metrics = [LogitDifference(answer[rows], wrong[rows]), LogProbability(answer[rows], 3), Loss(clean[rows])]
    return prepare_sweep(
        model, clean[rows], corrupted[rows], "z", ("layer", "head", "pos"), metrics, direction="denoising",
        engine="wavefront", max_memory=max_memory,
    )  # fmt: skip


def parts(**options: Any) -> torch.Tensor:
    """Its values, [metric prompt cell]."""
    return prepared(**options).ready.values()


def test_the_order_of_the_prompts_and_their_number_at_once_do_not_matter():
    whole = parts()
    order = [2, 0, 3, 1]
    assert_close(parts(at_once=order), whole[:, order], rtol=0, atol=1e-12)
    alone = torch.cat([parts(at_once=[prompt]) for prompt in range(4)], dim=1)
    assert_close(alone, whole, rtol=0, atol=1e-12)
    # The same prompt twice is two prompts.
    assert_close(parts(at_once=[1, 1, 3]), whole[:, [1, 1, 3]], rtol=0, atol=1e-12)


def test_the_smallest_budget_that_is_enough_gives_the_same_values():
    low, high = 0, 2**24
    while high - low > 1:
        middle = (low + high) // 2
        try:
            plan, high = prepared(max_memory=middle).plan, middle
        except MemoryBudgetError:
            low = middle
    assert plan.n_chunks > 20
    assert_close(parts(max_memory=high), parts(), rtol=0, atol=1e-12)
    with pytest.raises(MemoryBudgetError, match="raise max_memory"):
        parts(max_memory=high - 1)


@pytest.mark.parametrize("changes", [{}, {"positional_embedding_type": "rotary", "n_key_value_heads": 2}])
@pytest.mark.parametrize("point", ["resid_pre", "q", "k", "v", "z", "attn_scores", "pattern", "mlp_post", "resid_post"])
def test_a_wave_of_one_lane_leaves_the_base_run_as_it_was(point, changes, monkeypatch):
    monkeypatch.setattr(wavefront, "MOST_NUMBERS", {"cpu": 12})
    model = order_one_model(**changes)
    clean, corrupted = random_tokens(1, 6, seed=1), random_tokens(1, 6, seed=2)
    axis = {"k": "kv_head", "v": "kv_head", "mlp_post": "d_mlp"}.get(point, "pos" if "resid" in point else "head")
    front = prepare_sweep(
        model, clean, corrupted, point, ("layer", axis), LogitDifference(clean[:, 0], corrupted[:, 0]),
        direction="noising", engine="wavefront",
    ).ready.running  # fmt: skip
    before = {name: activation.clone() for name, activation in front.base.items()}
    values = {name: given.values.clone() for name, given in front.replacements.items()}
    for chunk in front.chunks:
        assert len(chunk) == 1
        front.part(chunk)
    for name, activation in before.items():
        assert torch.equal(front.base[name], activation), name
    for name, activation in values.items():
        assert torch.equal(front.replacements[name].values, activation), name


def test_a_metric_of_the_whole_batch_is_given_it_whatever_the_width():
    drawn = Asked(
        {"n_layers": 2, "n_key_value_heads": None, "d_head": 6, "ungrouped": False},
        ("whole batch",),
        {"point": "z", "over": ("layer", "head", "pos"), "direction": "noising"},
    )
    values, n_parts = run_in_pieces(drawn, 1, set(WIDTHS))
    assert n_parts == len(drawn.prepared().ready.alive)
    exact, plain = both_ways(drawn.prepared())
    assert_close(values, plain, rtol=1e-12, atol=1e-12)
    assert_close(values, exact, rtol=1e-12, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(drawn=asked(), dtype=st.sampled_from([torch.float32, torch.float32, torch.bfloat16]))
def test_in_a_coarser_dtype_the_engines_agree_to_its_tolerance(drawn, dtype):
    drawn = replace(drawn, changes={**drawn.changes, "dtype": dtype})
    run = drawn.prepared()
    exact, plain = both_ways(run)
    # The sweep holds itself to its tolerance: every cell is run again, and one that is further off raises.
    run.ready.verification(exact, len(run.ready.changes), seed=0)
    assert exact.shape == plain.shape


def test_the_tolerance_is_in_the_metrics_own_unit():
    logits = torch.tensor([[[2.0, -5.0, 1.0]]])
    difference = LogitDifference(torch.tensor([0]), torch.tensor([1]))
    # Of a logit difference it is the rounding of two logits of the size of the largest, five.
    for dtype, size in ((torch.float64, 1e-12), (torch.float32, 5e-4), (torch.bfloat16, 0.25), (torch.half, 1 / 32)):
        assert size < float(tolerance(difference, logits.to(dtype))) / 5 < 8 * size
    # A probability near its ceiling cannot move as far, and a small one hardly at all.
    sure = torch.tensor([[[12.0, 0.0, -12.0]]])
    assert float(tolerance(Probability(torch.tensor([0])), sure)) < 1e-3 * float(tolerance(difference, sure))
    assert 0 < float(tolerance(Probability(torch.tensor([2])), sure)) < 1e-8
