"""A byte-level BPE tokenizer of our own: small, lossless on any text, and trained in a second or two."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .errors import TokenizerError

END_OF_TEXT = "<|endoftext|>"
"""The one special token: begins a context, ends a document, pads."""


def train_tokenizer(texts: Iterable[str], d_vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer of exactly `d_vocab` tokens, the special one first (GPT-2's splitting rule).

    The same texts in the same order give the same tokenizer. Source: Radford et al. (2019), 2.2.

    Raises:
        TokenizerError: the vocabulary cannot hold the 256 bytes, or the texts are too few for so many merges.
    """
    if d_vocab < 257:
        raise TokenizerError(f"d_vocab={d_vocab} is too small: 256 bytes and {END_OF_TEXT} need 257 tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    size = tokenizer.get_vocab_size()
    if size != d_vocab:
        raise TokenizerError(f"the texts give {size} tokens, not the {d_vocab} asked for; give more text")
    return tokenizer


def end_of_text(tokenizer: Tokenizer) -> int:
    """The number of the special token.

    Raises:
        TokenizerError: the tokenizer has none, so it was not made here.
    """
    token = tokenizer.token_to_id(END_OF_TEXT)
    if token is None:
        raise TokenizerError(f"the tokenizer has no token {END_OF_TEXT}, which begins every window")
    return token


def as_hugging_face(tokenizer: Tokenizer, special: str = END_OF_TEXT) -> Any:
    """The same tokenizer as a `transformers.PreTrainedTokenizerFast`, which `HookedTransformer.set_tokenizer` takes.

    Args:
        special: the token that begins, ends and pads.
    """
    from transformers import PreTrainedTokenizerFast  # heavy, and needed only where text meets a model

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special, eos_token=special, pad_token=special)
