"""Head scores: on weights made for the purpose they are one, on uniform attention they are what counting says."""

import pytest
import torch

from models.head_scores import copy_losses, prefix_matching_scores, previous_token_scores, repeated_random_tokens
from tests.conftest import order_one_model


@pytest.fixture
def model():
    return order_one_model(n_ctx=10)


def test_the_tokens_are_one_sequence_twice(model):
    tokens = repeated_random_tokens(model, 5)
    assert tokens.shape == (5, 9)
    assert (tokens[:, 0] == 0).all()
    assert torch.equal(tokens[:, 1:5], tokens[:, 5:])


def _attending_back(distance):
    # Scores far above all others at one distance: a pattern that is one there, whatever the weights.
    def edit(scores, hook):
        queries = torch.arange(distance, scores.shape[-1])
        scores[..., queries, queries - distance] += 1e4
        return scores

    return edit


@pytest.mark.parametrize("distance", [1, 3])
def test_a_head_that_looks_at_one_distance_has_that_score_alone(model, distance):
    tokens = repeated_random_tokens(model, 5)
    model.add_hook(lambda name: name == "blocks.1.attn.hook_attn_scores", _attending_back(distance))
    previous, prefix = previous_token_scores(model, tokens), prefix_matching_scores(model, tokens)
    assert previous.shape == prefix.shape == (2, 4)
    # Half of 9 - 1 tokens is 4: what followed the same token the first time is 3 before.
    own, other = (previous, prefix) if distance == 1 else (prefix, previous)
    torch.testing.assert_close(own[1], torch.ones(4, dtype=torch.float64))
    assert (other[1] < 0.5).all()
    assert (previous[0] > 0).all()
    assert (previous[0] < 1).all()


def test_uniform_attention_scores_what_counting_says(model):
    tokens = repeated_random_tokens(model, 5)
    previous = torch.tensor([1 / (q + 1) for q in range(2, 9)], dtype=torch.float64).mean()
    prefix = torch.tensor([1 / (q + 1) for q in range(5, 9)], dtype=torch.float64).mean()
    for block in model.blocks:
        block.attn.W_Q.data.zero_()
        block.attn.b_Q.data.zero_()
    torch.testing.assert_close(previous_token_scores(model, tokens), previous.expand(2, 4))
    torch.testing.assert_close(prefix_matching_scores(model, tokens), prefix.expand(2, 4))


def test_the_copy_losses_are_means_of_the_per_token_loss(model):
    tokens = repeated_random_tokens(model, 5)
    losses = model(tokens, return_type="loss", loss_per_token=True).detach()
    first, second = copy_losses(model, tokens)
    torch.testing.assert_close(first, losses[:, 0:4].mean(1))
    torch.testing.assert_close(second, losses[:, 5:8].mean(1))
