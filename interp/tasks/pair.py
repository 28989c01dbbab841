"""One prompt pair in words or token ids: what is read clean and corrupted, and what should come next."""

from dataclasses import dataclass
from typing import SupportsIndex

Prompt = str | tuple[int, ...]
"""A text, or token ids that are read as they are."""

Answer = str | int | tuple[str, ...] | tuple[int, ...]
"""A next token as text or id, or several of which each will do."""


@dataclass(frozen=True)
class Pair:
    """A clean prompt and its counterpart, after which something else should come.

    Attributes:
        clean: the prompt whose behaviour is asked about.
        corrupted: its counterpart, with as many tokens.
        answer: what should come next after the clean prompt.
        wrong: what it is set against, usually what should come after the corrupted one.
        template: what the prompt was made from; prompts of one template are no independent evidence.
    """

    clean: Prompt
    corrupted: Prompt
    answer: Answer
    wrong: Answer
    template: str = ""


def each(answer: Answer) -> tuple[str | int, ...]:
    """The answers, one or several."""
    return (answer,) if isinstance(answer, str | SupportsIndex) else tuple(answer)
