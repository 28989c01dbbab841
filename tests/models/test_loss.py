import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from models.errors import InputError
from models.loss import next_token_loss
from tests.conftest import order_one_model, random_tokens


def logits_and_tokens():
    logits = 3 * torch.randn(3, 7, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return logits, random_tokens()


def test_the_mean_is_the_cross_entropy_of_each_next_token():
    logits, tokens = logits_and_tokens()
    expected = F.cross_entropy(logits[:, :-1].reshape(-1, 17), tokens[:, 1:].reshape(-1))
    assert_close(next_token_loss(logits, tokens), expected)


def test_one_number_for_each_predicted_token():
    logits, tokens = logits_and_tokens()
    expected = F.cross_entropy(logits[:, :-1].mT, tokens[:, 1:], reduction="none")
    assert_close(next_token_loss(logits, tokens, per_token=True), expected)


def test_only_pairs_of_unpadded_tokens_count():
    logits, tokens = logits_and_tokens()
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
    each = F.cross_entropy(logits[:, :-1].mT, tokens[:, 1:], reduction="none")
    kept = torch.cat([each[0, 2:], each[1, :4], each[2]])
    assert_close(next_token_loss(logits, tokens, mask), kept.mean())
    per_token = next_token_loss(logits, tokens, mask, per_token=True)
    assert_close(per_token.sum(), kept.sum())
    assert per_token[0, :2].tolist() == [0, 0]
    assert per_token[1, 4:].tolist() == [0, 0]


def test_one_token_predicts_nothing():
    logits, tokens = logits_and_tokens()
    with pytest.raises(InputError, match="at least two tokens"):
        next_token_loss(logits[:, :1], tokens[:, :1])
    assert next_token_loss(logits[:, :2], tokens[:, :2]).isfinite()


def test_padding_that_leaves_nothing_to_predict_is_refused():
    logits, tokens = logits_and_tokens()
    alternating = torch.tensor([[1, 0, 1, 0, 1, 0, 1]] * 3)
    with pytest.raises(InputError, match="leaves no pair"):
        next_token_loss(logits, tokens, alternating)
    alternating[1, 1] = 1
    assert next_token_loss(logits, tokens, alternating).isfinite()


@pytest.mark.usefixtures("as_users_run_it")
def test_targets_of_another_shape_are_refused():
    logits, tokens = logits_and_tokens()
    for wrong in (tokens[:1], tokens[:, :6]):
        with pytest.raises(InputError, match=r"do not fit logits of shape \[3, 7, 17\]"):
            next_token_loss(logits, wrong)


@pytest.mark.usefixtures("as_users_run_it")
def test_every_return_type_of_the_model():
    model, tokens = order_one_model(), random_tokens()
    logits = model(tokens)
    expected = F.cross_entropy(logits[:, :-1].mT, tokens[:, 1:])
    assert_close(model(tokens, return_type="loss"), expected)
    both = model(tokens, return_type="both")
    assert_close(both.logits, logits)
    assert_close(both.loss, expected)
    assert model(tokens, return_type=None) is None
    assert model(tokens, return_type="loss", loss_per_token=True).shape == (3, 6)
    with pytest.raises(InputError, match="return_type must be 'logits', 'loss', 'both' or None, not 'logit'"):
        model(tokens, return_type="logit")


def test_the_loss_of_a_padded_run_is_the_loss_of_the_unpadded_one():
    model, tokens = order_one_model(), random_tokens(length=5)
    for where in (slice(2, 7), slice(0, 5)):
        padded, mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
        padded[:, where], mask[:, where] = tokens, 1
        assert_close(model(padded, attention_mask=mask, return_type="loss"), model(tokens, return_type="loss"))


@pytest.mark.usefixtures("as_users_run_it")
def test_a_run_from_the_middle_needs_its_targets():
    model, tokens = order_one_model(), random_tokens()
    stream = model(tokens, stop_at_layer=1)
    with pytest.raises(InputError, match="needs the tokens as targets"):
        model(stream, start_at_layer=1, return_type="loss")
    assert_close(model(stream, start_at_layer=1, return_type="loss", tokens=tokens), model(tokens, return_type="loss"))
    with pytest.raises(InputError, match="do not fit logits"):
        model(stream, start_at_layer=1, return_type="loss", tokens=tokens[:1])
    with pytest.raises(InputError, match="tokens range from"):
        model(stream, start_at_layer=1, return_type="loss", tokens=tokens + 17)
