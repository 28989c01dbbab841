"""Texts begin with the start token, unless it is what opens a turn of a conversation (docs/decisions/0009)."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from models import HookedTransformer, HookedTransformerConfig
from models.compat import HookedTransformer as NotebookModel
from models.loading.start_token import CHAT_MARK, without_chat_mark
from tests.models.loading.architectures import tiny
from tests.models.word_tokenizer import word_tokenizer


def marked(puts_it_first: bool = False) -> Any:
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"bos_token": CHAT_MARK})
    if puts_it_first:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[CHAT_MARK, "$A"], special_tokens=[(CHAT_MARK, tokenizer.bos_token_id)]
        )
    return tokenizer


def folder_of(case: str, tokenizer: Any, path: Path) -> Path:
    tiny(case).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("case", "tokenizer", "begins"),
    [
        ("llama", word_tokenizer(), True),
        ("llama", marked(), False),
        ("llama", marked(puts_it_first=True), True),
        ("qwen2", word_tokenizer(), False),
        ("gpt2", word_tokenizer(), True),
    ],
)
def test_a_text_begins_with_the_start_token_of_texts(case: str, tokenizer: Any, begins: bool, tmp_path: Path) -> None:
    model = HookedTransformer.from_pretrained_no_processing(folder_of(case, tokenizer, tmp_path), device="cpu")
    bare = [tokenizer.convert_tokens_to_ids(word) for word in ("the", "cat")]
    start = [tokenizer.bos_token_id]
    assert model.cfg.default_prepend_bos is begins
    assert model.to_tokens("the cat").tolist() == [[*(start if begins else []), *bare]]
    assert model.to_tokens("the cat", prepend_bos=True).tolist() == [[*start, *bare]]
    assert model.to_tokens("the cat", prepend_bos=False).tolist() == [bare]


def test_scripts_of_transformerlens_get_the_same_and_may_say_otherwise(tmp_path: Path) -> None:
    folder = folder_of("llama", marked(), tmp_path)
    assert not NotebookModel.from_pretrained(str(folder)).cfg.default_prepend_bos
    assert NotebookModel.from_pretrained(str(folder), default_prepend_bos=True).cfg.default_prepend_bos
    given = NotebookModel.from_pretrained("mine", hf_model=tiny("llama"), tokenizer=marked())
    assert not given.cfg.default_prepend_bos
    other = NotebookModel.from_pretrained("mine", hf_model=tiny("llama"), tokenizer=word_tokenizer())
    assert other.cfg.default_prepend_bos


def test_nothing_else_of_the_config_changes() -> None:
    config = HookedTransformerConfig(n_layers=1, d_model=6, n_ctx=4, d_head=3, d_vocab=20, act_fn="relu", device="cpu")
    assert without_chat_mark(config, word_tokenizer()) is config
    assert without_chat_mark(config, marked()).to_dict() == {**config.to_dict(), "default_prepend_bos": False}
