"""Balanced brackets: what is open must be closed, the last one first."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from ...errors import TokensError
from ..pair import Pair
from ..task import DrawnTask
from ..texts import shown
from ..vocabulary import continuations, single_tokens

KINDS = ("()", "[]", "{}")

LETTERS = tuple("abcdfghkmnpq")

BEGINNING = "x ="

N_CLOSED = 2
"""Brackets that are opened and closed again, besides the two that stay open."""


def brackets(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """Brackets around letters, two of them still open: the one that was opened last must be closed first.

    The letters keep brackets apart, which many tokenizers would join to one token.
    """
    return DrawnTask(
        "brackets",
        "Round, square and curly brackets around letters, two still open. Answer: what closes the one opened last. "
        "Corrupted: that one is of another kind.",
        "the Dyck language of three kinds; the form is this package's own",
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    letters = single_tokens(model, "brackets", "letters", LETTERS, least=N_CLOSED + 3)
    kinds = _kinds(model, letters)
    while True:
        outer, inner = random.choice(kinds), random.choice(kinds)
        other = random.choice([kind for kind in kinds if kind != inner])
        *closed_letters, outer_letter, inner_letter, last = random.sample(letters, N_CLOSED + 3)
        # What is closed again stands before both open brackets, between them, or behind them.
        closed: list[list[str]] = [[], [], []]
        for letter in closed_letters:
            kind = random.choice(kinds)
            random.choice(closed).append(f"{kind[0]}{letter}{kind[1]}")
        before = [BEGINNING, *closed[0], outer[0] + outer_letter, *closed[1]]
        clean, corrupted = (
            " ".join([*before, opened[0] + inner_letter, *closed[2], last]) for opened in (inner, other)
        )
        yield Pair(clean, corrupted, inner[1], other[1])


def _kinds(model: Any, letters: Sequence[str]) -> list[str]:
    """The kinds of brackets that the tokenizer keeps apart from the letters, as a token for each.

    Raises:
        TokensError: they are fewer than two.
    """
    apart = [
        kind
        for kind in KINDS
        if all(len(ids) == 3 for ids in continuations(model, BEGINNING, [f" {kind[0]}{at}{kind[1]}" for at in letters]))
    ]
    if len(apart) < 2:
        split = shown(model.to_str_tokens(" (a) [a]", prepend_bos=False))
        raise TokensError(f"brackets needs a tokenizer that has brackets as tokens of their own; ' (a) [a]' is {split}")
    return apart
