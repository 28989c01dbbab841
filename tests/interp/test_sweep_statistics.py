"""The statistics that stand on the effects of a sweep: ratios of means, and p values for a whole grid of cells."""

from itertools import product

import torch
from torch.testing import assert_close

from interp.statistics import over_prompts, ratio_of_means, sign_flip_p_values, sign_flips


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_ratio_of_means_has_the_interval_of_the_delta_method():
    denominator = 3 + 0.5 * drawn(60)
    numerator = 0.7 * denominator + 0.4 * drawn(60, seed=1)
    found = ratio_of_means(numerator[:, None], denominator)
    ratio = numerator.mean() / denominator.mean()
    assert_close(found.mean[0], ratio)
    # Cochran (1977), section 2.11: the variance of a ratio is that of the residuals, over the denominator squared.
    residuals = numerator - ratio * denominator
    expected = residuals.std() / 60**0.5 / denominator.mean()
    assert_close(found.standard_error[0], expected, rtol=0.08, atol=0)
    assert_close((found.high - found.low)[0], 2 * 1.96 * expected, rtol=0.1, atol=0)


def test_numerator_and_denominator_are_resampled_together():
    denominator = 3 + drawn(10)
    found = ratio_of_means(torch.stack([2 * denominator, -denominator], dim=1), denominator)
    for ends in (found.low, found.high):
        assert_close(ends, torch.tensor([2.0, -1.0], dtype=torch.float64))
    alone = ratio_of_means(drawn(1, 2), denominator[:1])
    assert bool(alone.low.isnan().all())
    assert bool(alone.mean.isfinite().all())


def by_brute_force(values: torch.Tensor) -> torch.Tensor:
    """Every flip written out, with t statistics."""

    def sizes(flipped: torch.Tensor) -> torch.Tensor:
        return (flipped.mean(dim=0) / (flipped.std(dim=0) / len(values) ** 0.5)).abs()

    signs = [torch.tensor(flip, dtype=torch.float64)[:, None] for flip in product((1.0, -1.0), repeat=len(values))]
    largest = torch.stack([sizes(values * flip).max() for flip in signs])
    return (largest[:, None] >= sizes(values) * (1 - 1e-9)).double().mean(dim=0)


def test_the_enumeration_is_that_of_every_flip():
    values = drawn(6, 5) + torch.tensor([0.0, 0.3, 1.0, 3.0, -3.0], dtype=torch.float64)
    found = sign_flip_p_values(values)
    assert_close(found, by_brute_force(values))
    assert found[3] == 2 / 2**6
    assert_close(sign_flip_p_values(values.reshape(6, 5, 1)).squeeze(), found)


def test_a_cell_by_itself_has_the_p_of_a_grid_of_one():
    values = drawn(7, 5) + torch.tensor([0.0, 0.3, 1.0, 3.0, -3.0], dtype=torch.float64)
    alone = torch.stack([by_brute_force(values[:, [cell]])[0] for cell in range(5)])
    assert_close(sign_flips(values).single, alone)
    assert bool((sign_flips(values).adjusted >= alone).all())


def test_without_an_effect_every_p_is_as_likely_as_any_other():
    p = sign_flips(drawn(8, 4000, seed=7)).single
    # The Kolmogorov distance to the 128 steps that there are; 1.63 / sqrt(4000) is its 1 % point.
    steps = torch.arange(1, 129, dtype=torch.float64) / 128
    reached = (p[:, None] <= steps + 1e-9).double().mean(dim=0)
    assert float((reached - steps).abs().max()) < 1.63 / 4000**0.5


def test_thousands_of_cells_are_the_same_as_a_few_of_them_at_a_time(monkeypatch):
    values = drawn(5, 9000)
    some = torch.tensor([0, 1, 523, 524, 4194, 8999])
    whole, few = over_prompts(values), over_prompts(values[:, some])
    for found, expected in ((whole.low, few.low), (whole.high, few.high), (whole.standard_error, few.standard_error)):
        assert_close(found[some], expected, rtol=1e-12, atol=1e-12)
    assert_close(sign_flips(values).single[some], sign_flips(values[:, some]).single)
    # Max-T is over all blocks: in every one of them another cell may be the largest.
    flips = sign_flips(drawn(16, 40) + 0.5)
    monkeypatch.setattr("interp.statistics.flips.BLOCK", 3 * 10_000)
    assert_close(sign_flips(drawn(16, 40) + 0.5).adjusted, flips.adjusted, rtol=0, atol=0)


def test_a_share_of_a_difference_that_may_be_zero_has_no_interval():
    numerator, denominator = drawn(3, 2), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    found = ratio_of_means(numerator, denominator)
    assert bool(found.low.isnan().all())
    assert bool(found.standard_error.isnan().all())
    assert_close(found.mean, numerator.mean(dim=0) * 3)
    assert bool(ratio_of_means(numerator, denominator + 1).low.isfinite().all())


def test_many_prompts_are_drawn_and_agree_with_the_enumeration():
    values = drawn(13, 4) + torch.tensor([0.0, 0.4, 0.8, 2.0], dtype=torch.float64)
    exact = sign_flip_p_values(values)
    # One prompt of nothing changes no sum and no size, but there are too many prompts to enumerate now.
    monte_carlo = sign_flip_p_values(torch.cat([values, torch.zeros(1, 4, dtype=torch.float64)]))
    assert_close(monte_carlo, exact, rtol=0, atol=0.02)


def test_cells_without_an_effect_and_a_single_prompt_are_never_beyond_chance():
    values = torch.cat([torch.zeros(8, 1, dtype=torch.float64), 5 + drawn(8, 1)], dim=1)
    assert sign_flip_p_values(values).tolist() == [1.0, 2 / 2**8]
    assert sign_flip_p_values(values[:1]).tolist() == [1.0, 1.0]


def test_a_grid_of_correlated_cells_without_effect_is_called_significant_in_one_of_twenty_at_most():
    shared = drawn(600, 9, 1, seed=3)
    grids = 0.7 * shared + drawn(600, 9, 12, seed=4)
    false_alarms = torch.tensor([float((sign_flip_p_values(grid) < 0.05).any()) for grid in grids])
    # 5 % of 600, with a binomial standard error of 0.9 %.
    assert 0.02 < float(false_alarms.mean()) < 0.08
    # The unadjusted test, cell by cell, would raise an alarm far more often.
    alone = torch.tensor([min(float(sign_flip_p_values(grid[:, [cell]])) for cell in range(12)) for grid in grids[:60]])
    assert float((alone < 0.05).double().mean()) > 0.15
