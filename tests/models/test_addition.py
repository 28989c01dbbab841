"""Sums as data: every sum once, none in both parts, and the loss is that of the answer alone."""

import math
from dataclasses import replace

import pytest
import torch

from models import HookedTransformer
from models.addition import EQUALS, AdditionData, addition_tokenizer, all_sums, answer_losses, answered_right
from models.errors import ConfigError, TokenizerError
from models.tokenizer import as_hugging_face

from .test_fitting import ADDITION


def test_all_sums_are_right_and_there_once():
    rows = all_sums(7)
    assert {(a, b, sign, c) for a, b, sign, c in rows.tolist()} == {
        (a, b, 7, (a + b) % 7) for a in range(7) for b in range(7)
    }
    assert len(rows) == 49


def test_the_split_has_every_sum_in_one_part():
    data = AdditionData.prepared(ADDITION)
    train, held_out = ({tuple(row) for row in part.tolist()} for part in (data.train, data.held_out))
    assert train | held_out == {tuple(row) for row in all_sums(7).tolist()}
    assert not train & held_out
    assert len(train) == int(0.7 * 49)
    other = AdditionData.prepared(replace(ADDITION, seed=6))
    assert other.sha256 != data.sha256 == AdditionData.prepared(ADDITION).sha256


def test_an_epoch_reads_no_row_twice_and_another_is_shuffled_anew():
    data = AdditionData.prepared(ADDITION)
    epoch = torch.cat([data.batch(0), data.batch(1)])
    assert len({tuple(row) for row in epoch.tolist()}) == 30
    assert not torch.equal(data.batch(0), data.batch(2))
    assert torch.equal(data.batch(2), data.batch(2))


def test_the_loss_is_that_of_the_answer_and_its_place_is_not_read():
    data = AdditionData.prepared(ADDITION)
    model = HookedTransformer(ADDITION.architecture)
    rows = data.held_out
    expected = answer_losses(model, rows)
    assert float(data.loss(model, rows).detach()) == pytest.approx(float(expected.mean()), rel=1e-5)
    estimate = data.held_out_sample(model)
    assert estimate.mean == pytest.approx(float(expected.mean()))
    wrong = rows.clone()
    wrong[:, 3] = (rows[:, 3] + 1) % 7
    assert answered_right(model, rows) + answered_right(model, wrong) <= 1


def test_a_model_made_to_say_one_number_is_right_where_that_is_the_sum():
    model = HookedTransformer(ADDITION.architecture)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.unembed.b_U[4] = 5.0
    rows = all_sums(7)
    assert answered_right(model, rows) == pytest.approx(1 / 7)
    assert answered_right(model, rows[rows[:, 3] == 4]) == 1.0
    # The answer 4 against seven others that are level.
    expected = torch.where(rows[:, 3] == 4, 0.0, 5.0).double() + torch.tensor(1 + 7 * math.exp(-5)).double().log()
    torch.testing.assert_close(answer_losses(model, rows), expected, rtol=1e-6, atol=1e-6)


def test_sums_are_words_of_the_tokenizer():
    assert addition_tokenizer(59).encode("12 47 = 0").ids == [12, 47, 59, 0]


def test_a_word_that_is_no_number_is_refused_not_read_as_the_sign():
    model = HookedTransformer(ADDITION.architecture)
    model.set_tokenizer(as_hugging_face(addition_tokenizer(7), EQUALS))
    with pytest.raises(TokenizerError, match="'3 8 =' has words that the tokenizer does not know"):
        model.to_tokens("3 8 =", prepend_bos=False)
    assert model.to_tokens("3 6 =", prepend_bos=False).tolist() == [[3, 6, 7]]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(ADDITION, batch=35), "batch=35 is larger than the 34"),
        (replace(ADDITION, architecture=replace(ADDITION.architecture, n_ctx=5)), "n_ctx is 5"),
    ],
)
def test_recipes_that_no_table_fits_are_refused(recipe, message):
    with pytest.raises(ConfigError, match=message):
        AdditionData.prepared(recipe)
    AdditionData.prepared(replace(ADDITION, batch=34))
