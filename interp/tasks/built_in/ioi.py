"""Indirect object identification: of two names, the one that has not come twice."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, product
from random import Random
from typing import Any, Literal

from ..pair import Pair
from ..task import DrawnTask
from ..vocabulary import of_one_length, single_tokens
from .words import words

Corruption = Literal["swap", "third"]

LEAST_NAMES = 4

NAMES = words(
    """
    Mary John Tom Anna Peter Lucy Paul Emma Mark Julia Adam Alice George Laura Simon Kate Henry Jane Martin Sarah Jack
    Helen Frank Rose Oliver Grace Robert Ellen Victor Maria Arthur Clara David Susan Daniel Nancy Edward Ruth Philip
    Diana Charles Karen Steven Linda Kevin Sandra Brian Carol Eric Monica Scott Amy Alan Rachel Max Sophie Leo Eva Ben
    Claire
    """
)

PLACES = words("market station library office school garden museum restaurant airport beach hotel theater")

OBJECTS = words("book ring key letter bottle basket ticket coin knife hat watch map")

TEMPLATES = (
    "After {first} and {second} walked to the {place}, {giver} handed a {object} to",
    "While {first} and {second} waited at the {place}, {giver} offered a {object} to",
    "Once {first} and {second} arrived at the {place}, {giver} sold a {object} to",
    "Because {first} and {second} met near the {place}, {giver} brought a {object} to",
    "Before {first} and {second} drove past the {place}, {giver} showed a {object} to",
    "As {first} and {second} stood outside the {place}, {giver} passed a {object} to",
)


def ioi(n_prompts: int = 32, seed: int = 0, corruption: Corruption = "swap") -> DrawnTask:
    """Two names, then one of them gives something to: the other one, in either order of the names (ABBA and BABA).

    Args:
        corruption: what stands in the corrupted prompt for the giver, in one token: "swap", the other name, so that
            the right answer becomes the wrong one; "third", a name that has not come, so that neither is right.

    Raises:
        ValueError: another corruption.
    """
    described = {
        "swap": "the giver is the other name, and the answers trade places",
        "third": "the giver is a third name",
    }
    if corruption not in described:
        raise ValueError(f"corruption={corruption!r} must be one of {tuple(described)}")
    return DrawnTask(
        "ioi",
        f"Two names, of which one gives something to whom? Answer: the name that came once. Corrupted: "
        f"{described[corruption]}.",
        'Wang et al. (2022), "Interpretability in the Wild", section 2',
        partial(_pairs, corruption=corruption),
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random, corruption: Corruption) -> Iterator[Pair]:
    names = single_tokens(model, "ioi", "names", NAMES, LEAST_NAMES)
    places = single_tokens(model, "ioi", "places", PLACES, 1)
    objects = single_tokens(model, "ioi", "objects", OBJECTS, 1)
    example = {"first": names[0], "second": names[1], "giver": names[0], "place": places[0], "object": objects[0]}
    templates = of_one_length(model, TEMPLATES, lambda template: template.format(**example))
    for template, order in cycle(product(templates, ("ABBA", "BABA"))):
        receiver, giver, third = random.sample(names, 3)
        first, second = (receiver, giver) if order == "ABBA" else (giver, receiver)
        drawn = {"first": first, "second": second, "place": random.choice(places), "object": random.choice(objects)}
        other = receiver if corruption == "swap" else third
        yield Pair(
            template.format(giver=giver, **drawn),
            template.format(giver=other, **drawn),
            f" {receiver}",
            f" {giver}",
            template=f"{order} {template.split()[0]}",
        )
