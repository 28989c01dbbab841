"""The probability difference between sets of tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from interp.errors import OutOfRangeError, ShapeError
from interp.tasks import ProbabilityDifference

N_TOKENS = 7

SETS = st.lists(
    st.permutations(range(N_TOKENS)).flatmap(
        lambda order: st.tuples(st.integers(1, 3), st.integers(1, 4)).map(
            lambda sizes: (order[: sizes[0]], order[sizes[0] : sum(sizes)])
        )
    ),
    min_size=1,
    max_size=4,
)


def logits(n_prompts: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_prompts, 3, N_TOKENS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    # Probabilities of one, two, three and four tenths.
    given = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]] * 2, dtype=torch.float64).log()
    metric = ProbabilityDifference.between([[3], [1, 2]], [[0, 1], [0]])
    assert_close(metric(given), torch.tensor([0.4 - 0.1 - 0.2, 0.2 + 0.3 - 0.1], dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(sets=SETS, seed=st.integers(0, 99))
def test_it_is_the_sum_over_the_one_set_less_that_over_the_other(sets, seed):
    right, wrong = zip(*sets, strict=True)
    given = logits(len(sets), seed)
    probability = given.softmax(-1)
    for position in (-1, 1):
        expected = [
            sum(probability[at, position, token] for token in ours)
            - sum(probability[at, position, token] for token in theirs)
            for at, (ours, theirs) in enumerate(sets)
        ]
        metric = ProbabilityDifference.between(right, wrong, position)
        assert_close(metric(given), torch.stack(expected))
        assert_close(ProbabilityDifference.between(wrong, right, position)(given), -torch.stack(expected))


@settings(max_examples=30, deadline=None)
@given(sets=SETS, data=st.data())
def test_the_metric_of_some_prompts_is_theirs_in_any_order_and_repeated(sets, data):
    right, wrong = zip(*sets, strict=True)
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, len(sets) - 1), min_size=1, max_size=6)))
    metric, given = ProbabilityDifference.between(right, wrong), logits(len(sets))
    assert_close(metric.for_prompts(chosen)(given[chosen]), metric(given)[chosen], rtol=0, atol=0)


def test_sets_that_are_complements_leave_nothing_over():
    right, wrong = [0, 2, 3], [1, 4, 5, 6]
    metric, given = ProbabilityDifference.between([right], [wrong]), logits(1)
    assert_close(metric(given)[0], 2 * given[0, -1].softmax(-1)[right].sum() - 1)


def test_sets_that_do_not_fit_are_refused(as_users_run_it):
    with pytest.raises(ShapeError, match="1 sets of right tokens and 2 of wrong ones"):
        ProbabilityDifference.between([[0]], [[1], [2]])
    metric = ProbabilityDifference.between([[0]], [[1]])
    with pytest.raises(ShapeError, match="answers for 1 prompts; the logits are of 2"):
        metric(logits(2))
    with pytest.raises(OutOfRangeError, match=f"token ids 0 to {N_TOKENS - 1}; {N_TOKENS} is outside"):
        ProbabilityDifference.between([[0]], [[1, N_TOKENS]])(logits(1))
    metric(logits(1))
