"""Docstring arguments: the next parameter to be described is the next one of the definition."""

from collections.abc import Iterator
from random import Random
from typing import Any

from ..pair import Pair
from ..task import DrawnTask
from ..vocabulary import single_tokens
from .nouns import NOUNS

TEMPLATE = '''def {function}(self, {before}, {first}, {second}, {third}, {after}):
    """The {title}

    :param {first}: {about_first}
    :param {second}: {about_second}
    :param'''

N_WORDS = 13
"""Different words of a prompt: the function, five arguments, the answer's stand-in, two for each of three texts."""


def docstring(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """A function with five arguments: the docstring describes the second and the third, and goes on with the fourth.

    Corrupted, the definition has another name in the fourth place; of the source's corruptions this is the one that
    changes the answer alone.
    """
    return DrawnTask(
        "docstring",
        "A Python definition and its docstring. Answer: the argument that follows those described so far. Corrupted: "
        "that argument has another name in the definition.",
        'Heimersheim and Janiak (2023), "A circuit for Python docstrings in a 4-layer attention-only transformer"',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    nouns = single_tokens(model, "docstring", "nouns", NOUNS, least=N_WORDS + 1)
    while True:
        function, before, first, second, third, other, after, *rest = random.sample(nouns, N_WORDS)
        named = {"function": function, "before": before, "first": first, "second": second, "after": after}
        said = {key: " ".join(rest[at : at + 2]) for at, key in ((0, "title"), (2, "about_first"), (4, "about_second"))}
        clean, corrupted = (TEMPLATE.format(third=next_one, **named, **said) for next_one in (third, other))
        yield Pair(clean, corrupted, f" {third}", f" {other}")
