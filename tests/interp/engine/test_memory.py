"""What a sweep takes while it runs, counted tensor by tensor, stays within what its plan says and its budget allows."""

import gc
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.engine.wavefront import Wavefront
from interp.errors import MemoryBudgetError
from interp.metrics import Divergence, Function, LogitDifference, LogProbability, Loss, Metric
from interp.sweep import prepare_sweep
from tests.conftest import order_one_model, random_tokens
from tests.interp.engine.drawn import asked
from tests.live_bytes import LiveBytes

pytestmark = pytest.mark.usefixtures("as_users_run_it")


def test_live_bytes_are_counted_once_and_let_go():
    with LiveBytes() as live:
        first = torch.zeros(1000)
        second = (first + 1).view(10, 100)
        del first
        third = second[2]
        del second
    assert (live.now, live.peak) == (4000, 8000)
    del third
    assert live.now == 0


def measured(front: Wavefront) -> LiveBytes:
    """What the waves of a sweep took, the largest of them at its largest; what it found is let go."""
    assert front.plan.bytes <= front.max_bytes
    gc.collect()
    with LiveBytes() as live:
        for chunk in front.chunks:
            front.part(chunk)
    return live


class Everywhere(LogitDifference):
    """The mean over positions: the last layer, too, computes every row."""

    positions = None

    def of(self, read: torch.Tensor) -> torch.Tensor:
        return (read[..., 0] - read[..., 1]).mean(dim=1)


SMALL: dict[str, Any] = {"d_model": 32, "d_mlp": 128, "d_head": 8, "n_ctx": 64, "dtype": torch.float32}
MANY_HEADS = {"n_heads": 16, "d_head": 2, "d_mlp": 16}
CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "stream": ({}, "resid_pre", {}),
    "last position": ({}, "resid_pre", {"only": {"pos": [23]}}),
    "heads": ({}, "z", {"over": ("layer", "head")}),
    "wide MLP": ({"d_mlp": 1024}, "resid_pre", {"only": {"pos": [1]}}),
    "wide gated MLP": ({"d_mlp": 1024, "gated_mlp": True, "act_fn": "silu"}, "resid_pre", {"only": {"pos": [1]}}),
    "slow gelu": ({"d_mlp": 1024, "act_fn": "gelu_fast"}, "resid_pre", {"only": {"pos": [1]}}),
    "solu": ({"d_mlp": 1024, "act_fn": "solu_ln"}, "resid_pre", {"only": {"pos": [1]}}),
    "neurons": ({"d_mlp": 1024}, "mlp_post", {"over": ("layer",)}),
    "grouped rotary": (
        {"n_heads": 16, "n_key_value_heads": 2, "positional_embedding_type": "rotary"}, "q",
        {"over": ("layer", "head")},
    ),
    "soft cap": ({**MANY_HEADS, "attn_scores_soft_cap": 3.0}, "resid_pre", {"only": {"pos": [1]}}),
    "patterns": (MANY_HEADS, "pattern", {"over": ("layer", "head")}),
    "scores": ({**MANY_HEADS, "attention_dir": "bidirectional"}, "attn_scores", {"over": ("layer", "head")}),
    "frozen": (MANY_HEADS, "resid_pre", {"only": {"pos": [1]}, "freeze": ("pattern",)}),
    "norms around": (
        {"use_normalization_before_and_after": True, "d_mlp": 4, "d_head": 1}, "resid_pre", {"only": {"pos": [1]}},
    ),
}  # fmt: skip


def ready_to_run(changes: dict[str, Any], point: str, options: dict[str, Any]) -> Wavefront:
    """The engine with a sweep, and as much memory as it wants for its waves."""
    model = order_one_model(**{**SMALL, **changes})
    clean, corrupted = random_tokens(6, 24, seed=1), random_tokens(6, 24, seed=2)
    run = prepare_sweep(
        model, clean, corrupted, point, options.get("over", ("layer", "pos")),
        Everywhere(torch.arange(6), torch.arange(6) + 1), direction="denoising", engine="wavefront",
        max_memory=2**40, only=options.get("only"), freeze=options.get("freeze", ()),
    )  # fmt: skip
    return run.ready.running


