import pytest
import torch
from torch.distributions import Categorical
from torch.distributions.kl import kl_divergence
from torch.testing import assert_close

from interp.errors import MetricError, NonFiniteError, OutOfRangeError, ShapeError
from interp.metrics import Accuracy, Divergence, Function, LogitDifference, LogProbability, Loss, Probability, Rank

from ..conftest import order_one_model, random_tokens

ANSWER, WRONG = torch.tensor([3, 9, 0]), torch.tensor([5, 16, 1])


def logits(seed=0):
    return torch.randn(3, 7, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_each_metric_is_what_its_name_says():
    given, reference = logits(), logits(1)
    rows = torch.arange(3)
    assert_close(LogitDifference(ANSWER, WRONG, position=4)(given), given[rows, 4, ANSWER] - given[rows, 4, WRONG])
    assert_close(LogProbability(ANSWER)(given), given[:, -1].softmax(-1)[rows, ANSWER].log())
    assert_close(Probability(ANSWER, position=1)(given), given[:, 1].softmax(-1)[rows, ANSWER])
    kl = kl_divergence(Categorical(logits=reference), Categorical(logits=given))
    assert_close(Divergence(reference, position=2)(given), kl[:, 2])
    assert_close(Divergence(reference, position=None)(given), kl.mean(dim=1))
    assert_close(Function("largest logit", lambda read: read.amax(dim=(1, 2)))(given), given.amax(dim=(1, 2)))


def test_the_rank_is_the_place_in_the_sorted_logits_and_the_top_one_is_the_choice():
    given = logits()
    order = given[:, 4].argsort(dim=-1, descending=True)
    for place in range(17):
        assert Rank(order[:, place], position=4)(given).tolist() == [place] * 3
        assert Accuracy(order[:, place], position=4)(given).tolist() == [float(place == 0)] * 3
    nearer = Accuracy(ANSWER, WRONG, position=4)(given)
    assert torch.equal(nearer, (LogitDifference(ANSWER, WRONG, position=4)(given) > 0).double())
    assert sorted(set(nearer.tolist())) == [0.0, 1.0]


def test_a_tied_token_counts_as_half_and_a_tie_is_no_hit():
    # Prompt 0: 3 ties with 0 on top. Prompt 1: 9 is behind one and ties with two. Prompt 2: all alike.
    given = torch.zeros(3, 2, 17, dtype=torch.float64)
    given[0, -1, [0, 3]] = 1.0
    given[1, -1, [2, 5, 7, 9]] = torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert Rank(ANSWER)(given).tolist() == [1 / 2, 1 + 2 / 2, 16 / 2]
    assert Accuracy(ANSWER)(given).tolist() == [0.0, 0.0, 0.0]
    assert Accuracy(ANSWER, torch.tensor([0, 0, 1]))(given).tolist() == [0.0, 1.0, 0.0]
    given[0, -1, 0] = 1.0 - 1e-12
    assert Accuracy(ANSWER)(given).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("metric", [Rank(ANSWER), Accuracy(ANSWER), Accuracy(ANSWER, WRONG)], ids=lambda one: one.name)
def test_logits_that_are_not_numbers_have_no_rank(metric):
    given = logits()
    metric(given)
    given[1, -1, WRONG[1]] = torch.nan
    with pytest.raises(NonFiniteError, match="is nan on prompt 1"):
        metric(given)


def test_the_loss_is_that_of_the_model():
    model, tokens = order_one_model(), random_tokens()
    assert_close(Loss(tokens)(model(tokens)).mean(), model(tokens, return_type="loss"))


def test_the_loss_of_some_positions_is_the_mean_over_those():
    model, tokens = order_one_model(), random_tokens()
    by_position = model(tokens, return_type="loss", loss_per_token=True)
    assert_close(Loss(tokens, at=(1, 4))(model(tokens)), by_position[:, [1, 4]].mean(dim=1))
    for wrong in ((), (6,), (-1,)):
        with pytest.raises(OutOfRangeError, match="some of the positions 0 to 5"):
            Loss(tokens, at=wrong)
    Loss(tokens, at=(5,))


@pytest.mark.parametrize(
    "metric",
    [
        LogitDifference(ANSWER, WRONG, position=2),
        Loss(random_tokens(), at=(3,)),
        LogProbability(ANSWER, position=-3),
        Divergence(logits(1), position=5),
        Loss(random_tokens()),
        Function("two positions", lambda read: read.sum(dim=(1, 2)), at=(0, -1)),
        Probability(ANSWER, position=1),
        Rank(ANSWER, position=4),
        Accuracy(ANSWER, WRONG, position=5),
        Accuracy(torch.tensor([14, 9, 0]), position=1),
    ],
    ids=lambda metric: metric.name,
)
def test_a_metric_reads_what_it_declares_and_nothing_else(metric):
    given = logits()
    others = torch.randn(given.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    kept = torch.zeros_like(given, dtype=torch.bool)
    kept[:, list(metric.positions)] = True
    if metric.columns is not None:
        wanted = torch.zeros(3, 1, 17, dtype=torch.bool).scatter(2, metric.columns[:, None], True)
        kept &= wanted
    assert_close(metric(torch.where(kept, given, others)), metric(given), rtol=0, atol=0)
    # Everything that is declared matters: the declaration is not merely large enough.
    assert not torch.allclose(metric(torch.where(kept, others, given)), metric(given))


def test_metrics_of_half_precision_are_computed_in_float64():
    given = logits().to(torch.bfloat16)
    assert LogProbability(ANSWER)(given).dtype == torch.float64
    assert_close(LogProbability(ANSWER)(given), LogProbability(ANSWER)(given.double()), rtol=0, atol=0)


def test_a_token_or_position_that_is_not_there_is_refused():
    for wrong in (17, -1):
        with pytest.raises(OutOfRangeError, match=rf"token ids 0 to 16; {wrong} is outside"):
            LogitDifference(ANSWER, torch.tensor([5, wrong, 1]))(logits())
        for metric in (LogProbability, Probability, Rank, Accuracy):
            with pytest.raises(OutOfRangeError, match=rf"token ids 0 to 16; {wrong} is outside"):
                metric(torch.tensor([5, wrong, 1]))(logits())
            metric(torch.tensor([5, 16, 1]))(logits())
    LogitDifference(ANSWER, torch.tensor([5, 16, 1]))(logits())
    for position in (7, -8):
        with pytest.raises(OutOfRangeError, match=f"positions -7 to 6; {position} is outside"):
            LogProbability(ANSWER, position=position)(logits())
    LogProbability(ANSWER, position=-7)(logits())


def test_answers_for_another_number_of_prompts_are_refused(as_users_run_it):
    with pytest.raises(ShapeError, match="answers for 3 prompts; the logits are of 2"):
        LogitDifference(ANSWER, WRONG)(logits()[:2])
    with pytest.raises(ShapeError, match=r"targets of shape \[3, 1\] for logits of \[2, 1, 17\]"):
        LogProbability(ANSWER)(logits()[:2])
    for pairing in (LogitDifference, Accuracy):
        with pytest.raises(ShapeError, match="3 answers and 2 wrong ones"):
            pairing(ANSWER, WRONG[:2])
        pairing(ANSWER, WRONG)
    with pytest.raises(ShapeError, match=r"reference logits have shape \[3, 1, 17\], the model's \[2, 1, 17\]"):
        Divergence(logits())(logits()[:2])
    with pytest.raises(ShapeError, match="needs a next token"):
        Loss(random_tokens(length=1))
    Loss(random_tokens(length=2))


def test_a_result_that_is_not_one_number_per_prompt_is_refused():
    with pytest.raises(MetricError, match=r"total must be one number per prompt, shape \[3\]; it is shape \[\]"):
        Function("total", torch.sum)(logits())
    with pytest.raises(MetricError, match="it is a float"):
        Function("total", lambda read: 1.0)(logits())
    with pytest.raises(NonFiniteError, match="root is nan on prompt 1"):
        Function("root", lambda read: torch.tensor([1.0, -1.0, 1.0]).sqrt())(logits())
    Function("total", lambda read: read.sum(dim=(1, 2)))(logits())


def test_a_token_without_probability_adds_nothing_to_the_divergence():
    reference, given = logits(), logits(1)
    reference[..., 4] = -torch.inf
    without = [column for column in range(17) if column != 4]
    given[..., 4] = -torch.inf
    assert_close(Divergence(reference)(given), Divergence(reference[..., without])(given[..., without]))


@pytest.mark.parametrize(
    "metric",
    [
        LogitDifference(ANSWER, WRONG, position=2),
        LogProbability(ANSWER),
        Probability(ANSWER),
        Rank(ANSWER),
        Accuracy(logits()[:, 4].argmax(dim=-1), position=4),
        Accuracy(ANSWER, WRONG),
        Divergence(logits(1), position=5),
        Divergence(logits(1), position=None),
        Loss(random_tokens(), at=(3, 1)),
    ],
    ids=lambda metric: metric.name,
)
def test_a_metric_for_some_prompts_is_theirs_in_their_order(metric):
    given, lanes = logits(), torch.tensor([2, 0, 2, 1])
    assert torch.equal(metric.for_prompts(lanes)(given[lanes]), metric(given)[lanes])
    assert torch.equal(metric.for_prompts(lanes).for_prompts(torch.tensor([3]))(given[[1]]), metric(given)[[1]])


def test_a_function_of_the_whole_batch_is_not_taken_apart():
    assert Function("rank among prompts", lambda read: read[:, 0, 0].argsort().double()).for_prompts(ANSWER) is None
