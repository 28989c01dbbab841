import math

import pytest
import torch

from interp.activation_statistics import (
    dimension_sizes,
    entropy_shares,
    firing,
    highest_rate_of_the_silent,
    kurtosis,
    largest_over_median,
    normal_largest_over_median,
    outliers,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_kurtosis_is_three_for_normal_numbers_and_n_for_a_single_large_one():
    assert kurtosis(normal(400_000)) == pytest.approx(3, abs=0.05)
    assert kurtosis(torch.rand(400_000, generator=torch.Generator().manual_seed(0))) == pytest.approx(9 / 5, abs=0.02)
    assert kurtosis(torch.tensor([1.0, -1.0, 1.0, -1.0])) == 1
    single = torch.zeros(1000)
    single[7] = 5
    assert kurtosis(single) == pytest.approx(1000, rel=0.01)
    values = normal(3, 50)
    torch.testing.assert_close(kurtosis(3.7 * values - 2), kurtosis(values))


def test_sizes_and_outliers_are_those_of_the_dimensions():
    stream = normal(3, 40, 11)
    stream[..., 4] *= 20
    sizes = dimension_sizes(stream)
    assert math.isclose(sizes.square().sum(), stream.square().sum(-1).mean(), rel_tol=1e-12)
    assert outliers(sizes, 6.0).nonzero().flatten().tolist() == [4]
    assert not outliers(sizes, 40.0).any()


def test_the_largest_number_is_held_against_the_median_and_against_normal_ones():
    assert largest_over_median(torch.tensor([[1.0, -2.0], [30.0, 2.0]])) == pytest.approx(15)
    found = [largest_over_median(normal(20_000, seed=seed)) for seed in range(5)]
    assert sum(found) / 5 == pytest.approx(normal_largest_over_median(20_000), rel=0.1)
    # A million numbers: about 4.9 standard deviations, over 0.674.
    assert normal_largest_over_median(10**6) == pytest.approx(4.89 / 0.6745, rel=0.01)


def test_entropy_is_the_whole_of_ln_n_for_even_rows_and_none_for_a_single_key():
    seen = torch.ones(4, 4).tril().bool()
    even = seen / seen.sum(dim=-1, keepdim=True)
    single = torch.eye(4)
    shares = entropy_shares(torch.stack([even, single])[None].double(), seen)
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0.0]]).double())
    # One row of two keys, half and half, among rows that look at one key: ln 2 of ln 2 + ln 3 + ln 4.
    mixed = single.clone()
    mixed[1] = torch.tensor([0.5, 0.5, 0, 0])
    expected = math.log(2) / math.log(24)
    assert float(entropy_shares(mixed[None, None].double(), seen)) == pytest.approx(expected)
    assert entropy_shares(single[None, None], torch.eye(4).bool()).isnan().all()


def test_neurons_that_never_fire_are_told_from_those_that_hardly_do():
    activated = torch.zeros(2, 5, 4)
    activated[0, 0, 1], activated[..., 2], activated[..., 3] = 1.0, 2.0, -0.1
    relu = firing(activated, 0.0)
    torch.testing.assert_close(relu.rate, torch.tensor([0.0, 0.1, 1.0, 0.0]).double())
    assert relu.dead.tolist() == [True, False, False, True]
    assert relu.n_tokens == 10
    assert relu.threshold == 0
    tiny = activated.clone()
    tiny[..., 0] = 1e-3
    assert firing(tiny, 0.0).dead.tolist() == [False, False, False, True]
    smooth = firing(tiny, 0.01)
    assert smooth.threshold == pytest.approx(0.01 * float(tiny.square().mean().sqrt()))
    assert smooth.dead.tolist() == [True, False, False, True]


def test_silence_in_n_looks_bounds_the_rate_by_about_three_over_n():
    for n in (30, 500):
        bound = highest_rate_of_the_silent(n)
        assert (1 - bound) ** n == pytest.approx(0.05)
        assert bound == pytest.approx(3 / n, rel=0.06)
    assert highest_rate_of_the_silent(1) == pytest.approx(0.95)
