"""What a model's tokenizer makes of a text, and of a word that follows another text."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import TokensError
from .texts import shown

CONTEXT = "the"
"""What stands before a word when it is asked whether the word is one token: words in a prompt follow others."""


def require_tokenizer(model: Any, task: str) -> None:
    """Nothing, if the model can read text.

    Raises:
        TokensError: it has no tokenizer.
    """
    if getattr(model, "tokenizer", None) is None:
        raise TokensError(
            f"{task} is in words, and the model has no tokenizer; 'induction' and files of token ids need none"
        )


def tokens_of(model: Any, text: str) -> tuple[int, ...]:
    """The token ids of a prompt as the model is used to it, with a start token or without, and not cut."""
    return tuple(model.to_tokens(text, truncate=False)[0].tolist()) if text else ()


def continuations(model: Any, before: str, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens that each text adds behind another one, or its own where the two do not simply join.

    Some tokenizers make other tokens of a text at the beginning than behind something: there the latter are what a
    model says next. Some join the text with the end of what is before, as GPT-2's makes one token of " 19" and "84": a
    model that has read " 19" can say no such token, but "84".

    Raises:
        TokensError: a word is unknown, and the tokenizer has no token for unknown words.
    """
    first, *behind = _bare(model, [before, *(before + text for text in texts)])
    joined = [both[: len(first)] != first for both in behind]
    alone = dict(zip(texts, _bare(model, texts), strict=True)) if any(joined) else {}
    return [
        alone[text] if runs_on else both[len(first) :]
        for text, both, runs_on in zip(texts, behind, joined, strict=True)
    ]


def _bare(model: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens of each text and of nothing else. One call for all is much quicker than one for each."""
    try:
        return [tuple(ids) for ids in model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    except Exception as error:
        # The library raises the bare type for a word that its vocabulary does not have.
        if type(error) is not Exception:
            raise
        raise TokensError(f"some of {list(texts)[:3]} … are words that the tokenizer does not know: {error}") from error


def unknown_token(model: Any) -> int | None:
    """The token that stands for all words that the tokenizer does not have; None where each text has tokens."""
    tokenizer = model.tokenizer
    unknown = getattr(tokenizer, "unk_token_id", None)
    # GPT-2's end of text is also called its unknown token, and stands for no word.
    return None if unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) else unknown


def single_tokens(model: Any, task: str, kind: str, words: Sequence[str], least: int = 1) -> tuple[str, ...]:
    """Those of the words that are a single token of the model where they follow a space.

    Raises:
        TokensError: they are fewer than the least that will do, or the model has no tokenizer.
    """
    require_tokenizer(model, task)
    tokens = continuations(model, CONTEXT, [f" {word}" for word in words])
    unknown = unknown_token(model)
    single = tuple(word for word, ids in zip(words, tokens, strict=True) if len(ids) == 1 and ids[0] != unknown)
    if len(single) < least:
        raise _too_few(model, f"{task} needs {least} {kind}", words, single)
    return single


def single_token_pairs(
    model: Any, task: str, kind: str, pairs: Mapping[str, str], least: int = 1
) -> tuple[tuple[str, str], ...]:
    """Those of the pairs of which both words are a single token of the model where they follow a space.

    Raises:
        TokensError: they are fewer than the least that will do, or the model has no tokenizer.
    """
    words = tuple(word for pair in pairs.items() for word in pair)
    single = single_tokens(model, task, kind, words, least=0)
    both = tuple(pair for pair in pairs.items() if set(pair) <= set(single))
    if len(both) < least:
        raise _too_few(model, f"{task} needs {least} pairs of {kind}, has {len(both)}, and takes words", words, single)
    return both


def _too_few(model: Any, needs: str, words: Sequence[str], single: Sequence[str]) -> TokensError:
    """The error that says which of the words are single tokens, and how another one is split."""
    other = next(word for word in words if word not in single)
    split = shown(model.to_str_tokens(f" {other}", prepend_bos=False))
    named = f"only {len(single)} are: {', '.join(single)}" if single else "none is"
    return TokensError(
        f"{needs} that are single tokens of the model; of {len(words)} {named}. {other!r} is {split}. A larger "
        "vocabulary has more"
    )


def of_one_length(model: Any, templates: Sequence[str], fill: Callable[[str], str]) -> tuple[str, ...]:
    """The templates that have the most common number of tokens when they are filled."""
    lengths = [len(tokens_of(model, fill(template))) for template in templates]
    ((most_common, _),) = Counter(lengths).most_common(1)
    return tuple(template for template, length in zip(templates, lengths, strict=True) if length == most_common)
