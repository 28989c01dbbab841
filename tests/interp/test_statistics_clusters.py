"""Prompts of one template are not independent: whole templates are resampled and flipped."""

import pytest
import torch
from torch.testing import assert_close

from interp.errors import AlignmentError
from interp.statistics import over_prompts, ratio_of_means, sign_flip_p_values, sign_flips, smallest_p


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def all_of(values: torch.Tensor, clusters: tuple[str, ...] = ()) -> list[torch.Tensor]:
    """Everything the statistics say about the values."""
    effect = over_prompts(values, clusters=clusters)
    share = ratio_of_means(values, 3 + values[:, 0].abs(), clusters=clusters)
    flips = sign_flips(values, clusters)
    estimates = [of for each in (effect, share) for of in (each.mean, each.standard_error, each.low, each.high)]
    return [*estimates, flips.single, flips.adjusted]


def test_prompts_that_are_clusters_of_their_own_are_independent():
    values = drawn(9, 4) + 0.5
    for found, expected in zip(all_of(values, tuple("abcdefghi")), all_of(values), strict=True):
        assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_prompts_said_five_times_over_say_nothing_new():
    values = drawn(9, 4) + 0.5
    repeated, clusters = values.repeat(5, 1), tuple("abcdefghi" * 5)
    for found, expected in zip(all_of(repeated, clusters), all_of(values), strict=True):
        assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # Nobody told, five times the prompts would seem to say more.
    careless = over_prompts(repeated)
    assert bool((careless.standard_error < 0.5 * over_prompts(values).standard_error).all())
    assert float(sign_flips(repeated).single.min()) < float(sign_flips(values).single.min())


def test_clusters_of_different_sizes_have_the_standard_error_of_a_ratio():
    # Cluster a has 2, 4 and 6, cluster b has 8: totals 12 and 8 of sizes 3 and 1, mean 20 / 4 = 5.
    values, clusters = torch.tensor([2.0, 4.0, 8.0, 6.0], dtype=torch.float64), ("a", "a", "b", "a")
    found = over_prompts(values, clusters=clusters)
    assert found.mean == 5.0
    # Residuals 12 - 3 * 5 = -3 and 8 - 5 = 3: sqrt(2 / 1 * (9 + 9)) / 4.
    assert_close(float(found.standard_error), 36**0.5 / 4)
    # A resample is a alone (mean 4), b alone (mean 8), or both.
    assert (float(found.low), float(found.high)) == (4.0, 8.0)


def test_the_interval_over_clusters_covers_the_truth_where_that_over_prompts_does_not():
    # 400 experiments at once: 30 clusters of 4 prompts that share most of what they say.
    values = drawn(30, 1, 400, seed=3) + 0.3 * drawn(30, 4, 400, seed=4)
    values, clusters = values.flatten(0, 1), tuple(str(at // 4) for at in range(120))

    def covered(of: tuple[str, ...]) -> float:
        found = over_prompts(values, clusters=of)
        return float(((found.low < 0) & (found.high > 0)).double().mean())

    assert 0.89 < covered(clusters) < 0.98
    assert covered(()) < 0.8


def test_one_cluster_has_no_uncertainty_that_could_be_known():
    values = drawn(5, 3) + 2
    found = over_prompts(values, clusters=("a",) * 5)
    assert bool(found.low.isnan().all())
    assert bool(found.standard_error.isnan().all())
    assert_close(found.mean, values.mean(dim=0))
    assert sign_flip_p_values(values, clusters=("a",) * 5).tolist() == [1.0] * 3


def test_every_prompt_must_have_a_cluster():
    values = drawn(5, 3)
    for statistic in (over_prompts, sign_flips):
        with pytest.raises(AlignmentError, match="4 names of clusters for 5 prompts"):
            statistic(values, clusters=tuple("aabb"))
        statistic(values, clusters=tuple("aabbc"))


def test_the_smallest_p_is_reached_and_depends_on_the_number_of_clusters():
    certain = 5 + drawn(12, 2)
    assert float(sign_flips(certain).single.min()) == smallest_p(12) == 2.0**-11
    in_fours = sign_flips(certain, tuple("aaabbbcccddd"))
    assert in_fours.single.tolist() == [in_fours.smallest] * 2 == [smallest_p(4)] * 2 == [1 / 8] * 2
    many = sign_flips(5 + drawn(40, 2))
    assert many.single.tolist() == many.adjusted.tolist() == [many.smallest] * 2 == [1e-4] * 2
