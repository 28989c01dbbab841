"""What is read when nothing is asked for: the model's own sample, English, or random tokens, and which is said."""

import pytest

from analyses.model_source import ModelSource
from analyses.prompts import ENGLISH, N_WINDOWS, WINDOW, prompts
from models import HookedTransformer


@pytest.fixture
def without_sample(tmp_path):
    return ModelSource("bare", tmp_path)


def test_a_model_of_text_without_a_sample_reads_english(without_sample):
    model = HookedTransformer.from_pretrained("stdlib-2l")
    given = prompts(model, without_sample)
    assert given.origin == (
        f"{N_WINDOWS} windows of {WINDOW} tokens of the package's English sample, because the model has none of its own"
    )
    text = ENGLISH.read_text(encoding="utf-8")
    for row in given.tokens:
        assert row[0] == model.tokenizer.bos_token_id
        assert model.to_string(row[1:]).strip("\ufffd") in text


def test_a_model_whose_tokens_do_not_write_english_reads_random_ones(model_folder, without_sample):
    model = HookedTransformer.from_pretrained(model_folder)
    given = prompts(model, without_sample)
    assert given.origin.endswith(
        "random tokens, seed 0, because the model has no sample text, nor tokens to write an English one"
    )
    assert 0 <= int(given.tokens.min()) <= int(given.tokens.max()) < model.cfg.d_vocab
