import pytest
import torch
from torch.testing import assert_close

from interp.errors import TokensError
from interp.in_context import in_context_learning_score, next_token_losses
from interp.repeated_tokens import repeated_random_tokens

from ..conftest import order_one_model, random_tokens
from .induction_model import induction_model


def test_the_losses_are_the_models_own():
    model, tokens = order_one_model(), random_tokens()
    assert_close(next_token_losses(model, tokens), model(tokens, return_type="loss", loss_per_token=True).detach())


def test_a_copying_model_gains_all_there_is_from_the_second_copy():
    model = induction_model(loudness=40.0)
    repeated = repeated_random_tokens(model, 3, torch.Generator().manual_seed(0), length=6, copies=2)
    losses = next_token_losses(model, repeated.tokens)
    second = repeated.losses_of_copy(losses, 1)
    # After the first token half of the attention is on what followed it, half on itself: it has no predecessor.
    assert_close(second[:, 0], torch.full((3,), 2.0, dtype=torch.float64).log())
    assert float(second[:, 1:].max()) < 1e-9
    assert float(repeated.losses_of_copy(losses, 0).min()) > 3


def test_the_score_is_late_less_early():
    losses = torch.tensor([[5.0, 4.0, 3.0, 1.0], [2.0, 2.0, 2.0, 7.0]], dtype=torch.float64)
    # The loss at index i is that of token i + 1: tokens 1 and 4 are the first and last that have one.
    assert in_context_learning_score(losses, 1, 4).tolist() == [-4, 5]
    assert in_context_learning_score(losses, 2, 3).tolist() == [-1, 0]


@pytest.mark.parametrize(("early", "late"), [(0, 3), (3, 3), (3, 2), (1, 5)])
def test_tokens_without_a_loss_or_in_the_wrong_order_are_refused(early, late):
    with pytest.raises(TokensError, match=f"early={early} and late={late} must be tokens with a loss, from 1 to 4"):
        in_context_learning_score(torch.zeros(2, 4), early, late)
    in_context_learning_score(torch.zeros(2, 4), 1, 4)
