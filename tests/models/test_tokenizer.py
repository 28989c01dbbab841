"""The tokenizer: lossless on any text, and the same each time it is trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE

from models import HookedTransformer, HookedTransformerConfig
from models.errors import TokenizerError
from models.tokenizer import END_OF_TEXT, as_hugging_face, end_of_text, train_tokenizer

TEXTS = ["def square(x):\n    return x * x\n", "class Point:\n    pass\n", "for x in range(10):\n    print(x)\n"] * 3
TOKENIZER = train_tokenizer(TEXTS, 280)


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: END_OF_TEXT not in text))
def test_any_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids) == text


def test_training_again_gives_the_same_tokenizer():
    assert train_tokenizer(iter(TEXTS), 280).to_str() == TOKENIZER.to_str()


def test_it_has_the_size_asked_for_and_the_special_token_first():
    assert TOKENIZER.get_vocab_size() == 280
    assert TOKENIZER.token_to_id(END_OF_TEXT) == 0
    assert TOKENIZER.encode(f"x{END_OF_TEXT}").ids[-1] == 0
    text = "    return x * x\n"
    assert len(TOKENIZER.encode(text).ids) < len(text.encode())


def test_a_tokenizer_without_the_special_token_is_refused():
    assert end_of_text(TOKENIZER) == 0
    with pytest.raises(TokenizerError, match="no token <|endoftext|>".replace("|", r"\|")):
        end_of_text(Tokenizer(BPE()))


def test_a_size_that_cannot_be_is_refused():
    with pytest.raises(TokenizerError, match="256 bytes"):
        train_tokenizer(TEXTS, 256)
    assert train_tokenizer(TEXTS, 257).get_vocab_size() == 257
    with pytest.raises(TokenizerError, match="give more text"):
        train_tokenizer(TEXTS, 5000)


def test_a_model_takes_it_and_begins_every_prompt_with_the_special_token():
    model = HookedTransformer(
        HookedTransformerConfig(d_model=12, d_head=6, n_layers=1, n_ctx=9, d_vocab=280, device="cpu", act_fn="relu")
    )
    model.set_tokenizer(as_hugging_face(TOKENIZER))
    tokens = model.to_tokens("def x")
    assert tokens[0].tolist() == [0, *TOKENIZER.encode("def x").ids]
    assert model.to_string(tokens[0, 1:]) == "def x"
    assert model.to_tokens(["x", "def x"])[0, -1] == 0
