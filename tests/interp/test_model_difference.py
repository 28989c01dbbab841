"""How far two models are apart: exactly nothing for equal ones, and by a second road for others."""

from copy import deepcopy

import pytest
import torch
from torch.distributions import Categorical
from torch.distributions.kl import kl_divergence as kl_of_distributions

from interp.errors import NonFiniteError
from interp.lenses import logit_lens
from interp.model_difference import cosines, prediction_difference, stream_difference, weight_changes

from ..conftest import order_one_model, random_tokens


def test_a_model_does_not_differ_from_itself():
    model, tokens = order_one_model(), random_tokens()
    twin = deepcopy(model)
    found, stream = prediction_difference(model, twin, tokens), stream_difference(model, twin, tokens)
    assert float(found.kl.abs().max()) == 0
    assert torch.equal(found.loss, found.other_loss)
    assert torch.equal(found.top, found.other_top)
    assert torch.equal(stream.cosine, torch.ones_like(stream.cosine))
    assert float(stream.distance.max()) == 0
    changes, unmatched = weight_changes(model.state_dict(), twin.state_dict())
    assert {(change.relative, change.cosine) for change in changes} == {(0.0, 1.0)}
    assert len(changes) == len(model.state_dict())
    assert unmatched == []


def test_predictions_differ_as_torch_says():
    model, other, tokens = order_one_model(0), order_one_model(1), random_tokens()
    found = prediction_difference(model, other, tokens)
    with torch.no_grad():
        one, two = model(tokens), other(tokens)
    torch.testing.assert_close(found.kl, kl_of_distributions(Categorical(logits=one), Categorical(logits=two)))
    torch.testing.assert_close(found.loss, -logit_lens(model, tokens).next_log_prob[-1])
    torch.testing.assert_close(found.other_loss, -logit_lens(other, tokens).next_log_prob[-1])
    assert torch.equal(found.other_top, two.argmax(-1))
    assert found.identity_error < 1e-12
    # Not the KL the other way round.
    backwards = prediction_difference(other, model, tokens)
    torch.testing.assert_close(backwards.loss, found.other_loss)
    assert not torch.allclose(backwards.kl, found.kl)


def test_weights_change_by_what_was_done_to_them():
    # [3, 4] has length 5; doubled it is 5 further in the same direction, turned by a right angle sqrt(50) away.
    model = {"doubled": torch.tensor([3.0, 4.0]), "turned": torch.tensor([3.0, 4.0]), "fresh": torch.zeros(2)}
    other = {"doubled": torch.tensor([6.0, 8.0]), "turned": torch.tensor([-4.0, 3.0]), "fresh": torch.ones(2)}
    model |= {"gone": torch.ones(1), "grown": torch.ones(2)}
    other |= {"grown": torch.ones(3), "new": torch.ones(1)}
    changes, unmatched = weight_changes(model, other)
    doubled, turned, fresh = changes
    assert (doubled.relative, doubled.cosine) == (pytest.approx(1), pytest.approx(1))
    assert (turned.relative, turned.cosine) == (pytest.approx(2**0.5), pytest.approx(0, abs=1e-15))
    assert fresh.relative == float("inf")
    assert fresh.cosine != fresh.cosine
    assert max(change.cosine_law_error for change in changes) < 1e-15
    assert [(each.name, each.model, each.other) for each in unmatched] == [
        *(("gone", (1,), None), ("grown", (2,), (3,)), ("new", None, (1,)))
    ]


def test_cosines_are_torchs_and_keep_their_digits_near_one():
    one, other = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cosines(one, other), torch.cosine_similarity(one, other, dim=-1))
    near = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    assert float(1 - cosines(torch.tensor([1.0, 0.0], dtype=torch.float64), near)) == pytest.approx(5e-19, abs=1e-18)


def test_streams_of_different_widths_are_not_compared_and_of_different_depths_as_far_as_both_go():
    model, tokens = order_one_model(), random_tokens()
    assert stream_difference(model, order_one_model(d_model=14), tokens) is None
    deeper = stream_difference(model, order_one_model(seed=1, n_layers=3), tokens)
    assert deeper.sites[-1] == "blocks.1.hook_resid_post"
    assert deeper.cosine.shape == (5, 3)
    assert float(deeper.cosine.max()) < 1


def test_logits_that_are_not_finite_are_refused():
    broken = order_one_model()
    with torch.no_grad():
        broken.b_U[0] = torch.nan
    with pytest.raises(NonFiniteError, match="compared"):
        prediction_difference(order_one_model(), broken, random_tokens())
