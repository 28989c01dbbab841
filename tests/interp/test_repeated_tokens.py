import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import TokensError
from interp.repeated_tokens import ordinary_tokens, repeated_random_tokens, start_token

from ..conftest import order_one_model
from ..models.word_tokenizer import word_tokenizer


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def spoken_model(**changes):
    model = order_one_model(**changes)
    model.set_tokenizer(word_tokenizer())
    return model


@settings(max_examples=25, deadline=None)
@given(length=st.integers(3, 6), copies=st.integers(1, 5), n_sequences=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_copy_is_the_same_sequence_of_different_tokens(length, copies, n_sequences, seed):
    model = order_one_model(n_ctx=31)
    repeated = repeated_random_tokens(model, n_sequences, seeded(seed), length=length, copies=copies)
    assert repeated.tokens.shape == (n_sequences, length * copies)
    by_copy = repeated.tokens.reshape(n_sequences, copies, length)
    assert (by_copy == by_copy[:, :1]).all()
    assert all(len(set(row.tolist())) == length for row in by_copy[:, 0])
    assert 0 <= int(repeated.tokens.min()) <= int(repeated.tokens.max()) < model.cfg.d_vocab


def test_the_start_token_is_the_one_the_model_is_used_to_and_no_special_token_follows_it():
    model = spoken_model()
    repeated = repeated_random_tokens(model, 40, seeded())
    assert (repeated.tokens[:, 0] == start_token(model)).all()
    assert start_token(model) == model.tokenizer.bos_token_id
    assert set(repeated.tokens[:, 1:].flatten().tolist()) == set(ordinary_tokens(model)) == set(range(4, 17))
    unused_to_it = spoken_model(default_prepend_bos=False)
    assert start_token(unused_to_it) is None
    assert repeated_random_tokens(unused_to_it, 40, seeded()).start == 0
    assert start_token(order_one_model()) is None


def test_by_default_there_are_four_copies_of_25_or_two_of_what_fits():
    roomy = repeated_random_tokens(order_one_model(n_ctx=101, d_vocab=50), 2, seeded())
    assert (roomy.start, roomy.length, roomy.copies) == (0, 25, 4)
    short = repeated_random_tokens(order_one_model(n_ctx=99, d_vocab=50), 2, seeded())
    assert (short.length, short.copies) == (25, 2)
    shorter = repeated_random_tokens(spoken_model(), 2, seeded())
    assert (shorter.start, shorter.length, shorter.copies) == (1, 4, 2)
    few_words = repeated_random_tokens(order_one_model(n_ctx=101), 2, seeded())
    assert (few_words.length, few_words.copies) == (17, 4)


def test_the_same_seed_draws_the_same_and_another_does_not():
    model = order_one_model()
    first, again, other = (repeated_random_tokens(model, 3, seeded(seed)).tokens for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_token_is_drawn_equally_often():
    repeated = repeated_random_tokens(order_one_model(), 6000, seeded(), length=4, copies=1)
    counts = repeated.tokens.flatten().bincount(minlength=17)
    expected = 6000 * 4 / 17
    assert float(((counts - expected) ** 2 / expected).sum()) < 39.3  # chi-square, 16 degrees of freedom: 0.1 %


def test_the_losses_of_a_copy_leave_out_its_first_token():
    repeated = repeated_random_tokens(spoken_model(), 2, seeded())
    # <s> a b c d a b c d: the loss at index i is that of the token at i + 1.
    losses = torch.arange(8.0).expand(2, 8)
    assert repeated.losses_of_copy(losses, 0)[0].tolist() == [1, 2, 3]
    assert repeated.losses_of_copy(losses, 1)[0].tolist() == [5, 6, 7]
    with pytest.raises(TokensError, match="copy 2 is not there: there are 2"):
        repeated.losses_of_copy(losses, 2)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"n_ctx": 4}, {}, "its context of 4 holds 2 copies of at most 2 tokens"),
        ({}, {"length": 5, "copies": 2}, "2 copies of 5 different tokens do not fit the model: its context of 9"),
        ({"n_ctx": 99}, {"length": 18}, "its vocabulary has 17 tokens to draw from"),
        ({"n_ctx": 99, "d_vocab": 2}, {}, "its vocabulary has 2 tokens to draw from, and the least is 3"),
        ({}, {"length": 2, "copies": 2}, "and the least is 3"),
        ({}, {"copies": 0}, "copies=0 must be at least 1"),
        ({}, {"among": [1, 2]}, "its vocabulary has 2 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(changes, options, message):
    with pytest.raises(TokensError, match=message):
        repeated_random_tokens(order_one_model(**changes), 2, seeded(), **options)
    with pytest.raises(TokensError, match="n_sequences=0"):
        repeated_random_tokens(order_one_model(), 0, seeded())
    assert repeated_random_tokens(order_one_model(), 1, seeded(), length=4, copies=2).tokens.shape == (1, 8)
