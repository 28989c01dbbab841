"""Calling many cells with few false ones among the calls."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from interp.statistics import benjamini_hochberg, benjamini_yekutieli, sign_flips

P_VALUES = st.lists(st.sampled_from([1e-4, 0.001, 0.01, 0.02, 0.03, 0.049, 0.051, 0.2, 0.5, 1.0]), min_size=1)


def called_by_the_step_up_rule(p: list[float], rate: float) -> list[bool]:
    """Benjamini and Hochberg (1995), section 3: the k smallest, k the last with p_(k) <= k / m * rate."""
    ordered = sorted(p)
    k = max((k for k in range(1, len(p) + 1) if ordered[k - 1] <= k / len(p) * rate), default=0)
    return [k > 0 and each <= ordered[k - 1] for each in p]


@given(p=P_VALUES, rate=st.sampled_from([0.0107, 0.053, 0.11, 0.233, 0.71]))
def test_values_at_or_below_a_rate_are_those_that_the_step_up_rule_calls(p, rate):
    given_p = torch.tensor(p, dtype=torch.float64)
    assert (benjamini_hochberg(given_p) <= rate).tolist() == called_by_the_step_up_rule(p, rate)
    harmonic = sum(1 / at for at in range(1, len(p) + 1))
    assert (benjamini_yekutieli(given_p) <= rate).tolist() == called_by_the_step_up_rule(p, rate / harmonic)


def test_an_example_on_paper():
    p = torch.tensor([0.03, 0.01, 0.8, 0.02], dtype=torch.float64)
    # In order 0.01 * 4 / 1, 0.02 * 4 / 2, 0.03 * 4 / 3 are all 0.04; 0.8 stays.
    assert_close(benjamini_hochberg(p), torch.tensor([0.04, 0.04, 0.8, 0.04], dtype=torch.float64))
    # 1 + 1/2 + 1/3 + 1/4 = 25 / 12.
    expected = torch.tensor([0.04 * 25 / 12, 0.04 * 25 / 12, 1.0, 0.04 * 25 / 12], dtype=torch.float64)
    assert_close(benjamini_yekutieli(p), expected)


def test_the_share_of_false_calls_is_that_promised():
    generator = torch.Generator().manual_seed(5)
    shares, found = [], 0
    for _ in range(300):
        values = torch.randn(10, 20, dtype=torch.float64, generator=generator)
        values[:, :8] += 1.5
        called = benjamini_hochberg(sign_flips(values).single) <= 0.2
        shares.append(float(called[8:].sum()) / max(1, int(called.sum())))
        found += int(called[:8].sum())
    # 12 of the 20 are true nulls: 0.2 * 12 / 20 where they are independent. The standard error is 0.007.
    assert 0.09 < sum(shares) / 300 <= 0.14
    assert found > 0.8 * 300 * 8
