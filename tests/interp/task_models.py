"""Models whose tokenizers the tasks are tested with: GPT-2's, one of seventeen words, and none."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from models import HookedTransformer

from ..conftest import order_one_model
from ..models.word_tokenizer import word_tokenizer

GPT2_VOCABULARY = 50257


def gpt2_model(shared: Path, n_ctx: int = 128) -> HookedTransformer:
    """A tiny model that reads what GPT-2 reads."""
    end = "<|endoftext|>"
    backend = Tokenizer.from_file(str(shared / "data" / "gpt2-tokenizer" / "hf" / "tokenizer.json"))
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    model = order_one_model(n_layers=1, n_heads=2, d_model=5, d_head=3, d_mlp=7, d_vocab=GPT2_VOCABULARY, n_ctx=n_ctx)
    model.set_tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **special))
    return model


def word_model(one_special: bool = False, **changes: object) -> HookedTransformer:
    """A small model of seventeen words, one of them for all that it does not know."""
    model = order_one_model(**changes)
    model.set_tokenizer(word_tokenizer(one_special=one_special))
    return model
