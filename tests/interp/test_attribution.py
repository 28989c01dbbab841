import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.testing import assert_close

from interp.attribution import Target, attribution
from interp.errors import NotASumError, OutOfRangeError, ShapeError
from tests.conftest import order_one_model, random_tokens
from tests.interp.test_hooks import native_bridge
from tests.models.configurations import configurations

TOKENS = random_tokens(batch=2, length=6)
RIGHT, WRONG = random_tokens(2, 6, seed=1, d_vocab=5), random_tokens(2, 6, seed=2, d_vocab=5)
TARGETS = [Target(RIGHT), Target(RIGHT, WRONG), Target(RIGHT, "mean")]


def of(logits, target):
    """The target by hand."""
    rows = torch.arange(2)[:, None], torch.arange(6)
    value = logits[(*rows, target.right)]
    if isinstance(target.against, torch.Tensor):
        return value - logits[(*rows, target.against)]
    return value - logits.mean(-1) if target.against == "mean" else value


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=configurations(norm_placement="pre", output_logits_soft_cap=-1.0))
def test_the_shares_sum_to_the_logit_whatever_the_options(changes):
    model = order_one_model(**changes)
    logits = model(TOKENS).detach()
    for target in TARGETS:
        found = attribution(model, TOKENS, target)
        assert_close(found.value, of(logits, target))
        assert_close(found.shares.sum(dim=0), of(logits, target))


def test_a_bridge_s_shares_sum_to_its_logit():
    bridge = native_bridge()
    for target in TARGETS:
        shares, expected = attribution(bridge, TOKENS, target).shares, of(bridge(TOKENS).detach().double(), target)
        assert_close(shares.sum(dim=0), expected, rtol=1e-5, atol=1e-5)  # bridges are float32


@pytest.mark.parametrize("norm", ["LNPre", "RMSPre"])
def test_the_shares_are_those_of_transformer_lens(norm):
    model = order_one_model(normalization_type=norm)
    with torch.no_grad():
        _, cache = model.run_with_cache(TOKENS)
    found = attribution(model, TOKENS, Target(torch.full((2, 6), 4), torch.full((2, 6), 11)))
    heads, labels = cache.stack_head_results(-1, return_labels=True)
    expected = cache.logit_attrs(heads, tokens=4, incorrect_tokens=11)
    for label, share in zip(labels, expected, strict=True):
        assert_close(found.shares[found.labels.index(label)], share)
    neurons = cache.logit_attrs(cache.stack_neuron_results(-1), tokens=4, incorrect_tokens=11)
    mlp = found.writes[found.labels.index("L1 MLP")]
    assert_close(mlp.parts_along(found.norm.adjoint(found.read)).permute(2, 0, 1), neurons[model.cfg.d_mlp :])


def test_capped_logits_are_attributed_before_the_cap():
    capped, plain = order_one_model(output_logits_soft_cap=5.0), order_one_model()
    found = attribution(capped, TOKENS, TARGETS[1])
    assert_close(found.shares.sum(dim=0), of(plain(TOKENS).detach(), TARGETS[1]))
    assert not torch.allclose(found.value, of(capped(TOKENS), TARGETS[1]))


def test_a_direction_is_a_target_too():
    model = order_one_model()
    direction = model.W_U.detach().T[RIGHT] - model.W_U.detach().T[WRONG]
    by_direction, by_token = attribution(model, TOKENS, direction), attribution(model, TOKENS, TARGETS[1])
    assert_close(by_direction.shares[:-1], by_token.shares[:-1])
    assert_close(by_direction.value, by_token.value - by_token.shares[-1])
    assert float(by_direction.shares[-1].abs().max()) == 0


def test_shares_along_another_direction_are_those_of_that_target():
    model = order_one_model()
    one, other = attribution(model, TOKENS, TARGETS[0]), attribution(model, TOKENS, TARGETS[2])
    assert_close(one.along(other.read, other.shares[-1]), other.shares)


def test_what_does_not_fit_is_refused(as_users_run_it):
    model = order_one_model()
    with pytest.raises(ShapeError, match=r"right has shape \[2, 5\].*\[2, 6\]"):
        attribution(model, TOKENS, Target(RIGHT[:, :5]))
    with pytest.raises(OutOfRangeError, match=r"against ranges from .* to 17; logits are 0 to 16"):
        attribution(model, TOKENS, Target(RIGHT, torch.full((2, 6), 17)))
    with pytest.raises(ShapeError, match=r"\[2, 6, 11\] do not give one of 12 numbers"):
        attribution(model, TOKENS, torch.zeros(2, 6, 11))
    with pytest.raises(NotASumError, match="post-norm"):
        attribution(order_one_model(norm_placement="post"), TOKENS, TARGETS[0])
    attribution(model, TOKENS, Target(RIGHT, torch.full((2, 6), 16)))
