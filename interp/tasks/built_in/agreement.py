"""Subject–verb agreement: singular or plural, past a noun of either number."""

from collections.abc import Iterator
from random import Random
from typing import Any

from ..pair import Pair
from ..task import DrawnTask
from ..vocabulary import of_one_length, single_token_pairs
from .words import words

NOUNS = {
    "key": "keys", "letter": "letters", "table": "tables", "house": "houses", "tree": "trees", "child": "children",
    "dog": "dogs", "horse": "horses", "picture": "pictures", "window": "windows", "teacher": "teachers", "man": "men",
    "woman": "women", "doctor": "doctors", "farmer": "farmers", "king": "kings", "bird": "birds", "book": "books",
    "car": "cars", "bridge": "bridges", "box": "boxes", "river": "rivers", "lawyer": "lawyers", "student": "students",
    "name": "names", "file": "files", "line": "lines", "value": "values", "method": "methods",
}  # fmt: skip

VERBS = {"is": "are", "was": "were", "has": "have"}

PREPOSITIONS = words("near behind beside with from under before without by above below around inside outside")

TEMPLATES = tuple(f"The {{subject}} {preposition} the {{other}}" for preposition in PREPOSITIONS)


def agreement(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """A subject and, between it and its verb, another noun in either number.

    Answer and wrong answer are the two forms of one verb.
    """
    return DrawnTask(
        "agreement",
        "A subject and another noun, each in singular or plural. Answer: the verb in the subject's number. Corrupted: "
        "the subject is in the other number.",
        'Linzen, Dupoux and Goldberg (2016), "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies"',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    nouns = single_token_pairs(model, "agreement", "nouns (singular, plural)", NOUNS, least=4)
    verbs = single_token_pairs(model, "agreement", "verbs (singular, plural)", VERBS)
    templates = of_one_length(
        model, TEMPLATES, lambda template: template.format(subject=nouns[0][0], other=nouns[1][0])
    )
    while True:
        template = random.choice(templates)
        subject, other = random.sample(nouns, 2)
        number, distractor = random.randrange(2), random.choice(other)
        verb = random.choice(verbs)
        yield Pair(
            template.format(subject=subject[number], other=distractor),
            template.format(subject=subject[1 - number], other=distractor),
            f" {verb[number]}",
            f" {verb[1 - number]}",
            template=template.split()[2],
        )
