import pytest
import torch

from interp.statistics import over_prompts, over_seeds


def test_mean_and_standard_error_are_the_textbook_ones():
    values = torch.tensor([[1.0, 10.0], [2.0, 10.0], [6.0, 10.0]], dtype=torch.float64)
    estimate = over_prompts(values)
    # Deviations from 3 are -2, -1, 3: variance (4 + 1 + 9) / 2 = 7, over three prompts.
    torch.testing.assert_close(estimate.mean, torch.tensor([3.0, 10.0], dtype=torch.float64))
    torch.testing.assert_close(estimate.standard_error, torch.tensor([(7 / 3) ** 0.5, 0.0], dtype=torch.float64))
    assert estimate.low[0] <= estimate.mean[0] <= estimate.high[0]
    assert estimate.low[1] == estimate.high[1] == 10.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # 400 experiments of 40 prompts at once, each a column. A percentile bootstrap of 40 covers about 94 %.
    values = torch.randn(40, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    estimate = over_prompts(values)
    covered = ((estimate.low < 0) & (estimate.high > 0)).double().mean()
    assert 0.90 < covered < 0.98


def test_one_prompt_has_no_uncertainty_that_could_be_known():
    estimate = over_prompts(torch.tensor([[2.0]]))
    assert estimate.mean == 2.0
    assert estimate.standard_error.isnan().all()
    assert estimate.low.isnan().all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_values_give_the_same_interval(seed):
    values = torch.randn(6, 2, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(over_prompts(values).low, over_prompts(values).low)


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (11, 2.228), (31, 2.042)])
def test_the_interval_over_seeds_is_students(n, quantile):
    # Values with mean 0 and sample variance n, so that the standard error is 1. Quantiles: any table of Student's t.
    values = torch.linspace(-1, 1, n, dtype=torch.float64)
    values = values / values.std() * n**0.5
    estimate = over_seeds(values)
    assert estimate.high.item() == pytest.approx(quantile, rel=2e-3)
    assert estimate.low.item() == pytest.approx(-quantile, rel=2e-3)
    assert over_seeds(values[:1]).low.isnan()
