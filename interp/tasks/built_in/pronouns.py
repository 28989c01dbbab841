"""Gendered pronouns: he or she, by the name."""

from collections.abc import Iterator
from random import Random
from typing import Any

from ..pair import Pair
from ..task import DrawnTask
from ..vocabulary import of_one_length, single_tokens
from .words import words

NAMES = {
    "he": words(
        """
        John Tom Peter Paul Mark Adam George Simon Henry Martin Jack Frank Oliver Robert Victor Arthur David Daniel
        Edward Philip Charles Steven Kevin Brian Eric Scott Alan Ben
        """
    ),
    "she": words(
        """
        Mary Anna Lucy Emma Julia Alice Laura Kate Jane Sarah Helen Grace Ellen Maria Clara Susan Nancy Ruth Diana Karen
        Linda Sandra Carol Monica Amy Rachel Sophie Eva Claire
        """
    ),
}

TEMPLATES = (
    "We know that {name} is late because",
    "They heard that {name} was tired because",
    "I think that {name} went home because",
    "You see that {name} is happy when",
    "We hope that {name} is well although",
    "They guess that {name} left town because",
    "You said that {name} will come if",
)


def pronouns(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """A name, and a clause that goes on about its bearer. Corrupted, a name that is usual for the other gender."""
    return DrawnTask(
        "pronouns",
        'A name and a conjunction. Answer: "he" or "she", as is usual for the name. Corrupted: a name of the other.',
        'Mathwin et al. (2023), "Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small"',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    names = {
        pronoun: single_tokens(model, "pronouns", f'names of a "{pronoun}"', of, least=2)
        for pronoun, of in NAMES.items()
    }
    templates = of_one_length(model, TEMPLATES, lambda template: template.format(name=names["he"][0]))
    while True:
        template = random.choice(templates)
        pronoun, other = random.sample(tuple(names), 2)
        clean, corrupted = (template.format(name=random.choice(names[of])) for of in (pronoun, other))
        yield Pair(clean, corrupted, f" {pronoun}", f" {other}", template=template.format(name="…"))
