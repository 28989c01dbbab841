"""Key–value recall: a list says what means what, and one key is asked for again."""

from collections.abc import Iterator
from random import Random
from typing import Any

from ..pair import Pair
from ..task import DrawnTask
from ..vocabulary import single_tokens
from .nouns import NOUNS

TEMPLATE = "Here {} means {}, {} means {}, {} means {} and {} means {}. So {} means"

N_KEYS = 4


def key_value(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """Four keys with a value each, then one of the keys. Keys and values are drawn from the same words."""
    return DrawnTask(
        "key-value",
        "Four keys and their values, then one key again. Answer: its value. Corrupted: another key is asked for.",
        'associative recall: Graves, Wayne and Danihelka (2014), "Neural Turing Machines", section 4.3; in words',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    nouns = single_tokens(model, "key-value", "nouns", NOUNS, least=2 * N_KEYS)
    while True:
        drawn = random.sample(nouns, 2 * N_KEYS)
        asked, other = random.sample(range(N_KEYS), 2)
        key, value = drawn[2 * asked : 2 * asked + 2]
        other_key, other_value = drawn[2 * other : 2 * other + 2]
        yield Pair(TEMPLATE.format(*drawn, key), TEMPLATE.format(*drawn, other_key), f" {value}", f" {other_value}")
