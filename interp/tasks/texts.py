"""Tokens as text to be read: in brackets, with line breaks and what else hides as escapes."""

from collections.abc import Sequence
from typing import Any

import torch

MOST_ANSWERS = 4
"""Of more answers than these only the ends are shown."""


def token_texts(model: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """Each token as text, or its id where the model has no tokenizer."""
    if getattr(model, "tokenizer", None) is None:
        return tuple(map(str, ids))
    return tuple(model.to_str_tokens(torch.tensor(ids))) if ids else ()


def shown(texts: Sequence[str]) -> str:
    """The tokens of a prompt in a row."""
    # repr escapes exactly what cannot be seen; its quotes go.
    return " ".join(f"[{repr(text)[1:-1]}]" for text in texts)


def shown_answers(texts: Sequence[str]) -> str:
    """The answers, of many the first two, the last, and their number."""
    if len(texts) <= MOST_ANSWERS:
        return shown(texts)
    return f"{shown(texts[:2])} … {shown(texts[-1:])} ({len(texts)} tokens)"
