"""Capitals: the city that goes with a country, a fact that is in the weights and not in the prompt."""

from collections.abc import Iterator
from random import Random
from typing import Any

from ..pair import Pair
from ..task import DrawnTask
from ..vocabulary import of_one_length, single_token_pairs

CAPITALS = {
    "Afghanistan": "Kabul", "Argentina": "Buenos Aires", "Australia": "Canberra", "Austria": "Vienna",
    "Bangladesh": "Dhaka", "Belgium": "Brussels", "Bulgaria": "Sofia", "Canada": "Ottawa", "Chile": "Santiago",
    "China": "Beijing", "Croatia": "Zagreb", "Cuba": "Havana", "Denmark": "Copenhagen", "Egypt": "Cairo",
    "Finland": "Helsinki", "France": "Paris", "Germany": "Berlin", "Greece": "Athens", "Hungary": "Budapest",
    "Iran": "Tehran", "Iraq": "Baghdad", "Ireland": "Dublin", "Italy": "Rome", "Japan": "Tokyo", "Jordan": "Amman",
    "Kenya": "Nairobi", "Lebanon": "Beirut", "Libya": "Tripoli", "Nepal": "Kathmandu", "Norway": "Oslo",
    "Pakistan": "Islamabad", "Peru": "Lima", "Poland": "Warsaw", "Portugal": "Lisbon", "Qatar": "Doha",
    "Romania": "Bucharest", "Russia": "Moscow", "Serbia": "Belgrade", "Somalia": "Mogadishu", "Spain": "Madrid",
    "Sudan": "Khartoum", "Sweden": "Stockholm", "Syria": "Damascus", "Thailand": "Bangkok", "Tunisia": "Tunis",
    "Turkey": "Ankara", "Ukraine": "Kyiv", "Venezuela": "Caracas", "Vietnam": "Hanoi", "Zimbabwe": "Harare",
}  # fmt: skip

TEMPLATES = (
    "The capital of {country} is the city of",
    "The capital city of {country} is now called",
    "In {country}, the capital city is called",
    "Everybody knows that the capital of {country} is",
    "On maps of {country}, the capital is",
    "People say the capital of {country} is named",
    "The country of {country} has its capital in",
    "The capital of {country} is a city named",
    "A map of {country} shows its capital,",
    "The news from {country} and its capital,",
    "Most people in {country} love their capital,",
    "She was born in {country}'s capital,",
    "They live in the capital of {country},",
)


def capitals(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """A country whose capital is asked for. Corrupted, another country."""
    return DrawnTask(
        "capitals",
        "A country. Answer: its capital. Corrupted: another country, with another capital.",
        'Merullo, Eickhoff and Pavlick (2023), "Language Models Implement Simple Word2Vec-style Vector Arithmetic"',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    known = single_token_pairs(model, "capitals", "countries and capitals", CAPITALS, least=4)
    templates = of_one_length(model, TEMPLATES, lambda template: template.format(country=known[0][0]))
    while True:
        template = random.choice(templates)
        (country, capital), (other, other_capital) = random.sample(known, 2)
        yield Pair(
            template.format(country=country),
            template.format(country=other),
            f" {capital}",
            f" {other_capital}",
            template=template.format(country="…"),
        )
