"""Text in and out, with a tokenizer of seventeen words."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch.testing import assert_close

from models import HookedTransformer
from models.errors import InputError, TokenizerError
from tests.conftest import order_one, small_config
from tests.models.word_tokenizer import WORDS, word_tokenizer

TEXT = "the cat sat"
BOS, EOS, PAD = 0, 1, 2


def with_words(padding_side="right", one_special=False, prepends=False, **changes):
    tokenizer = word_tokenizer(padding_side, one_special)
    if prepends:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return order_one(HookedTransformer(small_config(**changes), tokenizer))


def ids(text):
    return [WORDS.index(word) for word in text.split()]


@pytest.mark.parametrize("prepends", [False, True])
def test_one_beginning_or_none_whether_or_not_the_tokenizer_adds_its_own(prepends):
    model = with_words(prepends=prepends)
    assert model.cfg.tokenizer_prepends_bos == prepends
    assert model.to_tokens(TEXT).tolist() == [[BOS, *ids(TEXT)]]
    assert model.to_tokens(TEXT, prepend_bos=True).tolist() == [[BOS, *ids(TEXT)]]
    assert model.to_tokens(TEXT, prepend_bos=False).tolist() == [ids(TEXT)]
    assert with_words(prepends=prepends, default_prepend_bos=False).to_tokens(TEXT).tolist() == [ids(TEXT)]


@pytest.mark.parametrize("prepends", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_several_texts_are_padded_on_the_side_asked_for(side, prepends):
    model = with_words(prepends=prepends)
    padding = [PAD, PAD]
    for prepend_bos, begin in ((True, [BOS]), (False, [])):
        short = [*begin, *ids("a")]
        expected = [[*begin, *ids(TEXT)], [*padding, *short] if side == "left" else [*short, *padding]]
        assert model.to_tokens([TEXT, "a"], prepend_bos=prepend_bos, padding_side=side).tolist() == expected
    as_default = with_words(padding_side=side, prepends=prepends)
    assert torch.equal(as_default.to_tokens([TEXT, "a"]), model.to_tokens([TEXT, "a"], padding_side=side))


@pytest.mark.parametrize("one_special", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_of_a_batch_have_the_logits_they_have_alone(side, one_special):
    model = with_words(side, one_special)
    logits = model([TEXT, "a dog ran on the mat", "fell"])
    for row, text in enumerate((TEXT, "a dog ran on the mat", "fell")):
        alone = model(text)[0]
        where = slice(-len(alone), None) if side == "left" else slice(0, len(alone))
        assert_close(logits[row, where], alone)


def test_text_longer_than_the_context_is_cut_unless_told_otherwise():
    model, long = with_words(), " ".join(["the"] * 20)
    assert model.to_tokens(long).shape == (1, model.cfg.n_ctx)
    assert model.to_tokens(long, truncate=False).shape == (1, 21)


def test_a_run_does_not_cut_its_text():
    model = with_words()
    with pytest.raises(InputError, match=f"21 positions are more than the model's context of {model.cfg.n_ctx}"):
        model(" ".join(["the"] * 20))
    assert model(" ".join(["the"] * (model.cfg.n_ctx - 1))).shape[1] == model.cfg.n_ctx


def test_tokens_become_text_again():
    model = with_words()
    tokens = model.to_tokens([TEXT, "a dog ran"], prepend_bos=False)
    assert model.to_string(tokens[0]) == TEXT
    assert model.to_string(tokens) == [TEXT, "a dog ran"]
    assert model.to_string(tokens[0].tolist()) == TEXT
    assert model.to_string(4) == "the"
    with pytest.raises(TokenizerError, match=r"the shape \[1, 2, 3\]"):
        model.to_string(tokens[None])


def test_the_text_of_each_token():
    model = with_words()
    words = ["<s>", *TEXT.split()]
    assert model.to_str_tokens(TEXT) == words
    assert model.to_str_tokens(TEXT, prepend_bos=False) == words[1:]
    assert model.to_str_tokens(model.to_tokens(TEXT)) == words
    assert model.to_str_tokens(model.to_tokens(TEXT)[0].numpy()) == words
    assert model.to_str_tokens([TEXT, "a"]) == [words, ["<s>", "a"]]
    rows = model.to_tokens([TEXT, "a dog ran"])
    with pytest.raises(TokenizerError, match=r"one row of tokens at a time: the shape is \[2, 4\]"):
        model.to_str_tokens(rows)
    assert model.to_str_tokens(list(rows)) == [words, ["<s>", "a", "dog", "ran"]]


def test_a_single_token_and_back():
    model = with_words()
    assert model.to_single_token("cat") == WORDS.index("cat")
    assert model.to_single_str_token(WORDS.index("cat")) == "cat"
    with pytest.raises(TokenizerError, match=r"'the cat' is 2 tokens: \['the', 'cat'\]"):
        model.to_single_token("the cat")


def test_where_a_token_stands():
    model = with_words()
    text = "the cat and the dog"
    assert model.get_token_position("the", text) == 1
    assert model.get_token_position("the", text, mode="last") == 4
    assert model.get_token_position("the", text, prepend_bos=False) == 0
    assert model.get_token_position(WORDS.index("dog"), model.to_tokens(text)) == 5
    assert model.get_token_position(torch.tensor(WORDS.index("dog")), model.to_tokens(text)[0]) == 5
    with pytest.raises(TokenizerError, match="'mat' does not occur"):
        model.get_token_position("mat", text)
    with pytest.raises(TokenizerError, match="one row of tokens at a time"):
        model.get_token_position("the", model.to_tokens([text, TEXT]))


@pytest.mark.usefixtures("as_users_run_it")
def test_where_a_token_stands_is_first_or_last():
    with pytest.raises(TokenizerError, match="'first' or 'last', not 'middle'"):
        with_words().get_token_position("the", TEXT, mode="middle")


def test_the_directions_of_tokens_are_columns_of_the_unembedding():
    model = with_words()
    cat, dog = WORDS.index("cat"), WORDS.index("dog")
    assert torch.equal(model.tokens_to_residual_directions("cat"), model.W_U[:, cat])
    assert torch.equal(model.tokens_to_residual_directions(dog), model.W_U[:, dog])
    assert torch.equal(model.tokens_to_residual_directions(torch.tensor(dog)), model.W_U[:, dog])
    assert torch.equal(
        model.tokens_to_residual_directions(torch.tensor([[cat, dog]])), model.W_U[:, [cat, dog]].T[None]
    )


def test_nothing_to_tokenize_is_refused():
    model = with_words()
    with pytest.raises(TokenizerError, match="the list is empty"):
        model.to_tokens([])
    with pytest.raises(TokenizerError, match="'' has no tokens; prepend_bos=True"):
        model.to_tokens("", prepend_bos=False)
    assert model.to_tokens("").tolist() == [[BOS]]
    with pytest.raises(TokenizerError, match="has no tokens"):
        model("", prepend_bos=False)
    assert model("").shape == (1, 1, 17)


def test_text_needs_a_tokenizer():
    model = HookedTransformer(small_config())
    for attempt in (
        lambda: model(TEXT),
        lambda: model.to_tokens(TEXT),
        lambda: model.to_string([1]),
        lambda: model.to_str_tokens([torch.tensor([1])]),
        lambda: model.to_single_token("cat"),
        lambda: model.tokens_to_residual_directions("cat"),
    ):
        with pytest.raises(TokenizerError, match="no tokenizer"):
            attempt()
    model.set_tokenizer(word_tokenizer())
    assert model(TEXT).shape == (1, 4, 17)


def test_a_tokenizer_larger_than_the_model_is_refused_and_none_is_set():
    with pytest.raises(TokenizerError, match="17 tokens, the model's vocabulary 5"):
        HookedTransformer(small_config(d_vocab=5), word_tokenizer())
    assert HookedTransformer(small_config(d_vocab=18), word_tokenizer()).cfg.d_vocab == 18
    model = HookedTransformer(small_config(d_vocab=5))
    with pytest.raises(TokenizerError, match="17 tokens"):
        model.set_tokenizer(word_tokenizer())
    assert model.tokenizer is None


def test_the_vocabulary_comes_from_the_tokenizer_where_the_config_leaves_it_open():
    model = HookedTransformer(small_config(d_vocab=-1), word_tokenizer())
    assert (model.cfg.d_vocab, model.cfg.d_vocab_out) == (17, 17)
    assert model(TEXT).shape == (1, 4, 17)


def test_a_padding_side_given_to_the_model_wins():
    model = HookedTransformer(small_config(), word_tokenizer("right"), default_padding_side="left")
    assert model.to_tokens([TEXT, "a"])[1].tolist() == [PAD, PAD, BOS, *ids("a")]
