"""A tokenizer that is assigned, not set, stays as it is, and is used or refused with the way that completes it."""

import pytest
from tokenizers.processors import TemplateProcessing

from models import HookedTransformer
from models.errors import TokenizerError
from tests.conftest import small_config
from tests.models.word_tokenizer import WORDS, word_tokenizer


@pytest.mark.parametrize("missing", ["pad_token", "bos_token"])
def test_a_tokenizer_that_lacks_a_token_is_refused_until_it_is_set(missing: str) -> None:
    model, tokenizer = HookedTransformer(small_config()), word_tokenizer()
    model.tokenizer = tokenizer
    complete = model.to_tokens(["the cat", "fell"])
    setattr(tokenizer, missing, None)
    for text in ("the cat", ["the cat", "fell"]):
        with pytest.raises(TokenizerError, match=rf"no {missing}; .* model\.set_tokenizer\(tokenizer\)"):
            model.to_tokens(text)
    assert model.tokenizer is tokenizer
    assert getattr(tokenizer, missing) is None
    model.set_tokenizer(tokenizer)
    assert model.to_tokens(["the cat", "fell"]).shape == complete.shape


def test_a_start_token_is_needed_only_where_it_is_prepended() -> None:
    model, tokenizer = HookedTransformer(small_config()), word_tokenizer()
    model.tokenizer = tokenizer
    tokenizer.bos_token = None
    assert model.to_tokens("the cat", prepend_bos=False).tolist() == [[WORDS.index("the"), WORDS.index("cat")]]


def test_an_assigned_tokenizer_that_prepends_by_itself_does_so_once() -> None:
    model, tokenizer = HookedTransformer(small_config()), word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    model.tokenizer = tokenizer
    assert model.cfg.tokenizer_prepends_bos is None
    assert model.to_tokens("the").tolist() == [[0, WORDS.index("the")]]
    assert model.to_tokens("the", prepend_bos=False).tolist() == [[WORDS.index("the")]]
