"""What a text says is seen, what pads it is not, even where one token does both."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch.testing import assert_close

from models.errors import TokenizerError
from tests.conftest import order_one_model
from tests.models.word_tokenizer import word_tokenizer


def model_with_words(padding_side="right", one_special=True, bos_by_itself=False):
    model = order_one_model(n_ctx=16)
    tokenizer = word_tokenizer(padding_side, one_special)
    if bos_by_itself:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
    model.set_tokenizer(tokenizer)
    return model


@pytest.mark.parametrize("text", ["", "the cat <s>", "<s> <s>", "the cat"])
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_one_text_has_no_padding(text, padding_side):
    model = model_with_words(padding_side)
    tokens, mask = model.tokens_and_mask(text)
    assert mask.all()
    assert_close(model(text), model(tokens, padding_side="right"))


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_each_text_of_a_batch_gives_the_logits_it_gives_alone(padding_side):
    model = model_with_words(padding_side)
    texts = ["the cat sat on", "<s> dog <s>", ""]
    logits = model(texts)
    _, mask = model.tokens_and_mask(texts)
    assert mask.sum(1).tolist() == [5, 4, 1]
    for text, row, kept in zip(texts, logits, mask.bool(), strict=True):
        assert_close(row[kept], model(text)[0])


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_a_beginning_that_the_tokenizer_adds_can_be_left_out(padding_side):
    model = model_with_words(padding_side, bos_by_itself=True)
    assert model.cfg.tokenizer_prepends_bos
    texts = ["the cat sat", "dog", "<s> dog"]
    plain = model_with_words(padding_side)
    for wanted in (True, False):
        for ours, expected in zip(
            model.tokens_and_mask(texts, prepend_bos=wanted),
            plain.tokens_and_mask(texts, prepend_bos=wanted),
            strict=True,
        ):
            assert torch.equal(ours, expected)
    with pytest.raises(TokenizerError, match="has no tokens"):
        model.to_tokens("", prepend_bos=False)
    assert model.to_tokens("").tolist() == [[0]]
