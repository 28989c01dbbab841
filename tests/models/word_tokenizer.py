"""A tokenizer of seventeen words, as many as the small configuration has tokens."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

WORDS = ["<s>", "</s>", "<pad>", "<unk>", "the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and"]
WORDS += ["then", "fell"]


def word_tokenizer(padding_side: str = "right", one_special: bool = False) -> PreTrainedTokenizerFast:
    """One token a word; with `one_special` a single token begins, ends and pads, as GPT-2's does."""
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    special = ("<s>",) * 3 if one_special else ("<s>", "</s>", "<pad>")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **dict(zip(("bos_token", "eos_token", "pad_token"), special, strict=True)),
        unk_token="<unk>",
        padding_side=padding_side,
    )