@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_below_the_plan_and_not_far_below(case):
    front = ready_to_run(*CASES[case])
    live = measured(front)
    assert 0.15 * front.plan.bytes < live.peak <= front.plan.bytes
    assert live.now < 0.05 * live.peak
    tight = replace(front, max_bytes=front.plan.bytes // 4)
    assert tight.plan.n_chunks > 1
    assert measured(tight).peak <= tight.plan.bytes


@pytest.mark.parametrize("point", ["resid_pre", "z"])
def test_a_smaller_budget_gives_more_parts_and_each_takes_less(point):
    front = ready_to_run({}, point, {})
    fronts = [front, *(replace(front, max_bytes=front.plan.bytes // share) for share in (2, 4, 16))]
    peaks = [measured(one).peak for one in fronts]
    n_chunks = [one.plan.n_chunks for one in fronts]
    assert n_chunks == sorted(set(n_chunks))
    assert peaks == sorted(peaks, reverse=True)
    assert len({(one.plan.rows, one.plan.n_lanes) for one in fronts}) == 1
    # Lanes that attend with fewer others ask less for nothing.
    flops = [one.plan.flops for one in fronts]
    assert flops == sorted(flops, reverse=True)
    assert flops[-1] > 0.95 * flops[0]


def test_a_cell_that_does_not_fit_is_refused_with_the_numbers_and_one_that_just_does_is_run():
    front = ready_to_run({}, "resid_pre", {"only": {"pos": [2, 20]}})
    largest = int(front._sizes.max())
    with pytest.raises(MemoryBudgetError, match=r"a single cell takes [\d.]+ kB of memory, and [\d.]+ kB are left"):
        replace(front, max_bytes=largest - 1).chunks  # noqa: B018
    assert measured(replace(front, max_bytes=largest)).peak <= largest


def metric_of(name: str, model: Any, clean: torch.Tensor) -> Metric:
    match name:
        case "log-probability":
            return LogProbability(torch.arange(8))
        case "loss":
            return Loss(clean)
        case "divergence":
            return Divergence(model(clean).detach(), None)
    return Function("whole batch", lambda read: read[..., 3].sum(1) + read.square().mean())


@pytest.mark.parametrize("metric", ["log-probability", "loss", "divergence", "whole batch"])
def test_metrics_that_read_all_tokens_stay_within_the_budget_as_well(metric):
    model = order_one_model(**{**SMALL, "d_vocab": 600, "n_layers": 1})
    clean, corrupted = random_tokens(8, 20, seed=1, d_vocab=600), random_tokens(8, 20, seed=2, d_vocab=600)

    run = prepare_sweep(
        model, clean, corrupted, "resid_pre", ("layer", "pos"), metric_of(metric, model, clean),
        direction="noising", engine="wavefront", max_memory=2**40,
    )  # fmt: skip
    front = run.ready.running
    assert measured(front).peak <= front.plan.bytes
    needed = front.readout.least_bytes
    tight = replace(front, max_bytes=max(needed * 8 // 7, 8 * int(front._sizes.max())) + 64)
    assert measured(tight).peak <= tight.plan.bytes
    if metric != "log-probability":
        with pytest.raises(MemoryBudgetError, match=r"the logits that the metrics read of .* take [\d.]+ [kM]B"):
            replace(front, max_bytes=needed).chunks  # noqa: B018


@settings(max_examples=8, deadline=None)
@given(drawn=asked(), share=st.integers(1, 6))
def test_any_sweep_stays_within_its_budget(drawn, share):
    front = drawn.prepared(max_memory=2**40).ready.running
    smallest = max(front.readout.least_bytes * 8 // 7 + 64, 3 * int(front._sizes.max()) if len(front.lanes) else 0)
    tight = replace(front, max_bytes=max(front.plan.bytes // share, smallest))
    assert measured(tight).peak <= tight.max_bytes
