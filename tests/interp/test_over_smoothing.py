import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.over_smoothing import (
    averaged_streams,
    centred_on_others,
    mean_cosine,
    relative_residual,
    stream_rank,
    uniform_average,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 7), st.integers(0, 99))
def test_the_closed_form_of_the_cosine_is_the_mean_over_all_pairs(n, d_model, seed):
    stream = normal(n, d_model, seed=seed)
    pairs = [torch.cosine_similarity(stream[i], stream[j], dim=0) for i in range(n) for j in range(n) if i != j]
    assert math.isclose(mean_cosine(stream), torch.stack(pairs).mean(), abs_tol=1e-12)


def test_measures_at_their_two_ends():
    same, apart = normal(1, 16).expand(16, 16) * torch.arange(1, 17)[:, None], torch.eye(16, dtype=torch.float64)
    assert mean_cosine(same) == pytest.approx(1)
    assert mean_cosine(apart) == pytest.approx(0)
    assert stream_rank(same) == pytest.approx(1)
    assert stream_rank(apart) == pytest.approx(16)
    assert relative_residual(normal(1, 16).expand(16, 16)) == pytest.approx(0, abs=1e-12)
    assert relative_residual(apart) == pytest.approx(math.sqrt(15 / 16))


def test_a_position_without_direction_has_no_cosine():
    stream = normal(2, 4, 3)
    stream[0, 2] = 0
    assert mean_cosine(stream).isnan().tolist() == [True, False]


def test_a_prompts_own_mean_stays_in_it_when_it_is_centred():
    streams = normal(3, 5, 4) + 7
    centred = centred_on_others(streams)
    torch.testing.assert_close(centred[0], streams[0] - torch.cat([streams[1], streams[2]]).mean(dim=0))
    # Prompts that differ from one another by a constant each keep it, and their positions stay alike.
    apart = normal(3, 1, 4).expand(3, 5, 4) * 10 + normal(3, 5, 4, seed=1) + 100
    assert bool((mean_cosine(apart) > 0.99).all())
    assert bool((mean_cosine(centred_on_others(apart)) > 0.8).all())
    assert bool((mean_cosine(centred_on_others(normal(3, 50, 40) + 100)).abs() < 0.1).all())
    assert centred_on_others(streams[:1]).isnan().all()


@pytest.mark.parametrize(("skip", "rate"), [(False, 1 / 2), (True, 3 / 4)])
def test_averaging_shrinks_what_differs_by_a_half_and_with_the_skip_by_three_quarters(skip, rate):
    stream = normal(16, 9)
    # The first position is what all converge to; taken out, the small rest keeps its digits however deep it is.
    streams = averaged_streams(stream - stream[0], 150, skip)
    residual = (streams - streams.mean(dim=1, keepdim=True)).norm(dim=(1, 2))
    ratio = residual[1:] / residual[:-1]
    assert math.isclose(ratio[-1], rate, rel_tol=1e-6)
    whole = averaged_streams(stream, 40, skip)
    # What the literature of this project measured at layer 40.
    assert math.isclose(
        relative_residual(whole[40]) / relative_residual(whole[39]), 0.7548 if skip else 0.5, abs_tol=2e-3
    )
    torch.testing.assert_close(averaged_streams(stream, 150, skip)[-1], stream[:1].expand(16, 9))


def test_the_spectrum_of_the_causal_average_is_one_over_the_position():
    matrix = uniform_average(torch.eye(7, dtype=torch.float64))
    torch.testing.assert_close(matrix.diagonal(), 1 / torch.arange(1, 8, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(7, dtype=torch.float64))
    assert float(matrix.triu(1).abs().max()) == 0


def test_without_a_mask_one_layer_makes_all_positions_the_same():
    stream = normal(3, 5, 4)
    alone, skipping = (averaged_streams(stream, 2, skip, causal=False) for skip in (False, True))
    assert bool((stream_rank(alone[1]) - 1 < 1e-9).all())
    residuals = [(x - x.mean(dim=1, keepdim=True)).norm() for x in skipping]
    assert residuals[1] / residuals[0] == pytest.approx(0.5)
    assert residuals[2] / residuals[1] == pytest.approx(0.5)
