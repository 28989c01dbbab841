"""Rows 20 to 24 of the table of faults: pairs, metrics and effects that cannot mean what they seem to."""

from itertools import cycle

import pytest
import torch

from analyses.exit_codes import exit_code
from interp.errors import DegenerateBaselineError, MetricError, NonFiniteError, TokensError
from interp.metrics import Function, LogitDifference
from interp.sweep import sweep
from tests.conftest import order_one_model, random_tokens

OVER = ("layer", "pos")


def metric(n_prompts: int = 3) -> LogitDifference:
    return LogitDifference(torch.tensor([3, 0, 1])[:n_prompts], torch.tensor([4, 2, 0])[:n_prompts])


def test_20_prompts_of_different_lengths_are_refused_and_both_are_shown() -> None:
    model = order_one_model()
    for lengths in ((4, 5), (5, 4)):
        clean, corrupted = (random_tokens(3, length, seed=length) for length in lengths)
        with pytest.raises(TokensError) as caught:
            sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction="denoising")
        message = str(caught.value)
        assert f"clean,     {lengths[0]} tokens: {clean[0].tolist()}" in message
        assert f"corrupted, {lengths[1]} tokens: {corrupted[0].tolist()}" in message
    sweep(model, clean, random_tokens(3, 5, seed=9), "resid_pre", OVER, metric(), direction="denoising")


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_21_one_prompt_for_many_is_refused_unless_it_is_meant(direction: str) -> None:
    model, one, many = order_one_model(), random_tokens(1, 5, seed=1), random_tokens(3, 5, seed=2)
    for clean, corrupted in ((one, many), (many, one), (many[:2], many)):
        with pytest.raises(TokensError, match="have no partners; broadcast=True"):
            sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction=direction)
    for clean, corrupted in ((one, many), (many, one)):
        allowed = sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction=direction, broadcast=True)
        repeated = (tokens.expand(3, -1) for tokens in (clean, corrupted))
        by_hand = sweep(model, *repeated, "resid_pre", OVER, metric(), direction=direction)
        assert torch.equal(allowed.values, by_hand.values)
    with pytest.raises(TokensError, match="2 clean prompts and 3 corrupted ones"):
        sweep(model, many[:2], many, "resid_pre", OVER, metric(), direction=direction, broadcast=True)


def test_22_prompts_that_are_the_same_are_refused() -> None:
    model, clean = order_one_model(), random_tokens(3, 5, seed=1)
    corrupted = clean.clone()
    corrupted[[0, 2], 1] = (corrupted[[0, 2], 1] + 1) % 17
    with pytest.raises(DegenerateBaselineError, match="prompt 1 is the same clean and corrupted"):
        sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction="denoising")
    corrupted[1, 3] = (corrupted[1, 3] + 1) % 17
    sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction="denoising")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_22_a_metric_that_sees_no_difference_is_refused_with_both_values(dtype: torch.dtype, direction: str) -> None:
    model, clean = order_one_model(dtype=dtype), random_tokens(3, 5, seed=1)
    corrupted = clean.clone()
    corrupted[:, 3] = (corrupted[:, 3] + 1) % 17
    # The position read lies before the change, so a causal model says the same of both.
    before, after = (LogitDifference(metric().answer, metric().wrong, position=at) for at in (2, 4))
    value = float(before(model(clean).detach()).mean())
    said = rf"logit difference is {value:.6g} on the clean and {value:.6g} on the corrupted"
    with pytest.raises(DegenerateBaselineError, match=said.replace("+", r"\+")) as caught:
        sweep(model, clean, corrupted, "resid_pre", OVER, before, direction=direction)
    assert exit_code(caught.value) == 4
    sweep(model, clean, corrupted, "resid_pre", OVER, after, direction=direction)


def test_22_both_values_are_told_in_their_places() -> None:
    model, clean, corrupted = order_one_model(), random_tokens(3, 5, seed=1), random_tokens(3, 5, seed=2)
    values = cycle((5.0, 5.0 + 1e-14))
    constant = Function("constant", lambda logits: torch.full((3,), next(values), dtype=torch.float64))
    with pytest.raises(DegenerateBaselineError, match="constant is 5 on the clean and 5 on the corrupted"):
        sweep(model, clean, corrupted, "resid_pre", OVER, constant, direction="denoising")


def test_23_a_metric_that_is_not_one_finite_number_a_prompt_is_refused() -> None:
    model, clean, corrupted = order_one_model(), random_tokens(3, 5, seed=1), random_tokens(3, 5, seed=2)

    def swept(function: object) -> None:
        sweep(model, clean, corrupted, "z", ("layer",), Function("mine", function), direction="denoising")

    with pytest.raises(MetricError, match=r"mine must be one number per prompt, shape \[3\]; it is shape \[\]"):
        swept(lambda logits: logits[:, -1, 0].mean())
    with pytest.raises(NonFiniteError, match="mine is nan on prompt 0"):
        swept(lambda logits: (logits[:, -1, 0] - logits[:, -1].amax(dim=1) - 1).log())
    swept(lambda logits: logits[:, -1, 0])


def test_24_a_result_that_is_zero_by_construction_says_so() -> None:
    model, clean = order_one_model(), random_tokens(3, 5, seed=1)
    corrupted = clean.clone()
    corrupted[:, 3] = (corrupted[:, 3] + 1) % 17
    vacuous = sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction="denoising", only={"pos": [0, 2]})
    assert bool(vacuous.dead.all())
    assert "no effect is possible at these cells" in vacuous.notes[0]
    assert "no effect is possible" in repr(vacuous)
    assert vacuous.to_frame().dead.all()
    full = sweep(model, clean, corrupted, "resid_pre", OVER, metric(), direction="denoising")
    assert not any("no effect is possible" in note for note in full.notes)
    assert bool((full.change[:, ~full.dead] != 0).all())
