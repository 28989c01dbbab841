"""Models whose tokenizers the tasks are tested with: GPT-2's, one of seventeen words, and none."""

from pathlib import Path

from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
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


def llama_like_model() -> HookedTransformer:
    """A small model whose tokenizer, as Llama's, puts a space before every text, so that " cat" alone has two."""
    words = ["<unk>", "<s>", "▁", *(f"▁{word}" for word in ("the", "cat", "dog", "sat", "ran"))]
    backend = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = Split("▁", "merged_with_next")
    special = {"bos_token": "<s>", "eos_token": "<s>", "pad_token": "<s>", "unk_token": "<unk>"}
    model = order_one_model(default_prepend_bos=False)
    model.set_tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **special))
    return model
